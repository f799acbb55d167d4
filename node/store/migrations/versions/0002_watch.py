"""The watch: national records, their keys, and the hits on them.

Made on 2026-11-25 by node.store.migrations.make.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from node.store.tables.keys import BIG_KEY

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "watch_key",
        sa.Column("kind", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", "record_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "watch_position",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=False),
        sa.Column("until_id", sa.BigInteger(), nullable=False),
        sa.Column("part_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "hit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("record_key", sa.String(length=256), nullable=False),
        sa.Column("record_kind", sa.SmallInteger(), nullable=False),
        sa.Column("reference", sa.String(length=256), nullable=False),
        sa.Column("record_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("origin", sa.String(length=2), nullable=False),
        sa.Column("alert_uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("clear_reason", sa.SmallInteger(), nullable=False),
        sa.Column("strength", sa.SmallInteger(), nullable=False),
        sa.Column("matches", sa.Text(), nullable=False),
        sa.Column("decision", sa.SmallInteger(), nullable=False),
        sa.Column("decided_by", sa.String(length=200), nullable=False),
        sa.Column("decided_ms", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("due", sa.Boolean(), nullable=False),
        sa.Column("found_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["stream_id"],
            ["registry_stream.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uuid"),
    )
    with op.batch_alter_table("hit", schema=None) as batch_op:
        batch_op.create_index("ix_hit_due", ["stream_id", "due", "changed_ms"], unique=False)
        batch_op.create_index("ix_hit_pair", ["stream_id", "record_key", "subject_id"], unique=True)
        batch_op.create_index("ix_hit_state", ["state", "id"], unique=False)
        batch_op.create_index("ix_hit_subject", ["subject_id"], unique=False)

    op.create_table(
        "watch_record",
        sa.Column("id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("normal_form", sa.SmallInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["stream_id"],
            ["registry_stream.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("watch_record", schema=None) as batch_op:
        batch_op.create_index("ix_watch_record", ["stream_id", "key"], unique=True)
