"""What every source of registry rows offers: its columns, and its rows from a cursor on.

Rules:
- A source only reads. It never locks, writes or moves what belongs to the registry.
- `read(None)` starts at the beginning; `read(cursor)` goes on behind what the cursor has seen. A row may come
  twice (overlap, restart), never not at all.
- Every row carries the cursor behind it, so a run can be resumed after any row.
- A row that cannot be read is yielded with its faults, never skipped in silence.
- Sources are composed, not inherited: three members are all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Protocol, runtime_checkable
from uuid import UUID

from registry_adapters.errors import CursorError, FieldFault

CURSOR_VERSION: Final = 1
MAX_CURSOR_BYTES: Final = 65536


@dataclass(slots=True)  # frozen, it would take twice as long to make one for each row
class Cursor:
    """Where a source stands; the node keeps it, opaque, beside the records that lie before it. Nobody changes it.

    Attributes:
        kind: Kind of the source that wrote it, for example "sql".
        state: What the source needs to go on; values of JSON, dates, decimals and UUIDs. Rows of one run share it.
        after: What differs from row to row; stored as `after` of the state. None: the state says all.
    """

    kind: str
    state: Mapping[str, Any]
    after: Sequence[Any] | None = None

    def encode(self) -> bytes:
        """Canonical bytes: JSON with a version.

        Raises:
            CursorError: It would be larger than the node takes.
        """
        state = self.state if self.after is None else {**self.state, "after": self.after}
        text = json.dumps(
            {"v": CURSOR_VERSION, "kind": self.kind, "state": state},
            default=_tagged,
            separators=(",", ":"),
            sort_keys=True,
        )
        data = text.encode("ascii")
        if len(data) > MAX_CURSOR_BYTES:
            raise CursorError(
                f"The cursor takes {len(data)} bytes, more than {MAX_CURSOR_BYTES}.",
                "Move files that were read long ago out of the drop folder.",
            )
        return data

    @classmethod
    def decode(cls, data: bytes, kind: str) -> Cursor | None:
        """A stored cursor; None where nothing is stored.

        Args:
            data: As the node returned it.
            kind: Kind of the source that will read from it.

        Raises:
            CursorError: It is of another kind of source, of a newer version, or no cursor at all.
        """
        if not data:
            return None
        mend = "Give the mapping another `stream`, so that it starts anew, or use the adapter that wrote it."
        try:
            held = json.loads(data, object_hook=_untagged)
            version, held_kind, state = held["v"], held["kind"], held["state"]
        except (ValueError, KeyError, TypeError, ArithmeticError):
            raise CursorError(
                "The cursor that the node holds for this stream cannot be read.", mend
            ) from None
        if version != CURSOR_VERSION or held_kind != kind or not isinstance(state, dict):
            raise CursorError("The cursor that the node holds was written by another kind of source.", mend)
        return cls(kind, state)


@dataclass(slots=True)  # as Cursor
class Row:
    """One row of a registry. Nobody changes it.

    Attributes:
        key: The registry's own key; None where the row has none that can be read.
        values: Column to value, as the driver or the file gives it.
        position: Where it stands, for people: "seizures.csv:17".
        cursor: The cursor behind it.
        faults: Why it cannot be read, where it cannot.
        deleted: The registry marks it as deleted.
        scan: Name of the complete pass that it belongs to; "" where the source reads changes only.
        raw: The record as it stood, where it could not be taken apart.
    """

    key: str | None
    values: Mapping[str, Any]
    position: str
    cursor: Cursor
    faults: tuple[FieldFault, ...] = ()
    deleted: bool = False
    scan: str = ""
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Milestone:
    """A place between rows: the cursor moves on although no row is handed over.

    Attributes:
        cursor: The cursor from here.
        completed_scan: Name of the complete pass that ends here: a known key that it did not show is gone.
    """

    cursor: Cursor
    completed_scan: str = ""


class Source(Protocol):
    """Rows of one registry stream."""

    @property
    def kind(self) -> str:
        """Kind, which its cursors carry."""

    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the source's order.

        Raises:
            SourceError: The registry cannot be reached or read.
        """

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows behind a cursor, in an order that makes each row's cursor a place to go on from.

        Raises:
            SourceError: The registry cannot be reached or read; what was yielded before stays valid.
        """


@runtime_checkable
class Lookup(Protocol):
    """What a source offers besides, where its mapping says how: one fact on demand, as a trace request asks."""

    def lookup(self, kind: str, value: str) -> Sequence[Mapping[str, Any]]:
        """What the registry knows of one serial, licence or the like.

        Args:
            kind: Name of a `[lookup.<name>]` of the mapping, for example "serial".
            value: What is asked for, as it was read.

        Returns:
            Column to value, for each row that was found; bounded.

        Raises:
            SourceError: The mapping has no such look-up, or the registry cannot be read.
        """


@runtime_checkable
class Restoring(Protocol):
    """A source that can look again at a row in quarantine, with the mapping as it is now."""

    def restored(self, row: Row) -> Row:
        """The row as the source would read it now: its values, key and faults.

        Args:
            row: As it was kept, its values passed through JSON, without faults.
        """


@dataclass(slots=True)
class SourceReport:
    """What a source noticed about its input, for people.

    Attributes:
        facts: Short lines by topic, for example {"encoding": "cp1252"}.
        waiting: Names of files that are not handed over yet.
        warnings: What a person should look at, although rows still flow.
    """

    facts: dict[str, str] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _tagged(value: object) -> dict[str, str]:
    match value:
        case datetime():
            return {"$datetime": value.isoformat()}
        case date():
            return {"$date": value.isoformat()}
        case Decimal():
            return {"$decimal": str(value)}
        case UUID():
            return {"$uuid": str(value)}
        case bytes():
            return {"$bytes": value.hex()}
    raise CursorError(
        f"A key or watermark of type {type(value).__name__} cannot be kept.",
        "Cast the column to text, a number or a date in the query.",
    )


def _untagged(held: dict[str, Any]) -> Any:
    if len(held) == 1:
        match next(iter(held.items())):
            case ("$datetime", str(text)):
                return datetime.fromisoformat(text)
            case ("$date", str(text)):
                return date.fromisoformat(text)
            case ("$decimal", str(text)):
                return Decimal(text)
            case ("$uuid", str(text)):
                return UUID(text)
            case ("$bytes", str(text)):
                return bytes.fromhex(text)
    return held
