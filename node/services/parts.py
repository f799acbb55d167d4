"""One alert with its list parts, in as many answers as it takes.

A page token names the entry of the alert that the parts belong to and the last part sent: if the alert was revised or
withdrawn meanwhile, parts of two revisions are never mixed.
"""

from __future__ import annotations

import base64
import binascii
import struct

from dief.v1 import federation_pb2
from sqlalchemy import Connection

from node.alerts.errors import PageTokenError
from node.alerts.part_pages import list_parts_page
from node.alerts.records import AlertRecord
from node.federation.errors import LogNotFoundError, StaleTokenError
from node.ledger import reading
from node.ledger.logs import HeldLog
from node.ledger.state import entry_id, split_entry_id

_TOKEN = struct.Struct(">8sQQ")


def answer(
    conn: Connection, log: HeldLog, record: AlertRecord, token: str, max_bytes: int
) -> federation_pb2.GetAlertResponse:
    """The alert and the first list parts; with a token, the parts that follow.

    Args:
        conn: Snapshot.
        log: The log of the alert, which the caller may read.
        record: The alert as held now.
        token: From the answer before, or empty.
        max_bytes: The answer ends where its list parts come to more than that.

    Raises:
        PageTokenError: The token is not one of ours.
        StaleTokenError: The alert is another revision by now.
    """
    made = federation_pb2.GetAlertResponse()
    after = 0
    if token:
        after = _after(log, record, token)
    else:
        alert = reading.prove_entry(conn, log, record.seq)
        if alert is None:
            raise LogNotFoundError("There is no such alert.")
        made.alert.CopyFrom(alert)
    if record.alert is None:
        return made
    page = list_parts_page(conn, record, after, max_bytes)
    for key in page.entry_ids:
        proven = reading.prove_entry(conn, log, split_entry_id(key)[1])
        if proven is not None:
            made.list_parts.append(proven)
    if page.more:
        last = split_entry_id(page.entry_ids[-1])[1]
        made.next_page_token = base64.urlsafe_b64encode(
            _TOKEN.pack(log.log_id[:8], record.seq, last)
        ).decode()
    return made


def _after(log: HeldLog, record: AlertRecord, token: str) -> int:
    """Key of the last list part that the token says was sent."""
    try:
        log_id, seq, last = _TOKEN.unpack(base64.b64decode(token, altchars=b"-_", validate=True))
        after = entry_id(log.pk, last)
    except (binascii.Error, struct.error, ValueError):
        raise PageTokenError("The page token is not one of this node's.") from None
    if log_id != log.log_id[:8] or seq != record.seq:
        raise StaleTokenError("The alert was revised or withdrawn since the answer before.")
    return after
