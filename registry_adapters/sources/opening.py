"""Which source a mapping reads from."""

from __future__ import annotations

from registry_adapters.errors import SchemaDriftError
from registry_adapters.mapping.file import FileSettings
from registry_adapters.mapping.rows import Mapping, required_columns
from registry_adapters.mapping.uses import uses
from registry_adapters.source import Source
from registry_adapters.sources.csv_files import CsvSource
from registry_adapters.sources.file_settings import CsvSettings
from registry_adapters.sources.sql import SqlSource


def open_source(mapping: Mapping) -> Source:
    """The source that a mapping names.

    Raises:
        MappingError: The environment variable of the database's URL is not set.
        SourceError: The source cannot be reached.
        SchemaDriftError: It lacks a column that the mapping needs.
    """
    settings = mapping.file.source
    if isinstance(settings, FileSettings):
        return _open_files(settings, mapping)
    source = SqlSource(settings, settings.address(mapping.home))
    missing = [
        f"{column} (nearest: {close})" if close else column
        for column, close in required_columns(mapping, source.columns())
    ]
    if missing:
        raise SchemaDriftError(
            f"The registry offers no column {', '.join(missing)}.",
            "Mend the mapping, or the query of [source].",
        )
    return source


def _open_files(settings: FileSettings, mapping: Mapping) -> Source:
    used, needed = uses(mapping.file), mapping.columns()
    match settings:
        case CsvSettings():
            return CsvSource(settings, mapping.home, needed, used.identifiers)
