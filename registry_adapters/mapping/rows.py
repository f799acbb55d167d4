"""From a row of a registry to a draft, a withdrawal, a record under watch or nothing, as a mapping file says.

Rules:
- Everything that can be checked without a row is checked when the mapping is loaded.
- A row gives the same content hash as long as it says the same, whatever the day; the expiry, which follows
  the day, is not part of it.
- All faults of a row are found at once; none of them carries the value.
- A code that no table knows refuses the row, or takes the table's default; either way it is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from dief.v1 import codes_pb2
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.draft_pb2 import DraftInput
from dief.v1.registry_pb2 import RegistryRecord, WithdrawRecord
from dief.v1.watch_pb2 import WatchRecord

from registry_adapters.errors import FieldFault, Reject
from registry_adapters.mapping.convert import UnfitError, timestamp
from registry_adapters.mapping.field_rules import CompiledEach, CompiledField, Compiler, View
from registry_adapters.mapping.file import MappingFile, load_file
from registry_adapters.mapping.paths import Tree, build
from registry_adapters.mapping.validation import faults_of
from registry_adapters.mapping.watch_rules import CompiledWatch, compile_watch
from registry_adapters.source import Row

MAX_KEY = 256


@dataclass(slots=True)  # frozen, it would take twice as long to make one for each row
class Mapped:
    """What a row means. Nobody changes it.

    Attributes:
        key: The registry's key.
        draft: Content of an alert, with the hash of what it is made of.
        withdraw: It calls for no alert any more; told only for keys that had a draft.
        watch: What alerts are matched against.
        unwatch: It is not watched any more; told only for keys that were.
    """

    key: str
    draft: tuple[DraftInput, bytes] | None = None
    withdraw: WithdrawRecord | None = None
    watch: WatchRecord | None = None
    unwatch: bool = False

    def record(self, *, drafted: bool, watched: bool) -> RegistryRecord | None:
        """What is told to the node; None where that is nothing.

        Args:
            drafted: Whether the node may hold a draft of this key.
            watched: Whether it may watch this key.
        """
        record = RegistryRecord(key=self.key)
        if self.draft is not None:
            record.draft.CopyFrom(self.draft[0])
            record.content_hash = self.draft[1]
        elif self.withdraw is not None and drafted:
            record.withdraw.CopyFrom(self.withdraw)
            record.content_hash = sha256(b"withdraw:" + bytes([self.withdraw.reason])).digest()
        if self.watch is not None:
            record.watch.CopyFrom(self.watch)
        elif self.unwatch and watched:
            record.stop_watching.SetInParent()
        return record if record.WhichOneof("change") or record.WhichOneof("watching") else None


def hash_of(record: RegistryRecord) -> bytes:
    """SHA-256 of what a record says, whatever the day."""
    if not record.WhichOneof("watching"):
        return record.content_hash
    told = record.watch.SerializeToString(deterministic=True) if record.HasField("watch") else b""
    return sha256(b"watch:" + record.content_hash + told).digest()


@dataclass(slots=True)
class Mapping:
    """A loaded mapping.

    Attributes:
        file: What stands in the file.
        home: Folder of the file.
        unmapped: (column, code) to the number of rows with it, for the "not mapped" report.
        mended: Column to the number of texts in it that were UTF-8 read as cp1252 and were mended.
    """

    file: MappingFile
    home: Path
    _fixed: Callable[[Tree], None]
    _fields: tuple[CompiledField, ...]
    _each: tuple[CompiledEach, ...]
    _watch: CompiledWatch | None
    _paths: dict[str, str]
    unmapped: Counter[tuple[str, str]] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)

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
        watch = compile_watch(file, problems)
        problems.raise_if_any()
        return cls(
            file, path.resolve().parent, fixed, fields, each, watch, compiler.columns_by_path, unmapped
        )

    @property
    def stream(self) -> str:
        """Name of the stream at the node."""
        return self.file.stream

    @property
    def drafts(self) -> bool:
        """Whether rows may become drafts."""
        return self.file.select is not None

    def columns(self) -> frozenset[str]:
        """Columns that the mapping needs."""
        select = self.file.select
        needed = set(self.file.source.key)
        if select is not None:
            needed.update(select.draft.columns())
            if select.withdraw is not None:
                needed.update(select.withdraw.columns())
        for rule in self._fields:
            needed.update(rule.columns())
        for group in self._each:
            needed.update(group.columns())
        if self._watch is not None:
            needed.update(self._watch.columns())
        return frozenset(column for column in needed if not column.startswith("@"))

    def map(self, row: Row) -> Mapped | None:
        """What a row means; None where it is not for the node.

        Raises:
            Reject: The row has faults.
        """
        if row.faults:
            raise Reject(row.faults)
        key = self._key(row)
        if row.deleted:
            return self.gone(key)
        clean = self.file.clean
        view = View(row.values, unescape=clean.unescape, mended=self.mended if clean.mend_mojibake else None)
        faults: list[FieldFault] = []
        watch = None if self._watch is None else self._watch.record(view, faults)
        if faults:
            raise Reject(faults)
        draft, withdraw = self._change(view)
        if draft is None and withdraw is None and self._watch is None:
            return None
        return Mapped(key, draft, withdraw, watch, unwatch=self._watch is not None and watch is None)

    def gone(self, key: str) -> Mapped:
        """What it means that a key is not in the registry any more."""
        return Mapped(key, withdraw=self._withdrawal(), unwatch=True)

    def _change(self, view: View) -> tuple[tuple[DraftInput, bytes] | None, WithdrawRecord | None]:
        select = self.file.select
        if select is None:
            return None, None
        try:
            if select.draft.holds(view.text):
                return self._draft(view), None
            if select.withdraw is not None and select.withdraw.holds(view.text):
                return None, self._withdrawal()
        except UnfitError as error:
            raise Reject([FieldFault("", view.last, error.reason, error.description)]) from None
        if select.strict:
            column = next(select.draft.columns(), "")
            raise Reject([FieldFault("", column, "NOT_SELECTED", "No condition of [select] knows this row.")])
        return None, None

    def _withdrawal(self) -> WithdrawRecord:
        select = self.file.select
        word = "WITHDRAWN" if select is None else select.withdraw_reason
        return WithdrawRecord(reason=codes_pb2.WithdrawalReason.Value(f"WITHDRAWAL_REASON_{word}"))

    def _key(self, row: Row) -> str:
        if not row.key or not row.key.strip():
            raise Reject([FieldFault("", self.file.source.key[0], "KEY_MISSING", "A row needs its key.")])
        if len(row.key) > MAX_KEY or (
            not row.key.isascii() and any("\ud800" <= c <= "\udfff" for c in row.key)
        ):
            words = f"A key has at most {MAX_KEY} characters, all of them decodable."
            raise Reject([FieldFault("", self.file.source.key[0], "KEY_UNFIT", words)])
        return row.key

    def _draft(self, view: View) -> tuple[DraftInput, bytes]:
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
        return DraftInput(alert=alert), digest

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
