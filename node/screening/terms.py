"""What an officer asks for, made ready for the index, or the reason why it can not be searched.

Rules:
- A placeholder, a value with wildcards and one that tells nothing apart are not searched, and it is said why.
- A serial of fewer than five digits is on thousands of arms: it needs the make.
- A name without a distinctive word ("General Trading Company") would meet half the world.

Source: domain.md 4.4, 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from dief.v1 import codes_pb2 as c

from node.alerts.indicators import indicator_key
from node.alerts.normal import NORMAL_FORMS, Forms, distinctive_words
from node.alerts.placeholders import is_placeholder

SHORT_SERIAL = 5
_SERIAL = int(c.INDICATOR_KIND_SERIAL)
_PARTY_NAME = int(c.INDICATOR_KIND_PARTY_NAME)
_NUMBERS = frozenset(
    {
        c.INDICATOR_KIND_SERIAL,
        c.INDICATOR_KIND_LOT,
        c.INDICATOR_KIND_DOCUMENT,
        c.INDICATOR_KIND_CONTRACT,
        c.INDICATOR_KIND_PARTY_IDENTIFIER,
        c.INDICATOR_KIND_AIRCRAFT,
        c.INDICATOR_KIND_VEHICLE,
    }
)


@dataclass(frozen=True, slots=True)
class Term:
    """One thing to search.

    Attributes:
        kind: Value of dief.v1.IndicatorKind.
        value: As the officer reads it.
        context: What narrows it, or "": the make of a serial or lot, the issuer or State of a document, the
            country of a party or register.
    """

    kind: int
    value: str
    context: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """A term that can be searched: its normal forms and their keys."""

    term: Term
    forms: frozenset[str]
    keys: frozenset[int]


def make_ready(term: Term) -> Ready | str:
    """A term with its keys, or in words why it can not be searched."""
    forms = searchable(term.kind, term.value, term.context)
    if isinstance(forms, str):
        return forms
    return Ready(term, frozenset(forms), frozenset(indicator_key(term.kind, form) for form in forms))


def searchable(kind: int, value: str, context: str) -> Forms | str:
    """Normal forms of what a term says, or in words why it can not be searched."""
    normal = NORMAL_FORMS.get(kind)
    if normal is None:
        return "This kind of fact is not indexed."
    if kind in _NUMBERS and is_placeholder(value):
        return "This word says that there is no number; it would meet every item without one."
    forms = normal(value)
    if not forms:
        return _no_form(kind, value)
    if kind == _SERIAL and is_short(forms[0]) and not context.strip():
        return "A serial of fewer than five digits is on thousands of arms: give the make as context."
    if kind == _PARTY_NAME and not distinctive_words(value):
        return "The name has no distinctive word, only a legal form or words of trade: give more of it, or a number."
    return forms


def is_short(serial: str) -> bool:
    """Whether a serial in normal form is short and only digits."""
    return len(serial) < SHORT_SERIAL and serial.isdigit()


def _no_form(kind: int, value: str) -> str:
    if any(sign in value for sign in "?*"):
        return "Characters that could not be read (? or *) are not searched exactly: search the parts that are certain."
    if kind == c.INDICATOR_KIND_IMO:
        return "An IMO number has seven digits."
    if kind == c.INDICATOR_KIND_CONTACT:
        return "Not a telephone number, e-mail address or site."
    return "Nothing in it can be searched: it has neither letters nor digits, or only a legal form."
