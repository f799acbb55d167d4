"""Tables of replication: what is known of peers, and receipts on their way out and in."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, SmallInteger
from sqlmodel import Field, SQLModel


class Peer(SQLModel, table=True):
    """What this node remembers of a peer between two starts."""

    __tablename__ = "peer"

    state: str = Field(primary_key=True, max_length=2)
    last_contact_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    software: str = Field(default="", max_length=64)
    last_error: str = Field(default="", max_length=500)


class ReceiptOut(SQLModel, table=True):
    """A receipt that this node owes an origin; deleted once the origin has it."""

    __tablename__ = "receipt_out"

    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    origin: str = Field(max_length=2, index=True)
    kind: int = Field(sa_column=Column(SmallInteger, nullable=False))
    log_id: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    scrubbed: bool = Field(sa_column=Column(Boolean, nullable=False))
    """False until the erased bytes have left the database files as well; only then may it be sent."""


class ReceiptIn(SQLModel, table=True):
    """What a follower says it did with an entry of this State's logs."""

    __tablename__ = "receipt_in"

    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    state: str = Field(max_length=2)
    log_id: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    kind: int = Field(sa_column=Column(SmallInteger, nullable=False))
    at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    backups_expired_ms: int | None = Field(default=None, sa_column=Column(BigInteger))

    __table_args__ = (Index("ux_receipt_in", "log_id", "seq", "state", "kind", unique=True),)
