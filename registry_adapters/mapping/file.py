"""The mapping file: what may stand in it, checked when it is loaded, with the line of each error.

Rules:
- TOML; an unknown key, table, field, code or column is an error, with the nearest known name.
- Paths are relative to the file's folder; a secret in a database URL comes from the environment (`url_env`).

Source: TOML 1.0.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag, ValidationError, model_validator

from registry_adapters.errors import MappingError
from registry_adapters.mapping.conditions import Condition
from registry_adapters.mapping.part import Part
from registry_adapters.mapping.toml_lines import key_lines, line_of
from registry_adapters.plugins import (
    SINKS,
    SOURCES,
    SinkPluginSettings,
    SourcePluginSettings,
    kinds_of,
    whose_kind,
)
from registry_adapters.sinks.settings import FileSinkSettings, HttpSinkSettings, SqlSinkSettings
from registry_adapters.sources.file_settings import (
    CsvSettings,
    FlatSettings,
    Join,
    JsonlSettings,
    RecordSettings,
    RunNumbers,
    SpreadsheetSettings,
    XmlSettings,
)
from registry_adapters.sources.rest_settings import PARTS as REST_PARTS
from registry_adapters.sources.rest_settings import RestSettings
from registry_adapters.sources.sftp_settings import SftpSettings
from registry_adapters.sources.singer_settings import SingerSettings
from registry_adapters.sources.sql_settings import ChangesSettings, LookupSettings, SqlSettings

Lines = dict[tuple[str | int, ...], int]
IndicatorName = Literal[
    "SERIAL",
    "LOT",
    "PARTY_NAME",
    "PARTY_IDENTIFIER",
    "DOCUMENT",
    "IMO",
    "VESSEL_NAME",
    "AIRCRAFT",
    "CONTAINER",
    "CONTACT",
    "VEHICLE",
    "CONTRACT",
]
"""Names of dief.v1.IndicatorKind without their prefix."""


WriteBackSettings = SqlSinkSettings | FileSinkSettings | HttpSinkSettings
FileSettings = CsvSettings | JsonlSettings | SpreadsheetSettings | XmlSettings | FlatSettings
SourceSettings = SqlSettings | RestSettings | SingerSettings | FileSettings
BuiltInSource = Annotated[SourceSettings, Field(discriminator="kind")]
BuiltInSink = Annotated[WriteBackSettings, Field(discriminator="kind")]


class CodeTable(Part):
    """`[codes.<name>]`: the registry's codes and what they are in an alert; without a default others refuse the row."""

    map: dict[str, str]
    default: str | None = None


class PlaceholderTable(Part):
    """`[placeholders.<name>]`: words that stand where a number should: it was erased, or there is none."""

    erased: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


class Setting(Part):
    """A constant put at one place."""

    to: str
    value: Any


def _one_group(pattern: str | None) -> str | None:
    try:
        groups = re.compile(pattern).groups if pattern is not None else 1
    except re.error:
        groups = 0
    if groups != 1:
        raise ValueError("must be a regular expression with one group")
    return pattern


Pattern = Annotated[str | None, AfterValidator(_one_group)]
"""A regular expression whose one group is what is wanted of a text."""


class FieldRule(Part):
    """`[[field]]`: one value of a row at one place of the alert.

    With `pattern`, the value is its group where it is found first, and blank where it is not found.
    """

    to: str
    column: str | None = None
    template: str | None = None
    value: Any = None
    pattern: Pattern = None
    codes: str | None = None
    date: str | tuple[str, ...] | None = None
    decimal_comma: bool = False
    number: bool = False
    required: bool = False
    cut: Annotated[int | None, Field(ge=1)] = None
    placeholders: str | None = None
    erased: Setting | None = None
    beside: str | None = None
    when: Condition | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> FieldRule:
        if sum(origin is not None for origin in (self.column, self.template, self.value)) != 1:
            raise ValueError("needs one of column, template, value")
        if self.pattern is not None and self.value is not None:
            raise ValueError("`pattern` looks into a column or template, not into a value")
        return self


class EachRule(Part):
    """`[[each]]`: a column that holds a list (an array, or JSON) and the fields that each element fills.

    Inside, `@` is the element, `@.name` a member of it, `@index` its place from 1.
    """

    column: str
    field: Annotated[tuple[FieldRule, ...], Field(min_length=1)]
    limit: Annotated[int, Field(ge=1, le=500)] = 500
    when: Condition | None = None


class Select(Part):
    """`[select]`: which rows become drafts, which withdraw what they were."""

    draft: Condition
    withdraw: Condition | None = None
    withdraw_reason: Literal["WITHDRAWN", "UNFOUNDED"] = "WITHDRAWN"
    strict: bool = False


class Expiry(Part):
    """`[expiry]`: how long an alert lives, from the day on which it is drafted."""

    years: Annotated[int, Field(ge=1, le=30)] = 3


class Clean(Part):
    """`[clean]`: what is done to every text."""

    unescape: bool = False
    mend_mojibake: bool = False


class TermRule(Part):
    """`[[watch.term]]`: a fact of the row that alerts are matched against.

    With `each`, that column holds a list (an array, or JSON) and every element gives a term; `@` is the element,
    `@.name` a member of it. With `pattern`, each place at which it is found gives a term: its group; where it is not
    found there is none. Searching time is that of Python's `re`: do not nest repetitions.
    """

    kind: IndicatorName
    column: str | None = None
    template: str | None = None
    pattern: Pattern = None
    each: str | None = None
    context: str | None = None
    placeholders: str | None = None
    when: Condition | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> TermRule:
        if (self.column is None) == (self.template is None):
            raise ValueError("needs column or template")
        return self


