"""What the own logs hold of an alert: what a revision, a move or a withdrawal has to erase."""

from __future__ import annotations

from dataclasses import dataclass

from dief.v1 import handling_pb2
from dief.v1.alert_pb2 import DiversionAlert
from sqlalchemy import Connection, select

from node.alerts.reading import alert_of
from node.alerts.states import Held, name_of
from node.ledger import logs
from node.ledger.logs import HeldLog
from node.ledger.state import entry_id, split_entry_id
from node.release.errors import AlertEndedError
from node.store.tables import table
from node.store.tables.alerts import Alert
from node.store.tables.ledger import Entry

ALERT = table(Alert)
ENTRY = table(Entry)
_UNERASED = (Held.CONTENT, Held.HIDDEN, Held.INVALID)


@dataclass(frozen=True, slots=True)
class OwnAlert:
    """An alert of the own State.

    Attributes:
        uuid: The 16 bytes of its UUID.
        revision: Highest revision ever appended.
        logs: Logs that hold unerased entries of it, by log id.
        unerased: These entries: pairs of log id and position, list parts among them.
        entry_id: Key of the newest revision with content, None where there is none.
    """

    uuid: bytes
    revision: int
    logs: dict[bytes, HeldLog]
    unerased: tuple[tuple[bytes, int], ...]
    entry_id: int | None

    @property
    def audience(self) -> handling_pb2.Audience:
        """Audience of the log that holds the newest revision.

        Raises:
            AlertEndedError: None does.
        """
        for log in self.logs.values():
            if self.entry_id is not None and split_entry_id(self.entry_id)[0] == log.pk:
                return handling_pb2.Audience.FromString(log.audience_key)
        raise AlertEndedError("The alert is withdrawn or erased.")

    def members(self) -> tuple[str, ...]:
        """States that hold something of it by the membership of its logs."""
        return tuple(sorted({member for log in self.logs.values() for member in log.members}))


def own_alert(conn: Connection, own_state: str, uuid: bytes) -> OwnAlert | None:
    """What is held of an own alert, None where there never was one.

    Args:
        conn: Transaction.
        own_state: The originator.
        uuid: The 16 bytes of the alert's UUID.
    """
    rows = conn.execute(
        select(ALERT.c.entry_id, ALERT.c.log_pk, ALERT.c.revision, ALERT.c.part, ALERT.c.held)
        .where(ALERT.c.uuid == uuid, ALERT.c.origin == own_state)
        .order_by(ALERT.c.revision, ALERT.c.id)
    ).all()
    if not rows:
        return None
    held = {pk: logs.load_pk(conn, pk) for pk in {row.log_pk for row in rows if row.held in _UNERASED}}
    unerased = [
        (held[row.log_pk].log_id, split_entry_id(row.entry_id)[1]) for row in rows if row.held in _UNERASED
    ]
    newest = [row.entry_id for row in rows if row.held in _UNERASED and not row.part]
    return OwnAlert(
        uuid,
        max(row.revision for row in rows),
        {log.log_id: log for log in held.values()},
        tuple(unerased),
        newest[-1] if newest else None,
    )


def content_of(conn: Connection, own_state: str, alert: OwnAlert) -> DiversionAlert:
    """The newest content as it was told; its name alone where it is erased."""
    body = None
    if alert.entry_id is not None:
        body = conn.execute(select(ENTRY.c.body).where(ENTRY.c.id == alert.entry_id)).scalar_one()
    return DiversionAlert(name=name_of(own_state, alert.uuid)) if body is None else alert_of(body)


def told_at(conn: Connection, log_id: bytes, seq: int) -> DiversionAlert | None:
    """What one entry of an own log told, None where it is erased."""
    log = logs.load(conn, log_id)
    if log is None:
        return None
    body = conn.execute(select(ENTRY.c.body).where(ENTRY.c.id == entry_id(log.pk, seq))).scalar_one_or_none()
    return None if body is None else alert_of(body)
