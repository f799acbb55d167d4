"""What the rest of the node learns from a roster: members, bundles, keys, digests, warnings (I2, I9)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dief.v1.handling_pb2 import (
    AUDIENCE_KIND_NAMED_STATES,
    AUDIENCE_KIND_STATES_PARTIES,
    AUDIENCE_KIND_STATES_PARTIES_AND_SIGNATORIES,
    Audience,
)
from dief.v1.roster_pb2 import (
    KEY_STATE_ACTIVE,
    KEY_STATE_PREPARED,
    KEY_STATE_RETIRED,
    KEY_STATE_REVOKED,
    PARTICIPANT_STATE_REMOVED,
    PARTICIPANT_STATE_SUSPENDED,
    Roster,
)

from node.identity.view import ERASE_ONLY_MS, Participation, TrustParts
from node.ops.clock import now_ms, to_timestamp
from tests.support.pki import DAY_MS, DevFederation, der, forge_ca, log_key

PARTIES = Audience(kind=AUDIENCE_KIND_STATES_PARTIES)
ALL = Audience(kind=AUDIENCE_KIND_STATES_PARTIES_AND_SIGNATORIES)


def named(*states: str) -> Audience:
    return Audience(kind=AUDIENCE_KIND_NAMED_STATES, states=states)


@pytest.fixture(scope="module")
def fed() -> DevFederation:
    """Read only."""
    return DevFederation(["XA", "XB", "XE"], signatories=["XD"], secretariat="XS")


@pytest.mark.parametrize(
    ("audience", "members"),
    [
        (PARTIES, ("XA", "XB", "XE")),
        (ALL, ("XA", "XB", "XD", "XE")),
        (named("XB", "XD"), ("XA", "XB", "XD")),
        (named("XB", "XQ"), ("XA", "XB")),
        (named("XS"), ("XA",)),
        (Audience(), ("XA",)),
        (Audience(kind=77, states=["XB"]), ("XA",)),
    ],
    ids=["parties", "all", "named", "unknown_state", "secretariat", "unset_kind", "unknown_kind"],
)
def test_i2_members_are_the_audience_by_the_roster_and_the_origin(
    fed: DevFederation, audience: Audience, members: tuple[str, ...]
) -> None:
    assert fed.view.members(audience, fed.everybody, "XA") == members


def test_i2_only_admitted_states_become_members(fed: DevFederation) -> None:
    assert fed.view.members(ALL, {"XB", "XQ"}, "XA") == ("XA", "XB")
    assert fed.view.members(ALL, (), "XA") == ("XA",)


def test_i2_a_signatory_may_write_for_parties(fed: DevFederation) -> None:
    assert fed.view.members(PARTIES, fed.everybody, "XD") == ("XA", "XB", "XD", "XE")


@pytest.mark.parametrize("standing", [PARTICIPANT_STATE_SUSPENDED, PARTICIPANT_STATE_REMOVED])
def test_i2_who_does_not_take_part_becomes_no_member(standing: int) -> None:
    fed = DevFederation(["XA", "XB"])
    fed.next(lambda content: setattr(content.participants[1], "state_of_participation", standing))
    assert fed.view.members(named("XB"), fed.everybody, "XA") == ("XA",)


def test_participation_follows_the_roster() -> None:
    fed = DevFederation(["XA", "XB", "XE"])
    since = now_ms()

    def change(content: Roster) -> None:
        content.participants[1].state_of_participation = PARTICIPANT_STATE_SUSPENDED
        content.participants[2].state_of_participation = PARTICIPANT_STATE_REMOVED
        content.participants[2].state_of_participation_since.CopyFrom(to_timestamp(since))

    fed.next(change)
    assert fed.view.participation("XA", since) == Participation.FULL
    assert fed.view.participation("XB", since) == Participation.NONE
    assert fed.view.participation("XE", since + ERASE_ONLY_MS - 1) == Participation.ERASE_ONLY
    assert fed.view.participation("XE", since + ERASE_ONLY_MS) == Participation.NONE
    assert fed.view.participation("XQ", since) == Participation.NONE


def test_log_keys_verify_while_active_or_retired() -> None:
    fed = DevFederation(["XA"])
    keys = {
        state: log_key(Ed25519PrivateKey.generate(), state)
        for state in (KEY_STATE_PREPARED, KEY_STATE_RETIRED, KEY_STATE_REVOKED)
    }
    fed.next(lambda content: content.participants[0].log_keys.extend(keys.values()))
    verifying = {key.public_key for key in fed.view.log_keys("XA")}
    active = log_key(fed["XA"].log_key).public_key
    assert verifying == {active, keys[KEY_STATE_RETIRED].public_key}
    assert fed.view.signing_keys("XA") == (active,)
    assert fed.view.log_keys("XQ") == ()


def test_a_bundle_is_of_one_state(fed: DevFederation) -> None:
    assert fed.view.bundle("XB") == (fed["XB"].ca.certificate,)
    assert fed.view.bundle("XQ") == ()
    assert fed.view.participant("XQ") is None


def test_the_trust_digest_covers_what_admission_fixes() -> None:
    fed = DevFederation(["XA"])
    digests = [fed.view.trust_digest("XA")]

    def follow(change: object) -> None:
        fed.next(change)  # type: ignore[arg-type]
        digests.append(fed.view.trust_digest("XA"))

    follow(lambda content: content.participants[0].ca_certificates.append(der(forge_ca("one").certificate)))
    follow(lambda content: content.participants[0].log_keys.append(log_key(Ed25519PrivateKey.generate())))
    follow(lambda content: setattr(content.participants[0].log_keys[0], "state", KEY_STATE_REVOKED))
    assert len(set(digests)) == 4


def test_the_trust_digest_does_not_move_with_steps_of_rotation_order_or_words() -> None:
    fed = DevFederation(["XA"])

    def prepare(content: Roster) -> None:
        content.participants[0].log_keys.append(log_key(Ed25519PrivateKey.generate(), KEY_STATE_PREPARED))

    def rotate(content: Roster) -> None:
        entry = content.participants[0]
        old, new = entry.log_keys[0], entry.log_keys[1]
        del entry.log_keys[:]
        old.state, new.state = KEY_STATE_RETIRED, KEY_STATE_ACTIVE
        entry.log_keys.extend([new, old])
        entry.display_name = "Renamed"
        entry.endpoints.append("node.xa.example:7443")

    fed.next(prepare)
    prepared = fed.view.trust_digest("XA")
    fed.next(rotate)
    assert fed.view.trust_digest("XA") == prepared


def test_the_trust_digest_is_of_one_state() -> None:
    parts = TrustParts(frozenset({b"c" * 32}), frozenset({b"k" * 32}))
    swapped = TrustParts(parts.log_keys, parts.certificates)
    assert len({parts.digest("XA"), parts.digest("XB"), swapped.digest("XA")}) == 3


def test_warnings_come_a_month_before_expiry() -> None:
    fed = DevFederation(["XA"], days=60)
    expires = fed.view.expires_ms
    assert fed.view.warning(expires - 31 * DAY_MS) is None
    early = fed.view.warning(expires - 29 * DAY_MS - 1)
    assert early is not None
    assert "expires in 29 days" in early
    assert not fed.view.expired(expires - 1)
    late = fed.view.warning(expires)
    assert late is not None
    assert "only erasures flow" in late
    assert fed.view.expired(expires)
