"""Which keys certificates may have here.

Rules:
- ECDSA on P-256, P-384 or P-521, or RSA of 2048 bits or more. The verifier of `cryptography` looks at the keys
  that sign, not at the leaf's own, so this is asked of leaves too.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

TlsKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""Private keys that certificates are made for."""

TlsPublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
"""Public keys in certificates."""

ACCEPTED_KEYS: Final = "ECDSA on P-256, P-384 or P-521, or RSA of 2048 bits or more"
"""The rule in words, for messages."""

_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_MIN_RSA_BITS: Final = 2048


def accepted_key(public_key: object) -> TlsPublicKey | None:
    """The key itself where certificates may have it, else None."""
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in _CURVES:
        return public_key
    if isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size >= _MIN_RSA_BITS:
        return public_key
    return None
