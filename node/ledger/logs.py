"""Logs as held in the database: one row each, loaded, advanced and saved inside the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Row, bindparam, select, update

from node.ledger.merkle import EMPTY_ROOT, CompactRange
from node.ledger.state import LogState
from node.store.tables import table
from node.store.tables.ledger import Log

LOG = table(Log)
# Statements are made once: making one takes several times as long as running it.
_SAVE = update(LOG).where(LOG.c.id == bindparam("pk")).values(
    {name: bindparam(f"new_{name}") for name in (
        "state", "detail", "size", "tree", "checkpoint", "checkpoint_size", "checkpoint_root", "checkpoint_ms",
        "verified_ms", "anchored_size",
    )}
)  # fmt: skip
_BY_LOG_ID = select(LOG).where(LOG.c.log_id == bindparam("log_id"))
_BY_PK = select(LOG).where(LOG.c.id == bindparam("pk"))
_LOCKED = _BY_PK.with_for_update()
_NEWEST = (
    select(LOG)
    .where(LOG.c.own, LOG.c.audience_key == bindparam("audience_key"))
    .order_by(LOG.c.epoch.desc())
    .limit(1)
)


@dataclass(slots=True)
class HeldLog:
    """One log as held: how far, with which tree, under which newest verified checkpoint.

    `checkpoint_size` may be larger than `size` while a follower catches up, never smaller for an own log.
    """

    pk: int
    log_id: bytes
    origin: str
    own: bool
    audience_key: bytes
    members: tuple[str, ...]
    reader_role: int
    epoch: int
    state: LogState
    detail: str
    size: int
    tree: CompactRange
    checkpoint: bytes
    checkpoint_size: int
    checkpoint_root: bytes
    checkpoint_ms: int
    verified_ms: int
    anchored_size: int

    def save(self, conn: Connection) -> None:
        """Write what can change back to the row."""
        conn.execute(
            _SAVE,
            {
                "pk": self.pk,
                "new_state": self.state.value,
                "new_detail": self.detail,
                "new_size": self.size,
                "new_tree": self.tree.to_bytes(),
                "new_checkpoint": self.checkpoint,
                "new_checkpoint_size": self.checkpoint_size,
                "new_checkpoint_root": self.checkpoint_root,
                "new_checkpoint_ms": self.checkpoint_ms,
                "new_verified_ms": self.verified_ms,
                "new_anchored_size": self.anchored_size,
            },
        )


def _held(row: Row[tuple[object, ...]]) -> HeldLog:
    fields = row._mapping
    return HeldLog(
        pk=fields["id"],
        log_id=fields["log_id"],
        origin=fields["origin"],
        own=fields["own"],
        audience_key=fields["audience_key"],
        members=tuple(fields["members"].split()),
        reader_role=fields["reader_role"],
        epoch=fields["epoch"],
        state=LogState(fields["state"]),
        detail=fields["detail"],
        size=fields["size"],
        tree=CompactRange.from_bytes(fields["tree"]),
        checkpoint=fields["checkpoint"],
        checkpoint_size=fields["checkpoint_size"],
        checkpoint_root=fields["checkpoint_root"],
        checkpoint_ms=fields["checkpoint_ms"],
        verified_ms=fields["verified_ms"],
        anchored_size=fields["anchored_size"],
    )


def create(
    conn: Connection,
    *,
    log_id: bytes,
    origin: str,
    own: bool,
    audience_key: bytes,
    members: tuple[str, ...],
    reader_role: int,
    epoch: int,
) -> HeldLog:
    """Make the row of a log that holds nothing yet."""
    tree = CompactRange()
    result = conn.execute(
        LOG.insert().values(
            log_id=log_id,
            origin=origin,
            own=own,
            audience_key=audience_key,
            members=" ".join(members),
            reader_role=reader_role,
            epoch=epoch,
            state=LogState.LIVE.value,
            detail="",
            size=0,
            tree=tree.to_bytes(),
            checkpoint=b"",
            checkpoint_size=0,
            checkpoint_root=EMPTY_ROOT,
            checkpoint_ms=0,
            verified_ms=0,
            anchored_size=0,
        )
    )
    key = result.inserted_primary_key
    if key is None:
        raise RuntimeError("the database returned no key for a new log")
    return HeldLog(
        key[0], log_id, origin, own, audience_key, members, reader_role, epoch, LogState.LIVE, "", 0, tree,
        b"", 0, EMPTY_ROOT, 0, 0, 0,
    )  # fmt: skip


def load(conn: Connection, log_id: bytes) -> HeldLog | None:
    """One log, or None where it is not held."""
    row = conn.execute(_BY_LOG_ID, {"log_id": log_id}).one_or_none()
    return None if row is None else _held(row)


def load_locked(conn: Connection, pk: int) -> HeldLog:
    """One log as the last commit left it, held against other writers until the transaction ends."""
    return _held(conn.execute(_LOCKED, {"pk": pk}).one())


def load_pk(conn: Connection, pk: int) -> HeldLog:
    """One log by its key."""
    return _held(conn.execute(_BY_PK, {"pk": pk}).one())


def load_all(conn: Connection, *, own: bool | None = None, origin: str | None = None) -> list[HeldLog]:
    """All logs, or the own ones, or those of one origin, in the order they were first held."""
    query = select(LOG).order_by(LOG.c.id)
    if own is not None:
        query = query.where(LOG.c.own == own)
    if origin is not None:
        query = query.where(LOG.c.origin == origin)
    return [_held(row) for row in conn.execute(query)]


def newest_epoch(conn: Connection, audience_key: bytes) -> HeldLog | None:
    """The own log of an audience with the highest epoch."""
    row = conn.execute(_NEWEST, {"audience_key": audience_key}).one_or_none()
    return None if row is None else _held(row)
