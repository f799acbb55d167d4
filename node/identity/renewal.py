"""The node renews its own certificate long before it expires, and says so when it can not.

Rules:
- Due after two thirds of the certificate's life.
- One of three ways: with a CA key that the node may use, with a command of the operator that writes both files, or
  by nobody here, where SPIRE or cert-manager writes them.
- The new key stands beside the old one until the new certificate is in place, so a crash at any moment leaves a pair
  that fits. A renewed certificate keeps identity, names and length of life, never the key.
- A way that fails leaves everything as it was and is tried again; the warning names the days that are left.

Example:
    renewer = Renewer(certificate, key, WithCa(ca_certificate, ca_key))
    state = renewer.check(now_ms())  # every few minutes
"""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509

from node.identity import pem, pki
from node.identity.certificates import spiffe_id_of
from node.identity.credentials import next_key, read_credential
from node.identity.errors import IdentityError, RenewalError
from node.identity.pki import Authority, Credential

COMMAND_TIMEOUT_S: Final = 300
"""How long the operator's command may run, in seconds."""

_DAY_MS: Final = 24 * 3_600_000


class Way(Protocol):
    """A way to renew."""

    @property
    def words(self) -> str:
        """What it is, for messages."""

    def renew(self, certificate: Path, key: Path, held: Credential, now: datetime) -> None:
        """Puts a new pair in place.

        Raises:
            IdentityError: it could not; the old pair is still there.
        """


@dataclass(frozen=True, slots=True)
class WithCa:
    """Signs with a CA key that this machine may use.

    Attributes:
        certificate: the CA's certificate.
        key: its key.
    """

    certificate: Path
    key: Path

    @property
    def words(self) -> str:
        """What it is, for messages."""
        return "with the CA key at hand"

    def renew(self, certificate: Path, key: Path, held: Credential, now: datetime) -> None:
        """Makes a new key and has the CA sign it.

        Raises:
            IdentityError: the CA can not be used or does not fit.
        """
        authority = Authority(pem.read_certificates(self.certificate)[0], pem.read_key(self.key))
        leaf = held.leaf
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc - pki.SKEW
        renewed = pki.issue(
            authority,
            spiffe_id_of(leaf),
            dns=names.get_values_for_type(x509.DNSName),
            ips=[str(address) for address in names.get_values_for_type(x509.IPAddress)],
            days=life / timedelta(days=1),
            now=now,
        )
        replace_pair(certificate, key, renewed)


@dataclass(frozen=True, slots=True)
class WithCommand:
    """Runs a command of the operator that writes both files.

    Attributes:
        command: program and arguments as in a shell, run without one.
        timeout_s: how long it may run, in seconds.
    """

    command: str
    timeout_s: float = COMMAND_TIMEOUT_S

    @property
    def words(self) -> str:
        """What it is, for messages."""
        return "by the renewal command"

    def renew(self, certificate: Path, key: Path, held: Credential, now: datetime) -> None:
        """Runs the command and looks at what it wrote.

        Raises:
            RenewalError: it can not be run, fails, or takes too long.
        """
        try:
            words = shlex.split(self.command)
            if not words:
                raise ValueError("empty")
            subprocess.run(
                words,
                check=True,
                timeout=self.timeout_s,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise RenewalError(
                f"The renewal command failed ({type(error).__name__}).",
                "Run the command of `[federation] renewal_command` by hand and mend what it says.",
            ) from error


@dataclass(frozen=True, slots=True)
class ByOthers:
    """Something outside writes both files; the node only watches how long they last."""

    @property
    def words(self) -> str:
        """What it is, for messages."""
        return "by whoever writes the files"

    def renew(self, certificate: Path, key: Path, held: Credential, now: datetime) -> None:
        """Nothing: it is not this node's to do."""


@dataclass(frozen=True, slots=True)
class RenewalState:
    """How the certificate stands after a check.

    Attributes:
        not_after_ms: when it expires.
        renewed: whether this check put a new one in place.
        warning: words for the operator, or None.
    """

    not_after_ms: int
    renewed: bool
    warning: str | None


class Renewer:
    """Looks after one pair of files."""

    def __init__(self, certificate: Path, key: Path, way: Way) -> None:
        self._certificate = certificate
        self._key = key
        self._way = way

    def check(self, now_ms: int, *, force: bool = False) -> RenewalState:
        """Renews if it is due.

        Args:
            now_ms: this machine's clock.
            force: renew although it is not due.

        Raises:
            CredentialFileError: the pair that is there can not be used.
        """
        held = read_credential(self._certificate, self._key)
        if not force and now_ms < due_ms(held.leaf):
            return RenewalState(_end_ms(held.leaf), renewed=False, warning=None)
        problem, newest = "", held
        try:
            self._way.renew(self._certificate, self._key, held, datetime.fromtimestamp(now_ms // 1000, UTC))
            newest = read_credential(self._certificate, self._key)
        except IdentityError as error:
            problem = f" {error}"
        if newest.leaf != held.leaf:
            return RenewalState(_end_ms(newest.leaf), renewed=True, warning=None)
        days = max(0, (_end_ms(held.leaf) - now_ms) // _DAY_MS)
        return RenewalState(
            _end_ms(held.leaf),
            renewed=False,
            warning=f"The node's certificate expires in {days} days and is not renewed yet {self._way.words}."
            f"{problem or ' Renew it, for example with `dief pki renew`.'}",
        )


def way_of(ca_certificate: Path | None, ca_key: Path | None, command: str | None) -> Way:
    """The way that the settings ask for: a CA, else a command, else others.

    Raises:
        RenewalError: half of a CA, or two ways at once.
    """
    if (ca_certificate is None) != (ca_key is None):
        raise RenewalError(
            "The settings name only one of renewal_ca_certificate and renewal_ca_key.",
            "Name both or neither.",
        )
    if ca_certificate is not None and ca_key is not None:
        if command is not None:
            raise RenewalError(
                "The settings name a renewal CA and a renewal command.", "Drop one of the two."
            )
        return WithCa(ca_certificate, ca_key)
    return ByOthers() if command is None else WithCommand(command)


def due_ms(leaf: x509.Certificate) -> int:
    """From when a certificate should be renewed: two thirds of its life, in ms."""
    start = int(leaf.not_valid_before_utc.timestamp() * 1000)
    return start + (_end_ms(leaf) - start) * 2 // 3


def replace_pair(certificate: Path, key: Path, renewed: Credential) -> None:
    """Puts a new pair in place so that a crash at any moment leaves one that fits."""
    if next_key(key).exists():
        _finish(certificate, key)
    pem.write_key(next_key(key), renewed.key)
    pem.write_certificates(certificate, renewed.chain)
    next_key(key).replace(key)


def _finish(certificate: Path, key: Path) -> None:
    """Ends a replacement that a crash left half done, before the next one overwrites its key."""
    held = read_credential(certificate, key)
    pem.write_key(key, held.key)
    next_key(key).unlink()


def _end_ms(leaf: x509.Certificate) -> int:
    return int(leaf.not_valid_after_utc.timestamp() * 1000)
