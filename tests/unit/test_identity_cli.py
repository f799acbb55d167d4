"""`dief pki`: what a person types, what lies on disk afterwards, and which mend an error names."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from node.cli import pki as commands
from node.home import make_home
from node.identity import pem
from node.identity.authoring import from_card
from node.identity.certificates import spiffe_id_of
from node.identity.credentials import read_credential, read_crl
from tests.support.pki import DevState


def dief(*words: str | Path) -> Result:
    """Runs `dief pki ...`."""
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


def test_dev_makes_everything_a_node_and_its_people_need(tmp_path: Path) -> None:
    good("dev", tmp_path, "--state", "XA", "--dns", "node.xa.example", "--ip", "192.0.2.1")
    credential = read_credential(tmp_path / "node.pem", tmp_path / "node.key")
    assert str(spiffe_id_of(credential.leaf)) == "spiffe://xa.dief/node/main"
    keys = list(tmp_path.glob("*.key"))
    assert {key.name for key in keys} >= {"operator.key", "officer.key", "log.key", "national-server.key"}
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_dev_never_overwrites_keys(tmp_path: Path) -> None:
    good("dev", tmp_path, "--state", "XA")
    before = (tmp_path / "federation-ca.key").read_bytes()
    assert "already holds keys" in bad("dev", tmp_path, "--state", "XA")
    assert (tmp_path / "federation-ca.key").read_bytes() == before


def test_dev_refuses_what_is_no_state(tmp_path: Path) -> None:
    assert "two letters" in bad("dev", tmp_path, "--state", "Xanadu")


def test_a_request_travels_to_the_ca_and_comes_back_as_a_certificate(tmp_path: Path) -> None:
    good("dev", tmp_path / "ca", "--state", "XA")
    key, request, certificate = tmp_path / "node.key", tmp_path / "node.csr", tmp_path / "node.pem"
    good("csr", key, request, "--id", "spiffe://xa.dief/node/second", "--dns", "second.xa.example")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    ca = ("--ca", tmp_path / "ca/federation-ca.pem", "--ca-key", tmp_path / "ca/federation-ca.key")
    good("sign", request, certificate, *ca, "--days", "3")
    (row,) = json.loads(good("show", certificate, "--json"))
    assert row["spiffe_id"] == "spiffe://xa.dief/node/second"
    assert row["dns"] == ["second.xa.example"]
    assert row["days_left"] in (2, 3)
    assert row["ca"] is False
    assert read_credential(certificate, key)


def test_a_second_request_uses_the_key_that_is_there(tmp_path: Path) -> None:
    key = tmp_path / "node.key"
    good("csr", key, tmp_path / "one.csr", "--id", "spiffe://xa.dief/node/main")
    before = key.read_bytes()
    good("csr", key, tmp_path / "two.csr", "--id", "spiffe://xa.dief/node/main")
    assert key.read_bytes() == before


def test_another_states_ca_does_not_sign(tmp_path: Path) -> None:
    good("dev", tmp_path / "xb", "--state", "XB")
    good("csr", tmp_path / "node.key", tmp_path / "node.csr", "--id", "spiffe://xa.dief/node/main")
    ca = ("--ca", tmp_path / "xb/federation-ca.pem", "--ca-key", tmp_path / "xb/federation-ca.key")
    output = bad("sign", tmp_path / "node.csr", tmp_path / "node.pem", *ca)
    assert "mend:" in output
    assert not (tmp_path / "node.pem").exists()
    assert "no certificate request" in bad("sign", tmp_path / "node.key", tmp_path / "node.pem", *ca)


def test_an_open_key_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    good("dev", tmp_path, "--state", "XA")
    (tmp_path / "federation-ca.key").chmod(0o640)
    good("csr", tmp_path / "n.key", tmp_path / "n.csr", "--id", "spiffe://xa.dief/node/main")
    ca = ("--ca", tmp_path / "federation-ca.pem", "--ca-key", tmp_path / "federation-ca.key")
    assert "chmod 600" in bad("sign", tmp_path / "n.csr", tmp_path / "n.pem", *ca)


def test_show_lists_cas_and_leaves_for_people(tmp_path: Path) -> None:
    state = DevState("XA", "dief")
    pem.write_certificates(tmp_path / "chain.pem", [state.node.leaf, state.ca.certificate])
    output = good("show", tmp_path / "chain.pem")
    assert "CN=node main" in output
    assert "CN=xa.dief" in output
    assert "can not be read" in bad("show", tmp_path / "absent.pem")


def test_a_revocation_list_grows(tmp_path: Path) -> None:
    good("dev", tmp_path, "--state", "XA")
    crl = tmp_path / "national-ca.crl"
    ca = ("--ca", tmp_path / "national-ca.pem", "--ca-key", tmp_path / "national-ca.key")
    good("crl", crl, *ca)
    good("crl", crl, *ca, "--revoke", tmp_path / "officer.pem")
    good("crl", crl, *ca, "--revoke", tmp_path / "auditor.pem")
    assert len(read_crl(crl)) == 2


def home(folder: Path, *, dev: bool = True) -> Path:
    make_home(
        folder,
        "XA",
        "dief",
        federation_listen="127.0.0.1:7443",
        national_listen="127.0.0.1:7444",
        dev=dev,
    )
    return folder / "dief.toml"


def test_renew_follows_the_settings(tmp_path: Path) -> None:
    config = home(tmp_path)
    before = (tmp_path / "pki/node.pem").read_bytes()
    assert "Renewed" in good("renew", "--config", config)
    assert (tmp_path / "pki/node.pem").read_bytes() != before
    assert read_credential(tmp_path / "pki/node.pem", tmp_path / "pki/node.key")


def test_renew_says_what_is_missing(tmp_path: Path) -> None:
    config = home(tmp_path)
    text = config.read_text()
    config.write_text(text.replace("renewal_ca", "# renewal_ca"))
    assert "no way to renew" in bad("renew", "--config", config)
    config.write_text(text)
    (tmp_path / "pki/federation-ca.key").unlink()
    assert "can not be read" in bad("renew", "--config", config)


def test_a_card_takes_what_the_settings_know(tmp_path: Path) -> None:
    config = home(tmp_path)
    good("card", tmp_path / "xa.card.json", "--name", "Xanadu", "--config", config)
    made = from_card((tmp_path / "xa.card.json").read_bytes())
    assert (made.state, made.display_name, list(made.endpoints)) == ("XA", "Xanadu", ["127.0.0.1:7443"])
    assert len(made.ca_certificates) == len(made.log_keys) == 1
    assert b"PRIVATE" not in (tmp_path / "xa.card.json").read_bytes()


def test_a_card_can_be_made_without_a_node(tmp_path: Path) -> None:
    good("dev", tmp_path, "--state", "XD")
    words = ["card", tmp_path / "xd.json", "--name", "XD", "--state", "XD", "--status", "signatory"]
    more = ["--ca", tmp_path / "federation-ca.pem", "--endpoint", "node.xd.example:7443"]
    keys = ["--log-key", tmp_path / "log.key", "--log-key", f"{'ab' * 32}:prepared"]
    good(*words, *more, *keys)
    made = from_card((tmp_path / "xd.json").read_bytes())
    assert [key.state for key in made.log_keys] == [2, 1]
    assert "state-party, signatory" in bad(*[*words[:-1], "observer"], *more, *keys)


@pytest.mark.parametrize("endpoint", ["7443", "node.xa.example", "node.xa.example:0", "0.0.0.0:7443"])
def test_a_card_refuses_what_no_peer_can_dial(tmp_path: Path, endpoint: str) -> None:
    config = home(tmp_path)
    card = tmp_path / "xa.card.json"
    assert "--endpoint" in bad("card", card, "--name", "X", "--endpoint", endpoint, "--config", config)
    assert not card.exists()


@pytest.mark.parametrize("command", ["dev", "csr", "sign", "renew", "show", "card", "crl"])
def test_help_teaches_by_example(command: str) -> None:
    assert f"dief pki {command}" in good(command, "--help")
