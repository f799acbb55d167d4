"""Listeners take new files and rosters without a restart; what passes the handshake still has to be a node (I9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from node.identity import pem, pki
from node.identity.certificates import authenticate, presented_chain
from node.identity.credentials import (
    NationalCredentials,
    NodeCredentials,
    channel_credentials_for,
    next_key,
    read_credential,
    read_crl,
    roots_of,
)
from node.identity.errors import CredentialFileError, IdentityError, KeyFileModeError
from node.identity.pki import Authority, Credential
from node.identity.spiffe import Kind
from node.ops.clock import now_ms
from tests.support.pki import DevFederation, DevState, der, forge, forge_ca


@dataclass
class Listener:
    """A server that answers every call with the chain that the caller presented."""

    address: str

    def ask(self, credentials: grpc.ChannelCredentials) -> bytes:
        """One call over a new connection; raises grpc.FutureTimeoutError or RpcError where none comes about."""
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        with grpc.secure_channel(self.address, credentials, options=options) as channel:
            call = channel.unary_unary("/test/Who", lambda data: data, lambda data: data)
            return bytes(call(b"", timeout=10))


@contextmanager
def listening(credentials: grpc.ServerCredentials) -> Iterator[Listener]:
    def who(_request: bytes, context: grpc.ServicerContext) -> bytes:
        return presented_chain(context.auth_context())

    server = grpc.server(futures.ThreadPoolExecutor(2))
    handlers = {"Who": grpc.unary_unary_rpc_method_handler(who, lambda data: data, lambda data: data)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield Listener(f"localhost:{port}")
    finally:
        server.stop(None).wait()


def own(state: DevState, folder: Path) -> NodeCredentials:
    state.write(folder)
    return NodeCredentials(certificate=folder / "node.pem", key=folder / "node.key")


def refused(attempt: Callable[[], bytes]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        attempt()
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def fed() -> DevFederation:
    return DevFederation(["XA", "XB"])


def test_two_nodes_meet_over_mutual_tls(fed: DevFederation, tmp_path: Path) -> None:
    xa, xb = own(fed["XA"], tmp_path / "xa"), own(fed["XB"], tmp_path / "xb")
    with listening(xa.server(lambda: fed.view)) as listener:
        presented = listener.ask(xb.channel(fed.view.bundle("XA")))
    peer = authenticate(presented, fed.view, admitted={"XB"}, denied=(), now_ms=now_ms())
    assert peer.state == "XB"


def test_i9_who_passes_the_handshake_is_judged_by_the_call(fed: DevFederation, tmp_path: Path) -> None:
    xa = own(fed["XA"], tmp_path / "xa")
    with listening(xa.server(lambda: fed.view)) as listener:
        for impostor, reason in (
            (fed["XB"].issue("spiffe://xa.dief/node/main"), "WRONG_STATE"),
            (fed["XB"].issue("spiffe://xb.dief/officer/one"), "WRONG_KIND"),
        ):
            presented = listener.ask(channel_credentials_for(fed.view.bundle("XA"), impostor))
            with pytest.raises(IdentityError) as caught:
                authenticate(presented, fed.view, admitted=fed.everybody, denied=(), now_ms=now_ms())
            assert caught.value.reason == reason


def test_a_chain_over_an_intermediate_arrives_whole(fed: DevFederation, tmp_path: Path) -> None:
    root = forge_ca("XB root", path_length=None)
    fed.next(lambda content: content.participants[1].ca_certificates.append(der(root.certificate)))
    middle = forge(root, ca=True, usages=())
    leaf = forge(Authority(middle.leaf, middle.key), ("spiffe://xb.dief/node/main",))
    mine = channel_credentials_for(fed.view.bundle("XA"), Credential((leaf.leaf, middle.leaf), leaf.key))
    xa = own(fed["XA"], tmp_path / "xa")
    with listening(xa.server(lambda: fed.view)) as listener:
        presented = listener.ask(mine)
    assert pem.parse_certificates(presented) == (leaf.leaf, middle.leaf)
    peer = authenticate(presented, fed.view, admitted={"XB"}, denied=(), now_ms=now_ms())
    assert peer.state == "XB"


def test_i9_another_states_leaf_sent_along_proves_nothing(tmp_path: Path) -> None:
    """TLS proves the key of the leaf only, and every node's leaf is public: XB may send XE's behind its own."""
    fed = DevFederation(["XA", "XB", "XE"])
    both = Credential((fed["XB"].node.leaf, fed["XE"].node.leaf), fed["XB"].node.key)
    xa = own(fed["XA"], tmp_path / "xa")
    with listening(xa.server(lambda: fed.view)) as listener:
        presented = listener.ask(channel_credentials_for(fed.view.bundle("XA"), both))
    peer = authenticate(presented, fed.view, admitted=fed.everybody, denied=(), now_ms=now_ms())
    assert peer.state == "XB"


def test_no_other_ca_passes_the_handshake(fed: DevFederation, tmp_path: Path) -> None:
    xa = own(fed["XA"], tmp_path / "xa")
    bundle = fed.view.bundle("XA")
    with listening(xa.server(lambda: fed.view)) as listener:
        for stranger in (DevFederation(["XQ"])["XQ"].node, fed["XB"].national(Kind.OPERATOR)):
            refused(lambda stranger=stranger: listener.ask(channel_credentials_for(bundle, stranger)))  # type: ignore[misc]
        refused(lambda: listener.ask(grpc.ssl_channel_credentials(pem.certificates_pem(bundle))))


def test_a_connection_trusts_the_bundle_of_its_peer_only(fed: DevFederation, tmp_path: Path) -> None:
    xa, xb = own(fed["XA"], tmp_path / "xa"), own(fed["XB"], tmp_path / "xb")
    with listening(xa.server(lambda: fed.view)) as listener:
        refused(lambda: listener.ask(xb.channel(fed.view.bundle("XB"))))
    with pytest.raises(CredentialFileError):
        xb.channel(fed.view.bundle("XQ"))


def test_a_newer_roster_lets_a_new_ca_in_without_a_restart(fed: DevFederation, tmp_path: Path) -> None:
    xa = own(fed["XA"], tmp_path / "xa")
    new = DevState("XB", "dief")
    mine = channel_credentials_for(fed.view.bundle("XA"), new.node)

    with listening(xa.server(lambda: fed.view)) as listener:
        refused(lambda: listener.ask(mine))
        fed.next(lambda content: content.participants[1].ca_certificates.append(der(new.ca.certificate)))
        assert listener.ask(mine)


def test_without_a_roster_nobody_passes(fed: DevFederation, tmp_path: Path) -> None:
    xa, xb = own(fed["XA"], tmp_path / "xa"), own(fed["XB"], tmp_path / "xb")
    with listening(xa.server(lambda: None)) as listener:
        refused(lambda: listener.ask(xb.channel(fed.view.bundle("XA"))))
    assert roots_of(None, fed["XA"].node.leaf) == pem.certificates_pem([fed["XA"].node.leaf])


def test_a_renewed_pair_is_served_without_a_restart(fed: DevFederation, tmp_path: Path) -> None:
    xa, xb = own(fed["XA"], tmp_path / "xa"), own(fed["XB"], tmp_path / "xb")
    with listening(xb.server(lambda: fed.view)) as listener:
        before = listener.ask(xa.channel(fed.view.bundle("XB")))
        _put(tmp_path / "xa", fed["XA"].issue(days=3))
        after = listener.ask(xa.channel(fed.view.bundle("XB")))
    assert before != after
    assert after == pem.certificates_pem(xa.current().chain)


def test_the_servers_own_renewed_pair_is_served_too(fed: DevFederation, tmp_path: Path) -> None:
    xa, xb = own(fed["XA"], tmp_path / "xa"), own(fed["XB"], tmp_path / "xb")
    new = DevState("XA", "dief")
    with listening(xa.server(lambda: fed.view)) as listener:
        refused(lambda: listener.ask(channel_credentials_for((new.ca.certificate,), xb.current())))
        new.write(tmp_path / "xa")
        assert listener.ask(channel_credentials_for((new.ca.certificate,), xb.current()))


# -- Files


def _put(folder: Path, credential: Credential) -> None:
    pem.write_key(folder / "node.key", credential.key)
    pem.write_certificates(folder / "node.pem", credential.chain)


def test_what_was_read_stays_while_the_files_do_not_fit(fed: DevFederation, tmp_path: Path) -> None:
    xa = own(fed["XA"], tmp_path)
    before = xa.current()
    renewed = fed["XA"].issue()
    pem.write_key(tmp_path / "node.key", renewed.key)
    assert xa.current() is before
    assert xa.current() is before
    pem.write_certificates(tmp_path / "node.pem", renewed.chain)
    assert xa.current().leaf == renewed.leaf
    (tmp_path / "node.pem").unlink()
    assert xa.current().leaf == renewed.leaf


def test_a_node_does_not_start_with_files_that_do_not_fit(fed: DevFederation, tmp_path: Path) -> None:
    fed["XA"].write(tmp_path)
    pem.write_key(tmp_path / "node.key", pki.new_key())
    with pytest.raises(CredentialFileError, match="not the key of the certificate"):
        NodeCredentials(certificate=tmp_path / "node.pem", key=tmp_path / "node.key")


def test_a_node_does_not_start_with_a_key_that_others_may_read(fed: DevFederation, tmp_path: Path) -> None:
    fed["XA"].write(tmp_path)
    (tmp_path / "node.key").chmod(0o644)
    with pytest.raises(KeyFileModeError, match="chmod 600"):
        NodeCredentials(certificate=tmp_path / "node.pem", key=tmp_path / "node.key")


def test_the_key_that_a_crash_left_beside_is_found(fed: DevFederation, tmp_path: Path) -> None:
    fed["XA"].write(tmp_path)
    renewed = fed["XA"].issue()
    pem.write_key(next_key(tmp_path / "node.key"), renewed.key)
    assert read_credential(tmp_path / "node.pem", tmp_path / "node.key").leaf == fed["XA"].node.leaf
    pem.write_certificates(tmp_path / "node.pem", renewed.chain)
    assert read_credential(tmp_path / "node.pem", tmp_path / "node.key").leaf == renewed.leaf


# -- National listener


def national(folder: Path, crl: Path | None = None) -> NationalCredentials:
    return NationalCredentials(
        certificate=folder / "national-server.pem",
        key=folder / "national-server.key",
        client_ca=folder / "national-ca.pem",
        crl=crl,
    )


def test_the_national_listener_lets_the_national_ca_in(fed: DevFederation, tmp_path: Path) -> None:
    fed["XA"].write(tmp_path)
    credentials = national(tmp_path)
    with listening(credentials.server()) as listener:
        operator = channel_credentials_for(credentials.ca, fed["XA"].national(Kind.OPERATOR))
        assert listener.ask(operator)
        refused(lambda: listener.ask(channel_credentials_for(credentials.ca, fed["XA"].node)))
    assert credentials.crl() is None


def test_a_newer_revocation_list_is_taken_and_a_broken_one_is_not(fed: DevFederation, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    fed["XA"].write(tmp_path)
    path = tmp_path / "national-ca.crl"
    ca = fed["XA"].national_ca
    pem.write_atomic(path, pki.make_crl(ca, [1]).public_bytes(Encoding.PEM))
    credentials = national(tmp_path, path)
    held = credentials.crl()
    assert held is not None
    assert len(held) == 1
    pem.write_atomic(path, pki.make_crl(ca, [1, 2]).public_bytes(Encoding.DER))
    newer = credentials.crl()
    assert newer is not None
    assert len(newer) == 2
    pem.write_atomic(path, b"text")
    assert credentials.crl() is newer
    with pytest.raises(CredentialFileError):
        read_crl(path)
