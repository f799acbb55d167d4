"""Whatever bytes a peer presents, the answer is one of our errors or the identity that its CA gave (I9)."""

from __future__ import annotations

import ssl
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from node.identity.certificates import authenticate, parse_chain
from node.identity.errors import IdentityError
from node.identity.participants import violations
from node.identity.pem import certificates_pem
from node.identity.pki import Authority
from node.ops.clock import now_ms
from tests.support.pki import DevFederation, der, forge, forge_ca

pytestmark = pytest.mark.filterwarnings(
    # Of serial numbers that are not positive, which we refuse ourselves.
    "ignore::cryptography.utils.CryptographyDeprecationWarning"
)


@cache
def federation() -> DevFederation:
    """Made once; examples never change it."""
    return DevFederation(["XA", "XB"])


@cache
def over_an_intermediate() -> tuple[DevFederation, bytes, x509.Certificate]:
    """XA with a root that allows intermediates, a leaf below one in PEM, and the intermediate."""
    fed = DevFederation(["XA", "XB"])
    root = forge_ca("XA root", path_length=None)
    fed.next(lambda content: content.participants[0].ca_certificates.append(der(root.certificate)))
    middle = forge(root, ca=True, usages=())
    leaf = forge(Authority(middle.leaf, middle.key))
    return fed, certificates_pem(leaf.chain), middle.leaf


@given(st.data())
def test_no_flipped_bit_of_a_leaf_makes_another_identity(data: st.DataObject) -> None:
    fed = federation()
    changed = bytearray(der(fed["XA"].node.leaf))
    position = data.draw(st.integers(0, len(changed) * 8 - 1))
    changed[position // 8] ^= 1 << position % 8
    text = ssl.DER_cert_to_PEM_cert(bytes(changed)).encode()
    try:
        peer = authenticate(text, fed.view, admitted=fed.everybody, denied=(), now_ms=now_ms())
    except IdentityError:
        return
    # Its signed part is untouched: DER allows a second form of the signature's last bits, outside of it.
    assert peer.chain[0].tbs_certificate_bytes == fed["XA"].node.leaf.tbs_certificate_bytes


@given(st.data())
def test_a_changed_intermediate_is_refused_by_our_errors_only(data: st.DataObject) -> None:
    fed, leaf, middle = over_an_intermediate()
    changed = bytearray(der(middle))
    position = data.draw(st.integers(0, len(changed) * 8 - 1))
    changed[position // 8] ^= 1 << position % 8
    chain = leaf + ssl.DER_cert_to_PEM_cert(bytes(changed)).encode()
    with pytest.raises(IdentityError):
        authenticate(chain, fed.view, admitted=fed.everybody, denied=(), now_ms=now_ms())


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_chains_are_refused_by_our_errors_only(data: bytes, behind_a_leaf: bool) -> None:
    fed = federation()
    chain = fed["XA"].node_pem + data if behind_a_leaf else data
    try:
        authenticate(chain, fed.view, admitted=fed.everybody, denied=(), now_ms=now_ms())
    except IdentityError:
        return
    assert parse_chain(chain)[0] == fed["XA"].node.leaf


@given(st.data())
def test_a_changed_ca_certificate_never_breaks_the_check_of_a_roster(data: st.DataObject) -> None:
    fed = federation()
    changed = bytearray(fed["XA"].ca.certificate.public_bytes(serialization.Encoding.DER))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(changed) * 8 - 1))
        changed[position // 8] ^= 1 << position % 8
    content = fed.successor(lambda content: content.participants[1].ca_certificates.append(bytes(changed)))
    for violation in violations(content):
        assert ": " in violation
