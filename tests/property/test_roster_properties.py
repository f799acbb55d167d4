"""No bytes but the signed ones are trusted, and a chain of rosters only ever moves forward."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dief.v1.roster_pb2 import DsseSignature, RosterEnvelope
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from node.identity import dsse, roster
from node.identity.errors import IdentityError, MalformedSpiffeIdError, RosterError
from node.identity.spiffe import KINDS, SpiffeId
from node.identity.view import TrustParts
from node.ops.clock import now_ms
from tests.support.pki import DevFederation

PARTS = st.frozensets(st.binary(min_size=32, max_size=32), max_size=4)


@cache
def federation() -> DevFederation:
    """Made once; examples never change it."""
    return DevFederation(["XA", "XB"])


@given(st.data())
def test_no_flipped_bit_of_a_next_roster_is_trusted(data: st.DataObject) -> None:
    fed = federation()
    envelope = fed.sign(fed.successor(), fed.roster_keys[:2])
    wire = bytearray(envelope.SerializeToString())
    position = data.draw(st.integers(0, len(wire) * 8 - 1))
    wire[position // 8] ^= 1 << position % 8
    try:
        trusted = roster.update(fed.trusted, RosterEnvelope.FromString(bytes(wire)), now_ms())
    except (RosterError, DecodeError):
        return
    assert trusted.envelope.payload == envelope.payload


@given(st.binary(max_size=300), st.lists(st.tuples(st.text(max_size=70), st.binary(max_size=70)), max_size=5))
def test_arbitrary_envelopes_are_refused_by_our_errors_only(
    payload: bytes, signatures: list[tuple[str, bytes]]
) -> None:
    listed = [DsseSignature(keyid=name, sig=sig) for name, sig in signatures]
    envelope = RosterEnvelope(payload_type=dsse.PAYLOAD_TYPE, payload=payload, signatures=listed)
    for attempt in (
        lambda: roster.update(federation().trusted, envelope, now_ms()),
        lambda: roster.trust_first(envelope, roster.digest_of(envelope), now_ms()),
    ):
        try:
            attempt()
        except RosterError:
            continue
        raise AssertionError("trusted")


@given(st.binary(max_size=400))
def test_arbitrary_files_are_refused_by_our_errors_only(data: bytes) -> None:
    try:
        dsse.from_json(data)
    except RosterError:
        return
    raise AssertionError("read")


@given(st.binary(min_size=1, max_size=500), st.integers(0, 5))
def test_envelopes_survive_their_file(payload: bytes, signers: int) -> None:
    envelope = dsse.wrap(payload)
    for _ in range(signers):
        envelope = dsse.sign(envelope, dsse.signer_of(Ed25519PrivateKey.generate()))
    assert dsse.from_json(dsse.to_json(envelope)) == envelope


@given(st.text(max_size=60))
def test_spiffe_ids_have_one_form(text: str) -> None:
    for uri in (text, f"spiffe://{text}", f"spiffe://xa.dief/node/{text}"):
        try:
            parsed = SpiffeId.parse(uri)
        except MalformedSpiffeIdError:
            continue
        assert str(parsed) == uri
        assert parsed.kind in KINDS


@given(st.from_regex(r"[A-Z]{2}", fullmatch=True), PARTS, PARTS, PARTS, PARTS)
def test_trust_digests_tell_parts_apart(
    state: str,
    certificates: frozenset[bytes],
    keys: frozenset[bytes],
    others: frozenset[bytes],
    other_keys: frozenset[bytes],
) -> None:
    one, other = TrustParts(certificates, keys), TrustParts(others, other_keys)
    assert (one.digest(state) == other.digest(state)) == (one == other)
    assert one.covers(one.common(other))
    assert other.covers(one.common(other))
    assert (one.covers(other) and other.covers(one)) == (one == other)


class RosterChain(RuleBasedStateMachine):
    """A node that is offered old, new, skipped, forked and unsigned rosters in any order.

    It never goes back, never leaves the one chain of the keepers, and takes the next link whenever offered.
    """

    @initialize()
    def begin(self) -> None:
        self.fed = DevFederation(["XA"], keepers=2, threshold=2)
        for _ in range(4):
            self.fed.next()
        first = self.fed.envelopes[0]
        self.node = roster.trust_first(first, roster.digest_of(first), now_ms())

    @rule(index=st.integers(0, 4))
    def offer(self, index: int) -> None:
        before = self.node.version
        try:
            self.node = roster.update(self.node, self.fed.envelopes[index], now_ms())
        except RosterError:
            assert index + 1 not in (before, before + 1)
        else:
            assert self.node.version in (before, before + 1)

    @rule(index=st.integers(0, 4), signers=st.integers(0, 2))
    def offer_another_history(self, index: int, signers: int) -> None:
        content = roster.parse(self.fed.envelopes[index])
        content.participants[0].display_name = "Another history"
        forged = self.fed.sign(content, self.fed.roster_keys[:signers])
        before = self.node
        try:
            self.node = roster.update(self.node, forged, now_ms())
        except IdentityError:
            assert self.node is before
        else:
            # The keepers themselves signed it as the next one: nobody can tell it from the other.
            assert signers == 2
            assert self.node.version == before.version + 1
            self.node = before

    @invariant()
    def it_holds_a_link_of_the_chain(self) -> None:
        if hasattr(self, "node"):
            assert self.node.envelope == self.fed.envelopes[self.node.version - 1]


TestRosterChain = RosterChain.TestCase
