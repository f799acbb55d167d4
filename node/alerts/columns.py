"""The columns that alerts are filtered by, from a parsed alert or from fields gathered while its rules were checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from dief.v1.alert_pb2 import DiversionAlert

from node.alerts.states import code_bits

FIRST_CODE = 1000
"""Codes of gathered fields from here on are columns, smaller ones searchable facts."""

_STATUS, _URGENCY, _STAGES, _CATEGORY, _CONCERNED = range(FIRST_CODE, FIRST_CODE + 5)
_CONCERNED_LENGTH = 200

GATHERED_COLUMNS = {
    "dief.v1.DiversionAlert.status": _STATUS,
    "dief.v1.DiversionAlert.urgency": _URGENCY,
    "dief.v1.Diversion.stages": _STAGES,
    "dief.v1.Item.category": _CATEGORY,
    "dief.v1.ConcernedState.state": _CONCERNED,
}
"""The fields that the columns are made from, as node.alerts.compiled gathers them."""


class Columns(NamedTuple):
    """What an alert can be filtered by; all blank where there is no content.

    Attributes:
        status: Value of AlertStatus.
        urgency: Value of Urgency.
        stages: Bit set of DiversionStage.
        categories: Bit set of ArmsCategory.
        concerned: Concerned States, each between blanks.
    """

    status: int = 0
    urgency: int = 0
    stages: int = 0
    categories: int = 0
    concerned: str = ""


BLANK = Columns()


def columns(alert: DiversionAlert) -> Columns:
    """The columns of an alert."""
    return Columns(
        alert.status,
        alert.urgency,
        code_bits(alert.diversion.stages),
        code_bits({item.category for item in alert.items}),
        _states({concerned.state for concerned in alert.concerned_states}),
    )


def gathered_columns(gathered: Iterable[tuple[int, Any]]) -> Columns:
    """The same from gathered fields."""
    status = urgency = stages = 0
    categories = set()
    states = set()
    for code, value in gathered:
        if code < FIRST_CODE:
            continue
        if code == _CATEGORY:
            categories.add(value)
        elif code == _CONCERNED:
            states.add(value)
        elif code == _STAGES:
            stages = code_bits(value)
        elif code == _STATUS:
            status = value
        else:
            urgency = value
    return Columns(status, urgency, stages, code_bits(categories), _states(states))


def _states(codes: set[str]) -> str:
    return f" {' '.join(sorted(codes))} "[:_CONCERNED_LENGTH] if codes else ""
