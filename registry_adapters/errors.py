"""What can be wrong between a registry and the node, each with its diagnosis and mend.

Rules:
- AdapterError stops a run; Reject concerns one row, which goes into quarantine while the run goes on.
- Neither ever carries a value of a row: values stand in the quarantine only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class AdapterError(Exception):
    """A run cannot start or go on.

    Attributes:
        reason: stable word for machines.
        diagnosis: what is wrong.
        mend: what to do about it.
    """

    default_reason: ClassVar[str] = "ADAPTER"

    def __init__(self, diagnosis: str, mend: str, *, reason: str | None = None) -> None:
        super().__init__(diagnosis, mend)
        self.reason = reason or self.default_reason
        self.diagnosis = diagnosis
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.diagnosis} {self.mend}"


class MappingError(AdapterError):
    """The mapping file does not say what can be done."""

    default_reason: ClassVar[str] = "MAPPING_INVALID"


class SourceError(AdapterError):
    """The registry, or the folder that it writes to, cannot be read."""

    default_reason: ClassVar[str] = "SOURCE_UNREADABLE"


class SchemaDriftError(SourceError):
    """The registry has not the columns that the mapping names."""

    default_reason: ClassVar[str] = "SCHEMA_DRIFT"


class SinkError(AdapterError):
    """The place that the registry offered for hits and outcomes does not take them."""

    default_reason: ClassVar[str] = "SINK_REFUSED"


class CursorError(AdapterError):
    """The stored cursor is not of this source or of a newer version."""

    default_reason: ClassVar[str] = "CURSOR_UNKNOWN"


class StateError(AdapterError):
    """The adapter's own folder cannot be used."""

    default_reason: ClassVar[str] = "STATE_UNUSABLE"


class NodeError(AdapterError):
    """The node refused a call as a whole, or stayed away longer than the retries last."""

    default_reason: ClassVar[str] = "NODE_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One reason why a row is in quarantine.

    Attributes:
        field: Path in the alert, or "" where no field is concerned.
        column: Column of the registry, or "" where it is not one column's fault.
        reason: Stable word, for example "DATE_IMPOSSIBLE", or the id of a rule of the protos.
        description: The rule in words, without the value.
    """

    field: str
    column: str
    reason: str
    description: str


class Reject(Exception):  # noqa: N818 - a verdict over a row, no fault of the program
    """A row that cannot become a draft, with every reason that was found."""

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = tuple(faults)
