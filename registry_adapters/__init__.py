"""Clients of RegistryService that turn rows of national registries into drafts; they never import node.

Example:
    mapping = Mapping.load(Path("mapping.toml"))
    with State.open(folder, mapping.stream) as state, connect("node.xa.example:7444", CA, CERT, KEY) as client:
        report = Runner(mapping, open_source(mapping), client, state).run_once()
"""

from registry_adapters.client import RegistryClient, connect
from registry_adapters.errors import AdapterError
from registry_adapters.mapping.rows import Mapping
from registry_adapters.report import Report
from registry_adapters.runner import Runner
from registry_adapters.sink import Sink
from registry_adapters.sinks.opening import open_sink
from registry_adapters.source import Cursor, Milestone, Row, Source
from registry_adapters.sources.opening import open_source
from registry_adapters.state import State
from registry_adapters.write_back import Told, WriteBack

__all__ = [
    "AdapterError",
    "Cursor",
    "Mapping",
    "Milestone",
    "RegistryClient",
    "Report",
    "Row",
    "Runner",
    "Sink",
    "Source",
    "State",
    "Told",
    "WriteBack",
    "connect",
    "open_sink",
    "open_source",
]
