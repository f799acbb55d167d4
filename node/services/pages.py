"""A page of alerts that prove themselves, for a peer that keeps no copy: bounded in number and in bytes."""

from __future__ import annotations

from collections.abc import Mapping

from dief.v1 import federation_pb2
from sqlalchemy import Connection

from node.alerts import queries
from node.ledger import reading
from node.ledger.logs import HeldLog

AT_A_TIME = 50
"""Alerts read at once: a page's bytes are known only when they are read, and only so many more are read in vain."""


def query(
    conn: Connection,
    readable: Mapping[int, HeldLog],
    asked: federation_pb2.QueryAlertsRequest,
    now_ms: int,
    max_bytes: int,
) -> federation_pb2.QueryAlertsResponse:
    """Answer QueryAlerts.

    Args:
        conn: Snapshot.
        readable: Logs that the peer may hold, by key.
        asked: Checked request.
        now_ms: This node's clock.
        max_bytes: The page ends where its entries come to more than that; one alert always fits.

    Raises:
        PageTokenError: The token is not one of ours, or was given for another filter.
    """
    answer = federation_pb2.QueryAlertsResponse()
    left = min(asked.page_size or queries.DEFAULT_PAGE, queries.MAX_PAGE)
    token = asked.page_token
    size = 0
    while left:
        page = _page(conn, readable, asked, now_ms, min(left, AT_A_TIME), token)
        for place, record in enumerate(page.records):
            proven = reading.prove_entry(conn, readable[record.log_pk], record.seq)
            if proven is None:
                continue
            size += proven.ByteSize()
            if answer.alerts and size > max_bytes:
                if place:
                    token = _page(conn, readable, asked, now_ms, place, token).next_page_token
                answer.next_page_token = token
                return answer
            answer.alerts.append(proven)
        token = page.next_page_token
        left -= len(page.records)
        if not token:
            return answer
    answer.next_page_token = token
    return answer


def _page(
    conn: Connection,
    readable: Mapping[int, HeldLog],
    asked: federation_pb2.QueryAlertsRequest,
    now_ms: int,
    size: int,
    token: str,
) -> queries.Page:
    return queries.list_in_logs(
        conn, now_ms, readable, filter_=asked.filter, paging=queries.Paging(size, token)
    )
