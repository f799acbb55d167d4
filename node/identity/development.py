"""All certificates and keys that one State needs, made on one machine: for development, demonstration and tests.

Rules:
- File names are those that the settings name by default, below one folder.
- A real State keeps its CA keys elsewhere; there only requests (`dief pki csr`) and certificates travel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.identity import pem, pki
from node.identity.pki import Authority, CaRole, Credential
from node.identity.spiffe import Kind, SpiffeId

NATIONAL_SERVER: Final = "national"
"""Name of the identity that the national listener shows: kind `node`, signed by the national CA."""

LOCAL_DNS: Final = ("localhost",)
LOCAL_IPS: Final = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class DevelopmentPki:
    """Certificates and keys of one State, in memory.

    Attributes:
        state: the State.
        federation: name of the federation.
        federation_ca: signs `node`.
        national_ca: signs everything else.
        node: the node in the federation.
        national_server: the node on its national listener.
        clients: one identity for each national kind.
        log_key: signs the State's logs.
    """

    state: str
    federation: str
    federation_ca: Authority
    national_ca: Authority
    node: Credential
    national_server: Credential
    clients: dict[Kind, Credential]
    log_key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def make(
        cls,
        state: str,
        federation: str,
        *,
        dns: Sequence[str] = LOCAL_DNS,
        ips: Sequence[str] = LOCAL_IPS,
        node_days: float = pki.NODE_DAYS,
    ) -> DevelopmentPki:
        """Makes all of it afresh.

        Args:
            state: ISO 3166-1 alpha-2, upper case.
            federation: name of the federation.
            dns: host names of both listeners.
            ips: addresses of both listeners.
            node_days: life of the node's leaf, in days.
        """
        federation_ca = pki.create_ca(state, federation, role=CaRole.FEDERATION)
        national_ca = pki.create_ca(state, federation, role=CaRole.NATIONAL)

        def national(kind: Kind) -> Credential:
            return pki.issue(national_ca, SpiffeId(state, federation, kind, f"{kind}-1"))

        server = SpiffeId(state, federation, Kind.NODE, NATIONAL_SERVER)
        node = SpiffeId(state, federation, Kind.NODE, "main")
        return cls(
            state,
            federation,
            federation_ca,
            national_ca,
            pki.issue(federation_ca, node, dns=dns, ips=ips, days=node_days),
            pki.issue(national_ca, server, dns=dns, ips=ips, days=pki.PERSON_DAYS),
            {kind: national(kind) for kind in Kind if kind != Kind.NODE},
            Ed25519PrivateKey.generate(),
        )

    def write(self, folder: Path) -> list[Path]:
        """Writes everything below a folder.

        Args:
            folder: for example a node's `pki`.

        Returns:
            The files, certificates and keys.
        """
        files: list[Path] = []
        for name, authority in (("federation-ca", self.federation_ca), ("national-ca", self.national_ca)):
            files += _write(folder, name, Credential((authority.certificate,), authority.key))
        files += _write(folder, "node", self.node)
        files += _write(folder, "national-server", self.national_server)
        for kind, credential in self.clients.items():
            files += _write(folder, kind.value, credential)
        pem.write_key(folder / "log.key", self.log_key)
        return [*files, folder / "log.key"]


def _write(folder: Path, name: str, credential: Credential) -> list[Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_key(key, credential.key)
    pem.write_certificates(certificate, credential.chain)
    return [certificate, key]
