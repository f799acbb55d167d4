"""TLS material of the two listeners and of connections to peers: read from files, checked, read again when it changes.

Rules:
- A key file that others may read is refused. Certificate and key must fit each other; while a renewal has written
  one and not yet the other, what was read before stays in use. After a crash in between, the key beside it,
  `<key>.next`, is the one that fits.
- The federation listener lets through the handshake whomever a listed State's CA signed, so that a State that is
  not admitted can be told so; who may speak is decided on every call (`certificates`, I9).
- A connection to a peer trusts the bundle of that State only, since gRPC in Python can not look at the server's
  SPIFFE ID itself.
- Files and roster are looked at again at each new connection: nothing needs a restart.

Example:
    own = NodeCredentials(certificate=home / "node.pem", key=home / "node.key")
    server.add_secure_port(address, own.server(lambda: trust.state.view))
    grpc.aio.secure_channel(endpoint, own.channel(view.bundle("XB")))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

import grpc
import structlog
from cryptography import x509

from node.identity import pem
from node.identity.errors import CredentialFileError
from node.identity.pki import Credential
from node.identity.view import RosterView

NEXT_SUFFIX: Final = ".next"
"""A key that is written before its certificate has this behind its name until both are in place."""

log = structlog.get_logger(__name__)


def next_key(key: Path) -> Path:
    """Where a renewal puts the new key first."""
    return key.with_name(key.name + NEXT_SUFFIX)


def read_credential(certificate: Path, key: Path) -> Credential:
    """Reads a chain and its key.

    Args:
        certificate: PEM, leaf first.
        key: PEM, mode 0600.

    Raises:
        KeyFileModeError: others may read the key.
        CredentialFileError: a file is missing or malformed, or the two do not fit.
    """
    chain = pem.read_certificates(certificate)
    wanted = chain[0].public_key()
    for path in (key, next_key(key)):
        if path == key or path.exists():
            private = pem.read_key(path)
            if private.public_key() == wanted:
                return Credential(chain, private)
    raise CredentialFileError(
        f"{key} is not the key of the certificate in {certificate}.",
        "Put the key and the certificate of one pair there, or make both anew with `dief pki`.",
    )


def channel_credentials_for(
    bundle: Sequence[x509.Certificate], credential: Credential
) -> grpc.ChannelCredentials:
    """Credentials of a connection to one State's node.

    Args:
        bundle: federation CA certificates of that State and of no other.
        credential: the own node's.

    Raises:
        CredentialFileError: the bundle is empty, so no server could be told from an impostor.
    """
    if not bundle:
        raise CredentialFileError(
            "The roster lists no CA certificate for this State, so no connection to it can be trusted.",
            "Ask the keepers of the roster to list the State's CA.",
        )
    return grpc.ssl_channel_credentials(
        root_certificates=pem.certificates_pem(bundle),
        private_key=pem.key_pem(credential.key),
        certificate_chain=pem.certificates_pem(credential.chain),
    )


def roots_of(view: RosterView | None, own: x509.Certificate) -> bytes:
    """PEM of every CA that the roster lists; with none, the own leaf, which signs nobody."""
    states = () if view is None else view.states()
    listed = [ca for state in states if view is not None for ca in view.bundle(state)]
    return pem.certificates_pem(listed or [own])


@dataclass(frozen=True, slots=True)
class _Loaded:
    credential: Credential
    stamp: tuple[tuple[int, int, int], ...]


class ReloadingCredential:
    """A chain and its key in files that others replace. Thread-safe."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Reads both.

        Raises:
            CredentialFileError: they can not be used.
        """
        self._certificate = certificate
        self._key = key
        self._lock = Lock()
        stamp = self._stamp()
        self._loaded = _Loaded(read_credential(certificate, key), stamp)
        self._failed: tuple[tuple[int, int, int], ...] | None = None

    def current(self) -> Credential:
        """What the files hold now; while they can not be used, what they held before."""
        with self._lock:
            stamp = self._stamp()
            if stamp not in (self._loaded.stamp, self._failed):
                try:
                    self._loaded = _Loaded(read_credential(self._certificate, self._key), stamp)
                    self._failed = None
                    log.info("credentials_reloaded", file=str(self._certificate))
                except CredentialFileError as error:
                    self._failed = stamp
                    log.warning("credentials_kept", file=str(self._certificate), reason=error.reason)
            return self._loaded.credential

    def not_after_ms(self) -> int:
        """When the leaf expires, in ms."""
        return int(self.current().leaf.not_valid_after_utc.timestamp() * 1000)

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(map(_file_stamp, (self._certificate, self._key, next_key(self._key))))


class NodeCredentials(ReloadingCredential):
    """The node's identity in the federation."""

    def __init__(self, *, certificate: Path, key: Path) -> None:
        super().__init__(certificate, key)

    def server(self, view: Callable[[], RosterView | None]) -> grpc.ServerCredentials:
        """Credentials of the federation listener.

        Args:
            view: the newest trusted roster; asked at each new connection, from gRPC's threads.
        """
        return _server_credentials(self, lambda: roots_of(view(), self.current().leaf))

    def channel(self, bundle: Sequence[x509.Certificate]) -> grpc.ChannelCredentials:
        """Credentials of a connection to the State that this bundle is of.

        Raises:
            CredentialFileError: the bundle is empty.
        """
        return channel_credentials_for(bundle, self.current())


