"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file; default: DIEF_CONFIG, then ./dief.toml."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
