"""Tables of alerts: what is held of each, the index of their facts, and entries that could not be projected."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, SmallInteger
from sqlmodel import Field, SQLModel

from node.store.tables.keys import BIG_KEY

INDICATOR_BITS = 20
"""`indicator.id` = `alert.id` << INDICATOR_BITS | n: an alert's indicators are one range of the primary key."""


class Alert(SQLModel, table=True):
    """One entry about an alert: a revision, a list part of one, or a withdrawal. Bodies stay in `entry`.

    Everything from `status` to `concerned` is content: blank once the entry is erased.
    """

    __tablename__ = "alert"

    id: int = Field(sa_column=Column(BIG_KEY, primary_key=True, autoincrement=False))
    subject_id: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    """Smallest id among the rows of one alert: its position in listings, whatever becomes of it."""
    entry_id: int = Field(sa_column=Column(BigInteger, nullable=False, unique=True))
    log_pk: int = Field(sa_column=Column(Integer, nullable=False))
    origin: str = Field(max_length=2)
    uuid: bytes = Field(sa_column=Column(LargeBinary(16), nullable=False))
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    part: bool = Field(sa_column=Column(Boolean, nullable=False))
    """A list part: it never stands for the alert."""
    held: int = Field(sa_column=Column(SmallInteger, nullable=False))
    """Value of node.alerts.states.Held."""
    head: int = Field(sa_column=Column(SmallInteger, nullable=False))
    """Bits of node.alerts.states.View: for whom this row is what the alert is now."""
    reader_role: int = Field(sa_column=Column(SmallInteger, nullable=False))
    committed_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    received_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_ms: int | None = Field(sa_column=Column(BigInteger))
    """The earlier one of the header's expiry and the handling's."""
    normal_form: int = Field(sa_column=Column(SmallInteger, nullable=False))
    """Version of the normal forms that made its indicators, 0 where it has none."""
    status: int = Field(sa_column=Column(SmallInteger, nullable=False))
    urgency: int = Field(sa_column=Column(SmallInteger, nullable=False))
    stages: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Bit set of DiversionStage (node.alerts.states.code_bits)."""
    categories: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Bit set of ArmsCategory."""
    concerned: str = Field(max_length=200)
    """Concerned States, each between blanks: " XB XD "."""

    __table_args__ = (Index("ix_alert_uuid", "uuid"),)


class Indicator(SQLModel, table=True):
    """One key of a searchable fact. The fact itself stands in the body only."""

    __tablename__ = "indicator"

    id: int = Field(sa_column=Column(BIG_KEY, primary_key=True, autoincrement=False))
    key: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    kind: int = Field(sa_column=Column(SmallInteger, nullable=False))


class Unprojected(SQLModel, table=True):
    """An authentic entry of which nothing is shown: its body is invalid here, or not understood (I10)."""

    __tablename__ = "unprojected"

    entry_id: int = Field(sa_column=Column(BIG_KEY, primary_key=True, autoincrement=False))
    reason: str = Field(max_length=32)
    """Value of node.alerts.bodies.Refusal."""
    received_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
