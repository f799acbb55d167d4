"""A running node asked and followed by a client in another language, which believes only what is proven."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from dief.v1 import federation_pb2, log_pb2

from node.identity import dsse
from node.identity import roster as roster_rules
from node.identity.pem import certificates_pem, key_pem
from node.identity.pki import Credential
from node.ledger.merkle import leaf_hash
from tests.support.exchange import content, publish, revise, withdraw
from tests.support.nodes import Federation, federation

Run = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.timeout(420)


@pytest.fixture(scope="module")
def xa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """XA's node alone; XB, admitted there, is the client in the other language."""
    with Federation(tmp_path_factory.mktemp("interop"), ["XA", "XB"], signatories=["XD"]) as made:
        made.start("XA")
        yield made


@pytest.fixture(scope="module")
def published(xa: Federation) -> dict[str, str]:
    """Alerts of XA by title: two that stand, one of them revised; one withdrawn; one not for XB."""
    node = xa["XA"]
    names = {
        title: publish(node, content(title, f"EX-{number:06d}", states=["XB"]))
        for number, title in enumerate(("Stands", "Revised", "Withdrawn"))
    }
    revise(node, names["Revised"], content("Revised twice", "EX-000001", states=["XB"]))
    withdraw(node, names["Withdrawn"])
    names["Not for XB"] = publish(node, content("Not for XB", "EX-000009", states=["XD"]))
    return names


@pytest.fixture
def ask(client: Run, xa: Federation, tmp_path: Path) -> Run:
    """Runs the client against XA's node with XB's certificate, or with any other."""

    def run(credential: Credential | None = None, **changes: Any) -> subprocess.CompletedProcess[str]:
        shown = credential or xa.pki["XB"].node
        first = xa.pki.envelopes[0]
        (tmp_path / "node.pem").write_bytes(certificates_pem(shown.chain))
        (tmp_path / "node.key").write_bytes(key_pem(shown.key))
        (tmp_path / "roster.json").write_bytes(dsse.to_json(first))
        config = tmp_path / "client.json"
        settings = {
            "address": xa["XA"].endpoint,
            "peer": "XA",
            "own_state": "XB",
            "certificate": str(tmp_path / "node.pem"),
            "key": str(tmp_path / "node.key"),
            "roster": str(tmp_path / "roster.json"),
            "roster_sha256": roster_rules.digest_of(first).hex(),
            "page_size": 1,
        }
        config.write_text(json.dumps(settings | changes))
        return client("node", config)

    return run


def test_another_language_proves_what_a_running_node_answers(
    ask: Run, xa: Federation, published: dict[str, str]
) -> None:
    """I3: roster, header hash, inclusion proof and checkpoint are recomputed from what came over the wire."""
    result = ask()
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["roster_version"] == xa.pki.trusted.version == 2
    found = {one["title"]: one for one in answer["alerts"]}
    assert set(found) == {"Stands", "Revised twice"}
    assert found["Stands"]["name"] == published["Stands"]
    assert (found["Revised twice"]["name"], found["Revised twice"]["revision"]) == (published["Revised"], 2)
    assert all(one["tampering_refused"] and one["has_body"] for one in found.values())
    with xa["XA"].peer_channel("XB") as channel:
        ours = federation(channel).QueryAlerts(federation_pb2.QueryAlertsRequest(), timeout=10)
    for proven in ours.alerts:
        header = log_pb2.EntryHeader.FromString(proven.entry.header)
        one = next(each for each in answer["alerts"] if each["name"] == header.subject)
        assert one["leaf_hash"] == leaf_hash(proven.entry.header).hex()
        assert (one["log_id"], one["seq"]) == (header.log_id.hex(), header.seq)


def test_another_language_follows_a_running_node(ask: Run, published: dict[str, str]) -> None:
    """I2, I6: the whole log of XB's audience verifies, erased bodies stay away, no other log is told of."""
    result = ask()
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert (answer["frames"][0], answer["frames"][-1]) == ("hello", "caught_up")
    (log,) = answer["logs"]
    proven = {one["log_id"]: one for one in answer["alerts"]}
    assert set(proven) == {log["log_id"]}
    assert (log["size"], log["root"]) == (proven[log["log_id"]]["size"], proven[log["log_id"]]["root"])
    assert log["size"] == 6, "genesis, three alerts, a revision, a withdrawal"
    assert log["bodies"] == [0, 1, 4, 5], "entry 2 was revised, entry 3 withdrawn"


def test_a_roster_with_another_digest_is_not_trusted(ask: Run) -> None:
    result = ask(roster_sha256="00" * 32)
    assert result.returncode == 1
    assert "Refusal: digest" in result.stderr


def test_i9_another_states_certificate_gets_nothing(ask: Run, xa: Federation) -> None:
    """XB's own CA, but a name of XD: the handshake may pass, the call does not."""
    result = ask(credential=xa.pki["XB"].issue("spiffe://xd.dief/node/main"))
    assert result.returncode == 1
    assert grpc.StatusCode.UNAUTHENTICATED.name in result.stderr
    assert result.stdout == ""
