"""SPIFFE IDs of the federation: which State, of which federation, speaks in which kind.

Rules:
- One form only: `spiffe://<state>.<federation>/<kind>/<name>`, the trust domain in lower case.
- `state` is two letters, `federation` starts with a letter and has at most 31 of a-z, 0-9 and "-".
- `kind` is `node` in the federation; `registry`, `officer`, `delegate`, `approver`, `operator` or `auditor`
  nationally. No other path, no query, no fragment, no port, no user, no percent-encoding.
- `name` has 1 to 64 of A-Z, a-z, 0-9, ".", "-", "_", and is neither "." nor "..".

Example:
    SpiffeId.parse("spiffe://xa.dief/node/main").state  # "XA"

Source: SPIFFE-ID §2, X509-SVID §2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from node.identity.errors import MalformedSpiffeIdError

_STATE: Final = re.compile(r"[A-Z]{2}")
_FEDERATION: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_URI: Final = re.compile(
    rf"spiffe://(?P<state>[a-z]{{2}})\.(?P<federation>{_FEDERATION.pattern})"
    rf"/(?P<kind>[a-z]+)/(?P<name>{_NAME.pattern})"
)


class Kind(StrEnum):
    """Kinds of identities."""

    NODE = "node"
    REGISTRY = "registry"
    OFFICER = "officer"
    DELEGATE = "delegate"
    APPROVER = "approver"
    OPERATOR = "operator"
    AUDITOR = "auditor"


KINDS: Final = frozenset(Kind)
"""All kinds."""

NATIONAL_KINDS: Final = KINDS - {Kind.NODE}
"""Kinds that the national CA of a State gives out; its federation CA gives out `node` only."""


def trust_domain(state: str, federation: str) -> str:
    """The trust domain of a State in a federation, for example "xa.dief"."""
    return f"{state.lower()}.{federation}"


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """One identity.

    Attributes:
        state: ISO 3166-1 alpha-2, upper case.
        federation: name of the federation.
        kind: what it may be used for.
        name: name within State and kind.
    """

    state: str
    federation: str
    kind: Kind
    name: str

    def __post_init__(self) -> None:
        """Refuses parts that have no place in the one accepted form.

        Raises:
            MalformedSpiffeIdError: a part has the wrong shape.
        """
        if not _STATE.fullmatch(self.state):
            raise MalformedSpiffeIdError("The State is not two letters A-Z.")
        if not _FEDERATION.fullmatch(self.federation):
            raise MalformedSpiffeIdError("The federation is not a name of a-z, 0-9 and '-'.")
        if self.kind not in KINDS:
            raise MalformedSpiffeIdError("The kind is none of " + ", ".join(sorted(KINDS)) + ".")
        if not _NAME.fullmatch(self.name) or self.name in {".", ".."}:
            raise MalformedSpiffeIdError("The name is not 1 to 64 of A-Z, a-z, 0-9, '.', '-' and '_'.")

    @classmethod
    def parse(cls, uri: str) -> SpiffeId:
        """Reads a URI.

        Args:
            uri: for example "spiffe://xa.dief/node/main"; hostile until this returns.

        Raises:
            MalformedSpiffeIdError: it is not in the one accepted form.
        """
        match = _URI.fullmatch(uri)
        if match is None:
            raise MalformedSpiffeIdError("A URI name is not a SPIFFE ID of a federation.")
        try:
            kind = Kind(match["kind"])
        except ValueError:
            raise MalformedSpiffeIdError(
                "A SPIFFE ID is of a kind that is none of " + ", ".join(sorted(KINDS)) + "."
            ) from None
        return cls(match["state"].upper(), match["federation"], kind, match["name"])

    @property
    def trust_domain(self) -> str:
        """For example "xa.dief"."""
        return trust_domain(self.state, self.federation)

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/{self.kind}/{self.name}"
