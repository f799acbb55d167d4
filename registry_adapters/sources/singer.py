"""Rows of a Singer tap: hundreds of connectors exist, and each is a program that writes JSON, a message a line.

Rules:
- A record of the chosen stream is a row. The tap's STATE stands in the cursor and is given back to it in the next
  run, so the tap itself knows where to go on. Rows between two states may come twice.
- Only a tap that ended well has read everything: after anything else what it gave stays valid, and the run fails.
- ACTIVATE_VERSION means that rows of older versions are gone. It counts once the tap ended well, and once a version:
  taps that read changes only say it again in every run. With `complete`, every run that ended well tells what is gone.
- `_sdc_deleted_at` marks a row that is deleted.
- What a tap writes besides messages is an error with its line's number, since a row may hide in it.
- A line that is too long is handed over with a fault, unless it is no record.

Source: the Singer specification; `_sdc_deleted_at` and ACTIVATE_VERSION as Stitch and Meltano document them.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from registry_adapters.errors import FieldFault, SchemaDriftError, SourceError
from registry_adapters.source import MAX_CURSOR_BYTES, Cursor, Milestone, Row, SourceReport
from registry_adapters.sources.columns import check_paths, key_of, missing_columns
from registry_adapters.sources.json_records import NotJsonError, columns_of, parse, property_names, raw_text
from registry_adapters.sources.singer_process import Limits, Line, Program
from registry_adapters.sources.singer_settings import SingerSettings

KIND: Final = "singer"
_DELETED: Final = "_sdc_deleted_at"
_STATE_BYTES: Final = MAX_CURSOR_BYTES - 8192
_HEAD: Final = 4096
_TYPE = re.compile(rb'"type"\s*:\s*"([A-Z_]{1,30})"')
_TORN: Final = FieldFault(
    "", "", "RECORD_TORN", "The record could not be taken apart; it is read again in a run."
)
_TOO_LARGE: Final = FieldFault("", "", "RECORD_TOO_LARGE", "The message is longer than max_line_bytes.")
_KEYLESS: Final = "A row needs its key: it is missing, or no text or number."
_MEND_TAP: Final = (
    "Run the tap by hand with the same configuration; its messages are kept if `stderr_file` is set."
)


@dataclass(slots=True)
class _Run:
    """What the messages of one run have told so far.

    Attributes:
        state: The tap's newest state as JSON; "" where there is none.
        done: Version whose rows were read through, in this run or an earlier one.
        scan: Name of a complete pass that every row belongs to, "" where versions tell.
        version: Version of the newest row, None where it has none.
        activated: Version whose older ones are gone.
        described: A SCHEMA of the stream was met.
    """

    state: str
    done: Any
    scan: str
    version: Any = None
    activated: Any = None
    described: bool = False
    _cursor: Cursor | None = None

    def cursor(self) -> Cursor:
        """From the newest state on; rows between two states share it."""
        if self._cursor is None:
            self._cursor = Cursor(KIND, {"tap": self.state, "done": self.done})
        return self._cursor

    def go_on(self, state: str) -> None:
        """A newer state."""
        self.state, self._cursor = state, None

    def scan_of(self, version: Any) -> str:
        """Name of the complete pass that a row of a version belongs to."""
        if self.scan or version is None or version == self.done:
            return self.scan
        return f"version {version}"


class SingerSource:
    """A stream of rows from a tap.

    Args:
        settings: `[source]` of the mapping.
        home: Folder of the mapping file.
        needed: Columns that the mapping reads.
    """

    kind = KIND

    def __init__(self, settings: SingerSettings, home: Path, needed: frozenset[str] = frozenset()) -> None:
        self._settings = settings
        self._home = home
        self._needed = needed | {*settings.key}
        self._columns: tuple[str, ...] = ()
        self.report = SourceReport()

    def columns(self) -> tuple[str, ...]:
        """Columns that the tap's catalog, or else its last SCHEMA, promises; none before it has run."""
        if not self._columns and self._settings.catalog is not None:
            self._columns = self._catalogued(self._home / self._settings.catalog)
        return self._columns

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows behind the tap's own state; see the module's rules."""
        held = dict(cursor.state) if cursor else {}
        settings = self._settings
        run = _Run(str(held.get("tap", "")), held.get("done"), uuid4().hex if settings.complete else "")
        limits = Limits(settings.idle_seconds, settings.end_seconds, settings.max_line_bytes)
        keep = None if settings.stderr_file is None else self._home / settings.stderr_file
        with tempfile.TemporaryDirectory() as folder:
            command = self._command(Path(folder), run.state)
            with Program(command, self._home, settings.environment, limits, keep) as program:
                for line in program.lines():
                    yield from self._message(line, run)
                outcome = program.outcome()
                self.report.facts["messages"] = f"the tap wrote {program.messages} lines for people"
                if outcome != 0:
                    how = f"exit code {outcome}" if outcome > 0 else f"signal {-outcome}"
                    raise SourceError(
                        f"The tap failed with {how}; it wrote {program.messages} lines for people.",
                        _MEND_TAP,
                        reason="TAP_FAILED",
                    )
        if not run.described:
            raise SourceError(
                f"The tap ended well and never described the stream {settings.tap_stream}.",
                "Check `tap_stream` of [source], and select the stream in the tap's catalog.",
                reason="TAP_STREAM_MISSING",
            )
        yield self._end(run)

    def restored(self, row: Row) -> Row:
        """A row of the quarantine; one that could not be taken apart stays so until it is read again."""
        return replace(row, faults=(_TORN,)) if row.raw else row

    def _end(self, run: _Run) -> Milestone:
        completed = run.scan
        if not completed and run.activated is not None and run.activated != run.done:
            completed = run.scan_of(run.activated)
            run.done = run.activated
        return Milestone(Cursor(KIND, {"tap": run.state, "done": run.done}), completed)

    def _command(self, folder: Path, state: str) -> list[str]:
        settings = self._settings
        first, *rest = settings.command
        command = [str(self._home / first) if "/" in first else first, *rest]
        if settings.config is not None:
            command += ["--config", str(self._home / settings.config)]
        if settings.catalog is not None:
            command += [settings.catalog_option, str(self._home / settings.catalog)]
        if state:
            path = folder / "state.json"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(state)
            command += ["--state", str(path)]
        return command

    # -- Messages

    def _message(self, line: Line, run: _Run) -> Iterator[Row]:
        if not line.data.strip():
            return
        if line.cut:
            yield self._too_long(line, run)
            return
        try:
            message = parse(line.data)
        except NotJsonError:
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise _garbage(line)
        mine = message.get("stream") == self._settings.tap_stream
        match message["type"].upper():
            case "RECORD" if mine:
                yield self._record(line, message, run)
            case "STATE":
                run.go_on(_kept_state(message.get("value")))
            case "SCHEMA" if mine:
                self._described(message)
                run.described = True
            case "ACTIVATE_VERSION" if mine:
                run.activated = message.get("version")
            case "RECORD" | "SCHEMA" | "ACTIVATE_VERSION":
                pass
            case "BATCH" if mine:
                raise SourceError(
                    f"Line {line.number} of the tap hands its rows over in files (BATCH).",
                    "Take batch_config out of the tap's configuration.",
                    reason="TAP_BROKEN",
                )
            case "BATCH":
                pass
            case _:
                raise _garbage(line)

    def _record(self, line: Line, message: dict[str, Any], run: _Run) -> Row:
        if not run.described:
            raise SourceError(
                f"Line {line.number} of the tap is a record of a stream that no SCHEMA described.",
                _MEND_TAP,
                reason="TAP_BROKEN",
            )
        record = message.get("record")
        run.version = message.get("version")
        values, faults = columns_of(record, self._settings.max_depth)
        found = values if not faults else record if isinstance(record, dict) else {}
        key = key_of(found, self._settings.key)
        raw = raw_text(record) if faults else ""
        if key is None and not faults:
            faults = (FieldFault("", self._settings.key[0], "KEY_MISSING", _KEYLESS),)
        name = self._settings.tap_stream
        position = f"{name}/{key}" if key is not None else f"{name}: line {line.number}"
        deleted = found.get(_DELETED) not in (None, "")
        return Row(key, values, position, run.cursor(), faults, deleted, run.scan_of(run.version), raw)

    def _too_long(self, line: Line, run: _Run) -> Row:
        kind = _TYPE.search(line.data[:_HEAD])
        if kind is None or kind[1] != b"RECORD":
            raise SourceError(
                f"Line {line.number} of the tap is longer than max_line_bytes ="
                f" {self._settings.max_line_bytes}, and no record as it seems.",
                "Raise the limit, or have the tap send less.",
                reason="LINE_TOO_LARGE",
            )
        position = f"{self._settings.tap_stream}: line {line.number}"
        shown = line.data[:_HEAD].decode("utf-8", "replace")
        return Row(None, {}, position, run.cursor(), (_TOO_LARGE,), scan=run.scan_of(run.version), raw=shown)

    # -- Columns

    def _described(self, message: dict[str, Any]) -> None:
        schema = message.get("schema")
        properties = schema.get("properties") if isinstance(schema, dict) else None
        columns = tuple(dict.fromkeys(property_names(properties)))
        if not columns:
            raise SourceError("The SCHEMA of the stream names no properties.", _MEND_TAP, reason="TAP_BROKEN")
        self._check(columns, message.get("key_properties"))
        self._columns = columns

    def _check(self, columns: tuple[str, ...], tap_key: Any) -> None:
        """Whether what the mapping needs is there, before a row is lost."""
        settings = self._settings
        missing = missing_columns(columns, _roots(self._needed, columns))
        if missing:
            raise SchemaDriftError(
                f"The tap's stream has no column {'; '.join(missing)}.",
                "Mend the mapping, or select the column in the tap's catalog.",
            )
        if isinstance(tap_key, list) and tap_key and {*map(str, tap_key)} != {*settings.key}:
            raise SchemaDriftError(
                f"The tap tells rows apart by {', '.join(ascii(str(part)) for part in tap_key)},"
                f" the mapping by {', '.join(settings.key)}.",
                "Write the tap's key_properties into `key` of [source].",
            )
        check_paths("the tap's stream", columns, self._needed, settings.unused)

    def _catalogued(self, path: Path) -> tuple[str, ...]:
        try:
            held = parse(path.read_bytes())
            streams = held["streams"]
            found = next(
                stream
                for stream in streams
                if self._settings.tap_stream in (stream.get("stream"), stream.get("tap_stream_id"))
            )
            return tuple(dict.fromkeys(property_names(found["schema"].get("properties"))))
        except (OSError, NotJsonError, KeyError, TypeError, AttributeError, StopIteration):
            raise SourceError(
                f"The catalog does not describe the stream {self._settings.tap_stream}.",
                "Write it anew with the tap's --discover, and select the stream in it.",
                reason="TAP_CATALOG_UNFIT",
            ) from None


def _garbage(line: Line) -> SourceError:
    return SourceError(
        f"Line {line.number} of the tap's output is no Singer message.",
        "A tap writes messages only; logging and printing belong on its standard error.",
        reason="TAP_GARBAGE",
    )


def _kept_state(state: Any) -> str:
    """The tap's state as JSON that a cursor has room for."""
    text = json.dumps(state, default=float)
    if len(json.dumps(text)) > _STATE_BYTES:
        raise SourceError(
            f"The tap's state has more than {_STATE_BYTES} bytes.",
            "Select fewer streams in the tap's catalog: one mapping reads one.",
            reason="TAP_STATE_TOO_LARGE",
        )
    return text


def _roots(needed: Iterable[str], columns: Collection[str]) -> set[str]:
    """Columns that a SCHEMA must promise: of `a.b`, whose parts it may leave open, only `a`."""
    return {column if column in columns else column.partition(".")[0] for column in needed}
