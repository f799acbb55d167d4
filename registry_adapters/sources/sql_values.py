"""Types and values of databases: families of types, and what a driver must leave as text.

Rules:
- A family says what a type can hold, so that a change of type that may spoil values is seen: text that became
  an integer has lost its leading zeros.
- UUIDs, times of day, intervals, network addresses and money are text; dates beyond Python's calendar
  ("infinity", "0044-03-15 BC") and text in another encoding are read as text once one of them was met.

Source: PostgreSQL pg_type.dat; MySQL protocol, column types.
"""

from __future__ import annotations

import re
import uuid
from typing import Any, Final

TEXT: Final = "text"
INTEGER: Final = "integer"
UUID: Final = "uuid"

_POSTGRES: Final = {
    "boolean": (16,),
    INTEGER: (20, 21, 23),
    "number": (700, 701, 1700, 790),
    TEXT: (18, 19, 25, 1042, 1043),
    "date": (1082,),
    "moment": (1114, 1184),
    UUID: (2950,),
    "json": (114, 3802),
    "list": (1000, 1005, 1007, 1009, 1014, 1015, 1016, 1231, 2951, 199, 3807),
    "binary": (17,),
}
_MYSQL: Final = {
    INTEGER: (1, 2, 3, 8, 9, 13),
    "number": (0, 4, 5, 246),
    TEXT: (15, 247, 248, 249, 250, 251, 252, 253, 254),
    "date": (10, 14),
    "moment": (7, 12),
    "json": (245,),
}
_FAMILIES: Final = {
    dialect: {code: family for family, codes in table.items() for code in codes}
    for dialect, table in (("postgresql", _POSTGRES), ("mysql", _MYSQL), ("mariadb", _MYSQL))
}
_AS_TEXT: Final = ("uuid", "time", "timetz", "interval", "inet", "cidr")


def family_of(dialect: str, code: object) -> str:
    """Family of a column's type.

    Args:
        dialect: Name of SQLAlchemy's dialect.
        code: Type code of the driver's description.

    Returns:
        The family; "other" for a type that is in none; "" where the driver does not tell.
    """
    families = _FAMILIES.get(dialect)
    return "" if families is None or not isinstance(code, int) else families.get(code, "other")


def read_as_text(raw: Any) -> None:
    """Have a psycopg connection leave some types as text; other drivers stay as they are."""
    adapters = getattr(raw, "adapters", None)
    if adapters is None:
        return
    from psycopg.types.string import TextLoader

    for name in _AS_TEXT:
        adapters.register_loader(name, TextLoader)


def read_odd_values_as_text(raw: Any) -> None:
    """Have a psycopg connection give as text what it cannot convert; other drivers do so by themselves."""
    adapters = getattr(raw, "adapters", None)
    if adapters is None:
        return
    from psycopg import DataError
    from psycopg.adapt import Loader
    from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader

    def lenient(base: Any) -> Any:
        class Lenient(base):  # type: ignore[misc]
            def load(self, data: Any) -> Any:
                try:
                    return super().load(data)
                except DataError:
                    return bytes(data).decode("ascii", "replace")

        return Lenient

    class AnyText(Loader):
        def load(self, data: Any) -> str:
            return bytes(data).decode("utf-8", "surrogateescape")

    for name, base in (
        ("date", DateLoader),
        ("timestamp", TimestampLoader),
        ("timestamptz", TimestamptzLoader),
    ):
        adapters.register_loader(name, lenient(base))
    for name in ("text", "varchar", "bpchar", "name"):
        adapters.register_loader(name, AnyText)


def canonical(value: Any, family: str) -> Any:
    """A key's column as another table wrote it, in the form that the relation's own column gives.

    Args:
        value: As it stands in a change table.
        family: Family of the relation's column.

    Returns:
        None where the column can not hold it, so that no row has this key.
    """
    if isinstance(value, str):
        bare = value.strip()
        if family == UUID:
            try:
                return str(uuid.UUID(bare))
            except ValueError:
                return None
        if family == INTEGER:
            return int(bare) if re.fullmatch(r"-?[0-9]{1,18}", bare) else None
        return value
    if family == TEXT and not isinstance(value, (bytes, bytearray, memoryview)):
        return str(value)
    return value
