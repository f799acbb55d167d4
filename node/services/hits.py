"""Hits of the watch as officers and adapters see them; every act is recorded (I8)."""

from __future__ import annotations

from dief.v1 import codes_pb2, desk_pb2, handling_pb2, registry_pb2, watch_pb2
from sqlalchemy import Connection

from node import audit
from node.identity.spiffe import SpiffeId
from node.ops.clock import now_ms
from node.watch import delivery
from node.watch.records import stream_id_of, watched_keys

DEFAULT_PAGE, MAX_PAGE = 100, 500
DEFAULT_KEYS, MAX_KEYS = 1000, 10_000


def listed(conn: Connection, asked: desk_pb2.ListHitsRequest) -> desk_pb2.ListHitsResponse:
    """A page for officers."""
    page = delivery.listed(
        conn, asked.states, min(asked.page_size or DEFAULT_PAGE, MAX_PAGE), asked.page_token
    )
    return desk_pb2.ListHitsResponse(hits=page.hits, next_page_token=page.next_page_token)


def read(conn: Connection, asked: desk_pb2.GetHitRequest, caller: SpiffeId) -> watch_pb2.Hit:
    """One hit; the reading of the alert that it met is recorded.

    Raises:
        NoSuchHitError: There is none of that name.
    """
    hit = delivery.get(conn, asked.name)
    audit.record(
        conn,
        actor=str(caller),
        action=audit.AuditAction.READ,
        subject=hit.alert,
        purpose=handling_pb2.Purpose.Name(asked.purpose),
        detail={"hit": hit.name, "revision": hit.revision},
    )
    return hit


def decide(conn: Connection, asked: desk_pb2.DecideHitRequest, caller: SpiffeId) -> watch_pb2.Hit:
    """Record a decision.

    Raises:
        DiefError: See node.watch.delivery.decide.
    """
    hit = delivery.decide(conn, asked.name, asked.version, int(asked.decision), str(caller), now_ms())
    audit.record(
        conn,
        actor=str(caller),
        action=audit.AuditAction.HIT_DECIDED,
        subject=hit.alert,
        detail={
            "hit": hit.name,
            "decision": codes_pb2.HitDecision.Name(asked.decision),
            "reason": asked.reason,
        },
    )
    return hit


def pull(
    conn: Connection, asked: registry_pb2.PullHitsRequest, caller: SpiffeId
) -> registry_pb2.PullHitsResponse:
    """What waits for an adapter."""
    stream_id = stream_id_of(conn, str(caller), asked.stream)
    if stream_id is None:
        return registry_pb2.PullHitsResponse()
    found, more = delivery.pull(conn, stream_id, min(asked.page_size or DEFAULT_PAGE, MAX_PAGE))
    return registry_pb2.PullHitsResponse(hits=found, waiting=more)


def watched(
    conn: Connection, asked: registry_pb2.ListWatchedRequest, caller: SpiffeId
) -> registry_pb2.ListWatchedResponse:
    """A page of the keys of a stream that are under watch."""
    stream_id = stream_id_of(conn, str(caller), asked.stream)
    if stream_id is None:
        return registry_pb2.ListWatchedResponse()
    size = min(asked.page_size or DEFAULT_KEYS, MAX_KEYS)
    keys = watched_keys(conn, stream_id, asked.page_token, size + 1)
    token = keys[size - 1] if len(keys) > size else ""
    return registry_pb2.ListWatchedResponse(keys=keys[:size], next_page_token=token)


def acknowledge(
    conn: Connection, asked: registry_pb2.AcknowledgeHitsRequest, caller: SpiffeId
) -> registry_pb2.AcknowledgeHitsResponse:
    """Take what an adapter has written off its queue."""
    stream_id = stream_id_of(conn, str(caller), asked.stream)
    if stream_id is None:
        return registry_pb2.AcknowledgeHitsResponse()
    done = delivery.acknowledge(conn, stream_id, [(each.name, each.version) for each in asked.deliveries])
    if done:
        audit.record(
            conn,
            actor=str(caller),
            action=audit.AuditAction.HITS_DELIVERED,
            detail={"stream": asked.stream, "count": done},
        )
    return registry_pb2.AcknowledgeHitsResponse(acknowledged=done)
