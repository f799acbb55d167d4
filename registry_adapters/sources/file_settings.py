"""`[source]` of a mapping that reads files: what all kinds share, and what each kind adds.

Rules:
- Every limit has a name here, and the error that it leads to names it.
- A column is a name of a header (csv, spreadsheet), a path of names joined by "." (jsonl, flat), or a path of elements
  joined by "/" (xml).
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from registry_adapters.mapping.part import Part

Size = Annotated[int, Field(ge=1024, le=64 << 20)]


class FolderSettings(Part):
    """The drop folder, alike for every kind of file.

    Attributes:
        folder: Where the registry drops its files; relative to the mapping file.
        pattern: Which files, for example "*.csv".
        key: Columns that make the registry's own key of a row.
        complete: Every file holds all rows: a key that is missing from it is gone.
        complete_pattern: Files that do, where others hold changes only.
        handover: A file is handed over when it has not changed for a while ("age") or when `<name>.done` lies beside it
            ("done"); where that file holds a SHA-256, the file must have it.
        settle_seconds: How long a file must not have changed.
        order: Files are read from the oldest to the newest ("age"), or by name, numbers in it as numbers ("name").
        max_files: Files that the folder may hold.
        max_file_bytes: Bytes that a file may have.
    """

    folder: Path
    pattern: str
    key: Annotated[tuple[str, ...], Field(min_length=1)]
    complete: bool = False
    complete_pattern: str | None = None
    handover: Literal["age", "done"] = "age"
    settle_seconds: Annotated[float, Field(ge=0)] = 5
    order: Literal["age", "name"] = "age"
    max_files: Annotated[int, Field(ge=1, le=4000)] = 1000
    max_file_bytes: Annotated[int, Field(ge=1, le=1 << 40)] = 8 << 30

    @field_validator("pattern", "complete_pattern")
    @classmethod
    def _stays_inside(cls, pattern: str | None) -> str | None:
        if pattern is not None and (
            not pattern or pattern.startswith("/") or ".." in PurePosixPath(pattern).parts
        ):
            raise ValueError("must stay inside the folder")
        return pattern


class CsvSettings(FolderSettings):
    """`kind = "csv"`: text with a separator.

    Attributes:
        header: Names of the columns, where the files have none in their first line.
        blank: What a cell holds where there is nothing, such as "-0-".
        blank_in_key: Columns of `key` that need not be filled.
        encoding: Name of a Python codec; found out where it is not set.
        separator: Found out where it is not set.
        quote: Around fields, "" where the registry never quotes.
        overflow: The last column, where unquoted separators in it belong to its text.
        identifier_columns: Columns that hold numbers and marks, besides those that the mapping puts into such fields.
        max_record_bytes: Characters that a record may have.
    """

    kind: Literal["csv"]
    pattern: str = "*.csv"
    header: Annotated[tuple[str, ...] | None, Field(min_length=1)] = None
    blank: tuple[str, ...] = ()
    blank_in_key: tuple[str, ...] = ()
    encoding: str | None = None
    separator: Annotated[str | None, Field(min_length=1, max_length=1)] = None
    quote: Annotated[str, Field(max_length=1)] = '"'
    overflow: str | None = None
    identifier_columns: tuple[str, ...] | None = None
    max_record_bytes: Size = 1 << 20

    @model_validator(mode="after")
    def _fits(self) -> CsvSettings:
        if self.header is not None and len(set(self.header)) != len(self.header):
            raise ValueError("`header` names a column twice")
        if not {*self.blank_in_key} < {*self.key}:
            raise ValueError("`blank_in_key` names some of the columns of `key`, not all of them")
        return self


class SpreadsheetSettings(FolderSettings):
    """`kind = "spreadsheet"`: XLSX and ODS workbooks.

    Attributes:
        sheet: Name of the sheet; the first that is not hidden where it is not set.
        header_row: Row of the header, from 1; the first that holds the columns that are needed where it is not set.
        identifier_columns: Columns that hold numbers and marks: a cell that the program keeps as a number or date is
            doubtful there. Where it is not set, those that the mapping puts into such fields.
        text_columns: Of these, the columns whose whole numbers are trusted as they are shown.
        max_columns: Columns that a sheet may have.
        max_cell_characters: Characters that a cell may have.
        max_unpacked_bytes: Bytes that the workbook may have unpacked.
    """

    kind: Literal["spreadsheet"]
    pattern: str = "*.xlsx"
    sheet: str | None = None
    header_row: Annotated[int | None, Field(ge=1)] = None
    identifier_columns: tuple[str, ...] | None = None
    text_columns: tuple[str, ...] = ()
    max_columns: Annotated[int, Field(ge=1, le=16_384)] = 1024
    max_cell_characters: Annotated[int, Field(ge=1, le=1 << 20)] = 32_767
    max_unpacked_bytes: Annotated[int, Field(ge=1024, le=1 << 40)] = 1 << 30


class JsonlSettings(FolderSettings):
    """`kind = "jsonl"`: one JSON object a line; the member b of a is the column `a.b`.

    Attributes:
        unused: Paths that are known and not wanted, although they are named much like a column that is missing.
        max_record_bytes: Bytes that a line may have.
        max_depth: How deep objects and lists may lie in each other.
    """

    kind: Literal["jsonl"]
    pattern: str = "*.jsonl"
    unused: tuple[str, ...] = ()
    max_record_bytes: Size = 1 << 20
    max_depth: Annotated[int, Field(ge=1, le=200)] = 32


class Join(Part):
    """`[[source.join]]`: other elements of the same file that belong to a row by an id.

    Attributes:
        column: What their columns begin with, for example `owner` in `owner/name`.
        elements: Where they stand, for example "message/person".
        its: The value in them, for example "./@id".
        ours: The column of the row that holds the same value, also one of an earlier join.
        take: "all" gives a list; "only" the one there is, two being a fault; "first" and "last" by `order_by`.
        order_by: Value in them that orders them, as text; else, and among equals, their order in the file.
        must_match: One that belongs to no row is handed over with a fault.
    """

    column: Annotated[str, Field(pattern=r"^[^@./\s][^@/\s]*$")]
    elements: str
    its: str
    ours: str
    take: Literal["all", "only", "first", "last"] = "only"
    order_by: str | None = None
    must_match: bool = False


class XmlSettings(FolderSettings):
    """`kind = "xml"`: elements of XML files.

    Columns are paths below the row: `maker` (text), `maker/@code` (attribute), `./@id` (of the row itself),
    `../@sender` (of an element around it). In the elements of a list, as `[[each]]` names them: `@./@id`, `@.maker`,
    `@.maker/@code`.

    Attributes:
        rows: The elements that are rows, from the root, for example "message/arm".
        namespace: Namespace of names without a prefix; namespaces do not matter where it is not set.
        prefixes: Prefix in this file's paths to namespace.
        lists: Paths of elements that may repeat; each becomes a list, also where there is one.
        join: Elements that belong to a row by an id.
        unused: Paths that are known and not wanted, although they are named much like a column that is missing.
        max_depth: How deep elements may lie in each other.
        max_row_bytes: Characters that a row and what belongs to it may have.
        max_repeats: Elements that a list may have.
    """

    kind: Literal["xml"]
    pattern: str = "*.xml"
    rows: Annotated[str, Field(pattern=r"^[^/@\s]+(/[^/@\s]+)+$")]
    namespace: str | None = None
    prefixes: dict[str, str] = Field(default_factory=dict)
    lists: tuple[str, ...] = ()
    join: tuple[Join, ...] = ()
    unused: tuple[str, ...] = ()
    max_depth: Annotated[int, Field(ge=2, le=1000)] = 64
    max_row_bytes: Size = 4 << 20
    max_repeats: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000

    @model_validator(mode="after")
    def _joins_follow(self) -> XmlSettings:
        before: set[str] = set()
        for join in self.join:
            if join.column in before:
                raise ValueError(f"`join` names the column {join.column} twice")
            if join.must_match and join.ours.partition("/")[0] in before:
                raise ValueError("`must_match` is for a join that starts from the row itself")
            before.add(join.column)
        return self


class RecordSettings(Part):
    """`[source.records.<type>]`: the fields of one type of record, behind its line number and its type.

    Attributes:
        fields: Their names.
        widths: Characters of each, where the file has no separator.
        list: It may repeat within a row; it becomes a list, also where there is one.
        overflow: The one field of free text, to which surplus separators belong.
    """

    fields: tuple[str, ...] = ()
    widths: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    list: bool = False
    overflow: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> RecordSettings:
        if len(set(self.fields)) != len(self.fields):
            raise ValueError("`fields` names a field twice")
        if self.widths is not None and len(self.widths) != len(self.fields):
            raise ValueError("needs a width for each of its fields")
        if self.overflow is not None and (self.overflow not in self.fields or self.widths is not None):
            raise ValueError("`overflow` must be one of the fields of separated records")
        return self


class RunNumbers(Part):
    """`[source.run]`: files are numbered, and none may be missing.

    Attributes:
        field: Field of the header that holds the number.
        in_name: Regular expression whose first group is the same number in the file's name.
        accept_gap_to: A number that may follow although numbers before it are missing.
        accept_repeated: Numbers that may come after higher ones, in files that correct older ones under new names.
    """

    field: str
    in_name: str | None = None
    accept_gap_to: int | None = None
    accept_repeated: tuple[int, ...] = ()

    @field_validator("in_name")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        try:
            groups = re.compile(pattern).groups if pattern is not None else 1
        except re.error:
            groups = 0
        if groups != 1:
            raise ValueError("must be a regular expression with one group")
        return pattern


class FlatSettings(FolderSettings):
    """`kind = "flat"`: lines of several types, separated or of fixed width; a row is one record and what belongs to it.

    Columns: `reference` (of the record that begins the row), `trader.name` (of one that belongs to it), `line` (a list,
    its fields `@.name` in `[[each]]`), `fileHeader.created` (of the file's header).

    Attributes:
        encoding: Name of a Python codec.
        separator: Between fields; it is never escaped. Not set where fields have widths.
        numbered: The first field of each line is its number, from 1, without gaps.
        type_width: Characters of the record's type at the beginning of a line of fixed width.
        wrapped: A line without the number that is due goes on with the field in which the line before it ended.
        row: Type of the record that begins a row.
        end: Type of the record that ends one: the type that began it, and the number of lines from there.
        header: Type of the first record.
        trailer: Type of the last record.
        counts: Field of the trailer to the type of record that it counts.
        records: The types.
        run: Numbers of the files.
        max_record_bytes: Characters that a line may have.
        max_row_lines: Lines that a row may have.
    """

    kind: Literal["flat"]
    pattern: str = "*.txt"
    encoding: str = "utf-8"
    separator: Annotated[str | None, Field(min_length=1, max_length=1)] = None
    numbered: bool = False
    type_width: Annotated[int | None, Field(ge=1)] = None
    wrapped: bool = False
    row: str
    end: str | None = None
    header: str | None = None
    trailer: str | None = None
    counts: dict[str, str] = Field(default_factory=dict)
    records: dict[str, RecordSettings]
    run: RunNumbers | None = None
    max_record_bytes: Size = 1 << 20
    max_row_lines: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000

    @field_validator("encoding")
    @classmethod
    def _by_bytes(cls, encoding: str) -> str:
        try:
            known = "\n".encode(encoding) == b"\n"
        except LookupError:
            known = False
        if not known:
            raise ValueError("must be an encoding in which lines end as in ASCII, such as utf-8 or cp1252")
        return encoding

    @model_validator(mode="after")
    def _fits(self) -> FlatSettings:
        for name in (self.row, self.header, self.trailer, *self.counts.values()):
            if name is not None and name not in self.records:
                raise ValueError(f"there is no [source.records.{name}]")
        fixed = self.separator is None
        if any((record.widths is None) == fixed for record in self.records.values() if record.fields):
            raise ValueError("needs a separator, or widths for every type of record")
        if fixed and (self.type_width is None or self.numbered or self.end is not None or self.wrapped):
            raise ValueError("fixed widths need type_width, and have no numbered, wrapped lines or end")
        if self.wrapped and not self.numbered:
            raise ValueError("wrapped lines are known by the number that they lack: needs numbered")
        if self.counts and (
            self.trailer is None or not {*self.counts} <= {*self.records[self.trailer].fields}
        ):
            raise ValueError("`counts` names fields of the trailer")
        if self.run is not None and (
            self.header is None or self.run.field not in self.records[self.header].fields
        ):
            raise ValueError("`run.field` is a field of the header")
        return self
