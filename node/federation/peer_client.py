"""One synchronous connection to a peer, for commands that ask it something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from node import audit
from node.federation.errors import PeerUnknownError
from node.federation.follower import CHANNEL_OPTIONS
from node.identity.errors import NoRosterError
from node.identity.pem import certificates_pem, read_key_bytes
from node.identity.trust_store import load_trust
from node.ledger.checkpoint import Ed25519NoteVerifier, trust_domain
from node.ledger.ingest import Source
from node.ops.settings import Settings
from node.store.engine import Store

CONNECT_SECONDS = 10


@contextmanager
def open_peer(settings: Settings, peer: str, *, actor: str) -> Iterator[tuple[grpc.Channel, Source]]:
    """Connect to an admitted peer with the node's own certificate, trusting that peer's bundle only.

    The question is recorded in this node's audit trail before it is asked (I8).

    Args:
        settings: Of the own node.
        peer: State to ask.
        actor: Who asks, for the audit trail.

    Raises:
        PeerUnknownError: The roster does not list it, it is not admitted, denied, or has no endpoint.
    """
    store = Store.open(settings.database_url)
    try:
        with store.read() as conn:
            trust = load_trust(conn)
        if trust.view is None:
            raise NoRosterError("This node trusts no roster yet.")
        participant = trust.view.participant(peer)
        if (
            participant is None
            or peer not in trust.admitted
            or peer in trust.denied
            or not participant.endpoints
        ):
            raise PeerUnknownError(f"{peer} is not an admitted participant with an endpoint.")
        with store.write() as conn:
            audit.record(
                conn, actor=actor, action=audit.AuditAction.READ, subject=f"peer {peer}", purpose="query"
            )
        credentials = grpc.ssl_channel_credentials(
            root_certificates=certificates_pem(trust.view.bundle(peer)),
            private_key=read_key_bytes(settings.path(settings.federation.key)),
            certificate_chain=settings.path(settings.federation.certificate).read_bytes(),
        )
        source = Source(
            federation=settings.federation_name,
            own_state=settings.state,
            origin=peer,
            verifiers=tuple(
                Ed25519NoteVerifier(trust_domain(settings.federation_name, peer), key.public_key)
                for key in trust.view.log_keys(peer)
            ),
        )
        with grpc.secure_channel(participant.endpoints[0], credentials, options=CHANNEL_OPTIONS) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
            except grpc.FutureTimeoutError:
                raise PeerUnknownError(
                    f"{peer} does not answer on {participant.endpoints[0]}.",
                    "Check with its operator, and that it has admitted this State.",
                ) from None
            yield channel, source
    finally:
        store.close()
