"""How strongly a match speaks, in words: what agrees, what weakens it. No strength is a decision.

Rules (domain.md 4.4):
- serial with the make: strong, since the calibre is not compared; serial alone: a lead, and the weaker the shorter;
- a serial of fewer than five digits without its make: no hit at all;
- document number with its issuer: identity; alone: a lead;
- number of a register: identity; a person's: strong; country unlike: a lead;
- name of a company with two distinctive words and its country: strong; any other name: never more than a lead;
- lot: a lead, strong with the maker, and for the origin of the goods only;
- IMO number, VIN: strong; container, tail, plate, vessel's name, contact: a lead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dief.v1 import codes_pb2 as c
from dief.v1.alert_pb2 import Item, Party

from node.alerts.normal import LEGAL_FORMS, distinctive_words, legal_forms, name_tokens, number
from node.screening.candidates import Match
from node.screening.terms import Term, is_short

LEAD = int(c.MATCH_STRENGTH_LEAD)
STRONG = int(c.MATCH_STRENGTH_STRONG)
IDENTITY = int(c.MATCH_STRENGTH_IDENTITY)

_WORDS = {LEAD: "Lead", STRONG: "Strong", IDENTITY: "Identity"}
_LONG_SERIAL = 6
_CONDITIONS = {
    c.SERIAL_CONDITION_PARTIAL: "could be read in part only",
    c.SERIAL_CONDITION_ERASED: "was removed from the item",
    c.SERIAL_CONDITION_RESTORED: "was made visible again by forensic means",
    c.SERIAL_CONDITION_OVERSTAMPED: "is stamped over",
    c.SERIAL_CONDITION_FALSE: "is not the number that the maker gave",
}
_ANY_MAKE = frozenset(
    {
        "armament", "armaments", "armory", "armoury", "arms", "arsenal", "defence", "defense", "factory", "firearms",
        "guns", "industries", "manufacturing", "mfg", "model", "munitions", "pistol", "rifle", "weapons", "works",
    }
)  # fmt: skip
_PERSON_SCHEMES = frozenset({c.IDENTIFIER_SCHEME_PASSPORT, c.IDENTIFIER_SCHEME_NATIONAL_ID})
_WORLDWIDE_SCHEMES = frozenset(
    {c.IDENTIFIER_SCHEME_LEI, c.IDENTIFIER_SCHEME_IMO_COMPANY, c.IDENTIFIER_SCHEME_DUNS}
)
_FORGED = {
    c.DOCUMENT_FLAG_FORGED: "forged",
    c.DOCUMENT_FLAG_ALTERED: "altered",
    c.DOCUMENT_FLAG_REUSED: "used for more than one deal",
    c.DOCUMENT_FLAG_SIGNATURE_FALSE: "falsely signed",
}


@dataclass(slots=True)
class Judgement:
    """What a match is worth.

    Attributes:
        strength: Value of dief.v1.MatchStrength.
        explanation: How it met, in words, beginning with the strength.
        weaknesses: What weakens it, in words.
    """

    strength: int
    explanation: str
    weaknesses: list[str] = field(default_factory=list)


def judge(term: Term, match: Match) -> Judgement | None:
    """What a match is worth; None where it is not to be shown as a hit.

    Args:
        term: What was searched.
        match: What it met.
    """
    rule = _RULES[match.kind]
    judgement = rule(term, match)
    if judgement is None:
        return None
    alert = match.alert
    if alert.exercise:
        judgement.weaknesses.append("The alert is a drill.")
    if alert.confidence.level in (c.CONFIDENCE_LEVEL_POSSIBLE, c.CONFIDENCE_LEVEL_DOUBTFUL):
        judgement.weaknesses.append("The originator is not sure of the case.")
    judgement.explanation = f"{_WORDS[judgement.strength]}: {judgement.explanation}"
    return judgement


def _index(match: Match, n: int = 1) -> int:
    """The n-th index of a match's place."""
    return int(match.place[n])


def _item(match: Match) -> Item:
    return match.items[_index(match)]


def _words(*values: str) -> set[str]:
    """Words that tell one make from another."""
    words = {word for value in values for word in name_tokens(value)}
    return words - LEGAL_FORMS - _ANY_MAKE


