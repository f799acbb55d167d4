"""Records as registries hand them in: stored, keyed, and matched at once against every alert held.

Rules:
- A record is known by (stream, key). The same bytes again do nothing.
- A term that cannot be searched is told to the registry and passed over; the others are watched.
- Rows, keys and hits commit together with the cursor behind the batch (I5).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dief.v1 import watch_pb2
from sqlalchemy import Connection, Table, bindparam, delete, func, select, update

from node.alerts.normal import NORMAL_FORM_VERSION
from node.store.engine import bulk_insert
from node.store.tables import table
from node.store.tables.release import RegistryStream
from node.watch import hits
from node.watch.among import Among
from node.watch.matching import KEY, RECORD, Watched, alerts_with, load, pairs, term_keys

STREAM: Table = table(RegistryStream)
_CHUNK = 400
_REBUILD_AT_ONCE = 500
_KNOWN = Among(
    select(RECORD.c.key, RECORD.c.id, RECORD.c.content, RECORD.c.normal_form).where(
        RECORD.c.stream_id == bindparam("stream_id")
    ),
    RECORD.c.key,
)
_NEWEST = select(func.max(RECORD.c.id))
_UPDATE = (
    update(RECORD)
    .where(RECORD.c.id == bindparam("row_id"))
    .values(content=bindparam("raw"), changed_ms=bindparam("now_ms"), normal_form=NORMAL_FORM_VERSION)
)
_FORGET = delete(KEY).where(
    KEY.c.kind == bindparam("the_kind"),
    KEY.c.key == bindparam("the_key"),
    KEY.c.record_id == bindparam("the_record"),
)


@dataclass(slots=True)
class Taken:
    """What became of a record: whether anything changed, and terms that are not watched, with the reason."""

    changed: bool
    not_watched: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Known:
    id: int
    raw: bytes
    normal_form: int


def take(
    conn: Connection,
    stream_id: int,
    records: Sequence[tuple[str, watch_pb2.WatchRecord | None]],
    now_ms: int,
) -> list[Taken]:
    """Take a batch.

    Args:
        conn: Write transaction.
        stream_id: The registry's stream.
        records: The registry's key with the record, or None where it is not under watch any more; of two with
            one key the later one counts.
        now_ms: This node's clock.
    """
    newest = dict(records)
    known = _known(conn, stream_id, list(newest))
    taken: dict[str, Taken] = {}
    fresh: list[Watched] = []
    changed: list[Watched] = []
    ended: list[tuple[str, _Known]] = []
    next_id = (conn.execute(_NEWEST).scalar() or 0) + 1
    for key, record in newest.items():
        before = known.get(key)
        if record is None:
            taken[key] = Taken(before is not None)
            if before is not None:
                ended.append((key, before))
            continue
        raw = record.SerializeToString(deterministic=True)
        taken[key] = Taken(before is None or before.raw != raw)
        if before is None:
            fresh.append(Watched(next_id + len(fresh), stream_id, key, record, raw))
        elif before.raw != raw:
            changed.append(Watched(before.id, stream_id, key, record, raw))
    _forget_keys(conn, [known[each.key] for each in changed] + [before for _, before in ended])
    for key, _ in ended:
        hits.clear_record(conn, stream_id, key, now_ms)
    _delete(conn, [before.id for _, before in ended])
    _write(conn, stream_id, changed, fresh, now_ms)
    stand = changed + fresh
    terms: dict[int, set[tuple[int, int]]] = {}
    for each in stand:
        terms[each.id], taken[each.key].not_watched = term_keys(each.content)
    _match(conn, stand, _write_keys(conn, terms), changed, now_ms)
    return [taken[key] for key, _ in records]


def stream_id_of(conn: Connection, caller: str, name: str) -> int | None:
    """Key of a registry's stream, or None where nothing was handed in yet."""
    query = select(STREAM.c.id).where(STREAM.c.caller == caller, STREAM.c.name == name)
    found = conn.execute(query).scalar()
    return None if found is None else int(found)


