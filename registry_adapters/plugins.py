"""Kinds of sources and sinks that other packages bring, found through entry points.

A package of a State's own names its kinds in its pyproject.toml:

    [project.entry-points."dief.sources"]
    arms_book = "xa_arms_book:PLUGIN"

`PLUGIN` is a SourcePlugin (or a SinkPlugin under "dief.sinks"). A mapping then says `kind = "arms_book"` in [source],
and whatever else the plug-in's settings know. `dief adapter new` writes such a package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from registry_adapters.errors import MappingError
from registry_adapters.mapping.part import Part
from registry_adapters.sink import Sink
from registry_adapters.sinks.settings import EVERYTHING, Every, Told
from registry_adapters.source import Source

SOURCES: Final = "dief.sources"
SINKS: Final = "dief.sinks"
S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class SourcePlugin(Generic[S]):
    """A kind of source.

    Attributes:
        settings: What may stand in [source] beside `kind` and `key`.
        open: Makes the source of settings, key columns, the folder of the mapping file, and the columns needed.
    """

    settings: type[S]
    open: Callable[[S, tuple[str, ...], Path, frozenset[str]], Source]


@dataclass(frozen=True, slots=True)
class SinkPlugin(Generic[S]):
    """A kind of sink.

    Attributes:
        settings: What may stand in [write_back] beside `kind`, `tell` and `every`.
        open: Makes the sink of settings and the folder of the mapping file.
    """

    settings: type[S]
    open: Callable[[S, Path], Sink]


@cache
def found(group: str) -> Mapping[str, EntryPoint]:
    """Kinds that installed packages bring, by name."""
    return {point.name: point for point in entry_points(group=group)}


def load(group: str, kind: str) -> Any:
    """The plug-in of a kind.

    Raises:
        MappingError: Its package cannot be imported, or brings something else.
    """
    point = found(group)[kind]
    wanted = SourcePlugin if group == SOURCES else SinkPlugin
    try:
        plugin = point.load()
    except Exception as error:  # noqa: BLE001 - a foreign package may raise anything while it is imported
        raise MappingError(
            f"The package of kind {kind} cannot be loaded: {type(error).__name__}.", f"Look at {point.value}."
        ) from None
    if not isinstance(plugin, wanted):
        raise MappingError(
            f"{point.value} is no {wanted.__name__}.", "See registry_adapters.plugins for what it must be."
        )
    return plugin


class PluginSettings(Part):
    """`[source]` or `[write_back]` of a kind that another package brings; the package checks the rest of the table."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str

    def own(self, group: str) -> BaseModel:
        """The table as the plug-in's settings.

        Raises:
            ValueError: It does not fit; says where.
        """
        plugin = load(group, self.kind)
        try:
            held: BaseModel = plugin.settings.model_validate(self.__pydantic_extra__ or {})
        except ValidationError as error:
            told = "; ".join(
                f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
                for found in error.errors(include_input=False, include_url=False)
            )
            raise ValueError(told) from None
        return held


class SourcePluginSettings(PluginSettings):
    """`[source]` of another package's kind."""

    key: tuple[str, ...]

    @model_validator(mode="after")
    def _fits(self) -> SourcePluginSettings:
        self.own(SOURCES)
        return self


class SinkPluginSettings(PluginSettings):
    """`[write_back]` of another package's kind."""

    tell: Told = EVERYTHING
    every: Every = 5

    @model_validator(mode="after")
    def _fits(self) -> SinkPluginSettings:
        self.own(SINKS)
        return self


def kinds_of(settings: Any) -> frozenset[str]:
    """Kinds of a union of settings."""
    return frozenset(
        kind for model in get_args(settings) for kind in get_args(model.model_fields["kind"].annotation)
    )


def whose_kind(group: str, own: frozenset[str]) -> Callable[[Any], str]:
    """What tells the tables of other packages' kinds ("plugin") from ours ("own"), which nobody can take over.

    Args:
        group: Entry points that bring other kinds.
        own: Our kinds.
    """

    def tag(value: Any) -> str:
        kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
        return "plugin" if kind not in own and kind in found(group) else "own"

    return tag
