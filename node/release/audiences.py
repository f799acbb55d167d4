"""Narrowing an audience: by rules and by persons, never the other way.

An audience that is narrowed becomes the States that are left, by name; they are those of the moment of release, so a
State that joins later is not let in by an older decision (I2).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import ClassVar

from dief.v1 import handling_pb2

from node.release.errors import ReleaseError

Members = Callable[[handling_pb2.Audience], tuple[str, ...]]
"""Members that a log of an audience would have now, by the roster and admissions."""


class NobodyLeftError(ReleaseError):
    """No State is left in the audience."""

    default_mend: ClassVar[str] = "Leave fewer States out, or refuse the draft."


def recipients(audience: handling_pb2.Audience, members: Members, own_state: str) -> tuple[str, ...]:
    """States other than the own one that an audience has now, sorted."""
    return tuple(sorted(set(members(audience)) - {own_state}))


def narrow(
    audience: handling_pb2.Audience,
    members: Members,
    own_state: str,
    *,
    only: Collection[str] | None,
    exclude: Collection[str],
) -> handling_pb2.Audience:
    """An audience without some States.

    Args:
        audience: As drafted.
        members: See Members.
        own_state: The originator, always in it and never named.
        only: Limit it to these States; None for no limit.
        exclude: Leave these out.

    Returns:
        The same audience where nobody in it is touched.

    Raises:
        NobodyLeftError: Nobody is left.
    """
    named = audience.kind == handling_pb2.AUDIENCE_KIND_NAMED_STATES
    before = set(audience.states) - {own_state} if named else set(recipients(audience, members, own_state))
    left = (before if only is None else before & set(only)) - set(exclude)
    if left == before and (only is None or named):
        return audience
    if not left:
        raise NobodyLeftError("No State is left in the audience.")
    return handling_pb2.Audience(
        kind=handling_pb2.AUDIENCE_KIND_NAMED_STATES, states=sorted(left), reader_role=audience.reader_role
    )
