"""The child process that prepares pieces of batches: `python -m node.federation.preparing_child`.

It reads jobs and writes answers, each a length of 8 bytes and a marshalled value, until its input ends.
"""

from __future__ import annotations

import marshal
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, Any

from dief.v1 import federation_pb2, handling_pb2

from node.alerts.bodies import LEDGER_KINDS
from node.alerts.prepare import prepare
from node.ledger.errors import LedgerError
from node.ledger.events import StoredEntry
from node.ledger.header import parse_header

Packed = tuple[bytes | None, int, str | None, int | None, tuple[Any, ...], list[tuple[int, int]] | None]
"""The fields of a node.alerts.prepare.Prepared."""

Job = tuple[bytes, str, bytes, int]
"""Serialised Batch of the piece; origin, audience key and reader role of its log."""

_LENGTH = 8
_MAX_FRAME = 64 << 20


def write_frame(pipe: IO[bytes], data: bytes) -> None:
    """Send one message."""
    pipe.write(len(data).to_bytes(_LENGTH, "big"))
    pipe.write(data)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> bytes:
    """Receive one message.

    Raises:
        EOFError: The other end is closed.
        ValueError: The length is none of a message.
    """
    head = pipe.read(_LENGTH)
    if len(head) < _LENGTH:
        raise EOFError
    size = int.from_bytes(head, "big")
    if size > _MAX_FRAME:
        raise ValueError("a message is over 64 MiB")
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def prepared_rows(job: Job) -> Iterable[Packed | None]:
    """What is prepared for each entry of a piece, in order; None where there is nothing to prepare."""
    raw, origin, key, reader_role = job
    batch = federation_pb2.Batch.FromString(raw)
    audience = handling_pb2.Audience.FromString(key)
    for seq, entry in enumerate(batch.entries, batch.first_seq):
        yield _row(entry.header, entry.body, batch.log_id, seq, origin, audience, reader_role)


def _row(
    header: bytes,
    body: bytes,
    log_id: bytes,
    seq: int,
    origin: str,
    audience: handling_pb2.Audience,
    reader_role: int,
) -> Packed | None:
    try:
        facts = parse_header(header, log_id, seq)
    except LedgerError:
        return None
    if facts.kind in LEDGER_KINDS or not body:
        return None
    made = prepare(
        StoredEntry(
            0, 0, log_id, origin, seq, facts.kind, facts.subject, facts.revision, facts.committed_ms,
            facts.expires_ms, reader_role, body, 0,
        ),
        audience,
    )  # fmt: skip
    refusal = None if made.refusal is None else made.refusal.value
    return made.uuid, int(made.held), refusal, made.expires_ms, tuple(made.columns), made.keys


def main(requests: IO[bytes], answers: IO[bytes]) -> None:
    """The child: answer until there is nothing more to read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    write_frame(answers, b"")
    with suppress(EOFError, BrokenPipeError):
        while True:
            job: Job = marshal.loads(read_frame(requests))  # noqa: S302 - our own parent's bytes
            write_frame(answers, marshal.dumps(list(prepared_rows(job))))


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
