"""The home of a node: its settings file, log key, release policy and, for trying it, development certificates."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.identity import pem
from node.identity.development import DevelopmentPki
from node.ops import settings as settings_of
from node.ops.errors import DiefError

SETTINGS = """\
# Settings of one node. Every value can be overridden by DIEF_<SECTION>__<KEY>, for example
# DIEF_DATABASE__URL. Relative paths are relative to this file.
state = "{state}"
federation_name = "{federation}"

[database]
# SQLite by default; for PostgreSQL: "postgresql+psycopg://dief@db.example/dief"
url = "sqlite:///data/node.db"

[federation]
# Other States' nodes connect here; the roster names this address to them.
listen = "{federation_listen}"
certificate = "pki/node.pem"
key = "pki/node.key"
# The node renews its own certificate before it expires, with a CA key that it may use ...
{renewal}
# ... or with a command that writes the two files anew, or they are written by SPIRE or cert-manager.
# renewal_command = "/usr/local/bin/renew-dief-certificate"

[national]
# The own State's registries, officers and operators connect here.
listen = "{national_listen}"
certificate = "pki/national-server.pem"
key = "pki/national-server.key"
client_ca = "pki/national-ca.pem"
# crl = "pki/national-ca.crl"

[log]
# Signs this State's logs. The anchor belongs on another disk than the database, and in no backup of it.
key = "pki/log.key"
anchor = "anchor/anchor.log"
# How long backups of the database are kept, in days; receipts tell originators.
# backup_horizon_days = 30

[release]
policy = "policy.toml"

[logging]
level = "info"
format = "console"

# Adapters that run beside this node, each as a process of its own (registry_adapters/README.md):
# [adapters]
# mappings = ["registries/licences.toml"]
# every = "30s"
{clients}"""

RENEWAL = 'renewal_ca_certificate = "pki/federation-ca.pem"\nrenewal_ca_key = "pki/federation-ca.key"'
RENEWAL_OFF = '# renewal_ca_certificate = "pki/federation-ca.pem"\n# renewal_ca_key = "pki/federation-ca.key"'

POLICY = """\
# The national release policy: the first rule whose condition holds decides; without one, a person is asked.
# Outcomes: auto, ask (one person), ask_two (two different persons), hold, refuse.
# Every rule names the law that it rests on. `dief release policy-check` checks this file; a running node takes a
# changed file within seconds, and goes on with the one before where the new one is broken.

[[rule]]
name = "everything-by-a-person"
when = "true"
outcome = "ask"
legal_basis = "Name the national law that permits sharing under ATT Article 11(3)"
"""

CLIENTS = ("registry", "officer", "delegate", "approver", "operator", "auditor")


class HomeExistsError(DiefError):
    """The folder already holds a node."""

    default_reason: ClassVar[str] = "HOME_EXISTS"


class NoHomeError(DiefError):
    """The folder can not be made."""

    default_reason: ClassVar[str] = "NO_HOME"


def make_home(
    folder: Path,
    state: str,
    federation: str,
    *,
    federation_listen: str,
    national_listen: str,
    dev: bool,
    dns: Sequence[str] = ("localhost",),
    policy: str = POLICY,
) -> None:
    """Write the files of a node's home.

    Raises:
        HomeExistsError: There is a dief.toml already; nothing was changed.
        SettingsError: State, federation or an address is not one; nothing was changed.
        NoHomeError: The folder can not be made there.
    """
    settings_of.check(
        {
            "state": state,
            "federation_name": federation,
            "federation": {"listen": federation_listen},
            "national": {"listen": national_listen},
        },
        "A new home",
        "Give another value.",
    )
    if (folder / "dief.toml").exists():
        raise HomeExistsError(
            f"{folder} already holds a node.", "Choose another folder, or edit its dief.toml."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NoHomeError(
            f"{folder} can not be made: {error.strerror}.", "Name a folder that you may write to."
        ) from None
    clients = "".join(
        f'\n[clients.{role}]\ncertificate = "pki/{role}.pem"\nkey = "pki/{role}.key"\n' for role in CLIENTS
    )
    settings = SETTINGS.format(
        state=state,
        federation=federation,
        federation_listen=federation_listen,
        national_listen=national_listen,
        renewal=RENEWAL if dev else RENEWAL_OFF,
        clients=clients,
    )
    if dev:
        host = federation_listen.rpartition(":")[0]
        ips = {"127.0.0.1", "::1"} | ({host} if _is_one_address(host) else set())
        DevelopmentPki.make(state, federation, dns=dns, ips=sorted(ips)).write(folder / "pki")
    else:
        pem.write_key(folder / "pki" / "log.key", Ed25519PrivateKey.generate())
    pem.write_atomic(folder / "policy.toml", policy.encode())
    pem.write_atomic(folder / "dief.toml", settings.encode())


def _is_one_address(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False
