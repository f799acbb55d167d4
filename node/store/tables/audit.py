"""Table of the audit trail."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, Text
from sqlmodel import Field, SQLModel

from node.store.tables.keys import BIG_KEY


class AuditRecord(SQLModel, table=True):
    """One recorded act, chained to the one before; `id` is dense from 1."""

    __tablename__ = "audit"

    id: int = Field(sa_column=Column(BIG_KEY, primary_key=True, autoincrement=False))
    at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    """SPIFFE ID of the person or system, or "node"."""
    action: str = Field(max_length=40)
    """Name of a node.audit.AuditAction."""
    subject: str = Field(sa_column=Column(Text, nullable=False))
    """What it was done to: a resource name, log id or State. Never content."""
    purpose: str = Field(sa_column=Column(Text, nullable=False))
    detail: str = Field(sa_column=Column(Text, nullable=False))
    """JSON object with sorted keys; numbers and references only."""
    hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
