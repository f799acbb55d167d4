"""What a run did, for people and machines; no value of a row is part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from registry_adapters.errors import FieldFault
from registry_adapters.source import Row


@dataclass(slots=True)
class Report:
    """What a run did.

    Attributes:
        read: Rows read.
        accepted: Rows that the node took.
        unchanged: Rows that the node already had.
        unselected: Rows that are not for the node.
        quarantined: Rows in quarantine.
        vanished: Keys that a complete pass no longer showed, withdrawn and no longer watched; no rows.
        not_watched: Facts that cannot be searched, such as "N/A"; the rest of their rows is watched.
        first_rejects: The first rows in quarantine: position, field, column, reason; no values.
        warnings: What the source noticed that a person should look at.
        seconds: How long it took.
    """

    read: int = 0
    accepted: int = 0
    unchanged: int = 0
    unselected: int = 0
    quarantined: int = 0
    vanished: int = 0
    not_watched: int = 0
    first_rejects: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def reject(self, row: Row, faults: Sequence[FieldFault]) -> None:
        """Count a row in quarantine."""
        self.quarantined += 1
        if len(self.first_rejects) < 10:
            fault = faults[0]
            self.first_rejects.append(
                {
                    "row": row.position,
                    "field": fault.field,
                    "column": fault.column,
                    "reason": fault.reason,
                    "description": fault.description,
                }
            )

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)
