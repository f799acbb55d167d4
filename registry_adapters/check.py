"""A dry run: what a mapping makes of a registry, without a node and without keeping anything.

Rules:
- Every row is read and mapped and every draft validated; nothing is sent or written.
- Rejects are told by row, field, column and reason; values are not shown. Codes that no table knows are, since
  they are codes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from registry_adapters.errors import Reject
from registry_adapters.mapping.rows import Mapping
from registry_adapters.source import Row, Source, SourceReport

_SHOWN_REJECTS = 20
_SHOWN_CODES = 50


@dataclass(slots=True)
class CheckReport:
    """What a run would do.

    Attributes:
        read: Rows read.
        drafts: Rows that would be drafts.
        withdrawals: Rows that would withdraw what they published.
        unselected: Rows that are not for the node.
        quarantined: Rows that would be in quarantine.
        reasons: Reason to the number of rows.
        first_rejects: Position, field, column, reason, description of the first rejects.
        unmapped: Column, code and number of rows, for codes that no table knows.
        mended: Column to the number of texts that were UTF-8 read as cp1252 and were mended.
        detected: What the source noticed, for example the encoding.
        waiting: Files that are not handed over yet.
        warnings: What the source noticed that a person should look at.
        columns: Columns that the source offers.
    """

    read: int = 0
    drafts: int = 0
    withdrawals: int = 0
    watched: int = 0
    unselected: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first_rejects: list[dict[str, str]] = field(default_factory=list)
    unmapped: list[dict[str, Any]] = field(default_factory=list)
    mended: dict[str, int] = field(default_factory=dict)
    detected: dict[str, str] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    columns: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "reasons": dict(self.reasons.most_common()), "columns": list(self.columns)}


def check(
    mapping: Mapping,
    source: Source,
    limit: int | None = None,
    progress: Callable[[int], None] = lambda read: None,
) -> CheckReport:
    """Try a mapping on its source.

    Args:
        mapping: The mapping.
        source: Its source.
        limit: Rows to read at most.
        progress: Called with the number of rows read, now and then.

    Raises:
        AdapterError: The source cannot be read.
    """
    report = CheckReport(columns=source.columns())
    for row in source.read(None):
        if not isinstance(row, Row):
            continue
        if limit is not None and report.read >= limit:
            break
        report.read += 1
        _sort(mapping, row, report)
        if report.read % 500 == 0:
            progress(report.read)
    report.unmapped = [
        {"column": column, "code": code, "rows": rows}
        for (column, code), rows in mapping.unmapped.most_common(_SHOWN_CODES)
    ]
    report.mended = dict(mapping.mended.most_common())
    noticed = getattr(source, "report", None)
    if isinstance(noticed, SourceReport):
        report.detected = dict(noticed.facts)
        report.waiting = list(noticed.waiting)
        report.warnings = list(noticed.warnings)
    return report


def _sort(mapping: Mapping, row: Row, report: CheckReport) -> None:
    try:
        mapped = mapping.map(row)
    except Reject as reject:
        report.quarantined += 1
        for reason in {fault.reason for fault in reject.faults}:
            report.reasons[reason] += 1
        if len(report.first_rejects) < _SHOWN_REJECTS:
            report.first_rejects.extend({"row": row.position, **asdict(fault)} for fault in reject.faults)
        return
    report.watched += mapped is not None and mapped.watch is not None
    if mapped is None or (mapped.draft is None and mapped.withdraw is None and mapped.watch is None):
        report.unselected += 1
    elif mapped.draft is not None:
        report.drafts += 1
    elif mapped.withdraw is not None:
        report.withdrawals += 1
