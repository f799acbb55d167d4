"""What is wrong with an alert, said about a field."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """ERROR: the alert can not be released. WARNING: it can, and whoever decides is shown the words."""

    ERROR = "ERROR"
    WARNING = "WARNING"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule.

    Attributes:
        field: Path, for example "items[0].serials[1].as_read"; empty for the alert as a whole.
        description: The rule and the mend, for people. It never repeats what stands in the field.
        severity: Whether it forbids release.
        rule: Stable word for machines, for example "alert.in_transit" or "string.pattern".
    """

    field: str
    description: str
    severity: Severity = Severity.ERROR
    rule: str = ""
