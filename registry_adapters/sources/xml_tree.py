"""Elements of an XML document that are wanted, one after the other, as columns.

Rules:
- Text is taken without blanks around it; an element that is there with nothing in it is "".
- An element that may repeat is a list, where the mapping says so; one that repeats without that is a fault.
- No more of the document is held than the element that is being read, and of that no more than the limit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from registry_adapters.sources.file_settings import XmlSettings

_MAX_NAMES: Final = 1000
TEXT: Final = "text()"


@dataclass(slots=True)
class Node:
    """An element with all that is in it.

    Attributes:
        name: Its name, as paths have it.
        attributes: Its attributes.
        line: Where it begins.
        children: Elements in it.
        parts: Its text, in pieces.
    """

    name: str
    attributes: dict[str, str]
    line: int
    children: list[Node] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its own text."""
        return "".join(self.parts).strip()


@dataclass(frozen=True, slots=True)
class Wanted:
    """An element that was asked for.

    Attributes:
        path: Where it stands, from the root.
        node: The element; empty where it is too large.
        around: Attributes of the elements around it, as `../@name`.
        too_large: It is beyond the limit.
    """

    path: tuple[str, ...]
    node: Node
    around: dict[str, str]
    too_large: bool


@dataclass(slots=True)
class Columns:
    """Columns of an element.

    Attributes:
        values: Column to text, or to a list.
        repeated: Columns of elements that came again although they are no list.
        met: Every path, those inside lists too.
    """

    values: dict[str, Any] = field(default_factory=dict)
    repeated: set[str] = field(default_factory=set)
    met: set[str] = field(default_factory=set)


class Collector:
    """Gathers the wanted elements of a document from its events.

    Args:
        wanted: Paths from the root.
        settings: `[source]` of the mapping.
    """

    def __init__(self, wanted: Collection[tuple[str, ...]], settings: XmlSettings) -> None:
        self._wanted = frozenset(wanted)
        self._settings = settings
        self._prefixes = {uri: prefix for prefix, uri in settings.prefixes.items()}
        self._short: dict[str, str] = {}
        self._path: list[str] = []
        self._attributes: list[dict[str, str]] = []
        self._open: list[Node] = []
        self._size = 0
        self._found: list[Wanted] = []
        self.root = ""
        self.beside: set[str] = set()

    def taken(self) -> list[Wanted]:
        """The elements that have become complete."""
        found, self._found = self._found, []
        return found

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        """An element begins."""
        short = self._named(name)
        held = (
            {self._attribute(key): value for key, value in attributes.items()} if attributes else attributes
        )
        self._path.append(short)
        self._attributes.append(held if not self._open else {})
        if not self._open and tuple(self._path) not in self._wanted:
            self.root = self.root or short
            if len(self.beside) < _MAX_NAMES:
                self.beside.add("/".join(self._path))
            return
        node = Node(short, held, line)
        if self._open:
            self._size += len(short) + 16
            for key, value in held.items():
                self._size += len(key) + len(value)
            if self._size <= self._settings.max_row_bytes:
                self._open[-1].children.append(node)
        else:
            self._size = 0
        self._open.append(node)

    def text(self, data: str) -> None:
        """Text."""
        if self._open:
            self._size += len(data)
            if self._size <= self._settings.max_row_bytes:
                self._open[-1].parts.append(data)

    def end(self, name: str) -> None:
        """An element ends."""
        if self._open:
            node = self._open.pop()
            if not self._open:
                large = self._size > self._settings.max_row_bytes
                if large:
                    node = Node(node.name, node.attributes, node.line)
                self._found.append(Wanted(tuple(self._path), node, self._around(), large))
        self._path.pop()
        self._attributes.pop()

    def _around(self) -> dict[str, str]:
        found: dict[str, str] = {}
        up = ""
        for attributes in reversed(self._attributes[:-1]):
            up += "../"
            found.update({f"{up}@{name}": value for name, value in attributes.items()})
        return found

    def _named(self, name: str) -> str:
        short = self._short.get(name)
        if short is None:
            short = self._made(name, attribute=False)
            if len(self._short) < _MAX_NAMES:
                self._short[name] = short
        return short

    def _attribute(self, name: str) -> str:
        return self._made(name, attribute=True) if "}" in name else name

    def _made(self, name: str, *, attribute: bool) -> str:
        """A name as paths of the mapping have it."""
        uri, _, local = name.rpartition("}")
        settings = self._settings
        if settings.namespace is None and uri not in self._prefixes:
            return local
        if uri == (settings.namespace if not attribute else ""):
            return local
        prefix = self._prefixes.get(uri)
        return f"{prefix}:{local}" if prefix is not None else f"{{{uri}}}{local}"


def columns_of(node: Node, prefix: str, lists: Collection[str]) -> Columns:
    """The columns of an element.

    Args:
        node: The element.
        prefix: What its columns begin with, "" for a row.
        lists: Paths of elements that may repeat.
    """
    columns = Columns()
    own = prefix or "."
    for name, value in node.attributes.items():
        columns.values[f"{own}/@{name}"] = value
    if node.text or not (node.children or node.attributes):
        columns.values[prefix or f"./{TEXT}"] = node.text
    _children(node, f"{prefix}/" if prefix else "", lists, columns)
    columns.met.update(columns.values)
    return columns


def member_names(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Columns with a prefix as members of an element of a list: `/@id`, `name`, `name/@code`, `/text()`."""
    found = {}
    for column, value in values.items():
        rest = column.removeprefix(prefix)
        name = f"/{TEXT}" if not rest else rest if rest.startswith("/@") else rest.removeprefix("/")
        found[name] = value
    return found


def member_path(column: str, member: str, joined: Collection[str]) -> str:
    """The path of a member of a list's elements, as `Columns.met` has it.

    Args:
        column: Column of the list.
        member: As `member_names` has it.
        joined: Columns of joins, whose columns are no part of another one's path.
    """
    bare = member.removeprefix("/")
    if bare.partition("/")[0] in joined:
        return bare
    return column if bare in ("", TEXT) else f"{column}/{bare}"


def _children(node: Node, prefix: str, lists: Collection[str], columns: Columns) -> None:
    """Put the columns of an element's children beside its own."""
    for child in node.children:
        path = prefix + child.name
        if path in lists:
            inner = columns_of(child, path, lists)
            columns.repeated |= inner.repeated
            columns.met |= inner.met | {path}
            plain = set(inner.values) == {path}
            element = inner.values[path] if plain else member_names(inner.values, path)
            columns.values.setdefault(path, []).append(element)
            continue
        if path in columns.met:
            columns.repeated.add(path)
            continue
        columns.met.add(path)
        for name, value in child.attributes.items():
            columns.values[f"{path}/@{name}"] = value
        if child.text or not (child.children or child.attributes):
            columns.values[path] = child.text
        _children(child, f"{path}/", lists, columns)


def longest(values: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Lists of a row with the number of their elements."""
    for column, value in values.items():
        if isinstance(value, list):
            yield column, len(value)
