"""Tables of the watch: national records, their keys, and the hits on them. Nothing of this leaves the node (I7).

What grows with national records leads every key with the record's stream or the indicator's kind and key.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
)
from sqlmodel import Field, SQLModel

from node.store.tables.keys import BIG_KEY


class WatchRecordRow(SQLModel, table=True):
    """One national record under watch."""

    __tablename__ = "watch_record"

    id: int = Field(sa_column=Column(BIG_KEY, primary_key=True, autoincrement=False))
    stream_id: int = Field(sa_column=Column(Integer, ForeignKey("registry_stream.id"), nullable=False))
    key: str = Field(max_length=256)
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Serialised dief.v1.WatchRecord, as handed in."""
    normal_form: int = Field(sa_column=Column(SmallInteger, nullable=False))
    """Version of the normal forms that made its keys."""
    changed_ms: int = Field(sa_column=Column(BigInteger, nullable=False))

    __table_args__ = (Index("ix_watch_record", "stream_id", "key", unique=True),)


class WatchKey(SQLModel, table=True):
    """One key under which a record is found; the fact itself stands in the record only."""

    __tablename__ = "watch_key"

    kind: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    key: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    record_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))

    __table_args__ = ({"sqlite_with_rowid": False},)


class HitRow(SQLModel, table=True):
    """A record that meets an alert: ids, field names and strengths, never content of the alert."""

    __tablename__ = "hit"

    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    uuid: bytes = Field(sa_column=Column(LargeBinary(16), unique=True, nullable=False))
    stream_id: int = Field(sa_column=Column(Integer, ForeignKey("registry_stream.id"), nullable=False))
    record_key: str = Field(max_length=256)
    record_kind: int = Field(sa_column=Column(SmallInteger, nullable=False))
    reference: str = Field(max_length=256)
    record_digest: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    """SHA-256 of the record's content when it was matched last."""
    origin: str = Field(max_length=2)
    alert_uuid: bytes = Field(sa_column=Column(LargeBinary(16), nullable=False))
    subject_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    """`alert.subject_id`."""
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    state: int = Field(sa_column=Column(SmallInteger, nullable=False))
    """Value of dief.v1.HitState."""
    clear_reason: int = Field(sa_column=Column(SmallInteger, nullable=False))
    strength: int = Field(sa_column=Column(SmallInteger, nullable=False))
    matches: str = Field(sa_column=Column(Text, nullable=False))
    """JSON: [[kind, field, path, strength], ...]."""
    decision: int = Field(sa_column=Column(SmallInteger, nullable=False))
    """Value of dief.v1.HitDecision."""
    decided_by: str = Field(max_length=200)
    decided_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    version: int
    due: bool = Field(sa_column=Column(Boolean, nullable=False))
    """Whether this version was not acknowledged by the registry's adapter yet."""
    found_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    changed_ms: int = Field(sa_column=Column(BigInteger, nullable=False))

    __table_args__ = (
        Index("ix_hit_pair", "stream_id", "record_key", "subject_id", unique=True),
        Index("ix_hit_due", "stream_id", "due", "changed_ms"),
        Index("ix_hit_subject", "subject_id"),
        Index("ix_hit_state", "state", "id"),
    )


class WatchPosition(SQLModel, table=True):
    """How far alerts were matched against the records: one row."""

    __tablename__ = "watch_position"

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    alert_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Every row of `alert` up to this id was matched."""
    record_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Of what is matched now, records up to this id were matched."""
    until_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Last row of the slice under way: rows that come meanwhile wait for the next one; 0 where none is."""
    part_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    """List parts that came before this slice and are cited in it were matched up to this row; its rows come after."""
