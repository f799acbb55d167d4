"""A registry's day over real processes: watched, hit by a peer's alert, told, cleared, decided.

ATT Art. 7(7): who issued a licence last year is told by itself when a new alert touches it.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.exchange import content, publish, revise, wait_for, withdraw
from tests.support.nodes import Federation, NodeProcess
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(240)

REGISTRY = """
CREATE TABLE licence (id INTEGER PRIMARY KEY, reference TEXT, exporter TEXT, serials TEXT, updated_at TEXT);
CREATE TABLE dief_hit (
    notice TEXT PRIMARY KEY, kind TEXT, record_key TEXT, hit TEXT, version INTEGER, alert TEXT, "call" TEXT,
    strength TEXT, fields TEXT, status TEXT, decision TEXT, reason TEXT, at TEXT
);
"""
MAPPING = """
version = 1
stream = "licences"

[source]
kind = "sql"
url = "sqlite:///registry.db"
table = "licence"
key = ["id"]
watermark = "updated_at"

[watch]
kind = "LICENCE"
reference = "{reference}"

[[watch.term]]
kind = "SERIAL"
each = "serials"
column = "@"

[[watch.term]]
kind = "PARTY_NAME"
column = "exporter"

[write_back]
kind = "sql"
url = "sqlite:///registry.db"
table = "dief_hit"
every = "1s"
"""


class Registry:
    """A licensing database of XB with a table that it offers for hits."""

    def __init__(self, folder: Path, stream: str) -> None:
        folder.mkdir()
        self.mapping = folder / "licences.toml"
        self.mapping.write_text(MAPPING.replace("licences", stream), encoding="utf-8")
        self.file = folder / "registry.db"
        with closing(sqlite3.connect(self.file)) as db:
            db.executescript("PRAGMA journal_mode = WAL;" + REGISTRY)

    def put(self, key: int, reference: str, serials: str, updated_at: str) -> None:
        with closing(sqlite3.connect(self.file)) as db, db:
            db.execute(
                "INSERT OR REPLACE INTO licence VALUES (?, ?, 'Kestrel Trading Company', ?, ?)",
                (key, reference, serials, updated_at),
            )

    def told(self) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.file)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute("SELECT * FROM dief_hit ORDER BY at, version")]

    @contextmanager
    def adapter(self, node: NodeProcess) -> Iterator[subprocess.Popen[bytes]]:
        with (self.file.parent / "adapter.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "node.cli", "adapter", "run", str(self.mapping), "--every", "1s"],
                stdout=log, stderr=log, env={**os.environ, "DIEF_CONFIG": str(node.config)},
            )  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def test_a_licence_is_hit_by_a_new_alert_and_cleared_when_it_was_unfounded(
    four: Federation, tmp_path: Path
) -> None:
    xa, xb = four["XA"], four["XB"]
    registry = Registry(tmp_path / "registry", "licences")
    registry.put(1, "XB/2026/1", '["WLV 0001", ""]', "2026-01-01T00:00:00")
    registry.put(2, "XB/2026/2", "[]", "2026-01-01T00:00:00")
    before = publish(xa, content("There before the licence", "WLV 0002"))
    wait_for(xb, before)
    with registry.adapter(xb) as process:
        name = publish(xa, content("Meets a licence", "WLV-0001"))
        told = until(registry.told, "the hit in the registry", seconds=90)
        assert [(row["kind"], row["record_key"], row["alert"], row["call"]) for row in told] == [
            ("HIT", "1", name, "XA")
        ]
        assert (told[0]["fields"], told[0]["strength"], told[0]["status"]) == ("serials[0]", "LEAD", "OPEN")
        assert "WLV" not in repr(told), "a hit holds nothing of what the alert says"

        registry.put(2, "XB/2026/2", '["wlv0002"]', "2026-02-02T00:00:00")
        until(lambda: len(registry.told()) == 2, "the late serial's hit", seconds=90)

        process.send_signal(signal.SIGKILL)
        process.wait(30)
    withdraw(xa, name, unfounded=True)
    listed = until(
        lambda: [hit for hit in xb.cli_json("hit", "list", "--state", "cleared") if hit["alert"] == name],
        "the hit cleared at XB",
        seconds=90,
    )
    assert listed[0]["cleared_because"] == "UNFOUNDED"
    with registry.adapter(xb):
        cleared = until(
            lambda: [row for row in registry.told() if row["kind"] == "HIT_CLEARED"],
            "the clearance told",
            seconds=90,
        )
        assert (cleared[0]["hit"], cleared[0]["status"]) == (told[0]["hit"], "CLEARED")
        assert "cleared" in cleared[0]["reason"]

        [waiting] = [hit for hit in xb.cli_json("hit", "list") if hit["alert"] == before]
        shown = xb.cli_json("hit", "show", waiting["name"])
        assert shown["content"]["titles"][0]["text"] == "There before the licence"
        xb.cli("hit", "decide", waiting["name"], "NOT_THE_SAME", "--reason", "another arm, seen")
        decided = until(
            lambda: [row for row in registry.told() if row["kind"] == "HIT_DECIDED"],
            "the decision told",
            seconds=90,
        )
        assert (decided[0]["decision"], decided[0]["record_key"]) == ("NOT_THE_SAME", "2")
        revise(xa, before, content("There before the licence, revised", "WLV 0002"))
        until(
            lambda: [h for h in xb.cli_json("hit", "list") if h["alert"] == before and h["revision"] == 2],
            "the pair opened again by the revision",
            seconds=90,
        )
    ids = [row["notice"] for row in registry.told()]
    assert len(ids) == len(set(ids))


def test_status_pause_and_resume_of_a_stream(four: Federation, tmp_path: Path) -> None:
    xb = four["XB"]
    registry = Registry(tmp_path / "registry", "paused")
    registry.put(1, "XB/2026/1", '["PAU 0001"]', "2026-01-01T00:00:00")
    home = str(registry.mapping)
    assert xb.cli_json("adapter", "status", home, "--offline")["last_run"] == {}
    xb.cli("adapter", "run", home)
    status = xb.cli_json("adapter", "status", home)
    assert (status["last_run"]["accepted"], status["known_keys"], status["quarantined"]) == (1, 1, 0)
    assert status["cursor_stored_at"]
    xb.cli("adapter", "pause", home)
    assert xb.cli_json("adapter", "status", home)["paused"] is True
    refused = xb.cli("adapter", "run", home, check=False)
    assert refused.returncode == 1
    assert "resume" in refused.stderr
    xb.cli("adapter", "resume", home)
    registry.put(2, "XB/2026/2", '["PAU 0002"]', "2026-01-02T00:00:00")
    xb.cli("adapter", "run", home)
    assert xb.cli_json("adapter", "status", home)["known_keys"] == 2


def test_an_adapter_beside_the_node_runs_comes_back_and_ends_with_it(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", "beside")
    registry.put(1, "XA/2026/1", '["BES 0001"]', "2026-01-01T00:00:00")
    with Federation(tmp_path / "one", ["XA"]) as federation:
        xa = federation["XA"]
        with xa.config.open("a", encoding="utf-8") as settings:
            settings.write(f'\n[adapters]\nmappings = ["{registry.mapping}"]\nevery = "1s"\n')
        federation.start("XA")

        def known() -> int:
            return int(xa.cli_json("adapter", "status", str(registry.mapping), "--offline")["known_keys"])

        until(lambda: known() == 1, "the first row watched", seconds=90)
        first = adapters_of(registry)
        assert len(first) == 1
        os.kill(first[0], signal.SIGKILL)
        registry.put(2, "XA/2026/2", '["BES 0002"]', "2026-01-02T00:00:00")
        until(lambda: known() == 2, "the adapter started again", seconds=90)
        assert adapters_of(registry) != first
        assert xa.stop() == 0
        assert adapters_of(registry) == []


def adapters_of(registry: Registry) -> list[int]:
    """Process ids of adapters of a registry."""
    command = f"adapter run {registry.mapping}"
    found = subprocess.run(["pgrep", "-f", command], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]
