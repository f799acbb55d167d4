"""Receipts: what followers owe origins, and what origins were told (I6, I10)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dief.v1 import federation_pb2
from sqlalchemy import Connection, delete, select, update

from node.ledger import logs
from node.ledger.events import Erased
from node.ledger.state import split_entry_id
from node.ops.clock import from_timestamp, to_timestamp
from node.store.engine import bulk_insert
from node.store.tables import table
from node.store.tables.federation import ReceiptIn, ReceiptOut

OUT = table(ReceiptOut)
IN = table(ReceiptIn)
ERASED = int(federation_pb2.RECEIPT_KIND_ERASED)
INVALID_BODY = int(federation_pb2.RECEIPT_KIND_INVALID_BODY)
NOT_UNDERSTOOD = int(federation_pb2.RECEIPT_KIND_NOT_UNDERSTOOD)
DAY_MS = 86_400_000
MAX_A_CALL = 5000


def owe_erased(conn: Connection, erased: Iterable[Erased], now_ms: int) -> None:
    """Note receipts for erased entries; they become sendable when the bytes have left the files."""
    rows = [(each.origin, ERASED, each.log_id, each.seq, now_ms, False) for each in erased]
    _insert(conn, rows)


def owe_unprojected(
    conn: Connection, origin: str, unprojected: Iterable[tuple[int, int]], now_ms: int
) -> None:
    """Note receipts for authentic entries that can not be shown.

    Args:
        conn: Write transaction.
        origin: Their origin.
        unprojected: Pairs (entry id, RECEIPT_KIND).
        now_ms: This node's clock.
    """
    ids: dict[int, bytes] = {}
    rows = []
    for entry_id, kind in unprojected:
        pk, seq = split_entry_id(entry_id)
        if pk not in ids:
            ids[pk] = logs.load_pk(conn, pk).log_id
        rows.append((origin, kind, ids[pk], seq, now_ms, True))
    _insert(conn, rows)


def _insert(conn: Connection, rows: list[tuple[str, int, bytes, int, int, bool]]) -> None:
    bulk_insert(conn, OUT, ("origin", "kind", "log_id", "seq", "at_ms", "scrubbed"), rows)


def mark_scrubbed(conn: Connection, up_to_ms: int) -> None:
    """The files were scrubbed: receipts noted until then may be sent."""
    conn.execute(update(OUT).where(OUT.c.scrubbed.is_(False), OUT.c.at_ms <= up_to_ms).values(scrubbed=True))


def unscrubbed(conn: Connection) -> bool:
    """Whether erased bytes may still be in the files."""
    return conn.execute(select(OUT.c.id).where(OUT.c.scrubbed.is_(False)).limit(1)).first() is not None


def sendable(
    conn: Connection, origin: str, backup_horizon_days: int | None
) -> tuple[list[int], federation_pb2.SendReceiptsRequest]:
    """The oldest receipts owed to an origin, with their keys for `sent`."""
    rows = conn.execute(
        select(OUT).where(OUT.c.origin == origin, OUT.c.scrubbed).order_by(OUT.c.id).limit(MAX_A_CALL)
    ).all()
    request = federation_pb2.SendReceiptsRequest()
    for row in rows:
        receipt = request.receipts.add(
            kind=row.kind, log_id=row.log_id, seq=row.seq, at=to_timestamp(row.at_ms)
        )
        if backup_horizon_days:
            receipt.backups_expired_at.CopyFrom(to_timestamp(row.at_ms + backup_horizon_days * DAY_MS))
    return [row.id for row in rows], request


def sent(conn: Connection, keys: Sequence[int]) -> None:
    """The origin has them."""
    conn.execute(delete(OUT).where(OUT.c.id.in_(keys)))


def record(conn: Connection, peer: str, receipts: Iterable[federation_pb2.Receipt]) -> int:
    """Store what a follower says about own logs; what it says of logs that it is no member of is dropped.

    Returns:
        How many were new.
    """
    known: dict[bytes, bool] = {}
    new = 0
    for receipt in receipts:
        if receipt.log_id not in known:
            log = logs.load(conn, receipt.log_id)
            known[receipt.log_id] = log is not None and log.own and peer in log.members
        if not known[receipt.log_id]:
            continue
        key = (
            (IN.c.log_id == receipt.log_id)
            & (IN.c.seq == receipt.seq)
            & (IN.c.state == peer)
            & (IN.c.kind == receipt.kind)
        )
        if conn.execute(select(IN.c.id).where(key)).first() is not None:
            continue
        backups = receipt.backups_expired_at if receipt.HasField("backups_expired_at") else None
        conn.execute(
            IN.insert().values(
                state=peer,
                log_id=receipt.log_id,
                seq=receipt.seq,
                kind=receipt.kind,
                at_ms=from_timestamp(receipt.at),
                backups_expired_ms=None if backups is None else from_timestamp(backups),
            )
        )
        new += 1
    return new
