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

from dief.v1.alert_pb2 import DiversionAlert, Item
from dief.v1.handling_pb2 import TLP_RED
from sqlalchemy import Connection, or_, select

from node.alerts.indicators import Fact, facts, item_facts
from node.alerts.normal import NORMAL_FORMS
from node.alerts.project import ALERT, ALERT_OF_INDICATOR, INDICATOR
from node.alerts.queries import ENTRY, EVERYBODY
from node.alerts.reading import event_of, part_of
from node.alerts.states import Held, view_of
from node.screening.terms import Ready

MAX_PER_TERM = 500
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Match:
    """A fact of a current alert that has a form of a term.

    Attributes:
        term: Position of the term.
        name_id: Key of the row that is the alert now.
        alert: The alert.
        items: Items that `place` counts: the alert's, or those of a list part.
        kind: Value of dief.v1.IndicatorKind.
        value: As the originator wrote it.
        place: Where it stands.
        part: Position of the list part, or None.
    """

    term: int
    name_id: int
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


def find(
    conn: Connection, ready: Sequence[tuple[int, Ready]], now_ms: int, reader_roles: Collection[int]
) -> Found:
    """All matches of terms in alerts that are current in a reader's view.

    Args:
        conn: Snapshot.
        ready: Terms with their positions.
        now_ms: This node's clock.
        reader_roles: Values of ReaderRole that the reader has.
    """
    rows: dict[int, set[int]] = defaultdict(set)
    overfull = []
    for position, term in ready:
        hits = _visible_rows(conn, term.keys, term.term.kind, now_ms, reader_roles)
        if len(hits) > MAX_PER_TERM:
            overfull.append(position)
        for row_id in hits[:MAX_PER_TERM]:
            rows[row_id].add(position)
    terms = dict(ready)
    asked = {
        row_id: [(position, terms[position]) for position in sorted(found)] for row_id, found in rows.items()
    }
    return Found(tuple(verified(conn, asked, now_ms, reader_roles)), tuple(overfull))


def verified(
    conn: Connection,
    asked: Mapping[int, Sequence[tuple[int, Ready]]],
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
    for chunk in _chunks(sorted(asked)):
        for row_id, head_id, part, body, head_body in _bodies(conn, chunk, now_ms, reader_roles):
            yield from _verify(asked[row_id], head_id, part, body, head_body)


def _visible_rows(
    conn: Connection, keys: Iterable[int], kind: int, now_ms: int, reader_roles: Collection[int]
) -> list[int]:
    """Newest rows with content that bear one of the keys and are or belong to a current alert."""
    query = (
        select(ALERT.c.id)
        .distinct()
        .where(
            INDICATOR.c.key.in_(sorted(keys)),
            INDICATOR.c.kind == kind,
            ALERT.c.id == ALERT_OF_INDICATOR,
            ALERT.c.held == Held.CONTENT,
            ALERT.c.reader_role.in_(sorted({*EVERYBODY, *reader_roles})),
            or_(ALERT.c.expires_ms.is_(None), ALERT.c.expires_ms > now_ms),
            or_(ALERT.c.part.is_(True), ALERT.c.head.bitwise_and(int(view_of(reader_roles))) != 0),
        )
        .order_by(ALERT.c.id.desc())
        .limit(MAX_PER_TERM + 1)
    )
    return list(conn.execute(query).scalars())


def _bodies(
    conn: Connection, rows: Sequence[int], now_ms: int, reader_roles: Collection[int]
) -> Iterator[tuple[int, int, bool, bytes, bytes]]:
    """Rows with the key of the row that their alert is now, and both bodies."""
    head = ALERT.alias("head")
    body = ENTRY.alias("body")
    head_body = ENTRY.alias("head_body")
    query = select(ALERT.c.id, head.c.id, ALERT.c.part, body.c.body, head_body.c.body).where(
        ALERT.c.id.in_(rows),
        head.c.subject_id == ALERT.c.subject_id,
        head.c.head.bitwise_and(int(view_of(reader_roles))) != 0,
        head.c.held == Held.CONTENT,
        head.c.revision == ALERT.c.revision,
        or_(head.c.expires_ms.is_(None), head.c.expires_ms > now_ms),
        body.c.id == ALERT.c.entry_id,
        head_body.c.id == head.c.entry_id,
        body.c.body.is_not(None),
        head_body.c.body.is_not(None),
    )
    for row in conn.execute(query):
        yield row[0], row[1], row[2], row[3], row[4]


def _verify(
    asked: Sequence[tuple[int, Ready]], head_id: int, part: bool, body: bytes, head_body: bytes
) -> Iterator[Match]:
    event = event_of(head_body)
    alert = event.alert
    if not part:
        yield from _matching(asked, head_id, alert, alert.items, facts(alert), None)
    elif alert.handling.tlp != TLP_RED and hashlib.sha256(body).digest() in event.list_part_digests:
        listed = part_of(body)
        yield from _matching(asked, head_id, alert, listed.items, item_facts(listed.items), listed.index)


def _matching(
    asked: Sequence[tuple[int, Ready]],
    head_id: int,
    alert: DiversionAlert,
    items: Sequence[Item],
    found: Iterator[Fact],
    part: int | None,
) -> Iterator[Match]:
    by_form: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, ready in asked:
        for form in ready.forms:
            by_form[ready.term.kind][form].append(position)
    for kind, value, place in found:
        if kind not in by_form:
            continue
        wanted = by_form[kind]
        for position in sorted({one for form in NORMAL_FORMS[kind](value) for one in wanted.get(form, ())}):
            yield Match(position, head_id, alert, items, kind, value, place, part)


def _chunks(values: Sequence[int]) -> Iterator[Sequence[int]]:
    return (values[i : i + _CHUNK] for i in range(0, len(values), _CHUNK))
