"""CAs sign what belongs to them, files of keys belong to their owner."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from node.identity import pem, pki
from node.identity.errors import CredentialFileError, IssuanceError, KeyFileModeError, MalformedSpiffeIdError
from node.identity.pki import CaRole
from node.identity.spiffe import SpiffeId

NODE = SpiffeId.parse("spiffe://xa.dief/node/main")
OFFICER = SpiffeId.parse("spiffe://xa.dief/officer/amal")


def test_a_ca_may_sign_leaves_and_lists_only() -> None:
    ca = pki.create_ca("XA", "dief").certificate
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert basic.critical
    assert basic.value == x509.BasicConstraints(ca=True, path_length=0)
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (
        True,
        True,
        False,
    )
    assert isinstance(ca.public_key(), ec.EllipticCurvePublicKey)
    with pytest.raises(x509.ExtensionNotFound):
        ca.extensions.get_extension_for_class(x509.NameConstraints)


def test_no_two_cas_of_a_federation_are_alike() -> None:
    cas = [pki.create_ca(state, "dief", role=role) for state in ("XA", "XB") for role in CaRole]
    assert len({ca.certificate.subject.public_bytes() for ca in cas}) == 4
    ids = {
        ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        for ca in cas
    }
    assert len(ids) == 4


def test_a_ca_needs_a_state_and_a_federation() -> None:
    with pytest.raises(MalformedSpiffeIdError):
        pki.create_ca("Xanadu", "dief")


def test_a_node_leaf_is_server_and_client_with_one_spiffe_id_and_lives_a_week() -> None:
    moment = datetime(2026, 11, 25, tzinfo=UTC)
    ca = pki.create_ca("XA", "dief", now=moment)
    leaf = pki.issue(ca, NODE, dns=["node.xa.example"], ips=["127.0.0.1", "::1"], now=moment).leaf
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(NODE)]
    assert names.get_values_for_type(x509.DNSName) == ["node.xa.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert leaf.not_valid_before_utc == moment - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == moment + timedelta(days=7)
    leaf.verify_directly_issued_by(ca.certificate)


def test_a_leaf_never_outlives_its_ca() -> None:
    ca = pki.create_ca("XA", "dief", days=2)
    leaf = pki.issue(ca, NODE, days=30).leaf
    assert leaf.not_valid_after_utc == ca.certificate.not_valid_after_utc


def test_nothing_is_issued_below_an_expired_ca() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    ca = pki.create_ca("XA", "dief", days=1, now=moment)
    with pytest.raises(IssuanceError):
        pki.issue(ca, NODE, now=moment + timedelta(days=3))


@pytest.mark.parametrize(
    ("state", "federation", "role", "spiffe_id"),
    [
        ("XB", "dief", CaRole.FEDERATION, NODE),
        ("XA", "other", CaRole.FEDERATION, NODE),
        ("XB", "dief", CaRole.NATIONAL, OFFICER),
        ("XA", "dief", CaRole.FEDERATION, OFFICER),
    ],
)
def test_a_ca_signs_for_its_own_state_federation_and_role_only(
    state: str, federation: str, role: CaRole, spiffe_id: SpiffeId
) -> None:
    ca = pki.create_ca(state, federation, role=role)
    with pytest.raises(IssuanceError):
        pki.issue(ca, spiffe_id)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a..b", "*.xa.example", "ä.example", "a" * 254])
def test_a_malformed_dns_name_is_refused(name: str) -> None:
    with pytest.raises(IssuanceError):
        pki.issue(pki.create_ca("XA", "dief"), NODE, dns=[name])


def test_a_malformed_address_is_refused() -> None:
    with pytest.raises(IssuanceError):
        pki.issue(pki.create_ca("XA", "dief"), NODE, ips=["127.0.0.256"])


def test_a_flood_of_names_is_refused() -> None:
    with pytest.raises(IssuanceError):
        pki.issue(pki.create_ca("XA", "dief"), NODE, dns=[f"n{i}.example" for i in range(33)])


# -- Requests


def test_a_request_keeps_names_and_key() -> None:
    ca = pki.create_ca("XA", "dief")
    key = pki.new_key()
    request = pki.make_csr(key, NODE, dns=["node.xa.example"], ips=["10.0.0.1"])
    leaf = pki.sign_csr(ca, request)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(NODE)]
    assert names.get_values_for_type(x509.DNSName) == ["node.xa.example"]
    assert leaf.public_key() == key.public_key()
    leaf.verify_directly_issued_by(ca.certificate)


def _request(
    names: list[x509.GeneralName] | None, **more: x509.ExtensionType
) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anything")])
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in more.values():
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(pki.new_key(), hashes.SHA256())


def test_a_request_can_not_ask_to_become_a_ca() -> None:
    request = _request(
        [x509.UniformResourceIdentifier(str(NODE))], basic=x509.BasicConstraints(ca=True, path_length=None)
    )
    leaf = pki.sign_csr(pki.create_ca("XA", "dief"), request)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert "anything" not in leaf.subject.rfc4514_string()


@pytest.mark.parametrize(
    "names",
    [
        None,
        [x509.DNSName("node.xa.example")],
        [x509.UniformResourceIdentifier(str(NODE)), x509.UniformResourceIdentifier(str(OFFICER))],
        [x509.UniformResourceIdentifier(str(NODE)), x509.RFC822Name("a@xa.example")],
        [x509.UniformResourceIdentifier("spiffe://xb.dief/node/main")],
        [x509.UniformResourceIdentifier(str(OFFICER))],
    ],
    ids=["no_names", "no_spiffe_id", "two_spiffe_ids", "mail_address", "other_state", "other_kind"],
)
def test_a_request_for_something_else_is_refused(names: list[x509.GeneralName] | None) -> None:
    with pytest.raises(IssuanceError):
        pki.sign_csr(pki.create_ca("XA", "dief"), _request(names))


def test_a_request_with_a_weak_key_is_refused() -> None:
    key = rsa.generate_private_key(65537, 1024)
    request = pki.make_csr(key, NODE)
    with pytest.raises(IssuanceError):
        pki.sign_csr(pki.create_ca("XA", "dief"), request)


def test_a_revocation_list_names_what_its_ca_revoked() -> None:
    national = pki.create_ca("XA", "dief", role=CaRole.NATIONAL)
    officer = pki.issue(national, OFFICER).leaf
    crl = pki.make_crl(national, [officer.serial_number])
    assert crl.get_revoked_certificate_by_serial_number(officer.serial_number) is not None
    assert crl.is_signature_valid(national.certificate.public_key())


# -- Files


def test_a_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "node.key"
    key = pki.new_key()
    pem.write_key(path, key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert pem.read_key(path).public_key() == key.public_key()
    assert [one.name for one in path.parent.iterdir()] == ["node.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660])
def test_a_key_file_that_others_may_use_is_refused_with_the_mend(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "node.key"
    pem.write_key(path, pki.new_key())
    path.chmod(mode)
    with pytest.raises(KeyFileModeError) as caught:
        pem.read_key(path)
    assert f"chmod 600 {path}" in caught.value.mend


def test_a_chain_survives_its_file(tmp_path: Path) -> None:
    ca = pki.create_ca("XA", "dief")
    leaf = pki.issue(ca, NODE).leaf
    pem.write_certificates(tmp_path / "chain.pem", [leaf, ca.certificate])
    assert pem.read_certificates(tmp_path / "chain.pem") == (leaf, ca.certificate)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "chain.pem"
    pem.write_atomic(path, b"old")
    monkeypatch.setattr("os.fsync", _full_disk)
    with pytest.raises(OSError, match="full"):
        pem.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["chain.pem"]


def _full_disk(_descriptor: int) -> None:
    raise OSError(28, "disk full")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_without_certificates_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(content)
    with pytest.raises(CredentialFileError):
        pem.read_certificates(path)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(b"x" * (pem.MAX_FILE_BYTES + 1))
    with pytest.raises(CredentialFileError):
        pem.read_certificates(path)


def test_a_missing_file_is_told_with_its_path(tmp_path: Path) -> None:
    for read in (pem.read_certificates, pem.read_key):
        with pytest.raises(CredentialFileError) as caught:
            read(tmp_path / "absent.pem")
        assert "absent.pem" in caught.value.diagnosis


def test_keys_of_the_wrong_use_are_told_apart(tmp_path: Path) -> None:
    pem.write_key(tmp_path / "log.key", ed25519.Ed25519PrivateKey.generate())
    pem.write_key(tmp_path / "node.key", pki.new_key())
    with pytest.raises(CredentialFileError):
        pem.read_key(tmp_path / "log.key")
    with pytest.raises(CredentialFileError):
        pem.read_ed25519_key(tmp_path / "node.key")
    assert pem.read_ed25519_key(tmp_path / "log.key")


def test_a_key_file_without_a_key_is_refused(tmp_path: Path) -> None:
    pem.write_atomic(tmp_path / "node.key", b"text", mode=0o600)
    with pytest.raises(CredentialFileError):
        pem.read_key(tmp_path / "node.key")
