"""A peer that lies over a real mTLS socket with its State's real key and certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import TracebackType
from typing import Any, Self

import grpc
from dief.v1 import federation_pb2, federation_pb2_grpc
from dief.v1.roster_pb2 import RosterEnvelope

from node.identity.pem import certificates_pem, key_pem
from node.identity.roster import parse
from tests.support.nodes import Federation

Frame = federation_pb2.Batch | federation_pb2.Prelude
Script = Callable[[federation_pb2.FollowRequest], Sequence[Frame]]


class LyingPeer(federation_pb2_grpc.FederationServiceServicer):
    """Serves `script(request)` on the endpoint that the roster gives a State, then stays silent and connected."""

    def __init__(self, federation: Federation, state: str, script: Script) -> None:
        self.script = script
        self.requests: list[federation_pb2.FollowRequest] = []
        self.receipts: list[federation_pb2.Receipt] = []
        self.roster_version = 1
        self.rosters: list[RosterEnvelope] = []
        self._over = Event()
        own = federation.pki[state]
        roots = [authority.ca.certificate for authority in federation.pki.states.values()]
        credentials = grpc.ssl_server_credentials(
            [(key_pem(own.node.key), certificates_pem(own.node.chain))],
            certificates_pem(roots),
            require_client_auth=True,
        )
        self._server = grpc.server(ThreadPoolExecutor(8))
        federation_pb2_grpc.add_FederationServiceServicer_to_server(self, self._server)
        self._server.add_secure_port(federation[state].endpoint, credentials)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.stop(0).wait(5)

    def Follow(
        self, request: federation_pb2.FollowRequest, context: Any
    ) -> Iterator[federation_pb2.FollowResponse]:
        self.requests.append(request)
        yield federation_pb2.FollowResponse(hello=federation_pb2.Hello(roster_version=self.roster_version))
        for frame in self.script(request):
            if isinstance(frame, federation_pb2.Batch):
                yield federation_pb2.FollowResponse(batch=frame)
            else:
                yield federation_pb2.FollowResponse(prelude=frame)
        yield federation_pb2.FollowResponse(caught_up=federation_pb2.CaughtUp())
        while not self._over.wait(0.2) and context.is_active():
            pass

    def SendReceipts(
        self, request: federation_pb2.SendReceiptsRequest, context: Any
    ) -> federation_pb2.SendReceiptsResponse:
        self.receipts.extend(request.receipts)
        return federation_pb2.SendReceiptsResponse(recorded=len(request.receipts))

    def GetRoster(
        self, request: federation_pb2.GetRosterRequest, context: Any
    ) -> federation_pb2.GetRosterResponse:
        newer = [each for each in self.rosters if parse(each).version > request.after_version]
        return federation_pb2.GetRosterResponse(envelopes=newer)