class WatchRule(Part):
    """`[watch]`: which rows new alerts are matched against. They stay in the node and become no draft by this."""

    kind: Literal["LICENCE", "APPLICATION", "HOLDING", "SEIZURE", "LIST_ENTRY", "SHIPMENT", "OTHER"]
    reference: str = ""
    select: Condition | None = None
    term: Annotated[tuple[TermRule, ...], Field(min_length=1)]


class MappingFile(Part):
    """The whole file: rows become drafts by `[select]`, are watched by `[watch]`, or both."""

    version: Literal[1]
    stream: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    state: Path = Path("state")
    source: Annotated[
        Annotated[BuiltInSource, Tag("own")] | Annotated[SourcePluginSettings, Tag("plugin")],
        Discriminator(whose_kind(SOURCES, kinds_of(SourceSettings))),
    ]
    fetch: SftpSettings | None = None
    lookup: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")], LookupSettings] = Field(
        default_factory=dict
    )
    select: Select | None = None
    watch: WatchRule | None = None
    write_back: (
        Annotated[
            Annotated[BuiltInSink, Tag("own")] | Annotated[SinkPluginSettings, Tag("plugin")],
            Discriminator(whose_kind(SINKS, kinds_of(WriteBackSettings))),
        ]
        | None
    ) = None
    expiry: Expiry | None = None
    clean: Clean = Clean()
    constants: dict[str, Any] = Field(default_factory=dict)
    codes: dict[str, CodeTable] = Field(default_factory=dict)
    placeholders: dict[str, PlaceholderTable] = Field(default_factory=dict)
    field: tuple[FieldRule, ...] = ()
    each: tuple[EachRule, ...] = ()

    @model_validator(mode="after")
    def _something_to_do(self) -> MappingFile:
        if self.select is None and self.watch is None:
            raise ValueError("needs [select], [watch] or both")
        if self.select is None and (self.constants or self.field or self.each):
            raise ValueError("[constants], [[field]] and [[each]] make drafts: they need [select]")
        if self.select is not None and not self.constants:
            raise ValueError("needs [constants]: what every draft says")
        return self

    @model_validator(mode="after")
    def _fetches_files(self) -> MappingFile:
        if self.fetch is not None and (
            not isinstance(self.source, FileSettings) or "/" in self.source.pattern
        ):
            raise ValueError(
                "[fetch] fills the folder of a [source] of files, whose `pattern` names no folder"
            )
        return self


class Problems:
    """Errors of one file, gathered so that all are told at once."""

    def __init__(self, name: str, lines: Lines) -> None:
        self._name = name
        self._lines = lines
        self._found: list[tuple[int, str]] = []

    def add(self, where: tuple[str | int, ...], words: str) -> None:
        """Note an error at a key."""
        self._found.append((line_of(self._lines, where), words))

    def raise_if_any(self) -> None:
        """Raise what was noted.

        Raises:
            MappingError: Something was.
        """
        if self._found:
            told = "\n".join(f"  {self._name}:{line}: {words}" for line, words in sorted(set(self._found)))
            raise MappingError(
                f"The mapping has {len(set(self._found))} error(s):\n{told}",
                "Mend these lines; `dief adapter check` tries the mapping without sending anything.",
            )


def load_file(path: Path) -> tuple[MappingFile, Problems]:
    """Read a mapping file.

    Args:
        path: The TOML file.

    Returns:
        What stands in it, and a place for further errors with their lines.

    Raises:
        MappingError: It is missing, does not parse, or has a wrong key or value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise MappingError(
            f"The mapping {path.name} cannot be read: {type(error).__name__}.",
            "Name an existing TOML file in UTF-8.",
        ) from None
    try:
        held = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"{path.name} is not TOML: {error}.", "Mend that line.") from None
    problems = Problems(path.name, key_lines(text))
    try:
        return MappingFile.model_validate(held), problems
    except ValidationError as error:
        for found in error.errors(include_input=False, include_url=False):
            where = found["loc"]
            if where[:1] in (("source",), ("write_back",)):
                where = (
                    *where[:1],
                    *where[3 if where[1:2] == ("own",) else 2 :],
                )  # without what pydantic puts in
            problems.add(where, _words(where, found["type"], found["msg"]))
    problems.raise_if_any()
    raise AssertionError


def _words(where: tuple[str | int, ...], kind: str, message: str) -> str:
    name = ".".join(map(str, where)) or "the file"
    if kind == "extra_forbidden":
        return f"unknown key `{name}`{_near(where)}"
    return f"`{name}`: {message.removeprefix('Value error, ')}"


def _near(where: tuple[str | int, ...]) -> str:
    models: dict[str, tuple[type[BaseModel], ...]] = {
        "source": (*get_args(SourceSettings), *REST_PARTS, ChangesSettings, Join, RecordSettings, RunNumbers),
        "fetch": (SftpSettings,),
        "lookup": (LookupSettings,),
        "select": (Select, Condition),
        "write_back": get_args(WriteBackSettings),
        "watch": (WatchRule, TermRule, Condition),
        "field": (FieldRule, Condition),
        "each": (EachRule, FieldRule, Condition),
        "codes": (CodeTable,),
        "placeholders": (PlaceholderTable,),
    }
    inside = models.get(str(where[0]), ()) if len(where) > 1 else (MappingFile,)
    known = [info.alias or name for model in inside for name, info in model.model_fields.items()]
    close = difflib.get_close_matches(str(where[-1]), known, 1)
    return f", do you mean `{close[0]}`?" if close else ""
