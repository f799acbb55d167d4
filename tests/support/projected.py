"""A store with logs and entries put straight into it: what projections are made from, without keys and proofs.

Rules
- Entries are stored as the ledger stores them; erasing removes bodies first, as the ledger does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from dief.v1 import handling_pb2 as h
from dief.v1 import log_pb2
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.codes_pb2 import WithdrawalReason
from dief.v1.event_pb2 import AlertPublished, AlertRevised, AlertWithdrawn, ListPart
from sqlalchemy import Connection, update

from node.alerts import project
from node.ledger import logs
from node.ledger.events import Applied, Erased, NewEvent, StoredEntry
from node.ledger.header import make_header
from node.ledger.logs import HeldLog
from node.ledger.state import audience_key, entry_id
from node.store.engine import Store
from node.store.tables import alerts, ledger, table
from tests.support.alert_parts import handling

assert alerts is not None

ENTRY = table(ledger.Entry)
SALT = bytes(32)
COMMITTED_MS = 1_790_000_000_000
RECEIVED_MS = COMMITTED_MS + 5


@dataclass
class Logs:
    """Logs of one store, each with its next position."""

    store: Store
    next_seq: dict[int, int] = field(default_factory=dict)

    def open(self, origin: str = "XA", *, states: Sequence[str] = (), reader_role: int = 0) -> HeldLog:
        """A log whose genesis has been stored."""
        audience = h.Audience()
        audience.CopyFrom(handling(states).audience)
        audience.reader_role = h.ReaderRole.ValueType(reader_role)
        with self.store.write() as conn:
            log = logs.create(
                conn,
                log_id=bytes([len(self.next_seq) + 1]) * 32,
                origin=origin,
                own=False,
                audience_key=audience_key(audience),
                members=("XA", "XB"),
                reader_role=reader_role,
                epoch=1,
            )
        self.next_seq[log.pk] = 1
        return log

    def tell(
        self, log: HeldLog, *events: NewEvent, erase: Sequence[int] = (), conn: Connection | None = None
    ) -> project.Projection:
        """Store events, erase entries of the same log by their positions, and project both."""
        if conn is not None:
            return self._tell(conn, log, events, erase)
        with self.store.write() as own:
            return self._tell(own, log, events, erase)

    def _tell(
        self, conn: Connection, log: HeldLog, events: Sequence[NewEvent], erase: Sequence[int]
    ) -> project.Projection:
        stored = [self.put(conn, log, event) for event in events]
        keys = [entry_id(log.pk, seq) for seq in erase]
        conn.execute(update(ENTRY).where(ENTRY.c.id.in_(keys)).values(salt=None, body=None))
        by = stored[-1].entry_id if stored else 0
        erased = [Erased(key, log.log_id, log.origin, seq, by) for key, seq in zip(keys, erase, strict=True)]
        return project.apply(conn, Applied(tuple(stored), tuple(erased)))

    def put(self, conn: Connection, log: HeldLog, event: NewEvent) -> StoredEntry:
        """Store an event without projecting it."""
        seq = self.next_seq[log.pk]
        self.next_seq[log.pk] = seq + 1
        facts = make_header(log.log_id, seq, event, SALT, COMMITTED_MS + seq)
        key = entry_id(log.pk, seq)
        conn.execute(ENTRY.insert().values(id=key, header=facts.raw, salt=SALT, body=event.body))
        return StoredEntry(
            key, log.pk, log.log_id, log.origin, seq, event.kind, event.subject, event.revision,
            facts.committed_ms, event.expires_ms, log.reader_role, event.body, RECEIVED_MS,
        )  # fmt: skip

    def empty(self) -> None:
        """Forget everything, keeping the tables."""
        self.next_seq.clear()
        with self.store.write() as conn:
            for each in (ENTRY, logs.LOG, project.ALERT, project.INDICATOR, project.UNPROJECTED):
                conn.execute(each.delete())


@contextmanager
def opened(url: str) -> Iterator[Logs]:
    """A fresh store."""
    store = Store.open(url)
    store.create_all()
    try:
        yield Logs(store)
    finally:
        store.close()


def published(alert: DiversionAlert, *, parts: Sequence[bytes] = ()) -> NewEvent:
    """The event of a first revision."""
    body = AlertPublished(alert=alert, list_part_digests=parts).SerializeToString()
    return _event(log_pb2.EVENT_KIND_ALERT_PUBLISHED, alert, body)


def revised(alert: DiversionAlert, revision: int, *, parts: Sequence[bytes] = ()) -> NewEvent:
    """The event of a later revision."""
    copy = DiversionAlert()
    copy.CopyFrom(alert)
    copy.revision = revision
    body = AlertRevised(alert=copy, list_part_digests=parts).SerializeToString()
    return _event(log_pb2.EVENT_KIND_ALERT_REVISED, copy, body)


def withdrawn(alert: DiversionAlert, reason: WithdrawalReason.ValueType) -> NewEvent:
    """The event that takes an alert back."""
    return _event(
        log_pb2.EVENT_KIND_ALERT_WITHDRAWN,
        alert,
        AlertWithdrawn(reason=reason).SerializeToString(),
        expires=False,
    )


def list_part(part: ListPart) -> NewEvent:
    """The event of further items."""
    return NewEvent(int(log_pb2.EVENT_KIND_LIST_PART), part.alert, part.revision, part.SerializeToString())


def _event(kind: int, alert: DiversionAlert, body: bytes, *, expires: bool = True) -> NewEvent:
    expires_ms = alert.handling.expires_on.seconds * 1000 if expires else None
    return NewEvent(int(kind), alert.name, alert.revision, body, expires_ms)
