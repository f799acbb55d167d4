"""Exact screening on normal forms: what meets what, how strongly, why, and what was not searched.

Rules:
- Strongest first, then in the order of the terms, then newest first.
- One hit for each term and thing: a serial that was read and registered alike meets once.
- What a reader may not see leaves no trace: no hit, no number, no reason.

Source: design.md 9; domain.md 4.4.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from node.alerts.indicators import path_of
from node.alerts.queries import EVERYBODY
from node.alerts.records import AlertRecord
from node.screening.candidates import MAX_PER_TERM, Match, Reader, find
from node.screening.strength import Judgement, judge
from node.screening.terms import Ready, Term, make_ready


@dataclass(frozen=True, slots=True)
class Hit:
    """One explained match.

    Attributes:
        term: Position of the term.
        strength: Value of dief.v1.MatchStrength.
        kind: Value of dief.v1.IndicatorKind.
        path: Where in the alert it stands, for example "items[0].serials[1].as_read".
        value: In the alert, as the originator wrote it.
        record: The alert.
        explanation: How it met, in words.
        weaknesses: What weakens it, in words; empty where nothing is known.
    """

    term: int
    strength: int
    kind: int
    path: str
    value: str
    record: AlertRecord
    explanation: str
    weaknesses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotSearched:
    """A term that was not searched, or not to the end, and why."""

    term: int
    reason: str


@dataclass(frozen=True, slots=True)
class Screening:
    """The answer: hits, strongest first, and what was not searched."""

    hits: tuple[Hit, ...]
    not_searched: tuple[NotSearched, ...]


def screen(
    conn: Connection,
    terms: Sequence[Term],
    now_ms: int,
    *,
    reader_roles: Collection[int] = EVERYBODY,
    doubted_origins: Collection[str] = (),
) -> Screening:
    """Match terms against the current alerts held here.

    Args:
        conn: Snapshot.
        terms: What an application or list names.
        now_ms: This node's clock.
        reader_roles: Values of ReaderRole that the reader has.
        doubted_origins: Origins that are shown with a warning.
    """
    ready: list[tuple[int, Ready]] = []
    not_searched = []
    for position, term in enumerate(terms):
        made = make_ready(term)
        if isinstance(made, Ready):
            ready.append((position, made))
        else:
            not_searched.append(NotSearched(position, made))
    found = find(conn, ready, Reader(now_ms, reader_roles, doubted_origins))
    judged: dict[tuple[int, int, str], tuple[Match, Judgement]] = {}
    for match in found.matches:
        judgement = judge(terms[match.term], match)
        thing = (match.term, match.name_id, _thing(match))
        if judgement is not None and (thing not in judged or judged[thing][1].strength < judgement.strength):
            judged[thing] = (match, judgement)
    hits = [_hit(match, judgement) for match, judgement in judged.values()]
    hits.sort(key=_strongest_first)
    not_searched += [
        NotSearched(
            position, f"More than {MAX_PER_TERM} alerts meet it, the newest were read: narrow it by context."
        )
        for position in found.overfull
    ]
    return Screening(tuple(hits), tuple(not_searched))


def _hit(match: Match, judgement: Judgement) -> Hit:
    path = path_of(match.place)
    if match.part is not None:
        path = f"list_parts[{match.part}].{path}"
    return Hit(
        match.term,
        judgement.strength,
        match.kind,
        path,
        match.value,
        match.record,
        f"{judgement.explanation}.",
        tuple(judgement.weaknesses),
    )


def _thing(match: Match) -> str:
    """What the fact is about: its path without the last step."""
    return f"{match.part}:{path_of(match.place).rpartition('.')[0]}"


def _strongest_first(hit: Hit) -> tuple[int, int, int]:
    return -hit.strength, hit.term, -hit.record.received_ms
