"""What is held of an alert, and what it is now: the pure rules over its entries.

Rules:
- An alert is its highest revision whose content is held and not erased, over all logs held.
- Within one log a withdrawal also ends the revisions before it that its header forgot to erase.
- With no content left it is UNFOUNDED or WITHDRAWN as its origin says, EXPIRED where its expiry has passed, and
  plainly WITHDRAWN where entries were erased without a word, as after a move out of this State's audience.
- Readers without the law-enforcement role see an alert as if logs with that role did not exist.

Source: design.md 4.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from dief.v1 import desk_pb2, handling_pb2

_EVERYBODY = int(handling_pb2.READER_ROLE_UNSPECIFIED)
_SUBJECT = re.compile(
    r"alerts/([A-Z]{2})/([0-9a-f]{8})-([0-9a-f]{4})-(7[0-9a-f]{3})-([89ab][0-9a-f]{3})-([0-9a-f]{12})"
)
_HIGH_BITS = {98: 61, 99: 62}
_UNKNOWN_BIT = 60


class Held(IntEnum):
    """What an entry about an alert holds here."""

    CONTENT = 1
    """A valid revision or list part."""
    ERASED = 2
    """Its content is gone, by order or by expiry."""
    WITHDRAWN = 3
    """It withdraws the alert."""
    UNFOUNDED = 4
    """It withdraws the alert as unfounded."""
    HIDDEN = 5
    """Content whose handling is not understood."""
    INVALID = 6
    """Content that breaks the rules."""


class View(IntFlag):
    """Two ways of looking at the same logs."""

    EVERYBODY = 1
    LAW_ENFORCEMENT = 2


_ONE = int(View.EVERYBODY | View.LAW_ENFORCEMENT)
_ONE_FOR_OFFICERS = int(View.LAW_ENFORCEMENT)
"""Heads of an alert's only row; most alerts have one, and working it out took a tenth of writing it."""
_UNERASED = frozenset({Held.CONTENT, Held.HIDDEN, Held.INVALID})
_WITHDRAWALS = frozenset({Held.WITHDRAWN, Held.UNFOUNDED})


@dataclass(slots=True)
class Row:
    """The facts of one row that decide what its alert is."""

    id: int
    subject_id: int
    entry_id: int
    log_pk: int
    revision: int
    part: bool
    held: int
    head: int
    reader_role: int


def view_of(reader_roles: Collection[int]) -> View:
    """The view that goes with the roles of a reader; every reader has the role UNSPECIFIED."""
    return View.EVERYBODY if set(reader_roles) <= {_EVERYBODY} else View.LAW_ENFORCEMENT


def current(rows: Iterable[Row]) -> Row | None:
    """The row that an alert is now, of the rows that a reader may know of; None where there is none."""
    known = [row for row in rows if not row.part]
    withdrawals = [row for row in known if row.held in _WITHDRAWALS]
    ended = {row.log_pk: row.entry_id for row in sorted(withdrawals, key=_by_entry)}
    live = [row for row in known if row.held in _UNERASED and row.entry_id > ended.get(row.log_pk, -1)]
    if live:
        return max(live, key=lambda row: (row.revision, row.id))
    if withdrawals:
        return max(withdrawals, key=lambda row: (row.held == Held.UNFOUNDED, row.id))
    return max(known, key=lambda row: (row.revision, row.id), default=None)


def _by_entry(row: Row) -> int:
    return row.entry_id


def set_heads(rows: Sequence[Row]) -> None:
    """Mark for each view the row that the alert is now.

    Args:
        rows: All rows of one alert.
    """
    if len(rows) == 1:
        only = rows[0]
        only.head = 0 if only.part else _ONE if only.reader_role == _EVERYBODY else _ONE_FOR_OFFICERS
        return
    for row in rows:
        row.head = 0
    for view, seen in (
        (View.EVERYBODY, [row for row in rows if row.reader_role == _EVERYBODY]),
        (View.LAW_ENFORCEMENT, rows),
    ):
        row_now = current(seen)
        if row_now is not None:
            row_now.head |= view


def standing(held: int, expires_ms: int | None, now_ms: int, *, in_doubt: bool = False) -> int:
    """AlertStanding of a head row.

    Args:
        held: Value of Held.
        expires_ms: Its expiry in milliseconds, or None.
        now_ms: This node's clock; an expiry hides at once, without any write.
        in_doubt: Whether its log is stopped or its origin was removed.
    """
    if held == Held.UNFOUNDED:
        return desk_pb2.ALERT_STANDING_UNFOUNDED
    if held == Held.WITHDRAWN:
        return desk_pb2.ALERT_STANDING_WITHDRAWN
    if expires_ms is not None and expires_ms <= now_ms:
        return desk_pb2.ALERT_STANDING_EXPIRED
    if held == Held.ERASED:
        return desk_pb2.ALERT_STANDING_WITHDRAWN
    if held != Held.CONTENT:
        return desk_pb2.ALERT_STANDING_HIDDEN
    return desk_pb2.ALERT_STANDING_ORIGIN_IN_DOUBT if in_doubt else desk_pb2.ALERT_STANDING_CURRENT


def code_bits(codes: Iterable[int]) -> int:
    """A set of enum values as bits of one integer; OTHER and UNKNOWN (98, 99) have the two highest."""
    bits = 0
    for code in codes:
        bits |= 1 << (code if 0 <= code < _UNKNOWN_BIT else _HIGH_BITS.get(code, _UNKNOWN_BIT))
    return bits


def uuid_of(subject: str, origin: str) -> bytes | None:
    """The 16 bytes of the UUID in "alerts/{origin}/{uuid7}"; None where it is no such name or another origin's."""
    match = _SUBJECT.fullmatch(subject)
    if match is None or match[1] != origin:
        return None
    return bytes.fromhex("".join(match.groups()[1:]))


def name_of(origin: str, uuid: bytes) -> str:
    """Resource name of an alert."""
    text = uuid.hex()
    return f"alerts/{origin}/{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
