"""I6, I10: whatever order entries, erasures and withdrawals come in, what is shown is what the rules say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from dief.v1 import codes_pb2 as c
from dief.v1 import desk_pb2 as d
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select

from node.alerts import queries
from node.alerts.project import ALERT, ALERT_OF_INDICATOR
from node.alerts.states import Held
from node.ledger.logs import HeldLog
from node.screening import Term, screen
from tests.support.alerts import minimal_alert
from tests.support.projected import COMMITTED_MS, Logs, opened, published, revised, withdrawn

ALERTS = 3
LOGS = 2
NOW_MS = COMMITTED_MS + 10_000
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "revise", "withdraw", "unfounded", "erase", "invalid"]),
        st.integers(0, ALERTS - 1),
        st.integers(0, LOGS - 1),
        st.integers(1, 4),
    ),
    max_size=14,
)


@dataclass
class Told:
    """One entry about an alert, as the model remembers it."""

    log: int
    seq: int
    revision: int
    what: str
    erased: bool = False


@dataclass
class Model:
    """What was told of each alert, and by the rules of design.md 4 what each is."""

    entries: dict[int, list[Told]] = field(default_factory=dict)

    def content(self, number: int) -> list[Told]:
        told = self.entries.get(number, [])
        withdrawals = [e for e in told if e.what in ("withdraw", "unfounded")]
        return [
            e
            for e in told
            if e not in withdrawals
            and not e.erased
            and not any(w.log == e.log and w.seq > e.seq for w in withdrawals)
        ]

    def standing(self, number: int) -> int | None:
        told = self.entries.get(number, [])
        content = self.content(number)
        if content:
            newest = max(content, key=lambda e: (e.revision, told.index(e)))
            hidden = newest.what == "invalid"
            return int(d.ALERT_STANDING_HIDDEN if hidden else d.ALERT_STANDING_CURRENT)
        if any(e.what == "unfounded" for e in told):
            return int(d.ALERT_STANDING_UNFOUNDED)
        return int(d.ALERT_STANDING_WITHDRAWN) if told else None

    def revision(self, number: int) -> int:
        return max(e.revision for e in self.content(number))


def _take(step: tuple[str, int, int, int], held: Logs, logs: list[HeldLog], model: Model) -> None:
    what, number, which, revision = step
    log = logs[which]
    told = model.entries.setdefault(number, [])
    alert = minimal_alert(number=number + 1, revision=revision, serial=f"EX-{number}000{revision}")
    if what == "erase":
        mine = [
            e for e in told if e.log == which and not e.erased and e.what not in ("withdraw", "unfounded")
        ]
        for entry in mine[:1]:
            held.tell(log, erase=[entry.seq])
            entry.erased = True
        return
    seq = held.next_seq[log.pk]
    if what == "publish":
        held.tell(log, published(alert))
    elif what == "revise":
        held.tell(log, revised(alert, revision))
    elif what == "invalid":
        alert.authority = ""
        held.tell(log, published(alert))
    else:
        reason = c.WITHDRAWAL_REASON_UNFOUNDED if what == "unfounded" else c.WITHDRAWAL_REASON_WITHDRAWN
        held.tell(log, withdrawn(alert, reason))
    told.append(Told(which, seq, revision, what))


@pytest.fixture(scope="module")
def held() -> Iterator[Logs]:
    with opened("sqlite://") as logs:
        yield logs


@settings(max_examples=80, deadline=None)
@given(steps=STEPS)
def test_an_alert_is_its_highest_unerased_revision_over_all_logs(
    held: Logs, steps: list[tuple[str, int, int, int]]
) -> None:
    held.empty()
    logs = [held.open() for _ in range(LOGS)]
    model = Model()
    for step in steps:
        _take(step, held, logs, model)
    with held.store.write() as conn:
        for number in range(ALERTS):
            name = minimal_alert(number=number + 1).name
            record = queries.get_alert(conn, name, NOW_MS)
            expected = model.standing(number)
            assert (None if record is None else record.standing) == expected
            if record is not None and expected == d.ALERT_STANDING_CURRENT:
                assert record.revision == model.revision(number)
                assert record.alert is not None
                assert record.alert.revision == record.revision
        page = queries.list_alerts(conn, NOW_MS, show_gone=True)
        shown = {record.name: record.standing for record in page.records}
        assert shown == {
            minimal_alert(number=n + 1).name: model.standing(n)
            for n in range(ALERTS)
            if model.standing(n) is not None
        }
        _index_fits(conn, model)


def _index_fits(conn: Connection, model: Model) -> None:
    content = select(func.count()).select_from(ALERT).where(ALERT.c.held == Held.CONTENT)
    indexed = select(func.count(func.distinct(ALERT_OF_INDICATOR)))
    assert conn.execute(content).scalar() == conn.execute(indexed).scalar()
    terms = [Term(c.INDICATOR_KIND_SERIAL, f"EX{n}000{r}") for n in range(ALERTS) for r in range(1, 5)]
    met = {(hit.record.name, hit.record.revision) for hit in screen(conn, terms, NOW_MS).hits}
    assert met == {
        (minimal_alert(number=n + 1).name, model.revision(n))
        for n in range(ALERTS)
        if model.standing(n) == d.ALERT_STANDING_CURRENT
    }
