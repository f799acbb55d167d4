"""XML from outside as a stream of events, with nothing in it that could harm.

Rules:
- A document type is refused, and with it every entity that it could define: no bomb, no reading of other files.
- Depth and the size of one tag are bounded; memory does not grow with the file.
- Blanks before the document are passed over; the line numbers count them.

Source: XML 1.0; the attacks that defusedxml names.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import IO, Final, Protocol
from xml.parsers import expat

from registry_adapters.errors import SourceError

_CHUNK: Final = 1 << 16
_LARGEST_TOKEN: Final = 8 << 20
_BLANKS: Final = b" \t\r\n"
_MEND: Final = "Have the file sent again, or move it out of the folder."


class Events(Protocol):
    """What is done with the parts of a document. Names are "namespace}name", or "name" where there is none."""

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        """An element begins."""

    def text(self, data: str) -> None:
        """Text; one text may come in several pieces."""

    def end(self, name: str) -> None:
        """An element ends."""


def read_events(file: IO[bytes], name: str, events: Events, max_depth: int = 256) -> Iterator[None]:
    """Hand over the events of a document, piece by piece.

    Args:
        file: Open at the document's beginning.
        name: What the file is called, for errors.
        events: Where they go.
        max_depth: How deep elements may lie in each other.

    Yields:
        Nothing, now and then, so that what was gathered can be taken away.

    Raises:
        SourceError: It is not well-formed, has a document type, or is beyond a limit.
    """
    parser = expat.ParserCreate(namespace_separator="}")
    reader = _Reader(parser, name, events, max_depth)
    skipped, started = 0, False
    try:
        while chunk := file.read(_CHUNK):
            if not started:
                stripped = chunk.lstrip(_BLANKS)
                skipped += chunk[: len(chunk) - len(stripped)].count(b"\n")
                chunk, started = stripped, bool(stripped)
                reader.skipped = skipped
            reader.quiet += len(chunk)
            parser.Parse(chunk, False)
            if reader.quiet > _LARGEST_TOKEN:
                raise SourceError(
                    f"{name} holds a tag, text or comment of more than {_LARGEST_TOKEN} bytes.",
                    _MEND,
                    reason="XML_TOO_LARGE",
                )
            yield
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        what = expat.errors.messages.get(error.code, "unknown fault")
        raise SourceError(
            f"{name} is not well-formed XML: line {error.lineno + skipped}: {what}.",
            _MEND,
            reason="NOT_WELL_FORMED",
        ) from None
    except (ValueError, LookupError):
        raise SourceError(
            f"{name} is written in an encoding that cannot be read.",
            "Have it written in UTF-8.",
            reason="ENCODING",
        ) from None
    yield


@lru_cache(maxsize=4096)
def local_name(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


class _Reader:
    """Between the parser and the events: bounds, and what is refused."""

    def __init__(self, parser: expat.XMLParserType, name: str, events: Events, max_depth: int) -> None:
        self._parser = parser
        self._name = name
        self._events = events
        self._max_depth = max_depth
        self._depth = 0
        self.quiet = 0
        self.skipped = 0
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = events.text
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.CommentHandler = parser.ProcessingInstructionHandler = self._nothing

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.quiet = 0
        self._depth += 1
        if self._depth > self._max_depth:
            raise SourceError(
                f"{self._name} has elements more than {self._max_depth} deep in each other.",
                _MEND,
                reason="XML_TOO_DEEP",
            )
        self._events.start(name, attributes, self._parser.CurrentLineNumber + self.skipped)

    def _end(self, name: str) -> None:
        self.quiet = 0
        self._depth -= 1
        self._events.end(name)

    def _doctype(self, *_declared: object) -> None:
        raise SourceError(
            f"{self._name} declares a document type, which is refused: it could define entities.",
            "Have it written without <!DOCTYPE …>.",
            reason="XML_DOCTYPE",
        )

    def _nothing(self, *_told: object) -> None:
        self.quiet = 0
