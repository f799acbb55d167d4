"""The audit trail shows every change of itself (I8)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, text, update

from node import audit
from node.audit.trail import AUDIT
from node.store.engine import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/audit.db")
    opened.create_all()
    with opened.write() as conn:
        for number in range(5):
            audit.record(
                conn,
                actor="spiffe://xa.dief/officer/a",
                action=audit.AuditAction.READ,
                subject=f"alerts/XB/{number}",
                purpose="LICENSING",
                detail={"revision": number},
            )
    yield opened
    opened.close()


def test_i8_an_untouched_trail_verifies(store: Store) -> None:
    with store.read() as conn:
        assert audit.verify(conn, audit.head(conn)) == audit.VerifyResult(5, None)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at_ms", 1),
        ("actor", "node"),
        ("action", "LISTED"),
        ("subject", "alerts/XB/other"),
        ("purpose", ""),
        ("detail", "{}"),
        ("hash", bytes(32)),
    ],
)
def test_i8_a_changed_field_is_found_at_its_record(store: Store, column: str, value: object) -> None:
    with store.write() as conn:
        conn.execute(update(AUDIT).where(AUDIT.c.id == 3).values({column: value}))
    with store.read() as conn:
        assert audit.verify(conn).broken_at == 3


def test_i8_a_dropped_record_is_found(store: Store) -> None:
    with store.write() as conn:
        conn.execute(delete(AUDIT).where(AUDIT.c.id == 2))
    with store.read() as conn:
        assert audit.verify(conn).broken_at == 2


def test_i8_a_dropped_record_is_found_when_the_rest_is_renumbered(store: Store) -> None:
    with store.write() as conn:
        conn.execute(delete(AUDIT).where(AUDIT.c.id == 2))
        for number in (3, 4, 5):
            conn.execute(update(AUDIT).where(AUDIT.c.id == number).values(id=number - 1))
    with store.read() as conn:
        assert audit.verify(conn).broken_at == 2


def test_i8_swapped_records_are_found(store: Store) -> None:
    with store.write() as conn:
        for old, new in ((2, 90), (3, 2), (90, 3)):
            conn.execute(text("UPDATE audit SET id = :new WHERE id = :old"), {"new": new, "old": old})
    with store.read() as conn:
        assert audit.verify(conn).broken_at == 2


def test_i8_a_cut_off_end_is_found_against_a_head_kept_elsewhere(store: Store) -> None:
    with store.read() as conn:
        kept = audit.head(conn)
    with store.write() as conn:
        conn.execute(delete(AUDIT).where(AUDIT.c.id > 3))
    with store.read() as conn:
        assert audit.verify(conn).broken_at is None
        assert audit.verify(conn, kept).broken_at == 4


def test_i8_a_trail_written_anew_is_found_against_a_head_kept_elsewhere(store: Store) -> None:
    with store.read() as conn:
        kept = audit.head(conn)
    with store.write() as conn:
        conn.execute(delete(AUDIT))
        for _ in range(5):
            audit.record(conn, actor="node", action=audit.AuditAction.LISTED)
    with store.read() as conn:
        assert audit.verify(conn).broken_at is None
        assert audit.verify(conn, kept).broken_at == 5


def test_i8_an_act_that_is_rolled_back_leaves_no_record(store: Store) -> None:
    def act_and_fail() -> None:
        with store.write() as conn:
            audit.record(conn, actor="node", action=audit.AuditAction.LISTED)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        act_and_fail()
    with store.read() as conn:
        assert audit.head(conn).number == 5
