"""The anchor: what this node last signed of each of its logs, outside database and backup.

- One line a signature: `<log_id hex> <size> <root hex> <time_ms> <check>`; the newest line of a log counts.
- A line is on disk (fsync) before the checkpoint that it names leaves the node, so a node that was restored to an
  older database finds out before it signs anything else (design: "A node never forks itself").
- A last line that was cut off by a crash is ignored: its checkpoint has not left. A damaged line elsewhere is an error.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from node.ledger.errors import AnchorError

COMPACT_AT_LINES = 20_000


@dataclass(frozen=True, slots=True)
class Anchored:
    """Last signature of one log: size in entries, root (32 bytes), time in milliseconds."""

    size: int
    root: bytes
    time_ms: int


def _line(log_id: bytes, anchored: Anchored) -> str:
    body = f"{log_id.hex()} {anchored.size} {anchored.root.hex()} {anchored.time_ms}"
    return f"{body} {hashlib.sha256(body.encode()).hexdigest()[:8]}\n"


def _parse(line: str) -> tuple[bytes, Anchored] | None:
    body, _, check = line.rpartition(" ")
    if hashlib.sha256(body.encode()).hexdigest()[:8] != check:
        return None
    log_id, size, root, time_ms = body.split(" ")
    return bytes.fromhex(log_id), Anchored(int(size), bytes.fromhex(root), int(time_ms))


class Anchor:
    """The anchor file. Thread-safe.

    Raises:
        AnchorError: The file is damaged before its last line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.existed = path.exists()
        self._held: dict[bytes, Anchored] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.existed:
            self._load()
        self._compact()

    def _load(self) -> None:
        lines = self._path.read_text(encoding="utf-8", errors="replace").split("\n")
        last = lines.pop()
        for number, line in enumerate(lines, 1):
            parsed = _parse(line)
            if parsed is None:
                raise AnchorError(f"Line {number} of the anchor file {self._path} is damaged.")
            self._held[parsed[0]] = parsed[1]
        if last and (parsed := _parse(last)) is not None:
            self._held[parsed[0]] = parsed[1]

    def _compact(self) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("w") as file:
            file.writelines(_line(log_id, anchored) for log_id, anchored in self._held.items())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._lines = len(self._held)

    def get(self, log_id: bytes) -> Anchored | None:
        """What was last signed of a log, or None."""
        with self._lock:
            return self._held.get(log_id)

    def all(self) -> dict[bytes, Anchored]:
        """Everything that was signed, by log id."""
        with self._lock:
            return dict(self._held)

    def _overtaken(self, log_id: bytes, anchored: Anchored) -> bool:
        held = self._held.get(log_id)
        return held is not None and held.size > anchored.size and held.time_ms >= anchored.time_ms

    def put(self, signed: dict[bytes, Anchored]) -> None:
        """Record signatures; they are on disk when this returns.

        Sizes and times never go back. A signature that a larger and later one has overtaken is passed over: two
        transactions that were committed one after the other may be recorded the other way round. Any other older one
        is a fault of the caller.
        """
        with self._lock:
            signed = {
                log_id: anchored
                for log_id, anchored in signed.items()
                if not self._overtaken(log_id, anchored)
            }
            if not signed:
                return
            for log_id, anchored in signed.items():
                held = self._held.get(log_id)
                if held is not None and (anchored.size < held.size or anchored.time_ms < held.time_ms):
                    raise AnchorError("A signature older than the anchored one was about to be recorded.")
            with self._path.open("a") as file:
                file.writelines(_line(log_id, anchored) for log_id, anchored in signed.items())
                file.flush()
                os.fsync(file.fileno())
            self._held.update(signed)
            self._lines += len(signed)
            if self._lines > COMPACT_AT_LINES + 2 * len(self._held):
                self._compact()