class NationalCredentials(ReloadingCredential):
    """The node's identity on its national listener, and the CA of those who call there."""

    def __init__(self, *, certificate: Path, key: Path, client_ca: Path, crl: Path | None = None) -> None:
        """Reads all files.

        Raises:
            CredentialFileError: one of them can not be used.
        """
        super().__init__(certificate, key)
        self._ca_path = client_ca
        self._crl_path = crl
        self._ca = pem.read_certificates(client_ca)
        self._crl = None if crl is None else read_crl(crl)
        self._crl_stamp = None if crl is None else _file_stamp(crl)
        self._crl_lock = Lock()

    @property
    def ca(self) -> tuple[x509.Certificate, ...]:
        """Bundle of the national CA."""
        return self._ca

    def server(self) -> grpc.ServerCredentials:
        """Credentials of the national listener."""
        roots = pem.certificates_pem(self._ca)
        return _server_credentials(self, lambda: roots)

    def crl(self) -> x509.CertificateRevocationList | None:
        """The revocation list as its file holds it now, or None where none is configured.

        A file that can not be read keeps the list read before, which runs out by itself.
        """
        if self._crl_path is None:
            return None
        with self._crl_lock:
            stamp = _file_stamp(self._crl_path)
            if stamp != self._crl_stamp:
                self._crl_stamp = stamp
                try:
                    self._crl = read_crl(self._crl_path)
                except CredentialFileError as error:
                    log.warning("revocation_list_kept", file=str(self._crl_path), reason=error.reason)
            return self._crl


def read_crl(path: Path) -> x509.CertificateRevocationList:
    """Reads a revocation list, PEM or DER.

    Raises:
        CredentialFileError: missing, unreadable or malformed.
    """
    data = pem.read_limited(path)
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_crl(data)
        return x509.load_der_x509_crl(data)
    except ValueError as error:
        raise CredentialFileError(
            f"{path} is no revocation list.", "Put the national CA's list there, or drop the setting."
        ) from error


@dataclass(slots=True)
class _Served:
    """What the listener uses at this moment."""

    key: bytes = field(repr=False)
    chain: bytes
    roots: bytes

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(self.key, self.chain)], self.roots)


def _server_credentials(material: ReloadingCredential, roots: Callable[[], bytes]) -> grpc.ServerCredentials:
    def now() -> _Served:
        credential = material.current()
        return _Served(pem.key_pem(credential.key), pem.certificates_pem(credential.chain), roots())

    served = now()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal served
        newest = now()
        if newest == served:
            return None
        served = newest
        return newest.configuration()

    # The stub forgets that None means "as before".
    return grpc.dynamic_ssl_server_credentials(
        served.configuration(),
        fetch,  # type: ignore[arg-type]
        require_client_authentication=True,
    )


def _file_stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_ino, status.st_size)
