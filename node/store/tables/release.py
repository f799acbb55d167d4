"""Tables of the release desk: drafts and decisions on them, and what registries handed in.

What grows with national records leads every key with the registry's stream.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, SmallInteger, Text
from sqlmodel import Field, SQLModel


class DraftRow(SQLModel, table=True):
    """One draft: an alert, a revision or a withdrawal that nobody else was told of yet, or was by its release."""

    __tablename__ = "draft"

    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    uuid: bytes = Field(sa_column=Column(LargeBinary(16), unique=True, nullable=False))
    version: int
    """Grows with every write; the etag."""
    action: int = Field(sa_column=Column(SmallInteger, nullable=False))
    """Value of dief.v1.DraftAction."""
    state: int = Field(sa_column=Column(SmallInteger, nullable=False, index=True))
    """Value of dief.v1.DraftState."""
    drafter: str = Field(max_length=200)
    """SPIFFE ID."""
    request_id: str | None = Field(max_length=64)
    stream_id: int | None = Field(sa_column=Column(Integer, ForeignKey("registry_stream.id"), nullable=True))
    registry_key: str = Field(max_length=256)
    content: bytes | None = Field(sa_column=Column(LargeBinary))
    """Serialised DraftInput as handed in; NULL once the draft is superseded, or its alert revised or gone (I6)."""
    withdrawal_reason: int = Field(sa_column=Column(SmallInteger, nullable=False))
    alert_uuid: bytes | None = Field(sa_column=Column(LargeBinary(16), index=True))
    """Alert that it revises, withdraws or was released as."""
    base_revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Newest revision of that alert when the draft was made."""
    policy_outcome: int = Field(sa_column=Column(SmallInteger, nullable=False))
    """Value of dief.v1.ReleaseOutcome."""
    policy_rule: str = Field(max_length=64)
    policy_digest: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    legal_basis: str = Field(sa_column=Column(Text, nullable=False))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    limited: bool
    """Whether the rule limits the audience to the States of `limit_to`."""
    limit_to: str = Field(sa_column=Column(Text, nullable=False))
    """States, separated by blanks."""
    excluded: str = Field(sa_column=Column(Text, nullable=False))
    """States left out by the rule or by persons, separated by blanks."""
    expiry_days: int
    """Days after release at which it expires at the latest; 0 = as drafted."""
    created_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    updated_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    released_revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    released_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    released_log: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    released_seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    recipients: str = Field(sa_column=Column(Text, nullable=False))
    """States that it was released to, separated by blanks."""

    __table_args__ = (Index("ix_draft_request", "drafter", "request_id", unique=True),)


class DecisionRow(SQLModel, table=True):
    """One recorded decision over a draft (I1)."""

    __tablename__ = "decision"

    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    draft_id: int = Field(sa_column=Column(Integer, ForeignKey("draft.id"), nullable=False, index=True))
    outcome: int = Field(sa_column=Column(SmallInteger, nullable=False))
    """Value of dief.v1.ReleaseOutcome."""
    decided_by: str = Field(max_length=200)
    """"rule:<name>" or a SPIFFE ID."""
    legal_basis: str = Field(sa_column=Column(Text, nullable=False))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    policy_digest: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class RegistryStream(SQLModel, table=True):
    """One stream of one registry, and its cursor."""

    __tablename__ = "registry_stream"

    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    caller: str = Field(max_length=200)
    """SPIFFE ID."""
    name: str = Field(max_length=63)
    cursor: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    stored_ms: int = Field(sa_column=Column(BigInteger, nullable=False))

    __table_args__ = (Index("ix_registry_stream", "caller", "name", unique=True),)


class RegistryRecordRow(SQLModel, table=True):
    """What became of one record of a registry: its newest draft and the alert that it was released as."""

    __tablename__ = "registry_record"

    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    stream_id: int = Field(sa_column=Column(Integer, ForeignKey("registry_stream.id"), nullable=False))
    key: str = Field(max_length=256)
    content_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    withdrawn: bool
    """Whether the registry's last word was that the record no longer calls for an alert."""
    draft_id: int | None = Field(sa_column=Column(Integer, ForeignKey("draft.id"), nullable=True, index=True))
    alert_uuid: bytes | None = Field(sa_column=Column(LargeBinary(16)))
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    updated_ms: int = Field(sa_column=Column(BigInteger, nullable=False))

    __table_args__ = (Index("ix_registry_record", "stream_id", "key", unique=True),)
