"""What an adapter tells of its own certificate before a node sees it: each rule with its reason (I9)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from node.identity.pem import certificates_pem
from registry_adapters.certificate import check_certificate
from registry_adapters.errors import NodeError
from tests.support.pki import DevState, forge

XB = DevState("XB", "dief")
CA = certificates_pem([XB.national_ca.certificate])
RIGHT = "spiffe://xb.dief/registry/seizures"


def reason(chain: bytes, authorities: bytes = CA, now: datetime | None = None) -> str:
    with pytest.raises(NodeError) as refusal:
        check_certificate(chain, authorities, now)
    return refusal.value.reason


def chain(*uris: str, days: float = 7) -> bytes:
    return certificates_pem(forge(XB.national_ca, uris, days=days).chain)


def test_the_registrys_certificate_is_taken_also_where_the_file_of_the_ca_holds_several() -> None:
    other = certificates_pem([DevState("XA", "dief").national_ca.certificate])
    check_certificate(chain(RIGHT), CA)
    check_certificate(chain(RIGHT), other + CA)


def test_each_kind_but_registry_is_refused() -> None:
    for kind in ("officer", "operator", "approver", "node"):
        assert reason(chain(f"spiffe://xb.dief/{kind}/main")) == "WRONG_KIND"
    assert reason(chain()) == "WRONG_KIND", "a certificate without SPIFFE ID has no kind"


def test_another_states_certificate_and_one_of_the_federation_ca_are_refused() -> None:
    another = certificates_pem(DevState("XA", "dief").national("registry").chain)
    assert reason(another) == "UNKNOWN_IDENTITY"
    assert reason(certificates_pem(forge(XB.ca, (RIGHT,)).chain)) == "UNKNOWN_IDENTITY"


def test_a_certificate_out_of_its_time_is_refused() -> None:
    assert reason(chain(RIGHT), now=datetime.now(UTC) + timedelta(days=8)) == "CERTIFICATE_EXPIRED"
    assert reason(chain(RIGHT), now=datetime.now(UTC) - timedelta(days=1)) == "CERTIFICATE_EXPIRED"


def test_a_file_that_holds_no_certificate_is_named() -> None:
    assert reason(b"no PEM at all") == "FILE"
    assert reason(chain(RIGHT), b"") == "FILE"
