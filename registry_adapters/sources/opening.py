"""Which source a mapping reads from."""

from __future__ import annotations

from registry_adapters.errors import SchemaDriftError
from registry_adapters.mapping.rows import Mapping, required_columns
from registry_adapters.source import Source
from registry_adapters.sources.files import CsvSource
from registry_adapters.sources.sql import SqlSource
from registry_adapters.sources.sql_settings import SqlSettings


def open_source(mapping: Mapping) -> Source:
    """The source that a mapping names.

    Raises:
        MappingError: The environment variable of the database's URL is not set.
        SourceError: The source cannot be reached.
        SchemaDriftError: It lacks a column that the mapping needs.
    """
    settings = mapping.file.source
    if not isinstance(settings, SqlSettings):
        return CsvSource(settings, mapping.home, mapping.columns())
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
