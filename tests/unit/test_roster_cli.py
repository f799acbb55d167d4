"""`dief roster`: keepers make rosters on files, nodes trust them, errors name the mend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from click.testing import Result
from dief.v1 import operator_pb2, operator_pb2_grpc
from typer.testing import CliRunner

from node.cli import pki as pki_commands
from node.cli import roster as commands
from node.home import make_home
from node.identity import dsse, roster, trust_store
from node.identity.credentials import NationalCredentials
from node.ops.clock import now_ms
from node.store.engine import Store


def dief(*words: str | Path) -> Result:
    """Runs `dief roster ...`."""
    return CliRunner().invoke(commands.app, [str(word) for word in words])


def good(*words: str | Path) -> str:
    result = dief(*words)
    assert result.exit_code == 0, result.output
    return result.output


def bad(*words: str | Path) -> str:
    result = dief(*words)
    assert result.exit_code != 0
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    return result.output


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A keepers' desk: two keys, cards of XA and XB, and a signed first roster of XA."""
    for keeper in ("a", "b"):
        good("keygen", tmp_path / f"{keeper}.key")
    for state in ("XA", "XB"):
        card(tmp_path, state)
    first = tmp_path / "1.json"
    keepers = ("--keeper", tmp_path / "a.key.pub", "--keeper", tmp_path / "b.key.pub")
    good("init", first, *keepers)
    good("add", first, tmp_path / "xa.json")
    sign(tmp_path, first)
    return tmp_path


def card(folder: Path, state: str) -> None:
    own = folder / state.lower()
    runner = CliRunner()
    made = runner.invoke(pki_commands.app, ["dev", str(own), "--state", state])
    words = ["--name", f"State {state}", "--state", state, "--endpoint", "127.0.0.1:7443"]
    keys = ["--ca", str(own / "federation-ca.pem"), "--log-key", str(own / "log.key")]
    told = runner.invoke(pki_commands.app, ["card", str(folder / f"{state.lower()}.json"), *words, *keys])
    assert (made.exit_code, told.exit_code) == (0, 0), told.output


def sign(desk: Path, file: Path, *more: Path) -> None:
    for key in (desk / "a.key", desk / "b.key", *more):
        good("sign", file, "--key", key)


def test_a_first_roster_is_made_signed_and_checked(desk: Path) -> None:
    told = json.loads(good("show", desk / "1.json", "--json"))
    assert (told["version"], told["federation"], told["threshold"]) == (1, "dief", 2)
    assert told["signatures_missing"] == 0
    assert [one["state"] for one in told["participants"]] == ["XA"]
    assert "breaks no rule" in good("verify", desk / "1.json", "--sha256", told["sha256"])
    assert json.loads(good("verify", desk / "1.json", "--json"))["sha256"] == told["sha256"]


def test_people_see_participants_and_digest(desk: Path) -> None:
    output = good("show", desk / "1.json")
    assert "State XA" in output
    assert "0 of 2 signatures missing" in output


def test_the_next_roster_follows_the_one_before(desk: Path) -> None:
    second = desk / "2.json"
    good("init", second, "--after", desk / "1.json", "--days", "90")
    assert "XB added" in good("add", second, desk / "xb.json")
    assert "lacks 2 of 2" in bad("verify", second, "--previous", desk / "1.json")
    sign(desk, second)
    good("verify", second, "--previous", desk / "1.json")
    third = desk / "3.json"
    good("init", third, "--after", second)
    sign(desk, third)
    assert "Fetch roster 2" in bad("verify", third, "--previous", desk / "1.json")
    assert "older" in bad("verify", desk / "1.json", "--previous", second)


def test_a_change_makes_signatures_fall_away(desk: Path) -> None:
    assert "sign it again" in dief("add", desk / "1.json", desk / "xb.json").output
    assert json.loads(good("show", desk / "1.json", "--json"))["signatures_missing"] == 2


def test_the_same_card_again_changes_nothing(desk: Path) -> None:
    assert "XA replaced" in good("add", desk / "1.json", desk / "xa.json")
    assert json.loads(good("show", desk / "1.json", "--json"))["signatures_missing"] == 0


def test_a_participant_can_be_suspended_and_a_new_card_does_not_undo_it(desk: Path) -> None:
    good("set", desk / "1.json", "XA", "suspended")
    good("add", desk / "1.json", desk / "xa.json")
    (row,) = json.loads(good("show", desk / "1.json", "--json"))["participants"]
    assert row["participation"] == "SUSPENDED"
    assert "active, suspended, removed" in bad("set", desk / "1.json", "XA", "gone")
    assert "does not list XQ" in bad("set", desk / "1.json", "XQ", "removed")


def test_a_revoked_key_stays_revoked_whatever_a_card_says(desk: Path) -> None:
    log_key = desk / "xa/log.key"
    good("key", desk / "1.json", log_key, "revoked")
    good("add", desk / "1.json", desk / "xa.json")
    (row,) = json.loads(good("show", desk / "1.json", "--json"))["participants"]
    assert [key["state"] for key in row["log_keys"]] == ["REVOKED"]
    assert "does not come back" in bad("key", desk / "1.json", log_key, "active")
    assert "lists no such key" in bad("key", desk / "1.json", "ab" * 32, "retired")


def test_a_states_old_key_may_sign_beside_the_keepers(desk: Path) -> None:
    output = good("sign", desk / "1.json", "--key", desk / "xb/log.key")
    assert "counts for a State's new keys only" in output
    good("verify", desk / "1.json")


