"""XE's endpoint in the hands of somebody who flips one bit: served with XE's real key and certificate."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import grpc
from dief.v1 import alert_pb2, event_pb2, federation_pb2, federation_pb2_grpc, log_pb2

from node.alerts import project
from node.alerts.states import name_of
from node.demo.stage import FEDERATION, Actor
from node.identity.pem import read_ed25519_key
from node.ledger import logs, reading
from node.ledger.anchor import Anchor
from node.ledger.checkpoint import Ed25519NoteSigner, trust_domain
from node.ledger.events import NewEvent
from node.ledger.writer import LogWriter
from node.ops.ids import uuid7
from node.store.engine import Store

MEMBERS = ("XA", "XB", "XE")


class _FlippingPeer(federation_pb2_grpc.FederationServiceServicer):
    def __init__(self, store: Store, over: Event) -> None:
        self._store = store
        self._over = over

    def Follow(
        self, request: federation_pb2.FollowRequest, context: Any
    ) -> Iterator[federation_pb2.FollowResponse]:
        yield federation_pb2.FollowResponse(hello=federation_pb2.Hello(roster_version=1))
        held = {cursor.log_id: cursor.size for cursor in request.cursors}
        with self._store.read() as conn:
            for log in logs.load_all(conn, own=True):
                batch = reading.read_batch(conn, log, held.get(log.log_id, 0))
                if batch.entries and batch.entries[-1].body:
                    last = batch.entries[-1]
                    last.body = bytes([last.body[0] ^ 1]) + last.body[1:]
                    yield federation_pb2.FollowResponse(batch=batch)
        yield federation_pb2.FollowResponse(caught_up=federation_pb2.CaughtUp())
        while not self._over.wait(0.1) and context.is_active():
            pass


@contextmanager
def tampering(origin: Actor, victim: Actor, content: alert_pb2.DiversionAlert) -> Iterator[str]:
    """While the origin's node is down: append a true entry to its log, and serve it with one flipped bit.

    Yields:
        Resource name of the true alert.
    """
    store = Store.open(f"sqlite:///{origin.home}/data/node.db")
    over = Event()
    pki = origin.home / "pki"
    credentials = grpc.ssl_server_credentials(
        [((pki / "node.key").read_bytes(), (pki / "node.pem").read_bytes())],
        (victim.home / "pki" / "federation-ca.pem").read_bytes(),
        require_client_auth=True,
    )
    server = grpc.server(ThreadPoolExecutor(4))
    federation_pb2_grpc.add_FederationServiceServicer_to_server(
        _FlippingPeer(store, over),  # type: ignore[abstract]
        server,
    )
    try:
        name = _append(store, origin, content)
        server.add_secure_port(origin.endpoint, credentials)
        server.start()
        yield name
    finally:
        over.set()
        server.stop(0).wait(10)
        store.close()


def _append(store: Store, origin: Actor, content: alert_pb2.DiversionAlert) -> str:
    writer = LogWriter(
        federation=FEDERATION,
        origin=origin.state,
        signer=Ed25519NoteSigner(
            trust_domain(FEDERATION, origin.state), read_ed25519_key(origin.home / "pki" / "log.key")
        ),
        anchor=Anchor(origin.home / "anchor" / "anchor.log"),
        members=lambda _audience: MEMBERS,
    )
    content.name = name_of(origin.state, uuid7().bytes)
    content.revision = 1
    body = event_pb2.AlertPublished(alert=content).SerializeToString()
    with store.write() as conn:
        applied = writer.append(
            conn,
            content.handling.audience,
            [NewEvent(kind=log_pb2.EVENT_KIND_ALERT_PUBLISHED, subject=content.name, revision=1, body=body)],
        )
        project.apply(conn, applied)
    return content.name
