"""A small Singer tap over a JSON file of rows: a program of its own, as taps are, run by the tests of the adapter.

Its configuration names the file (`rows`), a `mode` and what goes wrong. It speaks the Singer specification:

    python singer_tap.py --config config.json [--state state.json] [--catalog catalog.json]

Modes: "incremental" (rows from a bookmark on `updated`), "full" (all rows, no state), "versioned" (all rows under the
configuration's `version`, activated at the end), "changes" (as incremental, its version activated in every run).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PROPERTIES = {
    "id": {"type": "string"},
    "updated": {"type": ["null", "string"], "format": "date-time"},
    "serial": {"type": ["null", "string"]},
    "holder": {"type": ["null", "object"], "properties": {"name": {"type": "string"}}},
    "_sdc_deleted_at": {"type": ["null", "string"]},
}


def say(**message: Any) -> None:
    """One message."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def misbehave(fault: dict[str, Any]) -> None:
    """What the configuration asks to go wrong at this place."""
    if "stderr" in fault:
        sys.stderr.write(fault["stderr"])
        sys.stderr.flush()
    if "raw" in fault:
        sys.stdout.write(fault["raw"])
        sys.stdout.flush()
    if "long" in fault:
        say(type=fault["long"], stream="arms", record={"id": "long", "serial": "x" * fault["bytes"]})
    if "pid" in fault:
        Path(fault["pid"]).write_text(str(os.getpid()), encoding="ascii")
    if "exit" in fault:
        sys.exit(fault["exit"])
    if "signal" in fault:
        os.kill(os.getpid(), fault["signal"])
    if fault.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if fault.get("closed"):
        os.close(1)
    if fault.get("hang"):
        while True:
            time.sleep(3600)


def main() -> None:
    """Read the rows and speak."""
    options = argparse.ArgumentParser()
    for name in ("config", "state", "catalog", "properties"):
        options.add_argument(f"--{name}", type=Path)
    given = options.parse_args()
    config = json.loads(given.config.read_text(encoding="utf-8"))
    state = json.loads(given.state.read_text(encoding="utf-8")) if given.state else {}
    if "record" in config:
        noted = {
            "environment": dict(os.environ),
            "arguments": sys.argv[1:],
            "folder": str(Path.cwd()),
            "state": state,
        }
        Path(config["record"]).write_text(json.dumps(noted), encoding="utf-8")
    mode, fault = config.get("mode", "incremental"), config.get("fault", {})
    rows = json.loads(Path(config["rows"]).read_text(encoding="utf-8"))
    version = {"version": config["version"]} if "version" in config else {}
    bookmark = state.get("bookmarks", {}).get("arms", {}).get("updated", "")
    properties = PROPERTIES | config.get("properties", {})
    for name in config.get("without", []):
        properties.pop(name)
    say(type="SCHEMA", stream="owners", schema={"properties": {"id": {}}}, key_properties=["id"])
    say(type="RECORD", stream="owners", record={"id": "never"})
    if not config.get("silent"):
        keys = config.get("keys", ["id"])
        say(
            type="SCHEMA",
            stream="arms",
            schema={"type": "object", "properties": properties},
            key_properties=keys,
        )
    incremental = mode in ("incremental", "changes")
    if incremental:
        rows = sorted(
            (row for row in rows if row["updated"] >= bookmark), key=lambda row: str(row["updated"])
        )
    for number, row in enumerate(rows):
        if fault.get("at") == number:
            misbehave(fault)
        say(type="RECORD", stream="arms", record=row, time_extracted="2026-11-01T00:00:00Z", **version)
        if incremental and number % 2:
            more = config.get("more_state", {})
            say(type="STATE", value={"bookmarks": {"arms": {"updated": row["updated"]}}, **more})
    if fault.get("at") == "end":
        misbehave(fault)
    if version and mode in ("versioned", "changes"):
        say(type="ACTIVATE_VERSION", stream="arms", **version)
    if incremental and rows:
        say(type="STATE", value={"bookmarks": {"arms": {"updated": rows[-1]["updated"]}}})
    if fault.get("at") == "after":
        misbehave(fault)


if __name__ == "__main__":
    main()
