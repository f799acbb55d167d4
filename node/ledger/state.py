"""States of a log as held here, and the small conversions that reading and writing share."""

from __future__ import annotations

from enum import StrEnum

from dief.v1 import handling_pb2, log_pb2

from node.store.tables.ledger import SEQ_BITS

SALT_SIZE = 32
MAX_SEQ = (1 << SEQ_BITS) - 2
"""Last position that a log can have; one is left for the size."""
MAX_BODY_SIZE = 512 * 1024
GENESIS = int(log_pb2.EVENT_KIND_GENESIS)
EPOCH_CLOSED = int(log_pb2.EVENT_KIND_EPOCH_CLOSED)
ERASURE = int(log_pb2.EVENT_KIND_ERASURE)


class LogState(StrEnum):
    """What a log may do here.

    - LIVE: takes entries.
    - CLOSED: takes erasing entries only; the next epoch goes on.
    - LOST: closed because its state was lost; takes nothing any more, its successor erases into it.
    - INCOMPLETE: a body is missing that no verified header erases; it goes on, but is not called current.
    - EVIDENCE: stopped, its origin signed two things that can not both be true (I4).
    - FAULT: stopped after a bad header, gap or proof; refetched by the follower with backoff.
    """

    LIVE = "LIVE"
    CLOSED = "CLOSED"
    LOST = "LOST"
    INCOMPLETE = "INCOMPLETE"
    EVIDENCE = "EVIDENCE"
    FAULT = "FAULT"

    @property
    def stopped(self) -> bool:
        """Whether nothing more is taken from the origin until somebody looks at it."""
        return self in (LogState.EVIDENCE, LogState.LOST)


def entry_id(log_pk: int, seq: int) -> int:
    """Key of an entry: the log's key and the position in one integer.

    Raises:
        ValueError: No log has that position, and the key would name another log's entry.
    """
    if not 0 <= seq < 1 << SEQ_BITS:
        raise ValueError("a position is out of range")
    return log_pk << SEQ_BITS | seq


def split_entry_id(value: int) -> tuple[int, int]:
    """The log's key and the position of an entry's key."""
    return value >> SEQ_BITS, value & ((1 << SEQ_BITS) - 1)


def audience_key(audience: handling_pb2.Audience) -> bytes:
    """The same bytes for the same audience, whatever the order its States were named in."""
    canonical = handling_pb2.Audience(
        kind=audience.kind, states=sorted(set(audience.states)), reader_role=audience.reader_role
    )
    return canonical.SerializeToString(deterministic=True)
