"""A registry of arms for a measurement: one table with an indexed time of change, in SQLite or PostgreSQL.

The table is the measurement's own and is dropped again; the mapping says what an administrator would say of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from node.bench import samples
from node.bench.pair import BenchError, Progress

TABLE = "dief_bench_arm"
STREAM = "bench-load"
URL_ENV = "BENCH_REGISTRY_URL"
OWNED_EVERY = 10
COLUMNS = ("id", "serial", "make", "owner", "owner_state", "status")
"""What the mapping reads."""
MAPPING = f"""\
version = 1
stream = "{STREAM}"

[source]
kind = "sql"
url_env = "{URL_ENV}"
table = "{TABLE}"
key = ["id"]
watermark = "changed_at"

[watch]
kind = "HOLDING"
reference = "ARM {{id}}"
select = {{ column = "status", in = ["HELD", "STORED"] }}

[placeholders.none]
absent = ["N/A", "unknown", "s/n"]

[[watch.term]]
kind = "SERIAL"
column = "serial"
context = "make"
placeholders = "none"

[[watch.term]]
kind = "PARTY_NAME"
column = "owner"
context = "owner_state"
"""
_BEGINNING = datetime(2001, 1, 1, tzinfo=UTC)
_APART = timedelta(seconds=61)
_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Registry:
    """The table, filled.

    Attributes:
        engine: Its database.
        rows: How many rows it has.
    """

    engine: sa.Engine
    rows: int

    @property
    def url(self) -> str:
        """The database, as the adapter is given it."""
        return self.engine.url.render_as_string(hide_password=False)

    def change(self, rows: int) -> None:
        """Change so many rows in one transaction, spread over the table."""
        numbers = [number * (self.rows // rows) for number in range(rows)]
        last = _BEGINNING + _APART * (self.rows + 1)
        with self.engine.begin() as conn:
            conn.execute(
                sa.text(f"UPDATE {TABLE} SET make = :make, changed_at = :at WHERE id = :id"),  # noqa: S608 - ours
                [{"make": "Example Works", "at": _told(last), "id": number} for number in numbers],
            )


@contextmanager
def registry(url: str | None, folder: Path, rows: int, progress: Progress) -> Iterator[Registry]:
    """A registry of so many rows, dropped at the end.

    Args:
        url: SQLAlchemy URL of a database that the table may be made in; None: a SQLite file.
        folder: For that file.
        rows: How many.
        progress: Told of them.

    Raises:
        BenchError: The database can not be used, or has a table of this name.
    """
    try:
        engine = sa.create_engine(
            _with_driver(url or f"sqlite:///{folder / 'registry.db'}"), hide_parameters=True
        )
    except (sa.exc.ArgumentError, ImportError) as error:
        raise BenchError(
            f"The registry can not be opened: {type(error).__name__}.",
            "Give --url as postgresql://user@host/database, or leave it out.",
        ) from None
    try:
        with engine.begin() as conn:
            conn.execute(
                sa.text(
                    f"CREATE TABLE {TABLE} (id INTEGER PRIMARY KEY, serial VARCHAR(40) NOT NULL,"
                    " make VARCHAR(40), owner VARCHAR(80), owner_state VARCHAR(2), status VARCHAR(10) NOT NULL,"
                    " changed_at TIMESTAMP NOT NULL)"
                )
            )
            conn.execute(sa.text(f"CREATE INDEX {TABLE}_changed ON {TABLE} (changed_at, id)"))
    except sa.exc.SQLAlchemyError as error:
        engine.dispose()
        raise BenchError(
            f"The registry's table can not be made: {type(error).__name__}.",
            f"Check --url: its user must be able to make the table {TABLE}, which must not be there yet.",
        ) from None
    try:
        _fill(engine, rows, progress)
        yield Registry(engine, rows)
    finally:
        with engine.begin() as conn:
            conn.execute(sa.text(f"DROP TABLE {TABLE}"))
        engine.dispose()


def _fill(engine: sa.Engine, rows: int, progress: Progress) -> None:
    names = (*COLUMNS, "changed_at")
    insert = sa.insert(sa.table(TABLE, *(sa.column(name) for name in names)))
    for start in range(0, rows, _AT_ONCE):
        stop = min(start + _AT_ONCE, rows)
        with engine.begin() as conn:
            conn.execute(insert, [dict(zip(names, _row(i), strict=True)) for i in range(start, stop)])
        progress(stop - start)
    with engine.begin() as conn:
        conn.execute(sa.text("ANALYZE"))


def _row(number: int) -> tuple[int | str | None, ...]:
    owner = samples.party_of(number, number % 3) if number % OWNED_EVERY == 0 else None
    return (
        number,
        samples.serial_of(number // 3, number % 3),
        "Example Arms",
        owner,
        "XB" if owner else None,
        "HELD" if number % 2 else "STORED",
        _told(_BEGINNING + _APART * number),
    )


def _told(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _with_driver(url: str) -> sa.URL:
    """`postgresql://...` means the driver that the node and the adapter come with."""
    made = sa.make_url(url)
    return made.set(drivername="postgresql+psycopg") if made.drivername == "postgresql" else made
