"""Rows of a registry that answers in JSON over HTTPS.

Rules:
- Without a watermark every run is a complete pass. With one, a run asks for rows from the newest watermark on, less the
  overlap, so that rows with the same mark and rows that appear late come too; now and then all rows (`complete_every`).
- Only marks of the registry move the cursor, and only when the run is through: the order within an answer is unknown.
  A mark more than a day ahead of our clock moves nothing, or all that changes before that day would never be asked for.
- A complete pass tells what is gone only where it can vouch for having seen the whole list: see rest_pages. Page
  numbers are read until a pass held still; an address of a next page may hide them, so such a list is read until two
  passes agree; either three times at most.
- A list that comes as one answer is asked for with its ETag or date; where the registry says that it has not changed,
  nothing is read.
- A pass over page numbers or offsets goes on after a restart where it stood; others begin anew.

Source: cases/schemas/NOTES.md L14, RFC 9110 section 13.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

from urllib3.util import Url

from registry_adapters.errors import FieldFault, SchemaDriftError, SourceError
from registry_adapters.source import Cursor, Milestone, Row, SourceReport
from registry_adapters.sources.columns import check_paths, key_of
from registry_adapters.sources.json_records import NotJsonError, columns_of, parse, raw_text
from registry_adapters.sources.rest_auth import open_auth
from registry_adapters.sources.rest_http import Answer, Channel, Client
from registry_adapters.sources.rest_pages import Page, Place, Walk, at, mark_of
from registry_adapters.sources.rest_settings import RestSettings
from registry_adapters.sources.sql_marks import less_seconds, moment_of

KIND: Final = "rest"
_DAY: Final = 86_400.0
_PASSES: Final = 3
_ENOUGH: Final = 20
_MAX_VALIDATOR: Final = 1024
_TORN: Final = FieldFault(
    "", "", "RECORD_TORN", "The record could not be taken apart; it is read again in a run."
)
_KEYLESS: Final = "A row needs its key: it is missing, or no text or number."


class RestSource:
    """A stream of rows from a REST interface.

    Args:
        settings: `[source]` of the mapping.
        home: Folder of the mapping file.
        needed: Columns that the mapping reads.
        clock: Seconds since the epoch.
        wait: Waits some seconds before a request is repeated.

    Raises:
        MappingError: A secret or file that the mapping names is missing.
    """

    kind = KIND

    def __init__(
        self,
        settings: RestSettings,
        home: Path,
        needed: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._url = settings.address()
        self._needed = needed | {*settings.key}
        self._clock = clock
        self._channel = Channel(settings, home)
        self._client = Client(settings, self._channel, open_auth(settings, self._channel), wait)
        self._asked = 0
        self._validators: dict[str, str] = {}
        self.report = SourceReport()

    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the records on the first page."""
        self._asked = 0
        for records, _ in Walk(self._settings.paging, self._asker({}, {})).steps():
            found: dict[str, None] = {}
            for record in records:
                found.update(dict.fromkeys(self._values(record)[0]))
            return tuple(found)
        return ()

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows behind the cursor; see the module's rules."""
        state = dict(cursor.state) if cursor else {}
        self._asked = 0
        self.report.warnings.clear()
        if "mark" in state and "scan" not in state and not self._is_due(state):
            yield from self._changes(state)
        else:
            yield from self._complete_pass(state)

    def restored(self, row: Row) -> Row:
        """A row of the quarantine; one that could not be taken apart stays so until it is read again."""
        return replace(row, faults=(_TORN,)) if row.raw else row

    def close(self) -> None:
        """Close all connections."""
        self._channel.close()

    def _is_due(self, state: Mapping[str, Any]) -> bool:
        every = self._settings.complete_every
        return every is not None and self._clock() - float(state.get("completed", 0.0)) >= every

    def _changes(self, state: dict[str, Any]) -> Iterator[Row | Milestone]:
        here = Cursor(KIND, state)
        newest = state["mark"]
        since = {self._settings.since_parameter or "": self._less_overlap(newest)}
        walk = Walk(self._settings.paging, self._asker(since, {}))
        for records, _ in walk.steps():
            rows = [self._row(record, here) for record in records]
            self._check_columns(rows, least=_ENOUGH)
            for row in rows:
                newest = self._newer(newest, row)
                yield row
        self._tell(walk)
        yield Milestone(Cursor(KIND, {**state, "mark": newest}))

    def _complete_pass(self, state: dict[str, Any]) -> Iterator[Row | Milestone]:
        scan = str(state.get("scan") or uuid4().hex)
        begun = float(state.get("begun") or self._clock())
        newest = state.get("mark")
        place: Place | None = state.get("after")
        validators = state.get("validators") if place is None else None
        before: bytes | None = None
        for _ in range(_PASSES):
            self._validators = {}
            walk = Walk(self._settings.paging, self._asker({}, validators or {}))
            checked = place is not None
            for records, behind in walk.steps(place):
                held = {"scan": scan, "begun": begun} | ({} if newest is None else {"mark": newest})
                here = Cursor(KIND, held, place)
                rows = [self._row(record, here, scan) for record in records]
                if rows and not checked:
                    self._check_columns(rows, least=1)
                    checked = True
                for row in rows:
                    newest = self._newer(newest, row)
                    yield row
                place = behind
            place = None
            self._tell(walk)
            if self._validators.pop("unchanged", ""):
                yield Milestone(Cursor(KIND, state))
                return
            settled = walk.is_whole and self._held_still(walk, before)
            before = walk.marks
            if settled or not walk.is_whole:
                break
        if not settled:
            self.report.warnings.append(
                "The list did not hold still or was cut short: rows that are gone are not told in this run."
            )
        end: dict[str, Any] = {} if newest is None else {"mark": newest, "completed": begun}
        if self._validators:
            end["validators"] = self._validators
        yield Milestone(Cursor(KIND, end), completed_scan=scan if settled else "")

    def _held_still(self, walk: Walk, before: bytes | None) -> bool:
        """Whether a pass can vouch for having seen every row that was there all the while.

        Args:
            walk: The pass.
            before: Digest of the pass before it.
        """
        paging = self._settings.paging
        match paging.style:
            case "none" | "offset":
                return True
            case "page":
                return walk.moved == 0
            case "cursor" if paging.stable is None:
                return True
            case _:
                return bool(paging.stable) or walk.marks == before

    def _tell(self, walk: Walk) -> None:
        self.report.facts["requests"] = str(self._asked)
        if walk.moved:
            self.report.facts["moved"] = f"rows moved {walk.moved} times while they were read"

    # -- Requests

    def _asker(
        self, parameters: Mapping[str, str], validators: Mapping[str, str]
    ) -> Callable[[Mapping[str, str] | Url], Page | None]:
        def ask(asked: Mapping[str, str] | Url) -> Page | None:
            if isinstance(asked, Url):
                return self._page(asked, {})
            query = urlencode({**self._settings.query, **parameters, **asked})
            own = self._url.query
            joined = "&".join(part for part in (own, query) if part)
            return self._page(self._url._replace(query=joined or None), validators)

        return ask

    def _page(self, url: Url, validators: Mapping[str, str]) -> Page | None:
        paging = self._settings.paging
        self._asked += 1
        if self._asked > self._settings.max_pages:
            raise SourceError(
                f"One run asks for more than max_pages = {self._settings.max_pages} pages.",
                "Ask for larger pages, or raise the limit.",
                reason="TOO_MANY_PAGES",
            )
        conditions, fine = {}, {200}
        if paging.style == "none" and validators:
            conditions = {name: text for name, text in validators.items() if text.isprintable()}
            fine.add(304)
        if paging.past_end_404:
            fine.add(404)
        answer = self._client.get(url, conditions, frozenset(fine))
        if answer.status == 404:
            return None
        if answer.status == 304:
            self._validators["unchanged"] = "yes"
            return Page((), (), None, "", url)
        if paging.style == "none":
            self._validators = _validators_of(answer)
        try:
            body = parse(answer.data)
        except NotJsonError:
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            shown = kind if kind.isascii() and kind.isprintable() and len(kind) < 60 else "of no known type"
            raise SourceError(
                f"The registry's answer is no JSON; it says that it is {shown or 'of no known type'}.",
                "Check `url` of [source]: a page for people, such as a log-in, stands there perhaps.",
                reason="NOT_JSON",
            ) from None
        records = at(body, self._settings.records)
        if not isinstance(records, list):
            known = ", ".join(map(ascii, list(body)[:20])) if isinstance(body, dict) else "no names"
            raise SourceError(
                f"There is no list at records = {self._settings.records!a}; the answer has {known}.",
                "Mend `records` of [source]: names joined by a point, from the answer down to the list.",
                reason="RECORDS_MISSING",
            )
        marks = [mark_of(self._key(record), record) for record in records]
        return Page(records, marks, body, answer.headers.get("link", ""), answer.url)

    # -- Rows

    def _values(self, record: Any) -> tuple[dict[str, Any], tuple[FieldFault, ...]]:
        return columns_of(record, self._settings.max_depth)

    def _key(self, record: Any) -> str | None:
        if not isinstance(record, dict):
            return None
        return key_of(
            {column: record.get(column, at(record, column)) for column in self._settings.key},
            self._settings.key,
        )

    def _row(self, record: Any, cursor: Cursor, scan: str = "") -> Row:
        values, faults = self._values(record)
        key = self._key(record)
        raw = raw_text(record) if faults else ""
        if key is None and not faults:
            faults = (FieldFault("", self._settings.key[0], "KEY_MISSING", _KEYLESS),)
        column = self._settings.soft_delete
        deleted = column is not None and values.get(column) not in (None, "", 0, False)
        position = f"rest/{key}" if key is not None else f"rest/without key {mark_of(None, record).hex()}"
        return Row(key, values, position, cursor, faults, deleted, scan, raw)

    def _check_columns(self, rows: list[Row], least: int) -> None:
        """Whether a column was renamed, as it seems; told before a row is handed over."""
        met = {column for row in rows for column in row.values}
        sound = [row for row in rows if not row.raw]
        missing = [column for column in self._settings.key if column not in met]
        if sound and missing:
            raise SchemaDriftError(
                f"No record has the key {', '.join(missing)}; they have {', '.join(map(ascii, sorted(met)[:40]))}.",
                "Mend `key` or `records` of [source].",
            )
        if len(sound) >= least:
            check_paths("the list", met, self._needed, self._settings.unused)

    # -- Watermarks

    def _newer(self, newest: Any, row: Row) -> Any:
        """The newest watermark, with a row seen."""
        column = self._settings.watermark
        if column is None or row.values.get(column) is None:
            return newest
        mark = row.values[column]
        moment = self._moment(mark)
        if moment is None:
            return newest
        if self._settings.watermark_unit != "number" and moment > self._clock() + _DAY:
            words = "Watermarks more than a day ahead of our clock were met; they do not move the cursor."
            if words not in self.report.warnings:
                self.report.warnings.append(words)
            return newest
        before = None if newest is None else self._moment(newest)
        return mark if before is None or moment > before else newest

    def _moment(self, mark: Any) -> float | Decimal | None:
        """A watermark as a number that can be compared; None where it is none."""
        if isinstance(mark, bool):
            return None
        if self._settings.watermark_unit == "time":
            return moment_of(mark) if isinstance(mark, str) else None
        try:
            number = Decimal(mark) if isinstance(mark, (int, str, Decimal)) else None
        except InvalidOperation:
            return None
        if number is None or not number.is_finite():
            return None
        return number / 1000 if self._settings.watermark_unit == "ms" else number

    def _less_overlap(self, mark: Any) -> str:
        """What to ask for: rows from this watermark on."""
        overlap = self._settings.overlap_seconds
        match self._settings.watermark_unit:
            case "time":
                return str(less_seconds(mark, overlap))
            case "ms":
                return format(Decimal(mark) - Decimal(int(overlap * 1000)), "f")
            case _:
                return format(Decimal(mark) - Decimal(int(overlap)), "f")


def _validators_of(answer: Answer) -> dict[str, str]:
    """Headers of the next request that ask whether this answer still holds."""
    told = {"If-None-Match": answer.headers.get("etag", "")}
    if not told["If-None-Match"]:
        told = {"If-Modified-Since": answer.headers.get("last-modified", "")}
    return {
        name: text for name, text in told.items() if 0 < len(text) <= _MAX_VALIDATOR and text.isprintable()
    }
