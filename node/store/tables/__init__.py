"""Tables, one file per concern."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import cast

from sqlalchemy import MetaData, Table
from sqlmodel import SQLModel


def table(model: type[SQLModel]) -> Table:
    """The SQLAlchemy Core table of a model, for the hot paths."""
    return cast(Table, model.__table__)  # type: ignore[attr-defined]


def all_tables() -> MetaData:
    """The whole schema, whichever concerns have been imported so far."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        import_module(module.name)
    return SQLModel.metadata
