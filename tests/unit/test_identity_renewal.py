"""A certificate is renewed long before it expires, a crash leaves a pair that fits, a failure is told."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from cryptography import x509

from node.identity import pem, pki
from node.identity.certificates import spiffe_id_of
from node.identity.credentials import next_key, read_credential
from node.identity.errors import RenewalError
from node.identity.pki import Credential
from node.identity.renewal import (
    ByOthers,
    Renewer,
    WithCa,
    WithCommand,
    due_ms,
    replace_pair,
    way_of,
)
from node.ops.clock import now_ms
from tests.support.pki import DAY_MS, DevState


@pytest.fixture
def state(tmp_path: Path) -> DevState:
    made = DevState("XA", "dief")
    made.write(tmp_path)
    return made


def files(folder: Path) -> tuple[Path, Path]:
    return folder / "node.pem", folder / "node.key"


def with_ca(folder: Path) -> WithCa:
    return WithCa(folder / "federation-ca.pem", folder / "federation-ca.key")


def test_it_is_due_after_two_thirds_of_its_life(state: DevState, tmp_path: Path) -> None:
    renewer = Renewer(*files(tmp_path), with_ca(tmp_path))
    due = due_ms(state.node.leaf)
    assert 4.6 * DAY_MS < due - now_ms() < 4.7 * DAY_MS
    before = renewer.check(due - 1)
    assert not before.renewed
    assert before.warning is None
    assert renewer.check(due).renewed


def test_a_renewed_certificate_keeps_who_it_is_and_changes_its_key(state: DevState, tmp_path: Path) -> None:
    old = state.node.leaf
    moment = due_ms(old)
    told = Renewer(*files(tmp_path), with_ca(tmp_path)).check(moment)
    new = read_credential(*files(tmp_path)).leaf
    assert told.renewed
    assert spiffe_id_of(new) == spiffe_id_of(old)
    names = [
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value for leaf in (old, new)
    ]
    assert names[0] == names[1]
    assert new.public_key() != old.public_key()
    lives = [leaf.not_valid_after_utc - leaf.not_valid_before_utc for leaf in (old, new)]
    assert lives[0] == lives[1]
    assert told.not_after_ms > moment + 6 * DAY_MS
    assert not Renewer(*files(tmp_path), with_ca(tmp_path)).check(moment).renewed


def test_it_can_be_renewed_at_once(state: DevState, tmp_path: Path) -> None:
    assert Renewer(*files(tmp_path), with_ca(tmp_path)).check(now_ms(), force=True).renewed


def test_a_ca_that_does_not_fit_leaves_everything_and_is_told(state: DevState, tmp_path: Path) -> None:
    DevState("XB", "dief").write(tmp_path / "xb")
    told = Renewer(*files(tmp_path), with_ca(tmp_path / "xb")).check(due_ms(state.node.leaf))
    assert not told.renewed
    assert told.warning is not None
    assert "expires in 2 days" in told.warning
    assert "may sign" in told.warning
    assert read_credential(*files(tmp_path)).leaf == state.node.leaf


def test_a_missing_ca_is_told_and_not_raised(state: DevState, tmp_path: Path) -> None:
    told = Renewer(*files(tmp_path), with_ca(tmp_path / "absent")).check(due_ms(state.node.leaf))
    assert told.warning is not None
    assert "can not be read" in told.warning


@pytest.mark.parametrize("steps", range(4))
def test_a_crash_between_any_two_steps_leaves_a_pair_that_fits(
    state: DevState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    certificate, key = files(tmp_path)
    renewed = state.issue()
    _crash_after(monkeypatch, steps)
    with pytest.raises(InterruptedError) if steps < 3 else _nothing():
        replace_pair(certificate, key, renewed)
    monkeypatch.undo()
    left = read_credential(certificate, key)
    assert left.leaf in (state.node.leaf, renewed.leaf)
    again = state.issue()
    replace_pair(certificate, key, again)
    assert read_credential(certificate, key).leaf == again.leaf
    assert not next_key(key).exists()


def _nothing() -> object:
    from contextlib import nullcontext

    return nullcontext()


def _crash_after(monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    """Each step ends with one rename; after that many the machine is gone."""
    done = 0
    rename = Path.replace

    def counted(path: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            raise InterruptedError("crash")
        done += 1
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", counted)


def test_a_crash_is_mended_before_the_next_renewal_overwrites_the_only_key(
    state: DevState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = files(tmp_path)
    half = state.issue()
    pem.write_key(next_key(key), half.key)
    pem.write_certificates(certificate, half.chain)
    _crash_after(monkeypatch, 1)
    with pytest.raises(InterruptedError):
        replace_pair(certificate, key, state.issue())
    monkeypatch.undo()
    assert read_credential(certificate, key).leaf == half.leaf


# -- Other ways


def _command(folder: Path, credential: Credential, code: int = 0) -> WithCommand:
    """A command that copies a pair that was made before, as a State's own tool would."""
    made = folder / "made"
    pem.write_key(made / "node.key", credential.key)
    pem.write_certificates(made / "node.pem", credential.chain)
    script = folder / "renew.py"
    script.write_text(
        "import shutil, sys\n"
        f"for name in ('node.key', 'node.pem'):\n    shutil.copy(f'{made}/' + name, f'{folder}/' + name)\n"
        f"sys.exit({code})\n"
    )
    return WithCommand(shlex.join([sys.executable, str(script)]))


