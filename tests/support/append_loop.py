"""A process that appends for ever and says what it was acknowledged; somebody will kill it."""

from __future__ import annotations

import hashlib
from multiprocessing.connection import Connection
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.ledger.events import NewEvent
from node.ops.clock import now_ms
from node.store.engine import Store
from tests.support.ledger import Origin, event, named

AUDIENCES = (named("XA", "XB"), named("XA", "XE"))


def append_for_ever(url: str, anchor: str, key: bytes, round_: int, told: Connection) -> None:
    """Append to two logs in turn, erase now and then, sign again now and then.

    After each commit it tells, as one message, what was acknowledged: (log id, size, root, note,
    pairs of position and digest of the body).
    """
    origin = Origin(
        Store.open(url),
        Path(anchor),
        key=Ed25519PrivateKey.from_private_bytes(key),
        members=("XA", "XB", "XE"),
        clock=now_ms,
    )
    with origin.store.write() as conn:
        origin.writer.anchor_held(conn)
    number = 0
    while True:
        number += 1
        bodies = [b"round %d, number %d.%d" % (round_, number, part) for part in range(1 + number % 3)]
        events: list[NewEvent] = [event(body) for body in bodies]
        if number % 5 == 0:
            with origin.store.write() as conn:
                origin.writer.resign(conn, origin.clock())
        applied = origin.append(*events, audience=AUDIENCES[number % 2])
        log_id = applied.stored[0].log_id
        for log in origin.logs():
            assert origin.writer.may_leave(log.log_id, log.checkpoint_size)
            acknowledged = [
                (entry.seq, hashlib.sha256(entry.body).digest())
                for entry in applied.stored
                if entry.log_id == log.log_id == log_id and entry.body is not None
            ]
            told.send((log.log_id, log.checkpoint_size, log.checkpoint_root, log.checkpoint, acknowledged))
