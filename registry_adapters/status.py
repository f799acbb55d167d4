"""How a stream stands, for people and machines: what the adapter's folder says, and what the node says where asked."""

from __future__ import annotations

import json
import time
from typing import Any

from registry_adapters.client import RegistryClient
from registry_adapters.mapping.rows import Mapping
from registry_adapters.state import State


def status(mapping: Mapping, state: State | None, client: RegistryClient | None) -> dict[str, Any]:
    """How a stream stands.

    Args:
        mapping: Its mapping.
        state: Its folder, None where no adapter has run yet.
        client: The node, None where it is not asked.

    Raises:
        NodeError: The node does not answer.
    """
    last: dict[str, Any] = {}
    if state is not None and state.fact("last_run"):
        last = json.loads(state.fact("last_run"))
    ended = last.get("ended_ms")
    found: dict[str, Any] = {
        "stream": mapping.stream,
        "source": mapping.file.source.kind,
        "writes_back": "" if mapping.file.write_back is None else mapping.file.write_back.kind,
        "paused": state is not None and state.paused,
        "seconds_since_last_run": None if ended is None else max(0, int(time.time() - ended / 1000)),
        "last_run": {key: value for key, value in last.items() if key not in ("ended_ms", "first_rejects")},
        "last_error": _last_error(state),
        "quarantined": 0 if state is None else state.quarantine_size(),
        "known_keys": 0 if state is None else state.held(),
    }
    if client is not None:
        cursor, stored = client.cursor_and_time(mapping.stream)
        hits, more = client.hits(mapping.stream, 1)
        found["cursor_bytes"] = len(cursor)
        found["cursor_stored_at"] = stored
        found["hits_waiting"] = len(hits) + more
    return found


def _last_error(state: State | None) -> str:
    """What the newest run failed with, "" where it did not."""
    held = "" if state is None else state.fact("last_error")
    if not held:
        return ""
    told = json.loads(held)
    return f"{told['reason']}: {told['diagnosis']}"
