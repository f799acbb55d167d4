"""What can be told of a registry's own certificate before a node sees it.

A node that does not know the CA of a certificate only closes the connection (TLS 1.3), which looks like a node that is
away; so the adapter looks at its own files first.

Rules:
- The certificate is valid now and its chain leads to a CA of the file that vouches for the node: a State has one
  national CA for its listener and its registries.
- Its SPIFFE ID names the kind `registry`.

Source: RFC 5280 §4.1.2.5; SPIFFE X.509-SVID §2.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from registry_adapters.errors import NodeError

_KIND: Final = "registry"


def check_certificate(chain: bytes, authorities: bytes, now: datetime | None = None) -> None:
    """See that a node of the own State can take a certificate.

    Args:
        chain: PEM, leaf first.
        authorities: PEM of the national CA, one or several.
        now: The moment, UTC; the clock's by default.

    Raises:
        NodeError: It can not; says why.
    """
    presented, trusted = _parsed(chain, "certificate"), _parsed(authorities, "CA")
    moment = now or datetime.now(UTC)
    for one in presented:
        if not one.not_valid_before_utc <= moment <= one.not_valid_after_utc:
            word = "is not valid before" if moment < one.not_valid_before_utc else "expired at"
            end = one.not_valid_before_utc if moment < one.not_valid_before_utc else one.not_valid_after_utc
            raise NodeError(
                f"The registry's certificate {word} {end:%Y-%m-%d %H:%M} UTC.",
                "Ask the national authority for a new one, or mend this machine's clock.",
                reason="CERTIFICATE_EXPIRED",
            )
    identity = _identity(presented[0])
    if not all(_signed(lower, upper) for lower, upper in pairwise(presented)) or not any(
        _signed(presented[-1], authority) for authority in trusted
    ):
        raise NodeError(
            f"The certificate ({identity}) is not signed by the CA that vouches for the node.",
            "Use a certificate of this State's national CA, not of another State or of the federation CA.",
            reason="UNKNOWN_IDENTITY",
        )
    kind = identity.removeprefix("spiffe://").split("/")[1:2]
    if kind != [_KIND]:
        raise NodeError(
            f"The certificate ({identity}) is not of kind {_KIND}.",
            f"Ask the national CA for one of kind {_KIND}; `dief pki csr --help` shows how.",
            reason="WRONG_KIND",
        )


def _parsed(pem: bytes, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise NodeError(
            f"The file of the {what} holds no certificate in PEM.",
            "Check --ca and --cert: each begins with BEGIN CERTIFICATE.",
            reason="FILE",
        ) from None


def _identity(leaf: x509.Certificate) -> str:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return "without SPIFFE ID"
    found = names.get_values_for_type(x509.UniformResourceIdentifier)
    return found[0] if found and found[0].startswith("spiffe://") else "without SPIFFE ID"


def _signed(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    try:
        lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
