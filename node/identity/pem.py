"""Certificate and key files: written whole or not at all, and refused where others may read a key.

Rules:
- A file appears under its name only when it is complete and on disk; a key file has mode 0600 from its first
  byte on.
- A key file that its group or others may read is refused with the command that mends it.
- A file is at most 1 MiB.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from node.identity.errors import CredentialFileError, KeyFileModeError
from node.identity.keys import TlsKey

MAX_FILE_BYTES: Final = 1 << 20
"""Largest certificate or key file that is read."""

MALFORMED: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for a malformed certificate, at loading or later, when a part of it is looked at."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Writes a file whole: complete and on disk under its name, or not there at all.

    Args:
        path: where; its folder is made if it is missing.
        data: content.
        mode: permission bits from the first byte on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_limited(path: Path) -> bytes:
    """Reads a small file.

    Raises:
        CredentialFileError: missing, unreadable or over MAX_FILE_BYTES.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CredentialFileError(
            f"{path} can not be read: {error.strerror}.", "Correct the path in dief.toml or make the file."
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise CredentialFileError(f"{path} is over {MAX_FILE_BYTES} bytes.", "Name the right file.")
    return data


def certificates_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates as PEM, in their order."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def key_pem(key: TlsKey | ed25519.Ed25519PrivateKey) -> bytes:
    """A private key as unencrypted PKCS #8 PEM; goes nowhere but into a file of mode 0600."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_from_der(data: bytes) -> x509.Certificate:
    """A certificate from hostile DER.

    Raises:
        ValueError: malformed, or its serial number is not positive (RFC 5280 §4.1.2.2).
    """
    try:
        certificate = x509.load_der_x509_certificate(data)
        return _checked(certificate)
    except MALFORMED as error:
        raise ValueError("malformed certificate") from error


def certificates_from_pem(data: bytes) -> tuple[x509.Certificate, ...]:
    """Certificates from hostile PEM, in their order.

    Raises:
        ValueError: there is none, one is malformed, or its serial number is not positive.
    """
    try:
        return tuple(map(_checked, x509.load_pem_x509_certificates(data)))
    except MALFORMED as error:
        raise ValueError("malformed certificate") from error


def _checked(certificate: x509.Certificate) -> x509.Certificate:
    if certificate.serial_number <= 0:
        raise ValueError("serial number")
    return certificate


def parse_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    """Certificates from PEM bytes, leaf first.

    Raises:
        CredentialFileError: there is none, or one is malformed.
    """
    try:
        return certificates_from_pem(data)
    except ValueError as error:
        raise CredentialFileError(
            "The PEM bytes hold no certificate, or a malformed one.", "Name a file with PEM certificates."
        ) from error


def write_certificates(path: Path, certificates: Sequence[x509.Certificate]) -> None:
    """Writes a chain, leaf first."""
    write_atomic(path, certificates_pem(certificates))


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Reads a chain, leaf first.

    Raises:
        CredentialFileError: missing, unreadable or malformed.
    """
    try:
        return parse_certificates(read_limited(path))
    except CredentialFileError as error:
        raise CredentialFileError(f"{path}: {error.diagnosis}", error.mend) from error


def write_key(path: Path, key: TlsKey | ed25519.Ed25519PrivateKey) -> None:
    """Writes a private key with mode 0600."""
    write_atomic(path, key_pem(key), mode=0o600)


def read_key_bytes(path: Path) -> bytes:
    """Reads a key file after a look at who else may read it.

    Raises:
        KeyFileModeError: its group or others may read or write it.
        CredentialFileError: missing or unreadable.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise CredentialFileError(
            f"{path} can not be read: {error.strerror}.", "Correct the path in dief.toml or make the key."
        ) from error
    if mode & _OTHERS:
        raise KeyFileModeError(
            f"{path} is a private key that others may use (mode {stat.S_IMODE(mode):04o}).",
            f"Run: chmod 600 {path}",
        )
    return read_limited(path)


def _read_private(path: Path) -> object:
    try:
        return serialization.load_pem_private_key(read_key_bytes(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CredentialFileError(
            f"{path} is no unencrypted private key in PEM.",
            "Convert it with `openssl pkey -in FILE -out NEW`.",
        ) from error


def read_key(path: Path) -> TlsKey:
    """Reads the private key of a certificate.

    Raises:
        KeyFileModeError: others may read it.
        CredentialFileError: missing, malformed or of another kind than ECDSA or RSA.
    """
    key = _read_private(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise CredentialFileError(f"{path} is neither an ECDSA nor an RSA key.", "Make an ECDSA P-256 key.")
    return key


def read_ed25519_key(path: Path) -> ed25519.Ed25519PrivateKey:
    """Reads a log key or a roster key.

    Raises:
        KeyFileModeError: others may read it.
        CredentialFileError: missing, malformed or no Ed25519 key.
    """
    key = _read_private(path)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise CredentialFileError(f"{path} is no Ed25519 key.", "Make one with `dief roster keygen FILE`.")
    return key
