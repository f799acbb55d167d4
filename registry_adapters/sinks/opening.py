"""Which sink a mapping writes back to."""

from __future__ import annotations

from registry_adapters.mapping.rows import Mapping
from registry_adapters.plugins import SINKS, SinkPluginSettings, load
from registry_adapters.sink import Sink
from registry_adapters.sinks.settings import FileSinkSettings, SqlSinkSettings


def open_sink(mapping: Mapping) -> Sink | None:
    """The sink that a mapping names, None where it names none.

    Raises:
        MappingError: A secret is not set, or a file cannot be used.
        SinkError: The database's driver is missing.
    """
    settings = mapping.file.write_back
    if settings is None:
        return None
    if isinstance(settings, SqlSinkSettings):
        from registry_adapters.sinks.sql import SqlSink

        return SqlSink(settings, settings.address(mapping.home))
    if isinstance(settings, FileSinkSettings):
        from registry_adapters.sinks.files import FileSink

        return FileSink(settings, mapping.home, mapping.stream)
    if isinstance(settings, SinkPluginSettings):
        plugin: Sink = load(SINKS, settings.kind).open(settings.own(SINKS), mapping.home)
        return plugin
    from registry_adapters.sinks.http import HttpSink

    return HttpSink(settings, mapping.home)
