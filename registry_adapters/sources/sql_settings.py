"""What a mapping says of a database: `[source] kind = "sql"` and `[lookup.<name>]`.

Rules:
- A secret in a database's URL comes from the environment (`url_env`).
- One way of finding changes: a watermark, a change table, or neither (every run is a complete pass).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from registry_adapters.errors import MappingError
from registry_adapters.mapping.part import Part, Seconds

Names = Annotated[tuple[str, ...], Field(min_length=1)]


class ChangesSettings(Part):
    """`[source.changes]`: where the registry writes down which keys changed.

    Attributes:
        table: Change table, audit table or outbox; or
        query: a query that gives the columns below.
        key: Its columns with the key of the changed row, in the order of `key` of [source].
        order: Column that grows from entry to entry: an integer, or a moment.
        operation: Column that says what happened, where there is one.
        deletes: Its words for a deletion: where a key's newest entry says so, the key counts as deleted although
            the relation still shows it.
        gap_seconds: How long a number missing in `order` is waited for; longer than the registry's longest
            transaction.
    """

    table: str | None = None
    query: str | None = None
    key: Names
    order: str
    operation: str | None = None
    deletes: tuple[str, ...] = ()
    gap_seconds: Annotated[Seconds, Field(ge=0)] = 3600

    @model_validator(mode="after")
    def _whole(self) -> ChangesSettings:
        if (self.table is None) == (self.query is None):
            raise ValueError("needs one of table, query")
        if (self.operation is None) != (not self.deletes):
            raise ValueError("operation and deletes belong together")
        return self


class SqlSettings(Part):
    """`[source] kind = "sql"`: a table, view or query behind any SQLAlchemy URL.

    Attributes:
        url: The database, without a secret; or
        url_env: the environment variable that holds its URL.
        table: Table or view; or
        query: a query, read as if it were a view.
        key: Columns that tell rows apart, for ever.
        watermark: Column that moves on with every change of a row.
        overlap_seconds: How late a row may commit behind its watermark.
        soft_delete: Column that is filled, or true, where a row counts as deleted.
        fetch_size: Rows fetched at a time.
        changes: Where the registry writes down which keys changed.
        compare_every: How often keys (and marks) of all rows are compared with those of the last comparison.
        compare_columns: Further columns whose change the comparison finds, such as a row's version.
        statement_seconds: How long one statement may take, where the database can tell.
        transaction_seconds: How long one transaction may last; then reading goes on in a new one.
        connect_args: Passed to the driver.
    """

    kind: Literal["sql"]
    url: str | None = None
    url_env: str | None = None
    table: str | None = None
    query: str | None = None
    key: Names
    watermark: str | None = None
    overlap_seconds: Annotated[float, Field(ge=0)] = 60
    soft_delete: str | None = None
    fetch_size: Annotated[int, Field(ge=1, le=100_000)] = 2000
    changes: ChangesSettings | None = None
    compare_every: Annotated[Seconds | None, Field(gt=0)] = None
    compare_columns: tuple[str, ...] = ()
    statement_seconds: Annotated[Seconds, Field(ge=1)] = 300
    transaction_seconds: Annotated[Seconds, Field(ge=1)] = 60
    connect_args: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_each(self) -> SqlSettings:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("needs one of url, url_env")
        if (self.table is None) == (self.query is None):
            raise ValueError("needs one of table, query")
        if self.watermark is not None and self.changes is not None:
            raise ValueError("needs one of watermark, changes, or neither")
        if self.compare_every is not None and self.watermark is None and self.changes is None:
            raise ValueError(
                "compare_every needs watermark or changes: without them every run reads all rows"
            )
        if self.changes is not None and len(self.changes.key) != len(self.key):
            raise ValueError("changes.key needs as many columns as key")
        return self

    def address(self, home: Path) -> str:
        """The URL, with a relative SQLite path made absolute.

        Args:
            home: Folder of the mapping file.

        Raises:
            MappingError: The environment variable is not set.
        """
        url = self.url if self.url is not None else os.environ.get(self.url_env or "", "")
        if not url:
            raise MappingError(
                f"The environment variable {self.url_env} is not set.",
                "Set it to the registry's database URL.",
            )
        prefix = "sqlite:///"
        if url.startswith(prefix) and not url.startswith((prefix + "/", prefix + "file:")):
            return prefix + str(home / url.removeprefix(prefix))
        return url


class LookupSettings(Part):
    """`[lookup.<name>]`: one serial, licence or other fact on demand.

    Attributes:
        query: Reads what the registry knows of `:value`.
        limit: Rows given at most.
    """

    query: Annotated[str, Field(pattern=r":value\b")]
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
