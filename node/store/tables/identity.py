"""Tables of trust: rosters in order, this node's admissions and denials, and its switches."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Text
from sqlmodel import Field, SQLModel


class TrustedRosterRow(SQLModel, table=True):
    """A roster that was trusted here, kept to hand on to peers that missed it."""

    __tablename__ = "roster"

    version: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    digest: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    envelope: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Serialised RosterEnvelope, as received."""
    received_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class AdmissionRow(SQLModel, table=True):
    """This node's yes to a participant, with exactly these certificates and keys."""

    __tablename__ = "admission"

    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    state: str = Field(max_length=2, unique=True)
    trust_digest: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    ca_digests: str = Field(sa_column=Column(Text, nullable=False))
    """Hex SHA-256 of each CA certificate, sorted, separated by blanks."""
    log_keys: str = Field(sa_column=Column(Text, nullable=False))
    """Hex public keys, sorted, separated by blanks."""
    admitted_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    admitted_by: str = Field(max_length=255)
    """SPIFFE ID of the operator, or CO_SIGNED."""


class DenialRow(SQLModel, table=True):
    """This node's no to a State; needs no roster and always wins."""

    __tablename__ = "denial"

    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    state: str = Field(max_length=2, unique=True)
    reason: str = Field(max_length=500)
    since_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    denied_by: str = Field(max_length=255)


class SwitchRow(SQLModel, table=True):
    """A switch of the operator that survives a restart."""

    __tablename__ = "switch"

    name: str = Field(max_length=32, primary_key=True)
    enabled: bool
    since_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
