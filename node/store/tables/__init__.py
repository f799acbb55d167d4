"""Tables, one file per concern."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Table
from sqlmodel import SQLModel


def table(model: type[SQLModel]) -> Table:
    """The SQLAlchemy Core table of a model, for the hot paths."""
    return cast(Table, model.__table__)  # type: ignore[attr-defined]
