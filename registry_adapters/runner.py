"""One run of an adapter: read from the node's cursor, map, send, and account for every row.

Rules:
- read = accepted + unchanged + unselected + quarantined, in every run.
- The node keeps the cursor and takes it in one transaction with the records before it; a row goes into
  quarantine before the cursor passes it. So a kill at any point loses no row and doubles none.
- A record whose content the node already has is not sent; what the node refused is sent again only when it has
  changed, or by a replay.
- A withdrawal is sent only for a key that had a draft. A known key that a complete pass does not show is
  withdrawn, unless the pass met a row whose key could not be read, or most keys are gone at once.
- A batch has at most 200 records (1,000 where none can become a draft) and 1 MiB. One that the node refuses as a
  whole is halved until the record is found.
- While a batch is with the node the next rows are read and mapped. What is on its way to become a draft is kept, and
  after a kill it is sent again, so that a refusal is never missed.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from dief.v1 import registry_pb2

from registry_adapters.client import MAX_RECORDS, RegistryClient
from registry_adapters.errors import AdapterError, FieldFault, Reject, SourceError, StateError
from registry_adapters.mapping.rows import Mapping, hash_of
from registry_adapters.report import Report
from registry_adapters.sending import Outgoing, Sender, held_after
from registry_adapters.source import Cursor, Milestone, Restoring, Row, Source, SourceReport
from registry_adapters.state import Quarantined, Refusal, Sent, State

_QUIET_ROWS: Final = 5000
_WATCHED_AT_ONCE: Final = 1000
"""Rows of a batch that holds no draft, of which each may cost the node a signature."""
_LONGEST_WAIT: Final = 60.0
_DOUBLINGS: Final = 10
_FEW: Final = 20
_NOTHING: Final = Sent(None, draft=False)


@dataclass(slots=True)
class _Batch:
    """What one chunk of rows turned into."""

    records: list[Outgoing] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    good: list[Row] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)


class Runner:
    """Runs one stream.

    Args:
        mapping: What becomes what.
        source: Where rows come from.
        client: The node.
        state: The adapter's folder.
        progress: Called with the report after every chunk.
        accept_vanished: Withdraw also where most keys are gone.
    """

    def __init__(
        self,
        mapping: Mapping,
        source: Source,
        client: RegistryClient,
        state: State,
        progress: Callable[[Report], None] = lambda report: None,
        accept_vanished: bool = False,
    ) -> None:
        self._mapping = mapping
        self._source = source
        self._client = client
        self._state = state
        self._progress = progress
        self._accept_vanished = accept_vanished
        self._sender = Sender(mapping, client, state)

    def run_once(self) -> Report:
        """Read everything that is new and send what must be sent.

        Raises:
            AdapterError: The registry, the node or the folder failed; what was done before stays done.
        """
        try:
            report = self._run()
            self._state.set_fact("last_error", "")
            return report
        except AdapterError as error:
            told = {
                "at_ms": time.time_ns() // 1_000_000,
                "reason": error.reason,
                "diagnosis": error.diagnosis,
            }
            with suppress(sqlite3.Error):
                self._state.set_fact("last_error", json.dumps(told))
            raise
        except sqlite3.Error as error:
            raise StateError(
                f"The adapter's folder cannot be used: {type(error).__name__}.",
                "Make room on its disk, or mend its rights; nothing is lost, the next run goes on.",
            ) from None

    def _run(self) -> Report:
        report = Report()
        begun = time.monotonic()
        stream = self._mapping.stream
        self._sender.held = self._client.cursor(stream)
        if not self._state.fact("built"):
            drafted = (standing.key for standing in self._client.standings(stream))
            self._state.rebuild(drafted, self._client.watched(stream))
        try:
            self._read_all(report)
        finally:
            with suppress(AdapterError):
                self._sender.settle(report)
        report.seconds = time.monotonic() - begun
        noticed = getattr(self._source, "report", None)
        if isinstance(noticed, SourceReport):
            report.warnings = list(noticed.warnings)
        self._state.set_fact(
            "last_run", json.dumps({"ended_ms": time.time_ns() // 1_000_000, **report.as_dict()})
        )
        return report

    def _read_all(self, report: Report) -> None:
        if on_their_way := [self._as_read_now(entry) for entry in self._state.in_flight()]:
            self._handle(on_their_way, report, None, flush=False)
            self._sender.settle(report)
            self._state.landed()
        quiet = 0
        size = MAX_RECORDS if self._mapping.drafts else _WATCHED_AT_ONCE
        for chunk in _chunks(self._source.read(Cursor.decode(self._sender.held, self._source.kind)), size):
            rows = [part for part in chunk if isinstance(part, Row)]
            sent = self._handle(rows, report, rows[-1].cursor if rows else None, flush=quiet >= _QUIET_ROWS)
            quiet = 0 if sent else quiet + len(rows)
            last = chunk[-1]
            if isinstance(last, Milestone):
                self._sender.settle(report)
                if last.completed_scan:
                    self._withdraw_vanished(last.completed_scan, report)
                self._sender.submit([], last.cursor.encode())
            self._progress(report)
            if self._client.stop.is_set():
                break
        self._sender.settle(report)

    def follow(self, every: float, told: Callable[[Report | AdapterError], None]) -> None:
        """Run again and again until the client's stop event is set.

        Args:
            every: Seconds between runs; after a failure the wait grows up to a minute or this, if longer.
            told: Called with each report, and with each failure that a later run may mend.
        """
        failures = 0
        while not self._client.stop.is_set():
            try:
                if not self._state.paused:
                    told(self.run_once())
                failures = 0
            except AdapterError as error:
                if self._client.stop.is_set():
                    return
                failures += 1
                told(error)
            wait = every if not failures else max(every, min(2.0 ** min(failures, _DOUBLINGS), _LONGEST_WAIT))
            self._client.stop.wait(wait)

    def replay(self, ids: Sequence[int] = ()) -> Report:
        """Map and send rows in quarantine again, with the mapping as it is now.

        Args:
            ids: Entries, all where empty.
        """
        report = Report()
        self._sender.held = self._client.cursor(self._mapping.stream)
        entries = list(self._state.quarantined(ids))
        for begin in range(0, len(entries), MAX_RECORDS):
            rows = [self._as_read_now(entry) for entry in entries[begin : begin + MAX_RECORDS]]
            self._handle(rows, report, None, flush=False, resend=True)
        self._sender.settle(report)
        return report

    def _as_read_now(self, entry: Quarantined) -> Row:
        """A row that was kept, as the source would read it now."""
        cursor = Cursor(self._source.kind, {})
        row = Row(entry.key, entry.values, entry.position, cursor, deleted=entry.deleted, raw=entry.raw)
        return self._source.restored(row) if isinstance(self._source, Restoring) else row

    def _handle(
        self, rows: Sequence[Row], report: Report, cursor: Cursor | None, *, flush: bool, resend: bool = False
    ) -> bool:
        """Map rows, while the batch before them is with the node, and send what must be sent; whether anything was."""
        keys = [row.key for row in rows if row.key is not None and _decodable(row.key)]
        known = self._state.known(keys)
        refused = {} if resend else self._state.refused_hashes(keys)
        batch = _Batch()
        report.read += len(rows)
        for row in rows:
            self._sort(row, batch, known, refused, report)
        self._sender.settle(report)
        scan = rows[0].scan if rows else ""
        sent = {one.record.key: one.after for one in batch.records}
        if sent or batch.refusals or (scan and batch.seen):
            told = [one.row for one in batch.records if one.record.WhichOneof("change")]
            self._state.before_sending(sent, batch.refusals, batch.seen, scan, told)
        if scan and any(row.key is None for row in rows):
            self._state.set_fact("keyless_scan", scan)
        position = self._sender.held if cursor is None else cursor.encode()
        if batch.records or flush:
            self._sender.send(batch.records, batch.good, position, report)
            return True
        if batch.good:
            self._state.after_sending({}, batch.good, [])
        return False

    def _sort(
        self, row: Row, batch: _Batch, known: dict[str, Sent], refused: dict[str, bytes], report: Report
    ) -> None:
        if row.key is not None and _decodable(row.key):
            batch.seen.append(row.key)
        try:
            mapped = self._mapping.map(row)
        except Reject as reject:
            batch.refusals.append(Refusal(row, reject.faults, "adapter"))
            report.reject(row, reject.faults)
            return
        before = known.get(row.key or "", _NOTHING)
        record = None if mapped is None else mapped.record(drafted=before.draft, watched=before.watched)
        if record is None:
            report.unselected += 1
            batch.good.append(row)
            return
        told = hash_of(record)
        if before.hash == told:
            report.unchanged += 1
            batch.good.append(row)
        elif refused.get(record.key) == told:
            faults = (FieldFault("", "", "REFUSED_BEFORE", "The node refused the same content before."),)
            report.reject(row, faults)
        else:
            after = held_after(record, before, told)
            batch.records.append(Outgoing(row, record, after))
            known[record.key] = after

    def _withdraw_vanished(self, scan: str, report: Report) -> None:
        if self._state.fact("keyless_scan") == scan:
            return
        missing = self._state.held_outside(scan)
        if len(missing) > _FEW and len(missing) * 2 > self._state.held() and not self._accept_vanished:
            raise SourceError(
                f"A complete pass no longer shows {len(missing)} rows that the node has, most of all.",
                "If they are gone for good, run once with --accept-vanished; else restore the registry or the file.",
                reason="VANISHED_TOO_MANY",
            )
        keys = list(missing)
        for begin in range(0, len(keys), MAX_RECORDS):
            sent = {}
            records = []
            for key in keys[begin : begin + MAX_RECORDS]:
                before = missing[key]
                record = self._mapping.gone(key).record(drafted=before.draft, watched=before.watched)
                if record is not None:
                    records.append(record)
                    sent[key] = held_after(record, before, hash_of(record))
            outcomes = self._sender.submit(records, self._sender.held)
            done = {o.key: sent[o.key] for o in outcomes if o.result != registry_pb2.RECORD_RESULT_REFUSED}
            self._state.after_sending(done, [], [])
            report.vanished += len(done)


def _decodable(key: str) -> bool:
    return key.isascii() or not any("\ud800" <= c <= "\udfff" for c in key)


def _chunks(parts: Iterator[Row | Milestone], size: int) -> Iterator[list[Row | Milestone]]:
    """Up to `size` rows at a time; a milestone and a change of pass end a chunk."""
    chunk: list[Row | Milestone] = []
    for part in parts:
        previous = chunk[-1] if chunk else None
        if isinstance(part, Row) and isinstance(previous, Row) and previous.scan != part.scan:
            yield chunk
            chunk = []
        chunk.append(part)
        if isinstance(part, Milestone) or len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
