"""Moments: integers of milliseconds since the epoch inside, google.protobuf.Timestamp on the wire."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def now_ms() -> int:
    """This machine's clock in milliseconds since the epoch (UTC)."""
    return time.time_ns() // 1_000_000


def to_timestamp(moment_ms: int) -> Timestamp:
    """A moment as it travels."""
    return Timestamp(seconds=moment_ms // 1000, nanos=moment_ms % 1000 * 1_000_000)


def from_timestamp(moment: Timestamp) -> int:
    """A received moment in milliseconds; parts below a millisecond are cut off."""
    return moment.seconds * 1000 + moment.nanos // 1_000_000


def to_iso(moment_ms: int) -> str:
    """A moment for people and JSON: RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(moment_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
