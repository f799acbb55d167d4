"""What a node may do with each of its own logs after a start, a restore or a failover: the pure decision.

A node never forks itself. For each own log it compares three memories: its database, its anchor file, and what members
of the log hold of it under this node's own signature.

- The database is the newest: go on. Where the anchor lacks its last signature (a crash between commit and anchor), that
  signature has not left, and is anchored now.
- A member, or the anchor, knows more than the database: learn the entries back from a member that has them. A member
  that has not caught up with the checkpoint it holds can not prove its entries, and gives nothing back.
- Nobody who answered has them: wait while a member has not answered; lost when all have.
- The database holds another history than the anchor or a member's signed checkpoint: lost. What was signed before
  stands; this epoch is closed, and the next genesis cites its last known checkpoint.
- The anchor is missing or older than the database remembers it: the database may be a restored copy, so a member has
  to confirm it, or an operator.
- A log that only this State is a member of has nobody to ask: anchor and database decide alone.

Source: design.md 4, "A node never forks itself".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from node.ledger.anchor import Anchored


class Decision(StrEnum):
    """What to do with one log."""

    GO_ON = "GO_ON"
    LEARN_BACK = "LEARN_BACK"
    LOST = "LOST"
    WAIT = "WAIT"


@dataclass(frozen=True, slots=True)
class MemberMemory:
    """What one member holds of the log, by a checkpoint that this node itself signed.

    Attributes:
        state: The member.
        size: Entries that it holds.
        checkpoint_size: Size of its newest checkpoint.
        agrees: Whether the database's history has the checkpoint's root at that size; None where the database is
            shorter, so that nothing can be said.
    """

    state: str
    size: int
    checkpoint_size: int
    agrees: bool | None


@dataclass(frozen=True, slots=True)
class Memories:
    """The three memories of one own log.

    Attributes:
        database_size: Entries in the database; -1 where it does not know the log.
        anchor: The anchor's line, None where it has none.
        anchor_agrees: Whether the database's history has the anchored root at that size; None where it is shorter or
            there is no line.
        anchor_remembered: Size that the anchor had when the database was last signed; 0 = none yet.
        others: Members beside this State.
        answers: Those of them that answered, with what they hold.
        silent: Those that did not answer.
    """

    database_size: int
    anchor: Anchored | None
    anchor_agrees: bool | None
    anchor_remembered: int
    others: Sequence[str]
    answers: Sequence[MemberMemory]
    silent: Sequence[str]


@dataclass(frozen=True, slots=True)
class Finding:
    """The decision, the reason in words, and from whom to learn."""

    decision: Decision
    reason: str
    learn_from: str = ""


def decide(memories: Memories) -> Finding:
    """Decide over one log by the rules above."""
    if memories.anchor_agrees is False:
        return Finding(Decision.LOST, "The database holds another history than the anchor.")
    contradicting = [answer.state for answer in memories.answers if answer.agrees is False]
    if contradicting:
        return Finding(
            Decision.LOST, f"The database holds another history than {', '.join(sorted(contradicting))}."
        )
    newest = max(
        [0 if memories.anchor is None else memories.anchor.size]
        + [answer.checkpoint_size for answer in memories.answers]
    )
    if memories.database_size < newest:
        return _behind(memories, newest)
    anchored = 0 if memories.anchor is None else memories.anchor.size
    if anchored >= memories.anchor_remembered and (
        memories.anchor is not None or memories.anchor_remembered == 0
    ):
        return Finding(Decision.GO_ON, "Database and anchor agree.")
    if any(answer.agrees for answer in memories.answers):
        return Finding(Decision.GO_ON, "The anchor is missing or old; a member confirms the database.")
    if not memories.others:
        return Finding(Decision.GO_ON, "The anchor is missing or old; no other State holds this log.")
    return Finding(
        Decision.WAIT,
        "The anchor is missing or older than the database remembers, and no member has confirmed it.",
    )


def _behind(memories: Memories, newest: int) -> Finding:
    """The database lacks entries that were signed."""
    able = [
        answer
        for answer in memories.answers
        if answer.size > memories.database_size and answer.size >= answer.checkpoint_size
    ]
    if able:
        best = max(able, key=lambda answer: (answer.size, answer.state))
        if best.size >= newest or not memories.silent:
            return Finding(
                Decision.LEARN_BACK, f"{best.state} holds entries that the database lacks.", best.state
            )
        return Finding(
            Decision.WAIT,
            f"No member that answered holds everything; not heard: {', '.join(memories.silent)}.",
        )
    if memories.silent:
        return Finding(
            Decision.WAIT,
            f"Signed entries are missing here, and not every member has answered: {', '.join(memories.silent)}.",
        )
    return Finding(Decision.LOST, "Signed entries are missing here, and no member has them.")