def _make_agrees(item: Item, context: str) -> bool | None:
    """Whether a make agrees with an item's marks; None where one side is silent."""
    asked = _words(context)
    told = _words(
        item.make, item.make_as_marked, item.model, item.model_as_marked, item.manufacturer, item.manufacturer_as_marked
    )  # fmt: skip
    if not asked or not told:
        return None
    return not asked.isdisjoint(told)


def _serial(term: Term, match: Match) -> Judgement | None:
    item = _item(match)
    form = number(match.value)[0]
    make = _make_agrees(item, term.context)
    if is_short(form) and not make:
        return None
    weaknesses = []
    explanation = "the serial number is the same"
    strength = LEAD
    if make:
        strength = STRONG
        explanation = "the serial number is the same, and so is the make"
        weaknesses.append("The calibre was not compared.")
    elif make is None:
        weaknesses.append("A serial number alone is no identity: the make could not be compared.")
    else:
        weaknesses.append("The alert names another make.")
    if form.isdigit() and len(form) < _LONG_SERIAL:
        weaknesses.append("A short number of digits only is on many arms.")
    if "serial_ranges" in str(match.place[0]):
        weaknesses.append("It is the first or last number of a range.")
    else:
        condition = item.serials[_index(match, 2)].condition
        if condition in _CONDITIONS:
            weaknesses.append(f"The number {_CONDITIONS[condition]}.")
    if number(match.value) != number(term.value):
        weaknesses.append("The two agree only after letters of another script were read as Latin ones.")
    return Judgement(strength, explanation, weaknesses)


def _lot(term: Term, match: Match) -> Judgement:
    weaknesses = [
        "Lots hold ten thousand to a million rounds, split over buyers: it tells the origin, not this holder."
    ]
    if _make_agrees(_item(match), term.context):
        return Judgement(STRONG, "the lot is the same, and so is the maker", weaknesses)
    return Judgement(LEAD, "the lot is the same", ["The maker was not compared.", *weaknesses])


def _contract(_term: Term, _match: Match) -> Judgement:
    return Judgement(LEAD, "the contract number is the same", ["The parties to it were not compared."])


def _document(term: Term, match: Match) -> Judgement:
    document = match.alert.documents[_index(match)]
    weaknesses = []
    context = term.context.strip()
    issuer_agrees = bool(context) and (
        context.upper() == document.issuer_state
        or not set(distinctive_words(context)).isdisjoint(distinctive_words(document.issuer))
    )
    flags = [word for flag, word in _FORGED.items() if flag in document.flags]
    note = f"; the alert says that it is {', '.join(flags)}" if flags else ""
    if issuer_agrees:
        weaknesses.append("Numbers can be used again by design: compare the year.")
        return Judgement(IDENTITY, f"number and issuer of the document are the same{note}", weaknesses)
    if context:
        weaknesses.append("The alert names another issuer, or none.")
    else:
        weaknesses.append("A number alone: the issuer was not given and not compared.")
    return Judgement(LEAD, f"the number of the document is the same{note}", weaknesses)


def _party_of(match: Match) -> Party:
    return match.alert.parties[_index(match)]


def _misused(party: Party) -> list[str]:
    if party.involvement == c.INVOLVEMENT_MISUSED:
        return ["The alert says that this party was misused: it is a victim, not a suspect."]
    if party.involvement == c.INVOLVEMENT_NAMED_ONLY:
        return ["The alert only names this party and says nothing against it."]
    return []


def _country(context: str, told: Iterable[str]) -> bool | None:
    """Whether a State given as context is among those told; None where one side is silent."""
    asked = context.strip().upper()
    states = {state for state in told if state}
    return None if len(asked) != 2 or not states else asked in states


