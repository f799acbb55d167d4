"""Admissions, denials and rosters in the database: the roster alone grants nothing, a denial always wins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dief.v1.roster_pb2 import (
    KEY_STATE_ACTIVE,
    KEY_STATE_RETIRED,
    KEY_STATE_REVOKED,
    Roster,
)

from node.identity import roster, trust_store
from node.identity.errors import (
    DeniedError,
    FederationStoppedError,
    MalformedSpiffeIdError,
    NoRosterError,
    NotAdmittedError,
    RosterDigestError,
    RosterForkError,
    RosterSkippedError,
    TrustDigestError,
    UnknownParticipantError,
)
from node.identity.trust_store import TrustState
from node.ops.clock import now_ms
from node.store.engine import Store
from tests.support.pki import DevFederation, der, forge_ca, log_key

OPERATOR = "spiffe://xb.dief/operator/one"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty database."""
    opened = Store.open(f"sqlite:///{tmp_path}/node.db")
    opened.create_all()
    yield opened
    opened.close()


@pytest.fixture
def fed() -> DevFederation:
    return DevFederation(["XA", "XB", "XE"])


def trust(store: Store, fed: DevFederation, *admit: str) -> None:
    """First trust, and admissions."""
    envelope = fed.envelopes[0]
    with store.write() as conn:
        trust_store.trust_first(conn, envelope, roster.digest_of(envelope), now_ms())
        for state in admit:
            trust_store.admit(conn, state, None, OPERATOR)


def follow(
    store: Store,
    fed: DevFederation,
    change: Callable[[Roster], object] | None = None,
    cosigners: list[Ed25519PrivateKey] | None = None,
) -> TrustState:
    """The federation's next roster, handed in."""
    envelope = fed.next(change, cosigners=cosigners or [])
    with store.write() as conn:
        trust_store.update(conn, envelope, now_ms())
    return load(store)


def load(store: Store) -> TrustState:
    with store.read() as conn:
        return trust_store.load_trust(conn)


def test_nothing_is_trusted_at_first(store: Store, fed: DevFederation) -> None:
    state = load(store)
    assert state == TrustState(None, frozenset(), frozenset(), frozenset(), stopped=False)
    with pytest.raises(NoRosterError):
        state.authenticate(fed["XA"].node_pem, now_ms())
    with store.write() as conn:
        assert trust_store.newest_envelope(conn) is None
        with pytest.raises(NoRosterError):
            trust_store.update(conn, fed.envelope, now_ms())
        with pytest.raises(NoRosterError):
            trust_store.admit(conn, "XA", None, OPERATOR)


def test_first_trust_is_given_once(store: Store, fed: DevFederation) -> None:
    trust(store, fed)
    trust(store, fed)
    other = DevFederation(["XA"])
    with pytest.raises(RosterDigestError, match="trusted here already"):
        trust(store, other)
    state = load(store)
    assert state.view is not None
    assert state.view.digest == fed.view.digest


def test_i9_the_roster_alone_grants_nothing(store: Store, fed: DevFederation) -> None:
    trust(store, fed)
    with pytest.raises(NotAdmittedError):
        load(store).authenticate(fed["XA"].node_pem, now_ms())
    with store.write() as conn:
        trust_store.admit(conn, "XA", None, OPERATOR)
    assert load(store).authenticate(fed["XA"].node_pem, now_ms()).state == "XA"


def test_admission_holds_to_the_digest_that_was_compared(store: Store, fed: DevFederation) -> None:
    trust(store, fed)
    with store.write() as conn:
        with pytest.raises(TrustDigestError):
            trust_store.admit(conn, "XA", "00" * 32, OPERATOR)
        with pytest.raises(UnknownParticipantError):
            trust_store.admit(conn, "XQ", None, OPERATOR)
        trust_store.admit(conn, "XA", fed.view.trust_digest("XA").hex().upper(), OPERATOR)
    assert load(store).admitted == {"XA"}
    with store.read() as conn:
        (admission,) = trust_store.admissions(conn)
    assert admission.by == OPERATOR
    assert admission.parts == fed.view.trust_parts("XA")


def test_a_denial_wins_and_needs_no_roster(store: Store, fed: DevFederation) -> None:
    with store.write() as conn:
        trust_store.deny(conn, "XA", "first words", OPERATOR)
        trust_store.deny(conn, "XA", "newer words", OPERATOR)
    assert load(store).denied == {"XA"}
    trust(store, fed, "XA", "XE")
    with pytest.raises(DeniedError):
        load(store).authenticate(fed["XA"].node_pem, now_ms())
    assert load(store).authenticate(fed["XE"].node_pem, now_ms()).state == "XE"
    with store.write() as conn:
        assert trust_store.allow(conn, "XA")
        assert not trust_store.allow(conn, "XA")
    assert load(store).authenticate(fed["XA"].node_pem, now_ms()).state == "XA"


def test_only_states_are_denied(store: Store) -> None:
    with store.write() as conn, pytest.raises(MalformedSpiffeIdError):
        trust_store.deny(conn, "xa'; --", "", OPERATOR)


def test_a_stopped_federation_lets_nobody_in_and_stays_so(store: Store, fed: DevFederation) -> None:
    trust(store, fed, "XA")
    for stopped in (True, True):
        with store.write() as conn:
            trust_store.set_stopped(conn, stopped=stopped)
    with pytest.raises(FederationStoppedError):
        load(store).authenticate(fed["XA"].node_pem, now_ms())
    with store.write() as conn:
        trust_store.set_stopped(conn, stopped=False)
    assert load(store).authenticate(fed["XA"].node_pem, now_ms()).state == "XA"


