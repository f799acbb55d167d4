"""What a node may do with an own log after a start: every row of the table (I4, design: a node never forks itself)."""

from __future__ import annotations

from typing import Any

import pytest

from node.ledger.anchor import Anchored
from node.ledger.startup import Decision, MemberMemory, Memories, decide

ROOT = bytes(32)


def memories(**changes: Any) -> Memories:
    """Ten entries in the database, anchored, members XB and XE, both silent."""
    values: dict[str, Any] = {
        "database_size": 10,
        "anchor": Anchored(10, ROOT, 1),
        "anchor_agrees": True,
        "anchor_remembered": 9,
        "others": ("XB", "XE"),
        "answers": (),
        "silent": ("XB", "XE"),
    }
    return Memories(**{**values, **changes})


def xb(size: int, agrees: bool | None = True, checkpoint: int | None = None) -> MemberMemory:
    return MemberMemory("XB", size, size if checkpoint is None else checkpoint, agrees)


AHEAD = {"anchor": Anchored(12, ROOT, 1), "anchor_agrees": None}
NO_ANCHOR = {"anchor": None, "anchor_agrees": None}

TABLE: list[tuple[str, dict[str, Any], Decision]] = [
    ("database and anchor agree, nobody reachable", {}, Decision.GO_ON),
    ("commit without its anchor line", {"anchor": Anchored(9, ROOT, 1)}, Decision.GO_ON),
    ("first entry without its anchor line", {**NO_ANCHOR, "anchor_remembered": 0}, Decision.GO_ON),
    ("member holds the same", {"answers": [xb(10)], "silent": ("XE",)}, Decision.GO_ON),
    ("member lags behind", {"answers": [xb(7)], "silent": ("XE",)}, Decision.GO_ON),
    ("member holds more", {"answers": [xb(13, None)], "silent": ("XE",)}, Decision.LEARN_BACK),
    (
        "anchor knows more, a member has it",
        {**AHEAD, "answers": [xb(12, None)], "silent": ("XE",)},
        Decision.LEARN_BACK,
    ),
    ("anchor knows more, nobody answers", AHEAD, Decision.WAIT),
    (
        "anchor knows more, one has not answered",
        {**AHEAD, "answers": [xb(10)], "silent": ("XE",)},
        Decision.WAIT,
    ),
    (
        "anchor knows more, all answered, nobody has it",
        {**AHEAD, "answers": [xb(10)], "silent": ()},
        Decision.LOST,
    ),
    (
        "a member has a part of what is missing, another is silent",
        {**AHEAD, "answers": [xb(11, None)], "silent": ("XE",)},
        Decision.WAIT,
    ),
    (
        "a member has a part of what is missing, all answered",
        {**AHEAD, "answers": [xb(11, None)], "silent": ()},
        Decision.LEARN_BACK,
    ),
    (
        "the only member that has more can not prove it, another is silent",
        {**AHEAD, "answers": [xb(11, None, checkpoint=12)], "silent": ("XE",)},
        Decision.WAIT,
    ),
    (
        "the only member that has more can not prove it, all answered",
        {**AHEAD, "answers": [xb(11, None, checkpoint=12)], "silent": ()},
        Decision.LOST,
    ),
    ("another history than the anchor", {"anchor_agrees": False}, Decision.LOST),
    ("another history than a member's signed checkpoint", {"answers": [xb(10, False)]}, Decision.LOST),
    ("anchor missing, nobody reachable", NO_ANCHOR, Decision.WAIT),
    ("anchor older than the database remembers", {"anchor": Anchored(5, ROOT, 1)}, Decision.WAIT),
    (
        "anchor missing, a member confirms",
        {**NO_ANCHOR, "answers": [xb(10)], "silent": ("XE",)},
        Decision.GO_ON,
    ),
    (
        "anchor missing, only this State is a member",
        {**NO_ANCHOR, "others": (), "silent": ()},
        Decision.GO_ON,
    ),
    (
        "database empty, anchor and member know the log",
        {
            "database_size": -1,
            "anchor_agrees": None,
            "anchor_remembered": 0,
            "answers": [xb(10, None)],
            "silent": (),
        },
        Decision.LEARN_BACK,
    ),
    (
        "database empty, nobody answers",
        {"database_size": -1, "anchor_agrees": None, "anchor_remembered": 0},
        Decision.WAIT,
    ),
]


@pytest.mark.parametrize(("what", "changes", "decision"), TABLE, ids=[row[0] for row in TABLE])
def test_i4_a_node_never_forks_itself(what: str, changes: dict[str, Any], decision: Decision) -> None:
    finding = decide(memories(**changes))
    assert finding.decision is decision, finding.reason
    assert finding.reason
    assert (finding.learn_from != "") == (decision is Decision.LEARN_BACK)