def _identifier(term: Term, match: Match) -> Judgement:
    party = _party_of(match)
    identifier = party.identifiers[_index(match, 2)]
    weaknesses = _misused(party)
    agrees = _country(term.context, (identifier.country, party.country))
    if agrees is False:
        return Judgement(LEAD, "the number is the same", ["The register is of another State.", *weaknesses])
    if identifier.scheme in _PERSON_SCHEMES:
        return Judgement(STRONG, "the number of a person's paper is the same", weaknesses)
    if agrees is None and identifier.scheme not in _WORLDWIDE_SCHEMES:
        return Judgement(
            STRONG,
            "the number in a register is the same",
            ["The State of the register was not compared.", *weaknesses],
        )
    return Judgement(IDENTITY, "the number in the register is the same", weaknesses)


def _name(term: Term, match: Match) -> Judgement:
    place = str(match.place[0])
    if not place.startswith("parties"):
        who = "who signed a paper" if place.startswith("documents") else "who had the items in the end"
        return Judgement(LEAD, f"the name is that of {who}", ["A name alone is never more than a lead."])
    party = _party_of(match)
    weaknesses = _misused(party)
    if legal_forms(term.value) != legal_forms(match.value):
        weaknesses.append("The legal form differs or is missing on one side.")
    if party.names[_index(match, 2)].kind == c.NAME_KIND_WEAK:
        weaknesses.append("The originator calls this a weak alias.")
    if name_tokens(term.value) != name_tokens(match.value):
        weaknesses.append("The words stand in another order or are written in another way.")
    company = party.kind in (c.PARTY_KIND_COMPANY, c.PARTY_KIND_STATE_BODY)
    seats = (party.country, *(address.country for address in party.addresses))
    agrees = _country(term.context, seats)
    if company and agrees and len(distinctive_words(match.value)) > 1:
        return Judgement(STRONG, "the name of the company is the same, and so is its country", weaknesses)
    if agrees is False:
        weaknesses.append("The country is another one.")
    else:
        weaknesses.append(
            "A name alone is never more than a lead: compare country, number, telephone or birth year."
        )
    return Judgement(LEAD, "the name is the same", weaknesses)


def _contact(_term: Term, match: Match) -> Judgement:
    weaknesses = ["Telephones, addresses and sites are shared and change hands.", *_misused(_party_of(match))]
    return Judgement(LEAD, "the telephone number, e-mail address or site is the same", weaknesses)


_NO_DATE = "The date was not compared: it may have been sold or renamed since."


def _imo(_term: Term, _match: Match) -> Judgement:
    return Judgement(STRONG, "the IMO number of the ship is the same", [_NO_DATE])


def _vessel_name(_term: Term, _match: Match) -> Judgement:
    return Judgement(
        LEAD, "the name of the vessel is the same", ["Many vessels share a name, and names change."]
    )


def _aircraft(_term: Term, _match: Match) -> Judgement:
    return Judgement(LEAD, "the mark or serial number of the aircraft is the same", [_NO_DATE])


def _container(term: Term, match: Match) -> Judgement:
    weaknesses = ["Containers belong to pools and carry other cargo within weeks: compare the date."]
    if number(term.value) != number(match.value):
        weaknesses.append("The check digit differs or is missing on one side.")
    return Judgement(LEAD, "the number of the container is the same", weaknesses)


def _vehicle(_term: Term, match: Match) -> Judgement:
    if str(match.place[0]).endswith("vin"):
        return Judgement(STRONG, "the identification number of the vehicle is the same", [_NO_DATE])
    return Judgement(LEAD, "the number plate is the same", ["Plates are moved and reissued."])


_RULES: dict[int, Callable[[Term, Match], Judgement | None]] = {
    c.INDICATOR_KIND_SERIAL: _serial,
    c.INDICATOR_KIND_LOT: _lot,
    c.INDICATOR_KIND_PARTY_NAME: _name,
    c.INDICATOR_KIND_PARTY_IDENTIFIER: _identifier,
    c.INDICATOR_KIND_DOCUMENT: _document,
    c.INDICATOR_KIND_IMO: _imo,
    c.INDICATOR_KIND_VESSEL_NAME: _vessel_name,
    c.INDICATOR_KIND_AIRCRAFT: _aircraft,
    c.INDICATOR_KIND_CONTAINER: _container,
    c.INDICATOR_KIND_CONTACT: _contact,
    c.INDICATOR_KIND_VEHICLE: _vehicle,
    c.INDICATOR_KIND_CONTRACT: _contract,
}
