"""Which source a mapping reads from."""

from __future__ import annotations

from pathlib import Path

from registry_adapters.mapping.file import FileSettings
from registry_adapters.mapping.rows import Mapping
from registry_adapters.mapping.uses import members, uses
from registry_adapters.plugins import SOURCES, SourcePluginSettings, load
from registry_adapters.source import Source
from registry_adapters.sources.csv_files import CsvSource
from registry_adapters.sources.file_settings import (
    CsvSettings,
    FlatSettings,
    JsonlSettings,
    SpreadsheetSettings,
    XmlSettings,
)
from registry_adapters.sources.flat import FlatSource
from registry_adapters.sources.jsonl import JsonlSource
from registry_adapters.sources.rest import RestSource
from registry_adapters.sources.rest_settings import RestSettings
from registry_adapters.sources.singer import SingerSource
from registry_adapters.sources.singer_settings import SingerSettings
from registry_adapters.sources.spreadsheet import SpreadsheetSource
from registry_adapters.sources.sql import SqlSource
from registry_adapters.sources.xml_files import XmlSource


def open_source(mapping: Mapping, folder: Path | None = None, *, accept_vanished: bool = False) -> Source:
    """The source that a mapping names.

    Args:
        mapping: The mapping.
        folder: The adapter's own folder; `state` of the mapping where None.
        accept_vanished: Tell rows as deleted also where most are gone at once.

    Raises:
        MappingError: The environment variable of the database's URL is not set.
        SourceError: The source cannot be reached.
        SchemaDriftError: It lacks a column that the mapping needs.
    """
    settings = mapping.file.source
    if isinstance(settings, FileSettings):
        files = _open_files(settings, mapping)
        if mapping.file.fetch is None:
            return files
        # SSH takes as long to import as half of the rest: only where it is needed.
        from registry_adapters.sources.sftp import FetchingSource, SftpFetch

        return FetchingSource(files, SftpFetch(mapping.file.fetch, settings, mapping.home))
    if isinstance(settings, RestSettings):
        return RestSource(settings, mapping.home, mapping.columns())
    if isinstance(settings, SingerSettings):
        return SingerSource(settings, mapping.home, mapping.columns())
    if isinstance(settings, SourcePluginSettings):
        plugin: Source = load(SOURCES, settings.kind).open(
            settings.own(SOURCES), settings.key, mapping.home, mapping.columns()
        )
        return plugin
    own = folder or mapping.home / mapping.file.state
    source = SqlSource(
        settings,
        settings.address(mapping.home),
        needed=mapping.columns(),
        lookups=mapping.file.lookup,
        memory=own / f"{mapping.stream}.keys.db",
        accept_vanished=accept_vanished,
    )
    source.columns()
    return source


def _open_files(settings: FileSettings, mapping: Mapping) -> Source:
    used, needed = uses(mapping.file), mapping.columns()
    match settings:
        case CsvSettings():
            return CsvSource(settings, mapping.home, needed, used.identifiers)
        case JsonlSettings():
            return JsonlSource(settings, mapping.home, needed, used.identifiers)
        case SpreadsheetSettings():
            return SpreadsheetSource(settings, mapping.home, needed, used)
        case XmlSettings():
            return XmlSource(settings, mapping.home, needed, members(mapping.file))
        case FlatSettings():
            return FlatSource(settings, mapping.home, needed, members(mapping.file))