def test_a_command_of_the_operator_may_renew(state: DevState, tmp_path: Path) -> None:
    renewed = state.issue()
    told = Renewer(*files(tmp_path), _command(tmp_path, renewed)).check(due_ms(state.node.leaf))
    assert told.renewed
    assert read_credential(*files(tmp_path)).leaf == renewed.leaf


@pytest.mark.parametrize(
    "command",
    ["", "/absent/program", "'unbalanced", f"{sys.executable} -c 'import sys; sys.exit(3)'"],
    ids=["empty", "absent", "unbalanced", "fails"],
)
def test_a_command_that_fails_is_told(state: DevState, tmp_path: Path, command: str) -> None:
    told = Renewer(*files(tmp_path), WithCommand(command)).check(due_ms(state.node.leaf))
    assert told.warning is not None
    assert "renewal_command" in told.warning


def test_a_command_that_hangs_is_stopped(state: DevState, tmp_path: Path) -> None:
    way = WithCommand(f"{sys.executable} -c 'import threading; threading.Event().wait()'", timeout_s=0.2)
    told = Renewer(*files(tmp_path), way).check(due_ms(state.node.leaf))
    assert told.warning is not None
    assert "TimeoutExpired" in told.warning


def test_a_command_that_does_nothing_is_told(state: DevState, tmp_path: Path) -> None:
    told = Renewer(*files(tmp_path), WithCommand(f"{sys.executable} -c ''")).check(due_ms(state.node.leaf))
    assert told.warning is not None
    assert "not renewed yet by the renewal command" in told.warning


def test_a_command_that_breaks_the_files_is_told(state: DevState, tmp_path: Path) -> None:
    other = Credential(state.issue().chain, state.issue().key)
    told = Renewer(*files(tmp_path), _command(tmp_path, other)).check(due_ms(state.node.leaf))
    assert told.warning is not None
    assert "not the key of the certificate" in told.warning


def test_files_that_others_write_are_watched(state: DevState, tmp_path: Path) -> None:
    renewer = Renewer(*files(tmp_path), ByOthers())
    late = renewer.check(due_ms(state.node.leaf) + 3 * DAY_MS)
    assert late.warning is not None
    assert "expires in 0 days" in late.warning
    replace_pair(*files(tmp_path), state.issue(days=30))
    assert renewer.check(now_ms()).warning is None


def test_the_settings_choose_one_way() -> None:
    certificate, key = Path("ca.pem"), Path("ca.key")
    assert way_of(certificate, key, None) == WithCa(certificate, key)
    assert way_of(None, None, "renew") == WithCommand("renew")
    assert way_of(None, None, None) == ByOthers()
    for bad in ((certificate, None, None), (None, key, None), (certificate, key, "renew")):
        with pytest.raises(RenewalError):
            way_of(*bad)


def test_a_life_is_kept_even_when_it_is_short(tmp_path: Path) -> None:
    state = DevState("XA", "dief")
    state.write(tmp_path)
    replace_pair(*files(tmp_path), pki.issue(state.ca, spiffe_id_of(state.node.leaf), days=0.05))
    Renewer(*files(tmp_path), with_ca(tmp_path)).check(now_ms(), force=True)
    leaf = read_credential(*files(tmp_path)).leaf
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc - pki.SKEW
    assert life.total_seconds() == pytest.approx(0.05 * 86_400, abs=1)
