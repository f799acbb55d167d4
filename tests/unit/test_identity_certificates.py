"""I9: a peer is the State whose bundle validates its chain and whose trust domain its SPIFFE ID names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from dief.v1.roster_pb2 import PARTICIPANT_STATE_REMOVED, PARTICIPANT_STATE_SUSPENDED, Roster

from node.identity import pki
from node.identity.certificates import (
    CACHE_SIZE,
    MAX_CHAIN,
    Chain,
    PeerIdentity,
    _Verified,
    _Window,
    authenticate,
    authenticate_national,
    check_standing,
    presented_chain,
)
from node.identity.errors import IdentityError
from node.identity.pem import certificates_pem
from node.identity.pki import Authority
from node.identity.spiffe import Kind
from node.identity.view import ERASE_ONLY_MS
from node.ops.clock import now_ms, to_timestamp
from tests.support.pki import DAY_MS, DevFederation, der, forge, forge_ca

XA_NODE = "spiffe://xa.dief/node/main"


@pytest.fixture(scope="module")
def fed() -> DevFederation:
    """States that tests only read."""
    return DevFederation(["XA", "XB", "XE"])


def judge(fed: DevFederation, chain: Chain, **changes: object) -> PeerIdentity:
    """Everybody admitted, nobody denied, now; unless a test changes it."""
    settings: dict[str, object] = {"admitted": fed.everybody, "denied": frozenset(), "now_ms": now_ms()}
    return authenticate(chain, fed.view, **(settings | changes))  # type: ignore[arg-type]


def refusal(fed: DevFederation, chain: Chain, **changes: object) -> str:
    """Reason of the refusal, which has to come."""
    with pytest.raises(IdentityError) as caught:
        judge(fed, chain, **changes)
    assert caught.value.diagnosis.endswith(".")
    assert caught.value.mend.endswith(".")
    return caught.value.reason


def test_a_node_is_the_state_that_chain_and_name_agree_on(fed: DevFederation) -> None:
    peer = judge(fed, fed["XA"].node_pem)
    assert peer.state == "XA"
    assert str(peer.spiffe_id) == XA_NODE
    assert peer.not_after_ms == int(fed["XA"].node.leaf.not_valid_after_utc.timestamp() * 1000)
    assert judge(fed, fed["XA"].node.chain) == peer


def test_one_states_ca_never_speaks_for_another(fed: DevFederation) -> None:
    assert refusal(fed, fed["XB"].issue(XA_NODE).chain) == "WRONG_STATE"


def test_the_refusal_names_the_state_whose_ca_lied(fed: DevFederation) -> None:
    with pytest.raises(IdentityError, match="CA of XB signed a certificate that names XA"):
        judge(fed, fed["XB"].issue(XA_NODE).chain)


def test_the_national_ca_means_nothing_in_the_federation(fed: DevFederation) -> None:
    assert refusal(fed, forge(fed["XA"].national_ca).chain) == "UNKNOWN_IDENTITY"
    assert refusal(fed, fed["XA"].national(Kind.OPERATOR).chain) == "UNKNOWN_IDENTITY"
    assert refusal(fed, fed["XA"].pki.national_server.chain) == "UNKNOWN_IDENTITY"


def test_an_unknown_ca_with_the_right_subject_is_unknown(fed: DevFederation) -> None:
    twin = pki.create_ca("XA", "dief")
    assert refusal(fed, forge(twin).chain) == "UNKNOWN_IDENTITY"


def test_a_self_signed_leaf_is_unknown(fed: DevFederation) -> None:
    key = pki.new_key()
    itself = Authority(forge(fed["XA"].ca, key=key).leaf, key)
    assert refusal(fed, forge(itself, key=key).chain) == "UNKNOWN_IDENTITY"


def test_a_state_outside_the_roster_is_unknown(fed: DevFederation) -> None:
    stranger = DevFederation(["XQ"])
    assert refusal(fed, stranger["XQ"].node.chain) == "UNKNOWN_IDENTITY"


def test_another_federation_is_unknown(fed: DevFederation) -> None:
    assert refusal(fed, fed["XA"].issue("spiffe://xa.dief-test/node/main").chain) == "UNKNOWN_IDENTITY"


def test_a_certificate_without_spiffe_id_is_unknown(fed: DevFederation) -> None:
    assert refusal(fed, forge(fed["XA"].ca, ()).chain) == "UNKNOWN_IDENTITY"


def test_two_uri_names_are_refused_even_if_alike(fed: DevFederation) -> None:
    assert (
        refusal(fed, forge(fed["XA"].ca, (XA_NODE, "spiffe://xb.dief/node/main")).chain) == "UNKNOWN_IDENTITY"
    )
    assert refusal(fed, forge(fed["XA"].ca, (XA_NODE, XA_NODE)).chain) == "UNKNOWN_IDENTITY"


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.NODE}))
def test_only_nodes_speak_in_the_federation(fed: DevFederation, kind: Kind) -> None:
    assert refusal(fed, fed["XA"].issue(f"spiffe://xa.dief/{kind}/one").chain) == "WRONG_KIND"


def test_an_expired_leaf_is_told_as_expired(fed: DevFederation) -> None:
    leaf = fed["XA"].issue(start=datetime.now(UTC) - timedelta(days=9), days=8)
    ca = forge_ca("xa.dief federation CA", key=fed["XA"].ca.key, start=datetime.now(UTC) - timedelta(days=30))
    older = DevFederation(["XA"])
    older.next(lambda roster: _set_cas(roster, ca))
    with pytest.raises(IdentityError) as caught:
        authenticate(leaf.chain, older.view, admitted={"XA"}, denied=(), now_ms=now_ms())
    assert caught.value.reason == "CERTIFICATE_EXPIRED"


def test_a_leaf_of_tomorrow_is_told_as_not_valid_yet(fed: DevFederation) -> None:
    leaf = fed["XA"].issue(start=datetime.now(UTC) + timedelta(days=1))
    assert refusal(fed, leaf.chain) == "CERTIFICATE_EXPIRED"


def test_a_leaf_runs_out_although_its_signatures_are_remembered(fed: DevFederation) -> None:
    peer = judge(fed, fed["XA"].node.chain)
    assert judge(fed, fed["XA"].node.chain, now_ms=peer.not_after_ms)
    assert refusal(fed, fed["XA"].node.chain, now_ms=peer.not_after_ms + 1) == "CERTIFICATE_EXPIRED"
    assert judge(fed, fed["XA"].node.chain)


def test_an_expired_ca_takes_its_leaves_along() -> None:
    fed = DevFederation(["XA"])
    ca = forge_ca("short", days=2)
    fed.next(lambda roster: _set_cas(roster, ca))
    leaf = forge(ca, days=7)
    peer = authenticate(leaf.chain, fed.view, admitted={"XA"}, denied=(), now_ms=now_ms())
    assert peer.not_after_ms < now_ms() + 2 * DAY_MS
    with pytest.raises(IdentityError) as caught:
        authenticate(leaf.chain, fed.view, admitted={"XA"}, denied=(), now_ms=now_ms() + 3 * DAY_MS)
    assert caught.value.reason == "CERTIFICATE_EXPIRED"


def test_a_ca_certificate_is_no_leaf(fed: DevFederation) -> None:
    assert refusal(fed, [fed["XA"].ca.certificate]) == "UNKNOWN_IDENTITY"
    assert refusal(fed, forge(fed["XA"].ca, ca=True).chain) == "UNKNOWN_IDENTITY"


def test_a_leaf_can_not_sign_another(fed: DevFederation) -> None:
    node = fed["XA"].node
    below = forge(Authority(node.leaf, node.key))
    assert refusal(fed, [below.leaf, node.leaf]) == "UNKNOWN_IDENTITY"


def test_a_certificate_for_servers_only_can_not_call(fed: DevFederation) -> None:
    assert refusal(fed, fed["XA"].issue(usages=[ExtendedKeyUsageOID.SERVER_AUTH]).chain) == "UNKNOWN_IDENTITY"


def test_an_unknown_critical_extension_is_refused(fed: DevFederation) -> None:
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
    assert refusal(fed, fed["XA"].issue(more=[(strange, True)]).chain) == "UNKNOWN_IDENTITY"


def test_a_weak_key_is_refused(fed: DevFederation) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    assert refusal(fed, fed["XA"].issue(key=weak).chain) == "UNKNOWN_IDENTITY"


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_other_strong_curves_are_fine(fed: DevFederation, curve: ec.EllipticCurve) -> None:
    assert judge(fed, fed["XA"].issue(key=ec.generate_private_key(curve)).chain).state == "XA"


def test_a_chain_over_an_intermediate_is_fine_where_the_root_allows_it() -> None:
    fed = DevFederation(["XA", "XB"])
    root = forge_ca("XA root", path_length=None)
    fed.next(lambda roster: _set_cas(roster, root))
    middle = forge(root, ca=True, usages=())
    leaf = forge(Authority(middle.leaf, middle.key))
    chain = (leaf.leaf, middle.leaf)
    assert judge(fed, chain).state == "XA"
    assert judge(fed, certificates_pem(chain)).state == "XA"


def test_an_intermediate_below_a_ca_of_pathlen_0_is_refused(fed: DevFederation) -> None:
    middle = forge(fed["XA"].ca, ca=True, usages=())
    leaf = forge(Authority(middle.leaf, middle.key))
    assert refusal(fed, (leaf.leaf, middle.leaf)) == "UNKNOWN_IDENTITY"


def test_a_foreign_ca_in_the_presented_chain_adds_no_trust(fed: DevFederation) -> None:
    twin = pki.create_ca("XA", "dief")
    assert refusal(fed, (forge(twin).leaf, twin.certificate)) == "UNKNOWN_IDENTITY"


@pytest.mark.parametrize(
    "chain",
    [b"", b"text", (), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"x" * 70_000],
    ids=["empty", "text", "no_certificate", "broken_der", "huge"],
)
def test_a_malformed_chain_is_unknown(fed: DevFederation, chain: Chain) -> None:
    assert refusal(fed, chain) == "UNKNOWN_IDENTITY"


def test_a_connection_without_a_certificate_is_unknown() -> None:
    for context in ({}, {"x509_pem_cert": []}, {"x509_pem_cert_chain": [b"only a chain"]}):
        with pytest.raises(IdentityError) as caught:
            presented_chain(context)
        assert caught.value.reason == "UNKNOWN_IDENTITY"


def test_an_overlong_chain_is_unknown(fed: DevFederation) -> None:
    assert refusal(fed, fed["XA"].node.chain * (MAX_CHAIN + 1)) == "UNKNOWN_IDENTITY"


def test_an_ed25519_leaf_is_refused_without_a_crash(fed: DevFederation) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert refusal(fed, fed["XA"].issue(key=key).chain) == "UNKNOWN_IDENTITY"


# -- Trust of this moment


def test_a_denial_wins_over_everything(fed: DevFederation) -> None:
    assert refusal(fed, fed["XA"].node.chain, denied={"XA"}) == "DENIED"
    assert refusal(fed, fed["XA"].node.chain, denied={"XA"}, admitted=()) == "DENIED"
    assert judge(fed, fed["XA"].node.chain, denied={"XB"}).state == "XA"


def test_the_roster_alone_grants_nothing(fed: DevFederation) -> None:
    assert refusal(fed, fed["XA"].node.chain, admitted={"XB"}) == "NOT_ADMITTED"


def test_a_suspended_state_does_not_speak() -> None:
    fed = DevFederation(["XA", "XB"])
    fed.next(lambda roster: _participation(roster, PARTICIPANT_STATE_SUSPENDED))
    assert refusal(fed, fed["XA"].node.chain, removed_allowed=True) == "NOT_PARTICIPATING"
    assert judge(fed, fed["XB"].node.chain).state == "XB"


def test_a_removed_state_may_fetch_erasures_for_90_days() -> None:
    fed = DevFederation(["XA", "XB"])
    removed = now_ms() - ERASE_ONLY_MS + DAY_MS
    fed.next(lambda roster: _participation(roster, PARTICIPANT_STATE_REMOVED, removed))
    assert refusal(fed, fed["XA"].node.chain) == "NOT_PARTICIPATING"
    assert judge(fed, fed["XA"].node.chain, removed_allowed=True).state == "XA"
    late = {"removed_allowed": True, "now_ms": removed + ERASE_ONLY_MS}
    assert refusal(fed, fed["XA"].node.chain, **late) == "NOT_PARTICIPATING"


def test_a_stream_is_judged_again_by_what_holds_now() -> None:
    fed = DevFederation(["XA", "XB"])
    peer = judge(fed, fed["XA"].node.chain)
    now = {"admitted": fed.everybody, "denied": frozenset[str](), "now_ms": now_ms()}
    check_standing(peer, fed.view, **now)  # type: ignore[arg-type]
    for change, reason in (
        ({"denied": frozenset({"XA"})}, "DENIED"),
        ({"admitted": frozenset({"XB"})}, "NOT_ADMITTED"),
        ({"now_ms": peer.not_after_ms + 1}, "CERTIFICATE_EXPIRED"),
    ):
        with pytest.raises(IdentityError) as caught:
            check_standing(peer, fed.view, **(now | change))  # type: ignore[arg-type]
        assert caught.value.reason == reason


def test_a_stream_ends_when_the_roster_drops_the_ca_it_came_by() -> None:
    fed = DevFederation(["XA", "XB"])
    peer = judge(fed, fed["XA"].node.chain)
    fed.next(lambda roster: _set_cas(roster, pki.create_ca("XA", "dief")))
    with pytest.raises(IdentityError) as caught:
        check_standing(peer, fed.view, admitted=fed.everybody, denied=(), now_ms=now_ms())
    assert caught.value.reason == "UNKNOWN_IDENTITY"


def test_signatures_are_checked_again_under_a_new_roster() -> None:
    fed = DevFederation(["XA", "XB"])
    leaf = fed["XB"].issue(XA_NODE)
    fed.next(lambda roster: _set_cas(roster, fed["XB"].ca, state="XA", and_empty="XB"))
    assert judge(fed, leaf.chain).state == "XA"
    fed.next(lambda roster: _set_cas(roster, fed["XA"].ca, state="XA", and_empty="XB"))
    assert refusal(fed, leaf.chain) == "UNKNOWN_IDENTITY"


def test_the_memory_of_checked_chains_is_bounded() -> None:
    memory = _Verified(2)
    for number in range(5):
        memory.put(bytes([number]), b"roster", _Window(0, 10))
    assert [memory.get(bytes([number]), b"roster", 5) is not None for number in range(5)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert memory.get(b"\x04", b"roster", 11) is None
    assert CACHE_SIZE < 100_000


# -- National


def national(fed: DevFederation, chain: Chain, **changes: object) -> PeerIdentity:
    settings: dict[str, object] = {
        "state": "XA",
        "federation": "dief",
        "kinds": {Kind.OFFICER, Kind.APPROVER},
        "now_ms": now_ms(),
    }
    bundle = (fed["XA"].national_ca.certificate,)
    return authenticate_national(chain, bundle, **(settings | changes))  # type: ignore[arg-type]


def national_refusal(fed: DevFederation, chain: Chain, **changes: object) -> str:
    with pytest.raises(IdentityError) as caught:
        national(fed, chain, **changes)
    return caught.value.reason


def test_an_officer_of_the_own_state_is_known(fed: DevFederation) -> None:
    caller = national(fed, fed["XA"].national(Kind.OFFICER).chain)
    assert (caller.state, caller.spiffe_id.kind) == ("XA", Kind.OFFICER)


def test_nationally_kind_state_and_ca_must_fit(fed: DevFederation) -> None:
    own = fed["XA"].national_ca
    assert national_refusal(fed, fed["XA"].national(Kind.AUDITOR).chain) == "WRONG_KIND"
    assert national_refusal(fed, fed["XB"].national(Kind.OFFICER).chain) == "UNKNOWN_IDENTITY"
    assert national_refusal(fed, fed["XA"].node.chain) == "UNKNOWN_IDENTITY"
    assert national_refusal(fed, forge(own, ("spiffe://xb.dief/officer/a",)).chain) == "WRONG_STATE"
    assert national_refusal(fed, forge(own, ("spiffe://xa.other/officer/a",)).chain) == "WRONG_STATE"


def test_nationally_dates_are_checked(fed: DevFederation) -> None:
    officer = fed["XA"].national(Kind.OFFICER)
    assert national_refusal(fed, officer.chain, now_ms=now_ms() + 366 * DAY_MS) == "CERTIFICATE_EXPIRED"


def test_a_revoked_officer_is_refused(fed: DevFederation) -> None:
    officer, own = fed["XA"].national(Kind.OFFICER), fed["XA"].national_ca
    assert national(fed, officer.chain, crl=pki.make_crl(own, [7]))
    revoked = pki.make_crl(own, [officer.leaf.serial_number])
    with pytest.raises(IdentityError, match="revoked"):
        national(fed, officer.chain, crl=revoked)


def test_a_revocation_list_that_can_not_be_relied_on_refuses(fed: DevFederation) -> None:
    officer, own = fed["XA"].national(Kind.OFFICER), fed["XA"].national_ca
    for crl in (
        pki.make_crl(fed["XB"].national_ca, []),
        pki.make_crl(Authority(own.certificate, pki.new_key()), []),
        pki.make_crl(own, [], now=datetime.now(UTC) - timedelta(days=31)),
    ):
        assert national_refusal(fed, officer.chain, crl=crl) == "UNKNOWN_IDENTITY"


def _set_cas(roster: Roster, *cas: Authority, state: str = "XA", and_empty: str = "") -> None:
    for participant in roster.participants:
        if participant.state in (state, and_empty):
            del participant.ca_certificates[:]
        if participant.state == state:
            participant.ca_certificates.extend(der(ca.certificate) for ca in cas)


def _participation(roster: Roster, value: int, since_ms: int = 0) -> None:
    roster.participants[0].state_of_participation = value  # type: ignore[assignment]
    roster.participants[0].state_of_participation_since.CopyFrom(to_timestamp(since_ms or now_ms()))
