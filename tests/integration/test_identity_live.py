"""Who may speak on the federation listener, over real mTLS (I9)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from dief.v1 import federation_pb2, operator_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from node.identity.pki import CaRole, Credential, create_ca
from tests.support.nodes import Federation, federation
from tests.support.pki import forge
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(180)

ROSTER = federation_pb2.GetRosterRequest()


def refusal_of(four: Federation, credential: Credential) -> tuple[grpc.StatusCode, str]:
    """How XA answers a caller with these certificates: status and reason."""
    with four["XA"].peer_channel("XB", credential) as channel:
        with pytest.raises(grpc.RpcError) as refusal:
            federation(channel).GetRoster(ROSTER, timeout=5)
        status = rpc_status.from_call(refusal.value)
        info = error_details_pb2.ErrorInfo()
        if status is not None:
            for detail in status.details:
                detail.Unpack(info)
        return refusal.value.code(), info.reason  # type: ignore[attr-defined]


def chain_with(first: Credential, second: Credential) -> Credential:
    return Credential((*first.chain, *second.chain), first.key)


FAULTS: list[tuple[str, Callable[[Federation], Credential], str]] = [
    ("of the wrong State", lambda fed: fed.pki["XB"].issue("spiffe://xe.dief/node/main"), "WRONG_STATE"),
    ("of kind officer", lambda fed: fed.pki["XB"].issue("spiffe://xb.dief/officer/main"), "WRONG_KIND"),
    ("without SPIFFE ID", lambda fed: forge(fed.pki["XB"].ca, ()), "UNKNOWN_IDENTITY"),
    (
        "with two SPIFFE IDs",
        lambda fed: forge(fed.pki["XB"].ca, ("spiffe://xb.dief/node/main", "spiffe://xe.dief/node/main")),
        "UNKNOWN_IDENTITY",
    ),
    (
        "that brings another State's leaf along",
        lambda fed: chain_with(fed.pki["XB"].issue("spiffe://xb.dief/officer/x"), fed.pki["XE"].node),
        "WRONG_KIND",
    ),
]


@pytest.mark.parametrize(("what", "make", "reason"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_i9_a_certificate_is_refused(
    four: Federation, what: str, make: Callable[[Federation], Credential], reason: str
) -> None:
    _, found = refusal_of(four, make(four))
    assert found == reason
    assert four["XA"].status().refused[reason] >= 1


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("self-signed", lambda _: forge(create_ca("XB", "dief", role=CaRole.FEDERATION))),
        ("of a national CA", lambda fed: forge(fed.pki["XB"].national_ca, ("spiffe://xb.dief/node/main",))),
        ("expired", lambda fed: fed.pki["XB"].issue(days=0.001)),
    ],
)
def test_i9_the_handshake_refuses_a_certificate(
    four: Federation, what: str, make: Callable[[Federation], Credential]
) -> None:
    code, _ = refusal_of(four, make(four))
    assert code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )


def test_i9_no_certificate_no_answer(four: Federation) -> None:
    root = grpc.ssl_channel_credentials(four.pki["XA"].node_pem)
    with grpc.secure_channel(four["XA"].endpoint, root) as channel, pytest.raises(grpc.RpcError):
        federation(channel).GetRoster(ROSTER, timeout=5)


def test_i9_the_right_certificate_is_let_in(four: Federation) -> None:
    with four["XA"].peer_channel("XB") as channel:
        assert federation(channel).GetRoster(ROSTER, timeout=10).latest_version == 2


@pytest.mark.parametrize("reading", [True, False], ids=["reading", "never reading"])
def test_i9_a_denied_peer_loses_its_live_stream_within_seconds(four: Federation, reading: bool) -> None:
    """XE is denied at XA while it follows; also a client that never reads must be cut."""
    with four["XA"].peer_channel("XE") as channel:
        stream = federation(channel).Follow(federation_pb2.FollowRequest())
        if reading:
            frames: list[federation_pb2.FollowResponse] = []
            ended = threading.Event()

            def read() -> None:
                try:
                    for frame in stream:
                        frames.append(frame)  # noqa: PERF402 - shared with the test while it grows
                except grpc.RpcError:
                    ended.set()

            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            until(lambda: any(frame.HasField("caught_up") for frame in frames), "XE following")
        else:
            until(lambda: four["XA"].status().peers[2].inbound_streams >= 1, "XE following")
        four["XA"].cli("peer", "deny", "XE", "--reason", "test")
        try:
            if reading:
                until(ended.is_set, "XE's stream cut", seconds=10)
                assert stream.code() == grpc.StatusCode.PERMISSION_DENIED
            until(
                lambda: (
                    next(peer for peer in four["XA"].status().peers if peer.state == "XE").inbound_streams
                    == 0
                ),
                "no stream of XE at XA",
                seconds=20,
            )
            _, reason = refusal_of(four, four.pki["XE"].node)
            assert reason == "DENIED"
        finally:
            four["XA"].cli("peer", "allow", "XE")
    until(
        lambda: (
            next(p for p in four["XE"].status().peers if p.state == "XA").peer_state
            == operator_pb2.PEER_STATE_LIVE
        ),
        "XE live again",
    )


def test_i9_federation_stop_cuts_everything_and_start_restores_it(four: Federation) -> None:
    four["XB"].cli("federation", "stop", "--reason", "test")
    with four["XB"].peer_channel("XA") as channel, pytest.raises(grpc.RpcError) as refusal:
        federation(channel).GetRoster(ROSTER, timeout=5)
    assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
    assert four["XB"].status().federation_stopped
    four["XB"].cli("federation", "start")
    until(
        lambda: (
            next(p for p in four["XB"].status().peers if p.state == "XA").peer_state
            == operator_pb2.PEER_STATE_LIVE
        ),
        "XB live again",
    )


def test_i9_a_listed_participant_speaks_only_after_its_admission(tmp_path: Path) -> None:
    """The roster alone grants nothing: XB is listed, and XA's operator has not said yes."""
    with Federation(tmp_path, ["XA", "XB"], admit=False) as two:
        two.start("XA")
        with two["XA"].peer_channel("XB") as channel:
            with pytest.raises(grpc.RpcError) as refusal:
                federation(channel).GetRoster(ROSTER, timeout=5)
            assert refusal.value.code() == grpc.StatusCode.PERMISSION_DENIED
            digest = two["XA"].status().peers[0].trust_digest
            assert two["XA"].cli("peer", "admit", "XB", "--digest", "0" * 64, check=False).returncode != 0
            assert "own State" in two["XA"].cli("peer", "admit", "XA", check=False).stderr
            two["XA"].cli("peer", "admit", "xb", "--digest", digest)
            assert federation(channel).GetRoster(ROSTER, timeout=10).latest_version == 2
