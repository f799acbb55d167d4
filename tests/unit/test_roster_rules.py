"""A test for every rule that rosters are trusted by: bytes in, exception out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dief.v1.roster_pb2 import (
    KEY_STATE_ACTIVE,
    KEY_STATE_PREPARED,
    KEY_STATE_RETIRED,
    KEY_STATE_REVOKED,
    DsseSignature,
    Roster,
    RosterEnvelope,
)

from node.identity import dsse, roster
from node.identity.errors import (
    MalformedRosterError,
    RosterContentError,
    RosterDigestError,
    RosterError,
    RosterFederationError,
    RosterForkError,
    RosterSignatureError,
    RosterSkippedError,
    RosterTooOldError,
)
from node.identity.participants import MAX_VIOLATIONS, violations
from node.ops.clock import from_timestamp, now_ms, to_timestamp
from tests.support.pki import DAY_MS, DevFederation, der, forge_ca, log_key

Change = Callable[[DevFederation, Roster], object]


@pytest.fixture
def fed() -> DevFederation:
    """Two of three keepers must sign."""
    return DevFederation(["XA", "XB"], signatories=["XD"])


def first(fed: DevFederation, envelope: RosterEnvelope | None = None) -> roster.TrustedRoster:
    """First trust with the right digest."""
    envelope = envelope or fed.envelope
    return roster.trust_first(envelope, roster.digest_of(envelope), now_ms())


def offer(fed: DevFederation, envelope: RosterEnvelope) -> roster.TrustedRoster:
    """An update of what the federation trusts."""
    return roster.update(fed.trusted, envelope, now_ms())


# -- First trust


def test_a_first_roster_is_trusted_by_its_digest_and_its_own_keys(fed: DevFederation) -> None:
    trusted = first(fed)
    assert trusted.version == 1
    assert trusted.previous is None
    assert trusted.view.states() == ("XA", "XB", "XD")


def test_first_trust_needs_the_digest_that_was_compared(fed: DevFederation) -> None:
    with pytest.raises(RosterDigestError):
        roster.trust_first(fed.envelope, bytes(32), now_ms())


def test_first_trust_needs_the_threshold_of_its_own_keys(fed: DevFederation) -> None:
    with pytest.raises(RosterSignatureError, match="lacks 1 of 2"):
        first(fed, fed.sign(fed.roster, fed.roster_keys[:1]))


def test_first_trust_may_begin_at_any_version(fed: DevFederation) -> None:
    fed.next()
    assert first(fed).version == 2


# -- Update


def test_the_next_version_is_trusted_by_the_keys_of_the_current_one(fed: DevFederation) -> None:
    trusted = offer(fed, fed.sign(fed.successor()))
    assert trusted.version == 2
    assert trusted.previous == fed.roster


def test_the_same_roster_again_is_nothing_new(fed: DevFederation) -> None:
    assert offer(fed, fed.envelope) is fed.trusted


def test_an_older_roster_is_refused(fed: DevFederation) -> None:
    old = fed.envelope
    fed.next()
    with pytest.raises(RosterTooOldError) as caught:
        offer(fed, old)
    assert caught.value.reason == "STALE"


def test_a_skipped_version_says_what_to_fetch(fed: DevFederation) -> None:
    other = DevFederation(["XA"])
    other.roster_keys = fed.roster_keys
    with pytest.raises(RosterSkippedError, match="Fetch roster 2 "):
        offer(fed, fed.sign(fed.successor(lambda content: setattr(content, "version", 3))))
    with pytest.raises(RosterSkippedError, match="Fetch rosters 2 to 8 "):
        offer(fed, fed.sign(fed.successor(lambda content: setattr(content, "version", 9))))


def test_another_federation_is_refused(fed: DevFederation) -> None:
    with pytest.raises(RosterFederationError):
        offer(fed, fed.sign(fed.successor(lambda content: setattr(content, "federation", "other"))))


def test_the_previous_digest_must_match(fed: DevFederation) -> None:
    content = fed.successor(lambda content: setattr(content, "previous_digest", bytes(32)))
    with pytest.raises(RosterDigestError):
        offer(fed, fed.sign(content))


def test_the_old_keys_must_agree_to_new_keys(fed: DevFederation) -> None:
    usurpers = [Ed25519PrivateKey.generate() for _ in range(3)]
    content = fed.successor(lambda content: _roster_keys(content, usurpers))
    with pytest.raises(RosterSignatureError, match="roster 1's"):
        offer(fed, fed.sign(content, usurpers))
    with pytest.raises(RosterSignatureError, match="roster 1's"):
        offer(fed, fed.sign(content, [*usurpers, fed.roster_keys[0]]))


def test_the_new_keys_must_sign_too(fed: DevFederation) -> None:
    successors = [Ed25519PrivateKey.generate() for _ in range(3)]
    content = fed.successor(lambda content: _roster_keys(content, successors))
    with pytest.raises(RosterSignatureError, match="its own"):
        offer(fed, fed.sign(content, [*fed.roster_keys, successors[0]]))
    trusted = offer(fed, fed.sign(content, [*fed.roster_keys[:2], *successors[1:]]))
    assert trusted.version == 2


@pytest.mark.parametrize("state", [KEY_STATE_PREPARED, KEY_STATE_RETIRED, KEY_STATE_REVOKED])
def test_only_active_keys_count(fed: DevFederation, state: int) -> None:
    fed.next(lambda content: setattr(content.roster_keys[0], "state", state))
    with pytest.raises(RosterSignatureError):
        offer(fed, fed.sign(fed.successor(), fed.roster_keys[:2]))
    assert offer(fed, fed.sign(fed.successor(), fed.roster_keys[1:])).version == 3


def test_a_key_counts_once_however_often_it_signs(fed: DevFederation) -> None:
    content = fed.successor()
    envelope = fed.sign(content, fed.roster_keys[:1])
    twin = DsseSignature(keyid=dsse.key_id(b"other"), sig=envelope.signatures[0].sig)
    envelope.signatures.append(twin)
    with pytest.raises(RosterSignatureError):
        offer(fed, envelope)
    envelope.signatures[1].keyid = envelope.signatures[0].keyid
    with pytest.raises(MalformedRosterError, match="twice"):
        offer(fed, envelope)


def test_a_key_id_alone_proves_nothing(fed: DevFederation) -> None:
    envelope = fed.sign(fed.successor(), fed.roster_keys[:1])
    name = dsse.key_id(dsse.public_bytes(fed.roster_keys[1]))
    envelope.signatures.append(DsseSignature(keyid=name, sig=bytes(64)))
    with pytest.raises(RosterSignatureError):
        offer(fed, envelope)


def test_a_changed_payload_loses_its_signatures(fed: DevFederation) -> None:
    envelope = fed.sign(fed.successor())
    envelope.payload = fed.successor(lambda content: setattr(content, "threshold", 1)).SerializeToString()
    with pytest.raises(RosterSignatureError):
        offer(fed, envelope)


def test_signatures_of_strangers_do_no_harm(fed: DevFederation) -> None:
    strangers = [Ed25519PrivateKey.generate() for _ in range(5)]
    assert offer(fed, fed.sign(fed.successor(), [*strangers, *fed.roster_keys])).version == 2


def test_two_signed_rosters_of_one_version_raise_the_alarm_and_the_first_stays(fed: DevFederation) -> None:
    other = fed.sign(fed.successor(lambda content: setattr(content, "threshold", 1)))
    fed.next()
    kept = fed.trusted
    with pytest.raises(RosterForkError) as caught:
        offer(fed, other)
    assert caught.value.reason == "ROSTER_FORK"
    assert fed.trusted is kept


def test_a_fork_by_the_predecessors_keys_is_one_too(fed: DevFederation) -> None:
    successors = [Ed25519PrivateKey.generate() for _ in range(3)]
    other = fed.sign(fed.successor(lambda content: setattr(content, "threshold", 1)))
    content = fed.successor(lambda content: _roster_keys(content, successors))
    fed.trusted = offer(fed, fed.sign(content, [*fed.roster_keys, *successors]))
    with pytest.raises(RosterForkError):
        offer(fed, other)


def test_a_second_version_without_signatures_is_noise_and_no_alarm(fed: DevFederation) -> None:
    noise = fed.sign(fed.successor(lambda content: setattr(content, "threshold", 1)), fed.roster_keys[:1])
    fed.next()
    with pytest.raises(RosterSignatureError):
        offer(fed, noise)


def test_a_revoked_key_does_not_come_back(fed: DevFederation) -> None:
    fed.next(lambda content: setattr(content.participants[0].log_keys[0], "state", KEY_STATE_REVOKED))
    revived = fed.successor(
        lambda content: setattr(content.participants[0].log_keys[0], "state", KEY_STATE_ACTIVE)
    )
    with pytest.raises(RosterContentError, match="brings back"):
        offer(fed, fed.sign(revived))


# -- Time


def test_a_roster_of_the_future_is_refused_beyond_five_minutes(fed: DevFederation) -> None:
    issued = from_timestamp(fed.roster.issued_at)
    content = fed.successor(
        lambda content: content.issued_at.CopyFrom(to_timestamp(issued + roster.MAX_SKEW_MS))
    )
    envelope = fed.sign(content)
    assert roster.update(fed.trusted, envelope, issued).version == 2
    with pytest.raises(RosterContentError, match="future"):
        roster.update(fed.trusted, envelope, issued - 1)


def test_an_expired_roster_is_a_step_to_newer_ones_and_says_so() -> None:
    fed = DevFederation(["XA"], issued_ms=now_ms() - 100 * DAY_MS, days=60)
    trusted = first(fed)
    assert trusted.view.expired(now_ms())
    fresh = fed.successor(lambda content: _dates(content, now_ms(), 60))
    assert not roster.update(trusted, fed.sign(fresh), now_ms()).view.expired(now_ms())


# -- Content


def _roster_keys(content: Roster, keys: list[Ed25519PrivateKey]) -> None:
    del content.roster_keys[:]
    content.roster_keys.extend(log_key(key) for key in keys)


def _dates(content: Roster, issued: int, days: float) -> None:
    content.issued_at.CopyFrom(to_timestamp(issued))
    content.expires_at.CopyFrom(to_timestamp(issued + int(days * DAY_MS)))


def _ca(content: Roster, index: int, *certificates: x509.Certificate) -> None:
    content.participants[index].ca_certificates.extend(map(der, certificates))


def _swap(content: Roster) -> None:
    moved = list(content.participants)
    moved[0], moved[1] = moved[1], moved[0]
    del content.participants[:]
    content.participants.extend(moved)


_SHARED = forge_ca("shared").key
_URI_CONSTRAINED = x509.NameConstraints([x509.UniformResourceIdentifier("xa.dief")], None)
_DNS_CONSTRAINED = x509.NameConstraints([x509.DNSName("xa.example")], None)

BROKEN: dict[str, tuple[str, Change]] = {
    "expires_after_91_days": ("90 days", lambda _, r: _dates(r, now_ms(), 90.01)),
    "expires_before_it_is_issued": ("not after", lambda _, r: _dates(r, now_ms(), -1)),
    "moment_before_1970": ("no moment", lambda _, r: setattr(r.issued_at, "seconds", -(10**12))),
    "moment_beyond_9999": (
        "no moment",
        lambda _, r: setattr(r.participants[0].state_of_participation_since, "seconds", 10**12),
    ),
    "nanos_over_a_second": (
        "no moment",
        lambda _, r: setattr(r.participants[0].treaty_status_since, "nanos", 10**9),
    ),
    "no_previous_digest": ("previous_digest", lambda _, r: setattr(r, "previous_digest", b"")),
    "threshold_0": ("threshold", lambda _, r: setattr(r, "threshold", 0)),
    "threshold_nobody_reaches": ("threshold", lambda _, r: setattr(r, "threshold", 4)),
    "threshold_only_with_retired_keys": (
        "threshold",
        lambda _, r: [setattr(key, "state", KEY_STATE_RETIRED) for key in r.roster_keys[:2]],
    ),
    "no_roster_keys": ("roster_keys", lambda _, r: r.ClearField("roster_keys")),
    "roster_key_twice": ("listed twice", lambda _, r: r.roster_keys.append(r.roster_keys[0])),
    "short_key": ("roster_keys", lambda _, r: setattr(r.roster_keys[0], "public_key", b"short")),
    "unsorted_participants": ("not sorted", lambda _, r: _swap(r)),
    "state_twice": ("not sorted", lambda _, r: r.participants.insert(0, r.participants[0])),
    "lower_case_state": ("state", lambda _, r: setattr(r.participants[0], "state", "xa")),
    "no_treaty_status": ("treaty_status", lambda _, r: r.participants[0].ClearField("treaty_status")),
    "no_participation": (
        "state_of_participation",
        lambda _, r: r.participants[0].ClearField("state_of_participation"),
    ),
    "control_characters": (
        "control characters",
        lambda _, r: setattr(r.participants[0], "display_name", "X\x1b[2J"),
    ),
    "endpoint_without_port": (
        "host:port",
        lambda _, r: r.participants[0].endpoints.append("node.xa.example"),
    ),
    "endpoint_with_port_0": ("host:port", lambda _, r: r.participants[0].endpoints.append("xa.example:0")),
    "endpoint_with_blank": ("host:port", lambda _, r: r.participants[0].endpoints.append("xa example:1")),
    "short_sealing_key": ("sealing_key", lambda _, r: setattr(r.participants[0], "sealing_key", b"short")),
    "log_key_of_two_states": (
        "belongs to XA too",
        lambda _, r: r.participants[1].log_keys.append(r.participants[0].log_keys[0]),
    ),
    "log_key_twice": (
        "listed twice",
        lambda _, r: r.participants[0].log_keys.append(r.participants[0].log_keys[0]),
    ),
    "log_key_is_roster_key": (
        "belongs to the roster too",
        lambda _, r: r.participants[0].log_keys.append(r.roster_keys[0]),
    ),
    "same_ca_in_two_states": ("as a CA of XA", lambda fed, r: _ca(r, 1, fed["XA"].ca.certificate)),
    "same_ca_twice_in_one_state": ("listed twice", lambda fed, r: _ca(r, 0, fed["XA"].ca.certificate)),
    "same_subject_in_two_states": (
        "same subject as a CA of XA",
        lambda _, r: _ca(r, 1, forge_ca("xa.dief federation CA").certificate),
    ),
    "same_subject_but_for_case": (
        "same subject as a CA of XA",
        lambda _, r: _ca(r, 1, forge_ca("XA.dief  Federation ca").certificate),
    ),
    "same_key_id_in_two_states": (
        "same key id as a CA of XA",
        lambda _, r: (
            _ca(r, 0, forge_ca("one", key_id=b"k" * 20).certificate),
            _ca(r, 1, forge_ca("two", key_id=b"k" * 20).certificate),
        ),
    ),
    "same_public_key_in_two_states": (
        "same public key as a CA of XA",
        lambda _, r: (
            _ca(r, 0, forge_ca("one", key=_SHARED, key_id=b"1" * 20).certificate),
            _ca(r, 1, forge_ca("two", key=_SHARED, key_id=b"2" * 20).certificate),
        ),
    ),
    "leaf_as_ca": ("is no CA", lambda fed, r: _ca(r, 0, fed["XA"].node.leaf)),
    "ca_false": ("is no CA", lambda _, r: _ca(r, 0, forge_ca("one", ca=False).certificate)),
    "ca_that_may_not_sign": (
        "may not sign",
        lambda _, r: _ca(r, 0, forge_ca("one", signs=False).certificate),
    ),
    "ca_without_basic_constraints": (
        "is no CA",
        lambda _, r: _ca(r, 0, forge_ca("one", omit=x509.BasicConstraints).certificate),
    ),
    "ca_without_key_usage": (
        "no key usage",
        lambda _, r: _ca(r, 0, forge_ca("one", omit=x509.KeyUsage).certificate),
    ),
    "ca_without_key_id": (
        "no subject key identifier",
        lambda _, r: _ca(r, 0, forge_ca("one", key_id=b"").certificate),
    ),
    "ca_with_weak_key": (
        "key is not",
        lambda _, r: _ca(r, 0, forge_ca("one", key=rsa.generate_private_key(65537, 1024)).certificate),
    ),
    "ca_with_uri_name_constraints": (
        "URI name constraints",
        lambda _, r: _ca(r, 0, forge_ca("one", more=[(_URI_CONSTRAINED, True)]).certificate),
    ),
    "malformed_ca": ("malformed", lambda _, r: r.participants[0].ca_certificates.append(b"0" * 100)),
    "ca_with_trailing_bytes": (
        "malformed",
        lambda fed, r: r.participants[0].ca_certificates.append(der(forge_ca("one").certificate) + b"\x00"),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_content_is_refused_however_well_it_is_signed(fed: DevFederation, name: str) -> None:
    words, change = BROKEN[name]
    content = fed.successor(lambda content: change(fed, content))
    assert any(words in violation for violation in violations(content)), violations(content)
    with pytest.raises(RosterError):
        offer(fed, fed.sign(content))


def test_a_first_version_has_no_predecessor(fed: DevFederation) -> None:
    fed.roster.previous_digest = bytes(32)
    with pytest.raises(RosterContentError, match="must be empty in version 1"):
        first(fed, fed.sign(fed.roster))


def test_all_violations_are_told_at_once_up_to_a_bound(fed: DevFederation) -> None:
    content = fed.successor(lambda content: (_dates(content, now_ms(), 91), _swap(content)))
    assert len(violations(content)) == 2
    with pytest.raises(RosterContentError) as caught:
        offer(fed, fed.sign(content))
    assert [field for field, _ in caught.value.violations] == ["expires_at", "participants"]
    content.participants[0].endpoints.extend(["bad"] * 8)
    content.participants[1].endpoints.extend(["bad"] * 8)
    content.participants[2].endpoints.extend(["bad"] * 8)
    assert len(violations(content)) == MAX_VIOLATIONS


@pytest.mark.parametrize(
    "endpoint", ["node.xa.example:7443", "192.0.2.1:1", "[2001:db8::1]:65535", "localhost:80"]
)
def test_good_endpoints_are_accepted(fed: DevFederation, endpoint: str) -> None:
    assert not violations(fed.successor(lambda content: content.participants[0].endpoints.append(endpoint)))


def test_good_certificates_beside_the_first_are_accepted(fed: DevFederation) -> None:
    renewed = forge_ca("xa.dief federation CA", key=fed["XA"].ca.key)
    rotated = forge_ca("xa.dief federation CA")
    constrained = forge_ca("dns only", more=[(_DNS_CONSTRAINED, True)])
    content = fed.successor(
        lambda content: _ca(content, 0, renewed.certificate, rotated.certificate, constrained.certificate)
    )
    assert violations(content) == []


def test_the_secretariat_needs_no_log_key() -> None:
    fed = DevFederation(["XA"], secretariat="XS")
    assert not fed.participant("XS").log_keys
    assert violations(fed.roster) == []


# -- Envelope


def _with(envelope: RosterEnvelope, **changes: object) -> RosterEnvelope:
    changed = RosterEnvelope()
    changed.CopyFrom(envelope)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def test_malformed_envelopes_are_refused(fed: DevFederation) -> None:
    good = fed.sign(fed.successor())
    many = _with(good)
    many.signatures.extend(
        DsseSignature(keyid=dsse.key_id(bytes([number])), sig=bytes(64)) for number in range(32)
    )
    short = _with(good)
    short.signatures[0].sig = b"short"
    unnamed = _with(good)
    unnamed.signatures[0].keyid = ""
    upper = _with(good)
    upper.signatures[0].keyid = upper.signatures[0].keyid.upper()
    for bad in (
        _with(good, payload_type="application/json"),
        _with(good, payload=b""),
        _with(good, payload=b"\xff\xff"),
        _with(good, payload=bytes(dsse.MAX_PAYLOAD_BYTES + 1)),
        many,
        short,
        unnamed,
        upper,
    ):
        with pytest.raises(MalformedRosterError):
            offer(fed, bad)
        with pytest.raises(RosterError):
            first(fed, bad)


def test_the_signed_bytes_are_those_of_dsse() -> None:
    envelope = RosterEnvelope(payload_type="http://example.com/HelloWorld", payload=b"hello world")
    assert dsse.pae(envelope) == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_a_signature_is_plain_ed25519_over_them(fed: DevFederation) -> None:
    key = fed.roster_keys[0]
    envelope = fed.sign(fed.roster, [key])
    key.public_key().verify(envelope.signatures[0].sig, dsse.pae(envelope))
    assert envelope.signatures[0].keyid == dsse.key_id(dsse.public_bytes(key))


def test_signing_again_replaces_and_leaves_the_original(fed: DevFederation) -> None:
    signer = dsse.signer_of(fed.roster_keys[0])
    unsigned = dsse.wrap(b"payload")
    once = dsse.sign(unsigned, signer)
    assert dsse.sign(once, signer) == once
    assert not unsigned.signatures


def test_a_key_that_is_no_point_of_the_curve_signs_nothing() -> None:
    signed = dsse.sign(dsse.wrap(b"payload"), dsse.signer_of(ed25519.Ed25519PrivateKey.generate()))
    bad = b"\xff" * 32
    signed.signatures[0].keyid = dsse.key_id(bad)
    assert dsse.signed_by(signed, [bad, b"short"]) == frozenset()


# -- Files


def test_an_envelope_survives_its_file(fed: DevFederation) -> None:
    assert dsse.from_json(dsse.to_json(fed.envelope)) == fed.envelope


def test_url_safe_base64_and_unknown_fields_are_read(fed: DevFederation) -> None:
    text = dsse.to_json(fed.envelope).decode()
    text = text.replace('"payloadType"', '"comment": "a+b/c", "payloadType"')
    head, tail = text.split('"payload":')
    tail = tail.replace("+", "-").replace("/", "_").replace("_vnd", "/vnd")
    assert dsse.from_json((head + '"payload":' + tail).encode()) == fed.envelope


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"payloadType": 1, "payload": "", "signatures": []}',
        b'{"payloadType": "x", "payload": "!!", "signatures": []}',
        b'{"payloadType": "x", "payload": "AAAA", "signatures": [1]}',
        b'{"payloadType": "x", "payload": "AAAA", "signatures": [{"keyid": "a"}]}',
        b'{"payloadType": "x", "payload": null, "signatures": []}',
        b"[" * 100_000,
        b" " * (dsse.MAX_JSON_BYTES + 1),
    ],
)
def test_files_that_are_no_envelope_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedRosterError):
        dsse.from_json(data)
