"""Tables of the ledger: logs, their entries, and the perfect subtrees that proofs are made from."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger
from sqlmodel import Field, SQLModel

from node.store.tables.keys import BIG_KEY

SEQ_BITS = 40
"""`entry.id` = `log.id` << SEQ_BITS | seq: one integer key, and a log's entries lie side by side in order."""


class Log(SQLModel, table=True):
    """One log as held here, own or a peer's."""

    __tablename__ = "log"

    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    log_id: bytes = Field(sa_column=Column(LargeBinary(32), unique=True, nullable=False))
    origin: str = Field(max_length=2, index=True)
    own: bool
    audience_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Deterministic serialisation of the audience: finds the newest epoch to append to."""
    members: str
    """Members of the genesis, sorted, separated by blanks."""
    reader_role: int = Field(sa_column=Column(SmallInteger, nullable=False))
    epoch: int = Field(sa_column=Column(BigInteger, nullable=False))
    state: str = Field(max_length=32)
    """Value of node.ledger.state.LogState."""
    detail: str = Field(default="", max_length=500)
    """Why it is stopped, in words without content."""
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    tree: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Compact range at `size`."""
    checkpoint: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Newest verified checkpoint, a signed note; may cover more than `size` during catch-up."""
    checkpoint_size: int = Field(sa_column=Column(BigInteger, nullable=False))
    checkpoint_root: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    checkpoint_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    verified_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    """When, by this node's clock, the newest checkpoint was verified here."""
    anchored_size: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Own logs: size that the anchor file held of it when the newest checkpoint was signed. A database ahead of an
    anchor that still says this lacks one anchor line after a crash; any other anchor is not the newest one."""

    __table_args__ = (Index("ix_log_own_audience", "own", "audience_key", "epoch"),)


class Entry(SQLModel, table=True):
    """One entry. The header stays for ever; salt and body are NULL once erased."""

    __tablename__ = "entry"

    id: int = Field(sa_column=Column(BIG_KEY, primary_key=True, autoincrement=False))
    header: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    salt: bytes | None = Field(sa_column=Column(LargeBinary(32)))
    body: bytes | None = Field(sa_column=Column(LargeBinary))


class PendingCheckpoint(SQLModel, table=True):
    """A verified checkpoint beyond the entries held, after a newer one replaced it: entries must lead to it as well."""

    __tablename__ = "pending_checkpoint"

    log_pk: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    size: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    note: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Erasure(SQLModel, table=True):
    """An erasure that a verified header orders; also kept for targets that are not held yet."""

    __tablename__ = "erasure"

    target_log: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    target_seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    eraser_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False, index=True))


class Missing(SQLModel, table=True):
    """An entry that came without its body and that no verified header has erased yet: its log is not LIVE."""

    __tablename__ = "missing"

    entry_id: int = Field(sa_column=Column(BIG_KEY, primary_key=True, autoincrement=False))


class Subtree(SQLModel, table=True):
    """Root of a perfect subtree at level 8, 16, 24, ... of a log's tree."""

    __tablename__ = "subtree"

    log_pk: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    level: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    index: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))


class Evidence(SQLModel, table=True):
    """Proof or suspicion of a lie: two notes of one log, kept for third parties (I4)."""

    __tablename__ = "evidence"

    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    log_id: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False, index=True))
    verdict: str = Field(max_length=32)
    first_note: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    second_note: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    proof: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """For a rewrite: the other root, then the consistency proof, 32 bytes each."""
    found_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
