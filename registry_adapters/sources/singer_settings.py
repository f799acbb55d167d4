"""`[source] kind = "singer"`: any Singer tap, run as a program of its own.

Source: the Singer specification (github.com/singer-io/getting-started, SPEC.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from registry_adapters.mapping.part import Part, Seconds

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,100}$")]


class SingerSettings(Part):
    """`[source] kind = "singer"`.

    Attributes:
        command: The tap and its arguments; no shell reads them. A path in it is relative to the mapping file.
        tap_stream: Name of the tap's stream whose records are rows; others are passed over.
        key: Columns that tell rows apart, for ever; the tap's key_properties where it names some. The member b of a is
            the column `a.b`.
        config: The tap's configuration file, which may hold secrets; relative to the mapping file.
        catalog: The tap's catalog, in which the stream is selected.
        catalog_option: How the tap wants it named: older ones say --properties.
        environment: Variables that the tap gets besides the path, language, time zone and temporary folder.
        complete: Every run of the tap that ends well has shown all rows: a key that it did not show is gone.
        unused: Columns that are known and not wanted, although they are named much like a column that is missing.
        idle_seconds: How long the tap may be silent.
        end_seconds: How long it may take to end once it is told to, or has said its last.
        stderr_file: Where its own messages go, which may hold values; only their number is told where it is not set.
        max_line_bytes: Bytes that a message may have.
        max_depth: How deep objects and lists of a record may lie in each other.
    """

    kind: Literal["singer"]
    command: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    tap_stream: Annotated[str, Field(min_length=1)]
    key: Annotated[tuple[str, ...], Field(min_length=1)]
    config: Path | None = None
    catalog: Path | None = None
    catalog_option: Literal["--catalog", "--properties"] = "--catalog"
    environment: tuple[VariableName, ...] = ()
    complete: bool = False
    unused: tuple[str, ...] = ()
    idle_seconds: Annotated[Seconds, Field(gt=0, le=86_400)] = 300
    end_seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 10
    stderr_file: Path | None = None
    max_line_bytes: Annotated[int, Field(ge=1024, le=64 << 20)] = 4 << 20
    max_depth: Annotated[int, Field(ge=1, le=200)] = 32