def test_a_roster_that_breaks_a_rule_is_not_even_signed(desk: Path) -> None:
    long = desk / "long.json"
    good("init", long, "--keeper", desk / "a.key.pub", "--days", "91")
    assert "90 days" in bad("sign", long, "--key", desk / "a.key")
    assert "90 days" in bad("show", long)


def test_nothing_is_overwritten(desk: Path) -> None:
    assert "never overwritten" in bad("keygen", desk / "a.key")
    assert "there already" in bad("init", desk / "1.json", "--keeper", desk / "a.key.pub")


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (("init", "new.json"), "--keeper"),
        (("init", "new.json", "--keeper", "absent.pub"), "can not be read"),
        (("init", "new.json", "--keeper", "1.json"), "no Ed25519 key"),
        (("init", "new.json", "--after", "a.key"), "not a DSSE envelope"),
        (("show", "absent.json"), "can not be read"),
        (("add", "1.json", "a.key.pub"), "no participant's card"),
        (("add", "1.json", "1.json"), "no participant's card"),
        (("verify", "1.json", "--sha256", "00" * 32), "not the one that was compared"),
        (("verify", "1.json", "--sha256", "text"), "64 hex digits"),
        (("sign", "1.json", "--key", "xa/node.key"), "no Ed25519 key"),
    ],
)
def test_mistakes_are_told(
    desk: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], mend: str
) -> None:
    monkeypatch.chdir(desk)
    assert mend in " ".join(bad(*words).split())


@pytest.mark.parametrize(
    "command", ["keygen", "init", "add", "set", "key", "sign", "show", "verify", "trust", "update"]
)
def test_help_teaches_by_example(command: str) -> None:
    assert f"dief roster {command}" in good(command, "--help")


# -- With a running node: what the command sends over the real channel, answered by the real trust store


class Operator(operator_pb2_grpc.OperatorServiceServicer):
    """The calls about rosters, without the rest of a node."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def UpdateRoster(  # noqa: N802 - as the proto names it
        self, request: operator_pb2.UpdateRosterRequest, context: grpc.ServicerContext
    ) -> operator_pb2.UpdateRosterResponse:
        with self.store.write() as conn:
            if request.trust_sha256:
                trusted = trust_store.trust_first(conn, request.envelope, request.trust_sha256, now_ms())
            else:
                trusted = trust_store.update(conn, request.envelope, now_ms())
            admitted = trust_store.load_trust(conn).admitted
        waiting = sorted(set(trusted.view.states()) - admitted)
        return operator_pb2.UpdateRosterResponse(version=trusted.version, needs_admission=waiting)

    def ShowRoster(  # noqa: N802 - as the proto names it
        self, request: operator_pb2.ShowRosterRequest, context: grpc.ServicerContext
    ) -> operator_pb2.ShowRosterResponse:
        with self.store.read() as conn:
            return operator_pb2.ShowRosterResponse(envelope=trust_store.newest_envelope(conn))


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """Settings of a home whose national listener answers."""
    folder = tmp_path / "home"
    make_home(folder, "XB", "dief", federation_listen="127.0.0.1:1", national_listen="127.0.0.1:2", dev=True)
    store = Store.open(f"sqlite:///{tmp_path}/node.db")
    store.create_all()
    pki = folder / "pki"
    credentials = NationalCredentials(
        certificate=pki / "national-server.pem",
        key=pki / "national-server.key",
        client_ca=pki / "national-ca.pem",
    )
    server = grpc.server(futures.ThreadPoolExecutor(2))
    operator_pb2_grpc.add_OperatorServiceServicer_to_server(Operator(store), server)
    port = server.add_secure_port("127.0.0.1:0", credentials.server())
    server.start()
    settings = folder / "dief.toml"
    settings.write_text(settings.read_text().replace("127.0.0.1:2", f"127.0.0.1:{port}"))
    yield settings
    server.stop(None).wait()
    store.close()


def test_a_node_trusts_a_first_roster_and_follows_the_next(desk: Path, config: Path) -> None:
    digest = roster.digest_of(dsse.from_json((desk / "1.json").read_bytes())).hex()
    output = good("trust", desk / "1.json", "--sha256", digest, "--config", config)
    assert "Roster 1 is trusted" in output
    assert "dief peer admit XA" in output
    second = desk / "2.json"
    good("init", second, "--after", desk / "1.json")
    good("add", second, desk / "xb.json")
    sign(desk, second)
    assert "Roster 2 is trusted" in good("update", second, "--config", config)
    assert json.loads(good("show", "--config", config, "--json"))["version"] == 2


def test_a_digest_that_is_none_never_reaches_the_node(desk: Path, config: Path) -> None:
    assert "64 hex digits" in bad("trust", desk / "1.json", "--sha256", "", "--config", config)


def test_a_threshold_that_all_keepers_together_can_not_reach_is_refused_at_once(desk: Path) -> None:
    keepers = ("--keeper", desk / "a.key.pub", "--keeper", desk / "b.key.pub")
    assert "3 keepers can not sign, there are 2" in bad("init", desk / "n.json", *keepers, "--threshold", "3")
    assert "there are 2" in bad("init", desk / "n.json", "--after", desk / "1.json", "--threshold", "3")
    assert not (desk / "n.json").exists()
