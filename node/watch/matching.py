"""Which records meet which alerts, and how: keys say where to look, bodies and records say whether it is so.

Rules:
- Only what every reader of this State may see is matched: the registry's screen is everybody's screen.
- An alert that was released from a record does not meet that record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from dief.v1 import watch_pb2
from sqlalchemy import Connection, Integer, bindparam, select

from node.alerts.indicators import indicator_key, path_of
from node.alerts.project import ALERT, ALERT_OF_INDICATOR, INDICATOR, LOG
from node.alerts.queries import EVERYBODY
from node.alerts.states import Held
from node.screening.candidates import Match, verified
from node.screening.strength import judge
from node.screening.terms import Ready, Term, make_ready, searchable
from node.store.tables import table
from node.store.tables.alerts import INDICATOR_BITS
from node.store.tables.release import RegistryRecordRow
from node.store.tables.watch import WatchKey, WatchRecordRow
from node.watch.among import Among

RECORD = table(WatchRecordRow)
KEY = table(WatchKey)
TOLD = table(RegistryRecordRow)
MAX_MATCHES = 50
"""A hit tells so many matches, the strongest; more say nothing more to an officer."""
_CHUNK = 400
_RECORDS = Among(select(RECORD.c.id, RECORD.c.stream_id, RECORD.c.key, RECORD.c.content), RECORD.c.id)
_HEAD = ALERT.alias("head")
# Statements are made once: making one takes many times as long as running it.
_WITH = (
    select(KEY.c.record_id, ALERT_OF_INDICATOR)
    .distinct()
    .join_from(INDICATOR, KEY, (INDICATOR.c.key == KEY.c.key) & (INDICATOR.c.kind == KEY.c.kind))
    .where(
        INDICATOR.c.id >= bindparam("first"),
        INDICATOR.c.id < bindparam("end"),
        KEY.c.record_id > bindparam("after"),
    )
    .order_by(KEY.c.record_id)
    .limit(bindparam("most", type_=Integer()))
)
_BEFORE = (
    select(ALERT.c.id)
    .join_from(
        _HEAD, ALERT, (ALERT.c.subject_id == _HEAD.c.subject_id) & (ALERT.c.revision == _HEAD.c.revision)
    )
    .where(
        _HEAD.c.id >= bindparam("first"),
        _HEAD.c.id < bindparam("end"),
        _HEAD.c.part.is_(False),
        ALERT.c.part.is_(True),
        ALERT.c.held == Held.CONTENT,
        ALERT.c.id < bindparam("first"),
    )
)
_TOLD_AS = select(TOLD.c.alert_uuid).where(
    TOLD.c.stream_id == bindparam("stream"), TOLD.c.key == bindparam("record")
)
_BEARING = Among(select(ALERT_OF_INDICATOR, INDICATOR.c.kind, INDICATOR.c.key), INDICATOR.c.key)


@dataclass(slots=True)  # frozen, it would take twice as long to make one for each record
class Watched:
    """A record as it stands. Nobody changes it.

    Attributes:
        id: Its key in the table.
        stream_id: Its registry's stream.
        key: The registry's own key.
        content: The record.
        raw: Its stored bytes.
    """

    id: int
    stream_id: int
    key: str
    content: watch_pb2.WatchRecord
    raw: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of its stored bytes."""
        return sha256(self.raw).digest()


