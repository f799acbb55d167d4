"""`[write_back]`: where a registry wants hits and outcomes written.

Rules:
- Secrets come from the environment (`*_env`), never from the file.
- The account of a database needs to read and write the one table that is named, and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from registry_adapters.errors import MappingError
from registry_adapters.mapping.part import Part, Seconds
from registry_adapters.notice import NAMES

Told = Annotated[tuple[Literal["HIT", "HIT_CLEARED", "HIT_DECIDED", "OUTCOME"], ...], Field(min_length=1)]
Every = Annotated[Seconds, Field(ge=0.1)]
EVERYTHING: Told = ("HIT", "HIT_CLEARED", "HIT_DECIDED", "OUTCOME")


class WriteBack(Part):
    """What all kinds have in common.

    Attributes:
        tell: Kinds of notices that the registry wants; others are acknowledged without being written.
        every: Seconds between two looks for notices, where the adapter keeps running.
    """

    tell: Told = EVERYTHING
    every: Every = 5


class SqlSinkSettings(WriteBack):
    """`kind = "sql"`: a table of the registry's database, offered for this.

    Attributes:
        url: The database, without a secret; or
        url_env: the environment variable that holds its URL.
        table: The table, with its schema where it has one.
        columns: Name of a notice's value to the table's column; by default those of the same name that it has.
        one_row_a_hit: A later version of a hit takes the place of the earlier one; otherwise each is a row.
        connect_args: Passed to the driver.
    """

    kind: Literal["sql"]
    url: str | None = None
    url_env: str | None = None
    table: str
    columns: dict[str, str] = Field(default_factory=dict)
    one_row_a_hit: bool = False
    connect_args: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_address(self) -> SqlSinkSettings:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("needs one of url, url_env")
        if self.one_row_a_hit and "OUTCOME" in self.tell:
            raise ValueError(
                'one_row_a_hit has no row for outcomes: write tell = ["HIT", "HIT_CLEARED", "HIT_DECIDED"]'
            )
        return self

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, str]) -> dict[str, str]:
        for name in columns:
            if name not in NAMES:
                raise ValueError(f"`{name}` is no value of a notice: {', '.join(NAMES)}")
        return columns

    def address(self, home: Path) -> str:
        """The URL, with a relative SQLite path made absolute.

        Raises:
            MappingError: The environment variable is not set.
        """
        url = (
            self.url
            if self.url is not None
            else secret(self.url_env or "", "the URL of the table's database")
        )
        prefix = "sqlite:///"
        if url.startswith(prefix) and not url.startswith((prefix + "/", prefix + "file:")):
            return prefix + str(home / url.removeprefix(prefix))
        return url


class FileSinkSettings(WriteBack):
    """`kind = "file"`: files in a folder that the registry reads; each look writes at most one new file.

    Attributes:
        folder: The folder.
        format: csv, json (one array) or jsonl.
        separator: Of CSV.
        encoding: Of CSV; characters that it lacks become "?".
    """

    kind: Literal["file"]
    folder: Path
    format: Literal["csv", "json", "jsonl", "xlsx"] = "csv"
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"

    @field_validator("separator")
    @classmethod
    def _separates(cls, separator: str) -> str:
        if separator in '"\r\n':
            raise ValueError("must be none of a quotation mark and the ends of a line")
        return separator

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            "a".encode(encoding)
        except (LookupError, ValueError):
            raise ValueError("is no encoding of text; utf-8 and cp1252 are two") from None
        return encoding


class HttpSinkSettings(WriteBack):
    """`kind = "rest"` or `"webhook"`: one POST of JSON a notice, with an Idempotency-Key.

    Attributes:
        url: Where to; https, or http on this machine only.
        header: Name of a header that carries a key, and
        key_env: the environment variable that holds it.
        signing_key_env: Environment variable with the key that signs a webhook (HMAC-SHA256); webhook only.
        ca: PEM of the authority of the server, where it is none of the system's.
        certificate: PEM of the adapter's certificate, where the server wants one, and
        certificate_key: its key.
        timeout_seconds: How long one POST may take.
    """

    kind: Literal["rest", "webhook"]
    url: str
    header: str = "Authorization"
    key_env: str | None = None
    signing_key_env: str | None = None
    ca: Path | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    timeout_seconds: Annotated[Seconds, Field(gt=0, le=300)] = 20

    @model_validator(mode="after")
    def _signed(self) -> HttpSinkSettings:
        if (self.kind == "webhook") != (self.signing_key_env is not None):
            raise ValueError("a webhook needs signing_key_env, and only a webhook has one")
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key belong together")
        return self


def secret(variable: str, what: str) -> str:
    """A secret from the environment.

    Raises:
        MappingError: It is not set.
    """
    value = os.environ.get(variable, "")
    if not value:
        raise MappingError(f"The environment variable {variable} is not set.", f"Set it to {what}.")
    return value