def test_rosters_are_kept_in_order_to_hand_on(store: Store, fed: DevFederation) -> None:
    trust(store, fed)
    follow(store, fed)
    follow(store, fed)
    with store.read() as conn:
        assert trust_store.envelopes_after(conn, 0, 10) == fed.envelopes
        assert trust_store.envelopes_after(conn, 1, 1) == fed.envelopes[1:2]
        assert trust_store.newest_envelope(conn) == fed.envelope


def test_a_refused_roster_changes_nothing(store: Store, fed: DevFederation) -> None:
    trust(store, fed)
    fed.next()
    with store.write() as conn, pytest.raises(RosterSkippedError):
        trust_store.update(conn, fed.next(), now_ms())
    state = load(store)
    assert state.view is not None
    assert state.view.version == 1


def test_a_fork_is_told_after_a_restart_too(store: Store, fed: DevFederation) -> None:
    trust(store, fed)
    other = fed.sign(fed.successor(lambda content: setattr(content, "threshold", 1)))
    follow(store, fed)
    with store.write() as conn, pytest.raises(RosterForkError):
        trust_store.update(conn, other, now_ms())


# -- Changed keys


def _add_log_key(key: Ed25519PrivateKey) -> Callable[[Roster], object]:
    return lambda content: content.participants[0].log_keys.append(log_key(key))


def _replace_ca(content: Roster) -> None:
    del content.participants[0].ca_certificates[:]
    content.participants[0].ca_certificates.append(der(forge_ca("new CA of XA").certificate))


@pytest.mark.parametrize(
    "change", [_add_log_key(Ed25519PrivateKey.generate()), _replace_ca], ids=["log_key", "ca"]
)
def test_new_keys_without_the_old_keys_word_are_recovery(
    store: Store, fed: DevFederation, change: Callable[[Roster], object]
) -> None:
    trust(store, fed, "XA", "XE")
    state = follow(store, fed, change)
    assert state.recovery == {"XA"}
    assert state.admitted == {"XE"}
    with store.write() as conn:
        trust_store.admit(conn, "XA", None, OPERATOR)
    assert load(store).admitted == {"XA", "XE"}
    assert load(store).recovery == frozenset()


def test_i9_a_state_in_recovery_does_not_speak(store: Store, fed: DevFederation) -> None:
    trust(store, fed, "XA")
    state = follow(store, fed, _add_log_key(Ed25519PrivateKey.generate()))
    with pytest.raises(NotAdmittedError):
        state.authenticate(fed["XA"].node_pem, now_ms())


def test_new_keys_that_the_old_key_vouches_for_are_admitted_at_once(store: Store, fed: DevFederation) -> None:
    trust(store, fed, "XA")
    state = follow(store, fed, _replace_ca, [fed["XA"].log_key])
    assert state.admitted == {"XA"}
    with store.read() as conn:
        (admission,) = trust_store.admissions(conn)
    assert admission.by == trust_store.CO_SIGNED
    assert admission.parts == fed.view.trust_parts("XA")


def test_nobody_elses_key_vouches(store: Store, fed: DevFederation) -> None:
    trust(store, fed, "XA", "XE")
    newcomer = Ed25519PrivateKey.generate()
    state = follow(store, fed, _add_log_key(newcomer), [fed["XE"].log_key, newcomer])
    assert state.recovery == {"XA"}


@pytest.mark.parametrize("revoke", [True, False], ids=["revoked", "dropped"])
def test_a_key_that_is_revoked_or_dropped_vouches_for_nothing(
    store: Store, fed: DevFederation, revoke: bool
) -> None:
    trust(store, fed, "XA")
    newcomer = Ed25519PrivateKey.generate()

    def change(content: Roster) -> None:
        keys = content.participants[0].log_keys
        keys.append(log_key(newcomer))
        if revoke:
            keys[0].state = KEY_STATE_REVOKED
        else:
            del keys[0]

    assert follow(store, fed, change, [fed["XA"].log_key]).recovery == {"XA"}


def test_a_retiring_key_vouches_for_its_successor(store: Store, fed: DevFederation) -> None:
    trust(store, fed, "XA")
    newcomer = Ed25519PrivateKey.generate()

    def change(content: Roster) -> None:
        content.participants[0].log_keys[0].state = KEY_STATE_RETIRED
        content.participants[0].log_keys.append(log_key(newcomer))

    assert follow(store, fed, change, [fed["XA"].log_key]).admitted == {"XA"}


def test_what_a_roster_takes_away_needs_no_admission_and_comes_back_only_by_one(
    store: Store, fed: DevFederation
) -> None:
    trust(store, fed, "XA")
    (certificate,) = fed.participant("XA").ca_certificates
    state = follow(store, fed, lambda content: content.participants[0].ClearField("ca_certificates"))
    assert state.admitted == {"XA"}
    state = follow(store, fed, lambda content: content.participants[0].ca_certificates.append(certificate))
    assert state.recovery == {"XA"}


def test_a_state_that_leaves_the_roster_and_returns_is_admitted_again(
    store: Store, fed: DevFederation
) -> None:
    trust(store, fed, "XE")
    entry = fed.roster.participants[2]
    state = follow(store, fed, lambda content: content.participants.pop())
    assert state.admitted == frozenset()
    assert follow(store, fed, lambda content: content.participants.append(entry)).recovery == {"XE"}


def test_steps_of_a_rotation_that_was_admitted_need_nothing_more(store: Store, fed: DevFederation) -> None:
    trust(store, fed, "XA")
    newcomer = Ed25519PrivateKey.generate()
    follow(store, fed, _add_log_key(newcomer), [fed["XA"].log_key])

    def activate(content: Roster) -> None:
        content.participants[0].log_keys[0].state = KEY_STATE_RETIRED
        content.participants[0].log_keys[1].state = KEY_STATE_ACTIVE

    assert follow(store, fed, activate).admitted == {"XA"}
