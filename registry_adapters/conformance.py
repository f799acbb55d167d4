"""What every source and sink must keep to, as trials that any adapter can run: ours, or a State's own package.

A trial returns its name, whether it held, and what was seen; none changes the registry. Run them by
`dief adapter conform MAPPING`, or from the tests of a package of your own:

    trials = try_source(lambda: MySource(...))
    assert all(trial.held for trial in trials), trials

Source: the rules of registry_adapters.source and registry_adapters.sink.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from registry_adapters.errors import AdapterError
from registry_adapters.notice import Notice
from registry_adapters.sink import Sink
from registry_adapters.source import Cursor, Milestone, Row, Source

MAX_ROWS: Final = 2000
"""Rows that a trial looks at; a larger registry is tried by its first rows."""
RESUMES: Final = 7
"""Places from which reading goes on."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One rule, tried.

    Attributes:
        rule: The rule, in words.
        held: Whether it held.
        seen: What was seen where it did not, without a value of a row.
    """

    rule: str
    held: bool
    seen: str = ""


class _Broken(Exception):  # noqa: N818 - never leaves this module
    """A rule does not hold; the text says what was seen."""


def try_source(
    make: Callable[[], Source], *, fingerprint: Callable[[], Any] | None = None, max_rows: int = MAX_ROWS
) -> list[Trial]:
    """Try a source on a registry that nobody changes meanwhile.

    Args:
        make: Opens the source, each time anew, as after a restart.
        fingerprint: Something that changes whenever the registry is written: a hash of its files, a row count.
        max_rows: Rows to look at.
    """
    before = None if fingerprint is None else fingerprint()
    trials = [
        _trial("columns have names, each once, and the same again", lambda: _columns(make)),
        _trial(
            "every row has a key or faults, values of known types, and a position",
            lambda: _rows(make, max_rows),
        ),
        _trial("every cursor can be stored and read again", lambda: _cursors(make, max_rows)),
        _trial("reading twice gives the same rows", lambda: _again(make, max_rows)),
        _trial("reading goes on behind any row without losing one", lambda: _resumed(make, max_rows)),
        _trial("reading from the end ends, and loses nothing", lambda: _from_the_end(make, max_rows)),
        _trial("reading can be given up at any row", lambda: _given_up(make)),
    ]
    if fingerprint is not None:
        trials.append(
            _trial("the registry is not written", lambda: _same(before, fingerprint(), "it was written"))
        )
    return trials


def try_sink(
    make: Callable[[], Sink],
    read_back: Callable[[], Iterable[str]] | None = None,
    *,
    notices: Sequence[Notice],
) -> list[Trial]:
    """Try a sink; it is written to.

    Args:
        make: Opens the sink, each time anew.
        read_back: Ids of the notices that the registry holds now; None where that can not be asked.
        notices: What is written, at least two with different ids.
    """
    trials = [
        _trial("a check writes nothing", lambda: _checked(make, read_back, notices)),
        _trial("what was written is there", lambda: _written(make, read_back, notices)),
        _trial("the same notices may come again", lambda: _written(make, read_back, notices)),
        _trial("nothing at all can be written", lambda: make().write([])),
    ]
    if read_back is not None:
        trials.append(_trial("a notice is kept once", lambda: _once(read_back)))
    return trials


def _trial(rule: str, run: Callable[[], None]) -> Trial:
    try:
        run()
    except _Broken as broken:
        return Trial(rule, False, str(broken))
    except AdapterError as error:
        return Trial(rule, False, f"{type(error).__name__}: {error.diagnosis}")
    except Exception as error:  # noqa: BLE001 - whatever an adapter raises is what is to be told
        return Trial(rule, False, f"{type(error).__name__}, which is no AdapterError")
    return Trial(rule, True)


def _columns(make: Callable[[], Source]) -> None:
    names = make().columns()
    if len(set(names)) != len(names):
        raise _Broken("a name comes twice")
    if not all(isinstance(name, str) for name in names):
        raise _Broken("a name is no text")
    _same(names, make().columns(), "another source of the same registry offers others")


def _read(make: Callable[[], Source], cursor: Cursor | None, most: int) -> list[Row | Milestone]:
    reading = make().read(cursor)
    try:
        return list(islice(reading, most))
    finally:
        with suppress(AttributeError):
            reading.close()  # type: ignore[attr-defined]


def _rows(make: Callable[[], Source], most: int) -> None:
    parts = _read(make, None, most)
    for place, row in enumerate(part for part in parts if isinstance(part, Row)):
        if row.key is None and not row.faults:
            raise _Broken(f"row {place} has neither key nor faults")
        if not row.position:
            raise _Broken(f"row {place} does not say where it stands")
        if not row.faults:
            _known_types(row.values, f"row {place}")


def _known_types(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise _Broken(f"{where} has a name that is no text")
            _known_types(inner, f"{where}, {name}")
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _known_types(inner, where)
    else:
        json.dumps(value, default=str)


def _cursors(make: Callable[[], Source], most: int) -> None:
    kind = make().kind
    for place, part in enumerate(_read(make, None, most)):
        stored = part.cursor.encode()
        again = Cursor.decode(stored, kind)
        if part.cursor.kind != kind:
            raise _Broken(f"the cursor at {place} is of kind {part.cursor.kind}, the source of {kind}")
        if again is not None and again.encode() != stored:
            raise _Broken(f"the cursor at {place} changes when it is stored")


def _again(make: Callable[[], Source], most: int) -> None:
    _same(_content(_read(make, None, most)), _content(_read(make, None, most)), "a second reading differs")


def _resumed(make: Callable[[], Source], most: int) -> None:
    parts = _read(make, None, most)
    rows = [(place, part) for place, part in enumerate(parts) if isinstance(part, Row)]
    kind = make().kind
    for place, row in rows[:: max(1, len(rows) // RESUMES)]:
        cursor = Cursor.decode(row.cursor.encode(), kind)
        behind = _content(_read(make, cursor, 2 * most))
        lost = _content(parts[place + 1 :]).keys() - behind.keys()
        if lost:
            raise _Broken(f"{len(lost)} rows behind row {place} are not read from its cursor on")


def _from_the_end(make: Callable[[], Source], most: int) -> None:
    parts = _read(make, None, most)
    if not parts or len(parts) == most:
        return
    cursor = Cursor.decode(parts[-1].cursor.encode(), make().kind)
    first = _content(parts)
    again = _content(_read(make, cursor, 2 * most))
    strange = {key for key, held in again.items() if first.get(key) != held}
    if strange:
        raise _Broken(f"{len(strange)} rows are other ones than before")


def _given_up(make: Callable[[], Source]) -> None:
    reading = make().read(None)
    next(iter(reading), None)
    with suppress(AttributeError):
        reading.close()  # type: ignore[attr-defined]
    _read(make, None, 2)


def _content(parts: Iterable[Row | Milestone]) -> dict[str, str]:
    """Key, or position where there is none, to what a row says."""
    return {
        row.key or row.position: json.dumps(
            [dict(row.values), row.deleted, [fault.reason for fault in row.faults]],
            default=str,
            sort_keys=True,
        )
        for row in parts
        if isinstance(row, Row)
    }


def _same(one: object, other: object, otherwise: str) -> None:
    if one != other:
        raise _Broken(otherwise)


def _checked(
    make: Callable[[], Sink], read_back: Callable[[], Iterable[str]] | None, notices: Sequence[Notice]
) -> None:
    before = set() if read_back is None else set(read_back())
    make().check()
    if read_back is not None and set(read_back()) != before:
        raise _Broken("something was written")
    if len({notice.notice for notice in notices}) < 2:
        raise _Broken("the trial needs two notices with different ids")


def _written(
    make: Callable[[], Sink], read_back: Callable[[], Iterable[str]] | None, notices: Sequence[Notice]
) -> None:
    make().write(notices)
    if read_back is not None:
        missing = {notice.notice for notice in notices} - set(read_back())
        if missing:
            raise _Broken(f"{len(missing)} of {len(notices)} notices are not there")


def _once(read_back: Callable[[], Iterable[str]]) -> None:
    held = list(read_back())
    if len(held) != len(set(held)):
        raise _Broken("a notice stands there twice: give the registry the id to tell by")
