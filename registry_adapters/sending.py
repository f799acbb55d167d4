"""Records on their way to the node: grouped, handed in, halved where they are refused as a whole, and noted.

One batch is with the node at a time; whoever sends the next one settles the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from dief.v1 import registry_pb2

from registry_adapters.client import MAX_BATCH_BYTES, RegistryClient, WholeRefusedError, faults_of_status
from registry_adapters.errors import FieldFault, NodeError
from registry_adapters.mapping.rows import Mapping
from registry_adapters.report import Report
from registry_adapters.source import Row
from registry_adapters.state import Refusal, Sent, State


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record on its way to the node.

    Attributes:
        row: The row that it comes from.
        record: What is sent.
        after: What the node holds of the key once it has taken it.
    """

    row: Row
    record: registry_pb2.RegistryRecord
    after: Sent


@dataclass(frozen=True, slots=True)
class _Flight:
    """What is with the node: its records, the cursor behind them, good rows beside them, and the answer to come."""

    group: Sequence[Outgoing]
    cursor: bytes
    good: Sequence[Row]
    answer: Future[Sequence[registry_pb2.RecordOutcome]]


class Sender:
    """Hands one stream's records in.

    Args:
        mapping: Names the stream, and the column that fills a field.
        client: The node.
        state: The adapter's folder.

    Attributes:
        held: The cursor that the node holds.
    """

    def __init__(self, mapping: Mapping, client: RegistryClient, state: State) -> None:
        self.held = b""
        self._mapping = mapping
        self._client = client
        self._state = state
        self._flight: _Flight | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="send")

    def send(self, records: Sequence[Outgoing], good: Sequence[Row], cursor: bytes, report: Report) -> None:
        """Send records; the node has the last group of them while the next rows are read.

        Args:
            records: What is sent.
            good: Good rows beside them, whose quarantine entries end.
            cursor: Behind the last of them.
            report: Takes what the node answers.
        """
        groups = list(_by_size(records)) or [[]]
        for group in groups[:-1]:
            self._deliver(group, self.held, report, good)
        last = [one.record for one in groups[-1]]
        answer = self._thread.submit(self.submit, last, cursor)
        self._flight = _Flight(groups[-1], cursor, good, answer)

    def settle(self, report: Report) -> None:
        """Wait for the answer to what is with the node, and note it.

        Raises:
            AdapterError: The node refused the call, or stayed away.
        """
        flight, self._flight = self._flight, None
        if flight is None:
            return
        try:
            outcomes = flight.answer.result()
        except WholeRefusedError as error:
            self._halve(flight.group, flight.cursor, report, flight.good, error)
            return
        self._note(flight.group, outcomes, report, flight.good)

    def _deliver(self, group: Sequence[Outgoing], cursor: bytes, report: Report, good: Sequence[Row]) -> None:
        """Send a group and wait for the answer."""
        try:
            outcomes = self.submit([one.record for one in group], cursor)
        except WholeRefusedError as error:
            self._halve(group, cursor, report, good, error)
            return
        self._note(group, outcomes, report, good)

    def _halve(
        self,
        group: Sequence[Outgoing],
        cursor: bytes,
        report: Report,
        good: Sequence[Row],
        error: WholeRefusedError,
    ) -> None:
        """Halve a group that the node refused as a whole, until the record is found."""
        if not group:
            raise NodeError("The node refuses the cursor.", error.diagnosis, reason="INVALID") from None
        if len(group) > 1:
            half = len(group) // 2
            self._deliver(group[:half], self.held, report, good)
            self._deliver(group[half:], cursor, report, [])
            return
        self._refuse(group[0], error.faults, report)
        self._deliver([], cursor, report, good)

    def _note(
        self,
        group: Sequence[Outgoing],
        outcomes: Sequence[registry_pb2.RecordOutcome],
        report: Report,
        good: Sequence[Row],
    ) -> None:
        """Note what the node answered."""
        taken, resolved, refusals = {}, [*good], []
        for one, outcome in zip(group, outcomes, strict=True):
            if outcome.result == registry_pb2.RECORD_RESULT_REFUSED:
                faults = self._named(faults_of_status(outcome.error))
                refusals.append(Refusal(one.row, faults, "node", one.after.hash))
                report.reject(one.row, faults)
                continue
            unchanged = outcome.result == registry_pb2.RECORD_RESULT_UNCHANGED
            report.unchanged += unchanged
            report.accepted += not unchanged
            report.not_watched += len(outcome.not_watched)
            taken[one.record.key] = one.after
            resolved.append(one.row)
        self._state.after_sending(taken, resolved, refusals)

    def _refuse(self, one: Outgoing, faults: Sequence[FieldFault], report: Report) -> None:
        named = self._named(faults)
        self._state.after_sending({}, [], [Refusal(one.row, named, "node", one.after.hash)])
        report.reject(one.row, named)

    def _named(self, faults: Sequence[FieldFault]) -> tuple[FieldFault, ...]:
        """Faults that the node told, with the column that fills the field."""
        named = []
        for fault in faults:
            path = fault.field.rpartition("draft.alert.")[2].removeprefix("alert.")
            named.append(FieldFault(path, self._mapping.column_of(path), fault.reason, fault.description))
        return tuple(named)

    def submit(
        self, records: Sequence[registry_pb2.RegistryRecord], cursor: bytes
    ) -> Sequence[registry_pb2.RecordOutcome]:
        """Hand records in and wait for the answer; nothing is said where there is nothing to say.

        Raises:
            WholeRefusedError: They break a rule as a whole.
            NodeError: The node refused the call, or stayed away.
        """
        if not records and cursor == self.held:
            return ()
        outcomes = self._client.submit(self._mapping.stream, records, cursor)
        self.held = cursor
        return outcomes


def held_after(record: registry_pb2.RegistryRecord, before: Sent, told: bytes) -> Sent:
    """What the node holds of a key once it has taken a record."""
    change, watching = record.WhichOneof("change"), record.WhichOneof("watching")
    return Sent(
        told,
        draft=before.draft if change is None else change == "draft",
        watched=before.watched if watching is None else watching == "watch",
    )


def _by_size(records: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    """Groups of at most 1 MiB; a larger record is a group of its own."""
    group: list[Outgoing] = []
    size = 0
    for one in records:
        own = one.record.ByteSize()
        if group and size + own > MAX_BATCH_BYTES:
            yield group
            group, size = [], 0
        group.append(one)
        size += own
    if group:
        yield group