@dataclass(frozen=True, slots=True)
class Meeting:
    """One match of a record's field, for its hit."""

    kind: int
    field: str
    path: str
    strength: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A record and an alert that meet.

    Attributes:
        record: The record.
        head: Key of the row that is the alert now.
        meetings: The matches, strongest first.
    """

    record: Watched
    head: int
    meetings: tuple[Meeting, ...]


def ready_terms(content: watch_pb2.WatchRecord) -> tuple[dict[int, Ready], dict[int, str]]:
    """Terms of a record that can be searched, and why the others cannot, by their position."""
    ready: dict[int, Ready] = {}
    refused: dict[int, str] = {}
    for position, term in enumerate(content.terms):
        made = make_ready(Term(term.kind, term.value, term.context))
        if isinstance(made, Ready):
            ready[position] = made
        else:
            refused[position] = made
    return ready, refused


def term_keys(content: watch_pb2.WatchRecord) -> tuple[set[tuple[int, int]], dict[int, str]]:
    """What `ready_terms` finds, as pairs (kind, key) alone: all that a record without an alert needs."""
    found: set[tuple[int, int]] = set()
    refused: dict[int, str] = {}
    for position, term in enumerate(content.terms):
        kind = term.kind
        forms = searchable(kind, term.value, term.context)
        if isinstance(forms, str):
            refused[position] = forms
            continue
        for form in forms:
            found.add((kind, indicator_key(kind, form)))
    return found, refused


def watched(row_id: int, stream_id: int, key: str, raw: bytes) -> Watched:
    """A record from its row."""
    return Watched(row_id, stream_id, key, watch_pb2.WatchRecord.FromString(raw), raw)


def load(conn: Connection, ids: Iterable[int]) -> list[Watched]:
    """Records by their keys in the table."""
    return [watched(*row) for row in _RECORDS.rows(conn, sorted(set(ids)))]


def alerts_with(conn: Connection, keys: Mapping[tuple[int, int], Iterable[int]]) -> dict[int, set[int]]:
    """Rows of alerts whose index bears a key, for each record.

    Args:
        conn: Snapshot.
        keys: (kind, key) to the ids of the records that have it.

    Returns:
        Record id to keys of rows of `alert`.
    """
    found: dict[int, set[int]] = defaultdict(set)
    wanted = sorted({key for _, key in keys})
    for alert_id, kind, key in _BEARING.rows(conn, wanted):
        for record_id in keys.get((kind, key), ()):
            found[record_id].add(alert_id)
    return found


def records_with(conn: Connection, rows: range, after: int, limit: int) -> dict[int, set[int]]:
    """Records that bear a key of a range of rows of alerts.

    Args:
        conn: Snapshot.
        rows: Keys of rows of `alert`.
        after: Only records with a higher id.
        limit: At most so many pairs of record and row, in the order of record ids; the last record may be cut short.

    Returns:
        Record id to keys of rows of `alert`.
    """
    bounds = {
        "first": rows.start << INDICATOR_BITS,
        "end": rows.stop << INDICATOR_BITS,
        "after": after,
        "most": limit,
    }
    found: dict[int, set[int]] = defaultdict(set)
    for record_id, row_id in conn.execute(_WITH, bounds):
        found[record_id].add(row_id)
    return found


def pairs(
    conn: Connection, records: Sequence[Watched], rows: Mapping[int, Iterable[int]], now_ms: int
) -> list[Pair]:
    """Pairs that truly meet.

    Args:
        conn: Snapshot.
        records: The records.
        rows: Record id to the rows of alerts to look at.
        now_ms: This node's clock.
    """
    terms: list[tuple[Watched, int, Ready]] = []
    asked: dict[int, list[tuple[int, Ready]]] = defaultdict(list)
    for record in records:
        alert_ids = sorted(rows.get(record.id, ()))
        if not alert_ids:
            continue
        for position, ready in ready_terms(record.content)[0].items():
            for alert_id in alert_ids:
                asked[alert_id].append((len(terms), ready))
            terms.append((record, position, ready))
    best: dict[tuple[int, int], dict[tuple[int, str], Meeting]] = defaultdict(dict)
    for match in verified(conn, asked, now_ms, EVERYBODY):
        record, position, ready = terms[match.term]
        judgement = judge(ready.term, match)
        if judgement is None:
            continue
        meeting = Meeting(
            match.kind, record.content.terms[position].field, _path(match), int(judgement.strength)
        )
        thing = (position, _path(match).rpartition(".")[0])
        known = best[(record.id, match.name_id)]
        if thing not in known or known[thing].strength < meeting.strength:
            known[thing] = meeting
    by_id = {record.id: record for record in records}
    own = _released_from(conn, best, by_id)
    return [
        Pair(by_id[record_id], head, tuple(sorted(found.values(), key=_strongest)[:MAX_MATCHES]))
        for (record_id, head), found in best.items()
        if (record_id, head) not in own
    ]


def parts_before(conn: Connection, rows: range) -> list[int]:
    """List parts that came before the head among `rows` that cites them, so that nobody could know of them then."""
    return list(conn.execute(_BEFORE, {"first": rows.start, "end": rows.stop}).scalars())


def _released_from(
    conn: Connection, best: Iterable[tuple[int, int]], by_id: Mapping[int, Watched]
) -> set[tuple[int, int]]:
    """Those of pairs (record, head) where an alert of this State was released from that very record."""
    wanted = list(best)
    told: dict[int, bytes] = {}
    for record in {record_id: by_id[record_id] for record_id, _ in wanted}.values():
        uuid = conn.execute(_TOLD_AS, {"stream": record.stream_id, "record": record.key}).scalar()
        if uuid is not None:
            told[record.id] = uuid
    if not told:
        return set()
    heads = sorted({head for record_id, head in wanted if record_id in told})
    uuids = {
        row_id: uuid
        for start in range(0, len(heads), _CHUNK)
        for row_id, uuid in conn.execute(
            select(ALERT.c.id, ALERT.c.uuid)
            .join(LOG, LOG.c.id == ALERT.c.log_pk)
            .where(ALERT.c.id.in_(heads[start : start + _CHUNK]), LOG.c.own.is_(True))
        )
    }
    return {
        (record_id, head)
        for record_id, head in wanted
        if record_id in told and uuids.get(head) == told[record_id]
    }


def _path(match: Match) -> str:
    path = path_of(match.place)
    return path if match.part is None else f"list_parts[{match.part}].{path}"


def _strongest(meeting: Meeting) -> tuple[int, str, str]:
    return -meeting.strength, meeting.field, meeting.path
