"""From a row of a registry to a draft, a withdrawal or nothing, as a mapping file says.

Rules:
- Everything that can be checked without a row is checked when the mapping is loaded.
- A row gives the same content hash as long as it says the same, whatever the day; the expiry, which follows
  the day, is not part of it.
- All faults of a row are found at once; none of them carries the value.
- A code that no table knows refuses the row, or takes the table's default; either way it is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from dief.v1 import codes_pb2
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.draft_pb2 import DraftInput
from dief.v1.registry_pb2 import RegistryRecord, WithdrawRecord

from registry_adapters.errors import FieldFault, Reject
from registry_adapters.mapping.convert import UnfitError, timestamp
from registry_adapters.mapping.field_rules import CompiledEach, CompiledField, Compiler, View
from registry_adapters.mapping.file import MappingFile, load_file
from registry_adapters.mapping.paths import Tree, build
from registry_adapters.mapping.validation import faults_of
from registry_adapters.source import Row

MAX_KEY = 256


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a row became.

    Attributes:
        record: What is sent.
        draft: Whether it is a draft; otherwise a withdrawal, sent only for keys that had one.
    """

    record: RegistryRecord
    draft: bool


@dataclass(slots=True)
class Mapping:
    """A loaded mapping.

    Attributes:
        file: What stands in the file.
        home: Folder of the file.
        unmapped: (column, code) to the number of rows with it, for the "not mapped" report.
    """

    file: MappingFile
    home: Path
    _fixed: Callable[[Tree], None]
    _fields: tuple[CompiledField, ...]
    _each: tuple[CompiledEach, ...]
    _paths: dict[str, str]
    unmapped: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def load(cls, path: Path) -> Mapping:
        """Read and check a mapping file.

        Args:
            path: The TOML file.

        Raises:
            MappingError: With the line of each error.
        """
        file, problems = load_file(path)
        unmapped: Counter[tuple[str, str]] = Counter()
        compiler = Compiler(file, problems, unmapped)
        fixed = compiler.constants()
        fields = compiler.fields()
        each = compiler.each()
        problems.raise_if_any()
        return cls(file, path.resolve().parent, fixed, fields, each, compiler.columns_by_path, unmapped)

    @property
    def stream(self) -> str:
        """Name of the stream at the node."""
        return self.file.stream

    def columns(self) -> frozenset[str]:
        """Columns that the mapping needs."""
        select = self.file.select
        needed = {*self.file.source.key, *select.draft.columns()}
        if select.withdraw is not None:
            needed.update(select.withdraw.columns())
        for rule in self._fields:
            needed.update(rule.columns())
        for group in self._each:
            needed.update(group.columns())
        return frozenset(column for column in needed if not column.startswith("@"))

    def map(self, row: Row) -> Mapped | None:
        """What a row becomes; None where it is not for the node.

        Raises:
            Reject: The row has faults.
        """
        if row.faults:
            raise Reject(row.faults)
        key = self._key(row)
        if row.deleted:
            return self.withdrawal(key)
        view = View(row.values, unescape=self.file.clean.unescape)
        select = self.file.select
        try:
            if select.draft.holds(view.text):
                return self._draft(key, view)
            if select.withdraw is not None and select.withdraw.holds(view.text):
                return self.withdrawal(key)
        except UnfitError as error:
            raise Reject([FieldFault("", view.last, error.reason, error.description)]) from None
        if select.strict:
            column = next(select.draft.columns(), "")
            raise Reject([FieldFault("", column, "NOT_SELECTED", "No condition of [select] knows this row.")])
        return None

    def withdrawal(self, key: str) -> Mapped:
        """The record that withdraws what a key published."""
        reason = codes_pb2.WithdrawalReason.Value(f"WITHDRAWAL_REASON_{self.file.select.withdraw_reason}")
        record = RegistryRecord(
            key=key,
            content_hash=sha256(b"withdraw:" + self.file.select.withdraw_reason.encode()).digest(),
            withdraw=WithdrawRecord(reason=reason),
        )
        return Mapped(record, draft=False)

    def _key(self, row: Row) -> str:
        if not row.key or not row.key.strip():
            raise Reject([FieldFault("", self.file.source.key[0], "KEY_MISSING", "A row needs its key.")])
        if len(row.key) > MAX_KEY or any("\ud800" <= c <= "\udfff" for c in row.key):
            words = f"A key has at most {MAX_KEY} characters, all of them decodable."
            raise Reject([FieldFault("", self.file.source.key[0], "KEY_UNFIT", words)])
        return row.key

    def _draft(self, key: str, view: View) -> Mapped:
        tree: Tree = {}
        self._fixed(tree)
        faults: list[FieldFault] = []
        for rule in self._fields:
            rule.apply(tree, view, faults)
        for group in self._each:
            group.apply(tree, view, faults)
        if faults:
            raise Reject(faults)
        alert = DiversionAlert()
        build(tree, alert)
        digest = sha256(b"draft:" + alert.SerializeToString(deterministic=True)).digest()
        if self.file.expiry is not None:
            alert.handling.expires_on.CopyFrom(timestamp(_years_from_today(self.file.expiry.years)))
        broken = faults_of(alert)
        if broken:
            raise Reject(
                [FieldFault(f.field, self.column_of(f.field), f.reason, f.description) for f in broken]
            )
        record = RegistryRecord(key=key, content_hash=digest, draft=DraftInput(alert=alert))
        return Mapped(record, draft=True)

    def column_of(self, path: str) -> str:
        """The column that fills a field of the alert, "" where none does."""
        return self._paths.get(path) or self._paths.get(_starred(path), "")


def _starred(path: str) -> str:
    """`parties[3].names[0].full` as a group writes it: `parties[*].names[0].full`."""
    head, _, rest = path.rpartition("[") if path.count("[") == 1 else path.partition("[")
    return f"{head}[*]{rest.partition(']')[2]}" if rest else path


def _years_from_today(years: int) -> datetime:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        return today.replace(year=today.year + years)
    except ValueError:
        return today.replace(year=today.year + years, day=28)


def required_columns(mapping: Mapping, offered: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Columns that the mapping needs and the source lacks, each with the nearest one that it has."""
    import difflib

    for column in sorted(mapping.columns() - set(offered)):
        close = difflib.get_close_matches(column, offered, 1, 0.5)
        yield column, close[0] if close else ""