def watched_keys(conn: Connection, stream_id: int, after: str, limit: int) -> list[str]:
    """Keys of a stream that are under watch, in ascending order behind `after`."""
    query = select(RECORD.c.key).where(RECORD.c.stream_id == stream_id, RECORD.c.key > after)
    return list(conn.execute(query.order_by(RECORD.c.key).limit(limit)).scalars())


def rebuild(conn: Connection, after: int, now_ms: int) -> int:
    """Make the keys of records anew that an older version of the normal forms made.

    Args:
        conn: Write transaction.
        after: Only records with a higher id.
        now_ms: This node's clock.

    Returns:
        The last id rebuilt, 0 where none is left.
    """
    query = (
        select(RECORD.c.id)
        .where(RECORD.c.id > after, RECORD.c.normal_form != NORMAL_FORM_VERSION)
        .order_by(RECORD.c.id)
        .limit(_REBUILD_AT_ONCE)
    )
    ids = list(conn.execute(query).scalars())
    if not ids:
        return 0
    conn.execute(delete(KEY).where(KEY.c.record_id.in_(ids)))
    stand = load(conn, ids)
    keys = _write_keys(conn, {record.id: term_keys(record.content)[0] for record in stand})
    _match(conn, stand, keys, stand, now_ms)
    conn.execute(update(RECORD).where(RECORD.c.id.in_(ids)).values(normal_form=NORMAL_FORM_VERSION))
    return int(ids[-1])


def _known(conn: Connection, stream_id: int, keys: Sequence[str]) -> dict[str, _Known]:
    return {key: _Known(*found) for key, *found in _KNOWN.rows(conn, keys, stream_id=stream_id)}


def _write(
    conn: Connection, stream_id: int, changed: Sequence[Watched], fresh: Sequence[Watched], now_ms: int
) -> None:
    if changed:
        conn.execute(_UPDATE, [{"row_id": each.id, "raw": each.raw, "now_ms": now_ms} for each in changed])
    bulk_insert(
        conn,
        RECORD,
        ("id", "stream_id", "key", "content", "normal_form", "changed_ms"),
        [(each.id, stream_id, each.key, each.raw, NORMAL_FORM_VERSION, now_ms) for each in fresh],
    )


def _write_keys(conn: Connection, terms: dict[int, set[tuple[int, int]]]) -> dict[tuple[int, int], list[int]]:
    """Store the keys of records, and say which records have which key."""
    keys: dict[tuple[int, int], list[int]] = defaultdict(list)
    for record_id, found in terms.items():
        for kind_and_key in found:
            keys[kind_and_key].append(record_id)
    rows = [(kind, key, record_id) for (kind, key), ids in sorted(keys.items()) for record_id in ids]
    bulk_insert(conn, KEY, ("kind", "key", "record_id"), rows)
    return keys


def _forget_keys(conn: Connection, records: Iterable[_Known]) -> None:
    """Delete the keys of records: by name, or by a search where other normal forms made them."""
    rows = []
    for known in records:
        if known.normal_form != NORMAL_FORM_VERSION:
            conn.execute(delete(KEY).where(KEY.c.record_id == known.id))
            continue
        terms, _ = term_keys(watch_pb2.WatchRecord.FromString(known.raw))
        rows += [{"the_kind": kind, "the_key": key, "the_record": known.id} for kind, key in sorted(terms)]
    if rows:
        conn.execute(_FORGET, rows)


def _delete(conn: Connection, ids: Sequence[int]) -> None:
    for start in range(0, len(ids), _CHUNK):
        conn.execute(delete(RECORD).where(RECORD.c.id.in_(ids[start : start + _CHUNK])))


def _match(
    conn: Connection,
    records: Sequence[Watched],
    keys: dict[tuple[int, int], list[int]],
    changed: Iterable[Watched],
    now_ms: int,
) -> None:
    rows = alerts_with(conn, keys)
    found = pairs(conn, [record for record in records if record.id in rows], rows, now_ms)
    hits.fold(conn, found, now_ms)
    met: dict[int, list[int]] = defaultdict(list)
    for pair in found:
        met[pair.record.id].append(pair.head)
    for record in changed:
        hits.clear_missing(conn, record, met[record.id], now_ms)
