"""From keys to alerts: the index says where to look, the bodies say whether it is so.

Rules:
- Only alerts that are current in the reader's view are read; of the others nothing is told, not even a number.
- Two facts can share a key, so every hit is compared in the body, which also gives the path and the original value.
- A list part counts where the current revision of its alert cites it, and permits bulk screening at all.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from dief.v1.alert_pb2 import DiversionAlert, Item
from dief.v1.handling_pb2 import TLP_RED
from sqlalchemy import BigInteger, Connection, Integer, Row, Select, bindparam, or_, select

from node.alerts.indicators import Fact, facts, item_facts
from node.alerts.normal import NORMAL_FORMS
from node.alerts.project import ALERT, ALERT_OF_INDICATOR, INDICATOR
from node.alerts.queries import EVERYBODY
from node.alerts.reading import part_of
from node.alerts.records import ENTRY, AlertRecord, Head, heads_of
from node.alerts.states import Held, view_of
from node.screening.terms import Ready

MAX_PER_TERM = 500
_CHUNK = 500
T = TypeVar("T")

_PLACE = (ALERT.c.id, ALERT.c.subject_id, ALERT.c.part, ALERT.c.revision)
_VISIBLE = (
    INDICATOR.c.key.in_(bindparam("keys", expanding=True)),
    ALERT.c.id == ALERT_OF_INDICATOR,
    ALERT.c.held == Held.CONTENT,
    ALERT.c.reader_role.in_(bindparam("roles", expanding=True)),
    or_(ALERT.c.expires_ms.is_(None), ALERT.c.expires_ms > bindparam("now_ms", type_=BigInteger())),
    or_(ALERT.c.part.is_(True), ALERT.c.head.bitwise_and(bindparam("view", type_=Integer())) != 0),
)
# Statements are made once: making one takes many times as long as running it.
_BEARING = select(INDICATOR.c.kind, INDICATOR.c.key, *_PLACE).where(*_VISIBLE).limit(MAX_PER_TERM + 1)
_NEWEST = select(*_PLACE).distinct().where(*_VISIBLE).order_by(ALERT.c.id.desc()).limit(MAX_PER_TERM + 1)
_PLACES = select(*_PLACE).where(ALERT.c.id.in_(bindparam("rows", expanding=True)))
_BODIES = select(ALERT.c.id, ENTRY.c.body).where(
    ALERT.c.id.in_(bindparam("rows", expanding=True)),
    ENTRY.c.id == ALERT.c.entry_id,
    ENTRY.c.body.is_not(None),
)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks, and when.

    Attributes:
        now_ms: This node's clock.
        roles: Values of ReaderRole that the reader has.
        doubted_origins: Origins that are shown with a warning.
    """

    now_ms: int
    roles: Collection[int] = EVERYBODY
    doubted_origins: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """A fact of a current alert that has a form of a term.

    Attributes:
        term: Position of the term.
        name_id: Key of the row that is the alert now.
        record: The alert as held.
        alert: Its content.
        items: Items that `place` counts: the alert's, or those of a list part.
        kind: Value of dief.v1.IndicatorKind.
        value: As the originator wrote it.
        place: Where it stands.
        part: Position of the list part, or None.
    """

    term: int
    name_id: int
    record: AlertRecord
    alert: DiversionAlert
    items: Sequence[Item]
    kind: int
    value: str
    place: tuple[str | int, ...]
    part: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Matches, and the positions of terms that meet more alerts than are read."""

    matches: tuple[Match, ...]
    overfull: tuple[int, ...]


class _Place(NamedTuple):
    """A row of an alert: what the index leads to."""

    row_id: int
    subject_id: int
    part: bool
    revision: int


def find(conn: Connection, ready: Sequence[tuple[int, Ready]], reader: Reader) -> Found:
    """All matches of terms in alerts that are current in a reader's view.

    One look-up finds the rows of all terms, unless they are more than one term may have: then each has its own.

    Args:
        conn: Snapshot.
        ready: Terms with their positions.
        reader: Who looks.
    """
    by_key: dict[tuple[int, int], dict[int, Ready]] = defaultdict(dict)
    for position, term in ready:
        for key in term.keys:
            by_key[term.term.kind, key][position] = term
    asked: dict[_Place, dict[int, Ready]] = defaultdict(dict)
    overfull = []
    rows = _rows(conn, _BEARING, {key for _, key in by_key}, reader)
    if len(rows) <= MAX_PER_TERM:
        for row in rows:
            asked[_place(row)] |= by_key.get((row.kind, row.key), {})
    else:
        for position, term in ready:
            found = _rows(conn, _NEWEST, term.keys, reader)
            if len(found) > MAX_PER_TERM:
                overfull.append(position)
            for row in found[:MAX_PER_TERM]:
                asked[_place(row)][position] = term
    return Found(tuple(_verified(conn, asked, reader)), tuple(overfull))


def verified(
    conn: Connection,
    asked: Mapping[int, Iterable[tuple[int, Ready]]],
    now_ms: int,
    reader_roles: Collection[int],
) -> Iterator[Match]:
    """Matches that the bodies bear out, of alerts that are current in a reader's view.

    Args:
        conn: Snapshot.
        asked: Keys of rows of alerts to the terms, with their positions, that the index found there.
        now_ms: This node's clock.
        reader_roles: Values of ReaderRole that the reader has.
    """
    places = {}
    for chunk in _chunks(sorted(asked)):
        for row in conn.execute(_PLACES, {"rows": chunk}):
            places[_place(row)] = dict(asked[row.id])
    return _verified(conn, places, Reader(now_ms, reader_roles))


def _place(row: Any) -> _Place:
    return _Place(row.id, row.subject_id, row.part, row.revision)


def _rows(conn: Connection, query: Select[Any], keys: Collection[int], reader: Reader) -> Sequence[Row[Any]]:
    if not keys:
        return ()
    asked = {
        "keys": sorted(keys),
        "roles": sorted({*EVERYBODY, *reader.roles}),
        "now_ms": reader.now_ms,
        "view": int(view_of(reader.roles)),
    }
    return conn.execute(query, asked).all()


def _verified(
    conn: Connection, asked: Mapping[_Place, Mapping[int, Ready]], reader: Reader
) -> Iterator[Match]:
    for chunk in _chunks(sorted(asked)):
        heads = heads_of(
            conn,
            {place.subject_id for place in chunk},
            reader.now_ms,
            reader_roles=reader.roles,
            doubted_origins=reader.doubted_origins,
        )
        parts = [place.row_id for place in chunk if place.part]
        bodies = {row.id: row.body for row in conn.execute(_BODIES, {"rows": parts})} if parts else {}
        for place in chunk:
            head = heads.get(place.subject_id)
            if head is not None and head.record.revision == place.revision:
                yield from _verify(asked[place], head, place, bodies.get(place.row_id))


def _verify(asked: Mapping[int, Ready], head: Head, place: _Place, body: bytes | None) -> Iterator[Match]:
    alert = head.alert
    if not place.part:
        yield from _matching(asked, head, alert.items, facts(alert), None)
    elif body is not None and alert.handling.tlp != TLP_RED and _is_cited(head, body):
        listed = part_of(body)
        yield from _matching(asked, head, listed.items, item_facts(listed.items), listed.index)


def _is_cited(head: Head, body: bytes) -> bool:
    return hashlib.sha256(body).digest() in head.record.part_digests


def _matching(
    asked: Mapping[int, Ready],
    head: Head,
    items: Sequence[Item],
    found: Iterator[Fact],
    part: int | None,
) -> Iterator[Match]:
    by_form: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, ready in asked.items():
        for form in ready.forms:
            by_form[ready.term.kind][form].append(position)
    for kind, value, place in found:
        if kind not in by_form:
            continue
        wanted = by_form[kind]
        for position in sorted({one for form in NORMAL_FORMS[kind](value) for one in wanted.get(form, ())}):
            yield Match(position, head.row_id, head.record, head.alert, items, kind, value, place, part)


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[i : i + _CHUNK] for i in range(0, len(values), _CHUNK))
