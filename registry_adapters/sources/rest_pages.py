"""A long list in pages, read so that rows that appear or vanish meanwhile move none out of sight.

Rules:
- Page numbers and offsets count rows, so a row that vanishes before the place of reading moves the next one to where
  nobody looks again. So each step shows what was read last once more: with offsets the last row must come again as the
  first, with page numbers the page before is read again after its successor. Where it does not, reading steps back
  until something known is found, and goes on from there.
- With offsets every row that exists all the while, in an order that its changes do not alter, is so read at least once.
  With page numbers two changes that undo each other between two requests can hide one; a pass in which no page moved
  is taken for whole, another is not.
- A token or an address of a next page is followed as it is. One that comes again, and a page that comes again and
  again, ends the run: the registry would give it for ever.
- An address of a next page must keep scheme, host and port.
- A list ends with a page that brings nothing new, never with a short page: registries cut pages as they like.

Source: cases/schemas/NOTES.md L14, RFC 8288.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from urllib3.util import Url

from registry_adapters.errors import SourceError
from registry_adapters.sources.rest_http import same_origin
from registry_adapters.sources.rest_settings import PagingSettings, origin_of

_SAME_PAGES: Final = 5
_TRIES: Final = 10
_EMPTY_PAGES: Final = 100
_STEPS_BACK: Final = 100
_PAGES_KNOWN: Final = 4
_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w*!#$&+.^`|~-]+(?:\s*=\s*(?:"[^"]*"|[^\s",;]*))?)*)')
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s",;]*))', re.IGNORECASE)

Place = list[Any]
"""Number of a row or page to go on with, the mark of the row before it, and how many rows were read."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        records: As they stand in the answer.
        marks: What tells each from the others.
        body: The whole answer.
        link: The header `Link`.
        url: Where it came from.
    """

    records: Sequence[Any]
    marks: Sequence[bytes]
    body: Any
    link: str
    url: Url


Ask = Callable[[Mapping[str, str] | Url], Page | None]
"""Gives the page for some query parameters, or at an address; None where there is none (404 behind the last one)."""


@dataclass(slots=True)
class Walk:
    """One pass over a list.

    Attributes:
        paging: `[source.paging]`.
        ask: Gives pages.
        rows: Rows that stood in the list so far, each once.
        moved: How often rows had moved while they were read.
        total: What the registry told last of the number of rows; None where it does not.
    """

    paging: PagingSettings
    ask: Ask
    rows: int = 0
    moved: int = 0
    total: int | None = None
    _digest: Any = field(default_factory=hashlib.sha256)
    _same: tuple[bytes, int] = (b"", 0)

    def steps(self, place: Place | None = None) -> Generator[tuple[list[Any], Place | None], None, None]:
        """Records page by page, each with the place behind it where reading can go on after a restart.

        Args:
            place: Where to go on; None at the beginning.

        Raises:
            SourceError: The list has no end, or leads elsewhere.
        """
        self.rows = place[2] if place else 0
        match self.paging.style:
            case "offset":
                yield from self._by_offset(place)
            case "page":
                yield from self._by_number(place)
            case _:
                yield from self._by_link()

    @property
    def marks(self) -> bytes:
        """Digest of the rows in the order in which they were read."""
        return bytes(self._digest.digest())

    @property
    def is_whole(self) -> bool:
        """Whether the list was read to its end, as far as the number of rows tells that the registry gives."""
        return self.total is None or self.rows >= self.total

    def _by_offset(self, place: Place | None) -> Generator[tuple[list[Any], Place | None], None, None]:
        size = self.paging.size or 2
        known = _Known(place)
        row: int = place[0] if place else 0
        held: Sequence[bytes] = ()
        while True:
            begin = max(0, row - 1)
            parameters = {
                self.paging.parameter or "": str(begin),
                self.paging.size_parameter or "": str(size),
            }
            page = self._page(parameters)
            marks = page.marks if page else ()
            where = known.last_in(marks)
            if begin and where is None:
                row = self._step_back(row, max(1, (len(held) or size) - 1))
                continue
            if page is None:
                raise _nothing_behind()
            if begin and where:
                self.moved += 1
            self._check_repeats(marks, held if begin else (), least=2)
            held = marks
            fresh, new = known.add(page)
            self._count(fresh, new)
            row = begin + len(marks)
            if fresh:
                yield [record for _, record in fresh], known.place(row, self.rows)
            elif not where:  # nothing stands behind what was read last
                return

    def _by_number(self, place: Place | None) -> Generator[tuple[list[Any], Place | None], None, None]:
        first = self.paging.first
        known = _Known(place)
        number: int = place[0] if place else first
        begun = number  # after a restart, what stood before it is not known
        held: Sequence[bytes] = ()
        tries = 0
        while True:
            page = self._page(self._numbered(number))
            before = self._page(self._numbered(number - 1)) if number > first else None
            if page is None and number == first:
                raise _nothing_behind()
            earlier = before.marks if before else ()
            if number > first and known.last_in(earlier) is None:
                number, held = self._step_back(number, 1), ()
                continue
            again, late = known.add(before)
            ahead, new = known.add(page)
            fresh = [*again, *ahead]
            self._count(fresh, new + (late if number > begun else 0))
            if number > first and [*earlier] != [*held] and tries < _TRIES:
                tries, held = tries + 1, earlier  # rows moved between the two: what lies there is read again
                self.moved += 1 if tries > 1 or number > begun else 0
                yield [record for _, record in fresh], known.place(number, self.rows)
                continue
            marks = page.marks if page else ()
            more = self.paging.more is None or page is None or bool(at(page.body, self.paging.more))
            last = [*marks] == [*earlier] and self.total is not None and self.total <= self.rows
            yield [record for _, record in fresh], known.place(number + 1, self.rows)
            if not marks or not more or last:
                return
            self._check_repeats(marks, earlier, least=1)
            number, held, tries = number + 1, marks, 0

    def _by_link(self) -> Generator[tuple[list[Any], Place | None], None, None]:
        asked: Mapping[str, str] | Url = self._sized({})
        seen: set[bytes] = set()
        empty = 0
        held: Sequence[bytes] = ()
        while True:
            page = self._page(asked)
            if page is None:
                raise _nothing_behind()
            self._check_repeats(page.marks, held, least=1)
            held = page.marks
            empty = 0 if page.records else empty + 1
            self._count(list(zip(page.marks, page.records, strict=True)), len(page.records))
            yield list(page.records), None
            following = self._next(page)
            if following is None:
                return
            mark = hashlib.sha256(str(following).encode()).digest()[:12]
            if mark in seen and self.paging.last is not None and len(page.records) == 1:
                return  # a token that is taken as "from here on", and only its own row is left
            if mark in seen or empty > _EMPTY_PAGES:
                raise _repeats()
            seen.add(mark)
            asked = following

    def _next(self, page: Page) -> Mapping[str, str] | Url | None:
        """How to ask for the next page; None where there is none."""
        paging = self.paging
        if paging.more is not None and not at(page.body, paging.more):
            return None
        match paging.style:
            case "link":
                found: Any = next_link(page.link)
            case "next_url" | "cursor" if paging.next is not None:
                found = at(page.body, paging.next)
            case "cursor":
                found = at(page.records[-1], paging.last or "") if page.records else None
            case _:
                return None
        if found is None or found == "" or found is False:
            return None
        if not isinstance(found, (str, int)) or len(str(found)) > 8192:
            raise SourceError(
                "What stands where the next page should be told is no text or number.",
                "Mend `next` or `last` of [source.paging].",
                reason="NEXT_UNFIT",
            )
        if paging.style == "cursor":
            return self._sized({paging.parameter or "": str(found)})
        return same_origin(page.url, str(found), origin_of(page.url), "NEXT_ELSEWHERE")

    def _page(self, asked: Mapping[str, str] | Url) -> Page | None:
        page = self.ask(asked)
        if page is not None and self.paging.total is not None:
            total = at(page.body, self.paging.total)
            if isinstance(total, int):
                self.total = total
        return page

    def _numbered(self, number: int) -> Mapping[str, str]:
        return self._sized({self.paging.parameter or "": str(number)})

    def _sized(self, parameters: dict[str, str]) -> Mapping[str, str]:
        if self.paging.size is not None and self.paging.size_parameter is not None:
            parameters[self.paging.size_parameter] = str(self.paging.size)
        return parameters

    def _count(self, fresh: Sequence[tuple[bytes, Any]], new: int) -> None:
        self.rows += new
        for mark, _ in fresh:
            self._digest.update(mark)

    def _step_back(self, place: int, by: int) -> int:
        self.moved += 1
        if self.moved > _STEPS_BACK:
            raise SourceError(
                "Rows move faster than they can be read: the order of the list has no hold.",
                "Have the registry order it by a column that does not change, by a parameter in `query`.",
                reason="LIST_UNSTABLE",
            )
        return max(self.paging.first if self.paging.style == "page" else 0, place - by)

    def _check_repeats(self, marks: Sequence[bytes], held: Sequence[bytes], least: int) -> None:
        """A page that is the one before it, three times: the registry does not look at the parameter."""
        digest = hashlib.sha256(b"".join(marks)).digest()
        same = len(marks) >= least and [*marks] == [*held]
        times = self._same[1] + 1 if same and self._same[0] == digest else int(same)
        self._same = digest, times
        if times >= _SAME_PAGES:
            raise _repeats()


class _Known:
    """The rows that were read last, enough of them to find the way back."""

    def __init__(self, place: Place | None) -> None:
        self.newest = bytes.fromhex(place[1]) if place else b""
        self._held: dict[bytes, bytes] = {self.newest: b""} if place else {}
        self._longest = 1

    def last_in(self, marks: Sequence[bytes]) -> int | None:
        """Index of the last row of a page that was read before; None where none was."""
        return next((i for i in reversed(range(len(marks))) if marks[i] in self._held), None)

    def add(self, page: Page | None) -> tuple[list[tuple[bytes, Any]], int]:
        """The rows of a page that were not read before, or said something else; and how many were not."""
        fresh, new = [], 0
        before = {
            mark: held for mark in (page.marks if page else ()) if (held := self._held.get(mark)) is not None
        }
        for mark, record in zip(page.marks, page.records, strict=True) if page else ():
            content = mark_of(None, record)
            if mark in before and before[mark] in (content, b""):
                continue
            fresh.append((mark, record))
            new += mark not in before
            if mark not in self._held:
                self.newest = mark
            self._held[mark] = content
        self._longest = max(self._longest, len(page.marks) if page else 0)
        while len(self._held) > self._longest * _PAGES_KNOWN:
            del self._held[next(iter(self._held))]
        return fresh, new

    def place(self, number: int, rows: int) -> Place | None:
        """Where to go on after a restart."""
        return [number, self.newest.hex(), rows] if self.newest else None


def at(body: Any, path: str) -> Any:
    """What stands at a path of names joined by "."; None where nothing does."""
    for name in path.split(".") if path else ():
        if not isinstance(body, dict):
            return None
        body = body.get(name)
    return body


def next_link(header: str) -> str | None:
    """The address of the next page in a header `Link`; None where there is none."""
    for found in _LINK.finditer(header[:65536]):
        for quoted, bare in _REL.findall(found[2]):
            if "next" in (quoted or bare).lower().split():
                return found[1]
    return None


def mark_of(key: str | None, record: Any) -> bytes:
    """What tells a record from others: its key, or all of it where it has none."""
    text = key if key is not None else json.dumps(record, default=str, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()[:12]


def _repeats() -> SourceError:
    return SourceError(
        "The registry gives the same page again and again.",
        "Check `parameter`, `first`, `next`, `more` and `total` of [source.paging].",
        reason="PAGE_REPEATS",
    )


def _nothing_behind() -> SourceError:
    return SourceError(
        "The registry answers 404.",
        "Check `url` and `query` of [source].",
        reason="REGISTRY_FAILS",
    )
