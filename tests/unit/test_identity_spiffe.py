"""One form of SPIFFE ID is accepted, everything that only resembles it is refused (I9)."""

from __future__ import annotations

import pytest

from node.identity.errors import MalformedSpiffeIdError
from node.identity.spiffe import KINDS, NATIONAL_KINDS, Kind, SpiffeId


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_survives_a_round_trip(kind: Kind) -> None:
    uri = f"spiffe://xa.dief/{kind}/main-1.a_B"
    parsed = SpiffeId.parse(uri)
    assert parsed == SpiffeId("XA", "dief", kind, "main-1.a_B")
    assert str(parsed) == uri
    assert parsed.trust_domain == "xa.dief"


def test_node_is_no_national_kind() -> None:
    assert Kind.NODE not in NATIONAL_KINDS
    assert len(NATIONAL_KINDS) == len(KINDS) - 1


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://xa.dief/node/main",
        "SPIFFE://xa.dief/node/main",
        "spiffe://XA.dief/node/main",
        "spiffe://xa.DIEF/node/main",
        "spiffe://xaa.dief/node/main",
        "spiffe://x1.dief/node/main",
        "spiffe://dief/node/main",
        "spiffe://xa.1dief/node/main",
        "spiffe://xa.dief.evil/node/main",
        f"spiffe://xa.d{'i' * 31}/node/main",
        "spiffe://xa.dief",
        "spiffe://xa.dief/",
        "spiffe://xa.dief/node",
        "spiffe://xa.dief/node/",
        "spiffe://xa.dief/node/main/",
        "spiffe://xa.dief/node/main/second",
        "spiffe://xa.dief//node/main",
        "spiffe://xa.dief/node/.",
        "spiffe://xa.dief/node/..",
        "spiffe://xa.dief/node/ma%69n",
        "spiffe://xa.dief/node/mäin",
        "spiffe://xa.dief/node/main?x=1",
        "spiffe://xa.dief/node/main#x",
        "spiffe://xa.dief:443/node/main",
        "spiffe://user@xa.dief/node/main",
        "spiffe://xa.dief/Node/main",
        "spiffe://xa.dief/minister/main",
        "spiffe://xa.dief/node/main\n",
        " spiffe://xa.dief/node/main",
        f"spiffe://xa.dief/node/{'m' * 65}",
    ],
)
def test_other_forms_are_refused(uri: str) -> None:
    with pytest.raises(MalformedSpiffeIdError) as caught:
        SpiffeId.parse(uri)
    assert caught.value.reason == "UNKNOWN_IDENTITY"


@pytest.mark.parametrize(
    ("state", "federation", "kind", "name"),
    [
        ("xa", "dief", Kind.NODE, "main"),
        ("XA", "Dief", Kind.NODE, "main"),
        ("XA", "dief", "minister", "main"),
        ("XA", "dief", Kind.NODE, "a/b"),
        ("XA", "dief", Kind.NODE, ".."),
    ],
)
def test_parts_that_no_uri_can_carry_are_refused(state: str, federation: str, kind: Kind, name: str) -> None:
    with pytest.raises(MalformedSpiffeIdError):
        SpiffeId(state, federation, kind, name)
