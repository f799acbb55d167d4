"""FederationService of one State in this process: real mTLS, a real store and log, and every knob in reach.

async with Served(store, tmp_path) as xa:
    xa.publish("EX 1")
    await xa.stub("XB").GetRoster(federation_pb2.GetRosterRequest())
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from dief.v1 import federation_pb2_grpc
from dief.v1.alert_pb2 import DiversionAlert
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from node.alerts import project
from node.federation.feed import Feed
from node.federation.trust import LiveTrust
from node.identity import roster as roster_rules
from node.identity import trust_store
from node.identity.pem import certificates_pem, key_pem
from node.ledger.events import Applied, NewEvent
from node.ops.clock import now_ms
from node.services.federation import FederationServicer, News
from node.services.guard import FederationGuard
from node.services.limits import Limits
from node.services.ranges import RangeTrail
from node.store.engine import Store
from tests.support.alerts import minimal_alert
from tests.support.ledger import Origin, named
from tests.support.pki import DevFederation
from tests.support.projected import published

OWN = "XA"
EVERYBODY = ("XA", "XB", "XE")
CALL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call was refused: code, text, and the details of its status."""

    code: grpc.StatusCode
    text: str
    reason: str
    fields: tuple[str, ...]


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """What a client learns of a refusal."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in () if status is None else status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    fields = tuple(violation.field for violation in bad.field_violations)
    return Refusal(error.code(), error.details() or "", info.reason, fields)


class Served:
    """XA's service, with XB and XE admitted; made and ended by `serving`."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        *,
        days: float = 60,
        streams: int = 4,
        calls: int = 16,
        heartbeat_seconds: float = 30,
        recheck_seconds: float = 0.2,
        write_seconds: float = 60,
    ) -> None:
        self.store = store
        self.pki = DevFederation(EVERYBODY, days=days)
        self.origin = Origin(
            store, folder / "anchor.log", OWN, EVERYBODY, clock=now_ms, key=self.pki[OWN].log_key
        )
        with store.write() as conn:
            first = self.pki.envelope
            trust_store.trust_first(conn, first, roster_rules.digest_of(first), now_ms())
            for state in ("XB", "XE"):
                trust_store.admit(conn, state, None, "test")
        self.trust = LiveTrust(store, OWN)
        self.limits = Limits(streams=streams, calls=calls)
        news = News(asyncio.get_running_loop())
        self.origin.writer.subscribe(news.publish)
        self.servicer = FederationServicer(
            store=store,
            trust=self.trust,
            guard=FederationGuard(self.trust),
            feed=Feed(self.origin.writer, self.trust),
            news=news,
            limits=self.limits,
            trail=RangeTrail(store),
            heartbeat_seconds=heartbeat_seconds,
            recheck_seconds=recheck_seconds,
            write_seconds=write_seconds,
        )
        self.port = 0
        self._channels: list[grpc.aio.Channel] = []

    async def listen(self) -> grpc.aio.Server:
        """Start to serve on loopback."""
        own = self.pki[OWN]
        server = grpc.aio.server()
        federation_pb2_grpc.add_FederationServiceServicer_to_server(self.servicer, server)
        roots = certificates_pem([state.ca.certificate for state in self.pki.states.values()])
        self.port = server.add_secure_port(
            "127.0.0.1:0",
            grpc.ssl_server_credentials(
                [(key_pem(own.node.key), certificates_pem(own.node.chain))], roots, require_client_auth=True
            ),
        )
        await server.start()
        return server

    def stub(
        self, caller: str, options: Sequence[tuple[str, Any]] = ()
    ) -> federation_pb2_grpc.FederationServiceAsyncStub:
        """Call as another State's node, over a connection of its own."""
        shown = self.pki[caller].node
        credentials = grpc.ssl_channel_credentials(
            certificates_pem([self.pki[OWN].ca.certificate]),
            key_pem(shown.key),
            certificates_pem(shown.chain),
        )
        channel = grpc.aio.secure_channel(
            f"127.0.0.1:{self.port}", credentials, [("grpc.use_local_subchannel_pool", 1), *options]
        )
        self._channels.append(channel)
        return federation_pb2_grpc.FederationServiceStub(channel)

    def append(self, *events: NewEvent, audience: Sequence[str] = EVERYBODY) -> Applied:
        """Sign, store and show events."""
        with self.store.write() as conn:
            applied = self.origin.writer.append(conn, named(*audience), events)
            project.apply(conn, applied)
        return applied

    def publish(
        self, number: int, *, parts: Sequence[bytes] = (), audience: Sequence[str] = EVERYBODY
    ) -> DiversionAlert:
        """Publish the smallest alert, with these bytes as the digests of its list parts."""
        alert = minimal_alert(OWN, number=number, states=audience)
        self.append(published(alert, parts=parts), audience=audience)
        return alert

    async def trust_next(self, change: Any) -> None:
        """Trust the next roster, and let streams know."""
        envelope = self.pki.next(change)
        with self.store.write() as conn:
            trust_store.update(conn, envelope, now_ms())
        await self.trust.refresh()

    async def hang_up(self) -> None:
        """End the connections of every stub."""
        channels, self._channels = self._channels, []
        for channel in channels:
            await channel.close()

    async def close(self, server: grpc.aio.Server) -> None:
        """End the connections and the server."""
        await self.hang_up()
        self.servicer.end_streams()
        await server.stop(0)


@asynccontextmanager
async def serving(store: Store, folder: Path, **knobs: Any) -> AsyncIterator[Served]:
    """A running `Served`."""
    served = Served(store, folder, **knobs)
    server = await served.listen()
    try:
        yield served
    finally:
        await served.close(server)
