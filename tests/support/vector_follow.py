"""Two sessions of Follow as they travel, what a follower holds after each frame, and frames that must stop a log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dief.v1 import federation_pb2
from google.protobuf.message import Message

from node.ledger.checkpoint import sign_checkpoint
from node.ops.clock import to_timestamp
from tests.support.vector_log import FEDERATION, MEMBERS, OPENED_MS, ORIGIN, WorkedLog, fixed, signer

Frame = federation_pb2.FollowResponse
HOUR_MS = 3_600_000


def _hex(message: Message) -> str:
    return message.SerializeToString(deterministic=True).hex()


def _hello(time_ms: int) -> Frame:
    return Frame(
        hello=federation_pb2.Hello(roster_version=2, server_time=to_timestamp(time_ms), software="0.1.0")
    )


def _caught_up() -> Frame:
    return Frame(caught_up=federation_pb2.CaughtUp())


class _Follower:
    """What a follower holds, told from the log's own facts: the expectation, not a second implementation."""

    def __init__(self, log: WorkedLog) -> None:
        self._log = log
        self._size = 0
        self._checkpoint_size = 0
        self._sent: set[int] = set()
        self._erased: set[int] = set()

    def took(
        self, name: str, frame: Frame, *, signed: int | None = None, erased: Sequence[int] = ()
    ) -> dict[str, Any]:
        """A frame, with the size that its checkpoint signs and the positions that its headers erase."""
        for seq, entry in enumerate(frame.batch.entries, self._size):
            if entry.salt:
                self._sent.add(seq)
        self._size += len(frame.batch.entries)
        self._erased |= set(erased)
        if frame.batch.checkpoint and signed is not None:
            self._checkpoint_size = signed
        return {
            "name": name,
            "frame": _hex(frame),
            "holds": {
                "size": self._size,
                "root": self._log.tree.root(self._size).hex(),
                "checkpoint_size": self._checkpoint_size,
                "bodies": sorted(self._sent - self._erased),
            },
        }


def follow(log: WorkedLog) -> dict[str, Any]:
    """The sessions of XB with XA, and the defects."""
    follower = _Follower(log)
    first = [
        follower.took("hello", _hello(OPENED_MS + 3_500)),
        follower.took("all of a log of three entries", Frame(batch=log.batch(0, 3, 3)), signed=3),
        follower.took("caught up", _caught_up()),
    ]
    resumed = federation_pb2.FollowRequest(
        cursors=[
            federation_pb2.LogCursor(
                log_id=log.log_id,
                size=3,
                checkpoint_size=3,
                checkpoint_time_ms=log.checkpoint(3).time_ms,
            )
        ],
        roster_version=2,
        software="0.1.0",
    )
    prelude = federation_pb2.Prelude(
        log_id=log.log_id,
        checkpoint=log.checkpoint(5).note,
        headers=[
            federation_pb2.ProvenHeader(
                header=log.entries[3].facts.raw, inclusion_proof=log.tree.inclusion(3, 5)
            )
        ],
    )
    later = log.checkpoint(7, log.checkpoint(7).time_ms + HOUR_MS)
    unchanged = federation_pb2.Batch(log_id=log.log_id, first_seq=7, checkpoint=later.note)
    heartbeat = federation_pb2.Heartbeat(server_time=to_timestamp(OPENED_MS + HOUR_MS))
    second = [
        follower.took("hello", _hello(OPENED_MS + 7_000)),
        follower.took("erasures beyond the cursor come first", Frame(prelude=prelude), erased=[1]),
        follower.took(
            "entry 3, and a proof from 4 to the signed 5", Frame(batch=log.batch(3, 4, 5)), signed=5
        ),
        follower.took(
            "entry 4; the checkpoint was sent before", Frame(batch=log.batch(4, 5, 5, repeat=False))
        ),
        follower.took("caught up", _caught_up()),
        follower.took(
            "live: entries 5 and 6, which erase 2 and 4",
            Frame(batch=log.batch(5, 7, 7)),
            signed=7,
            erased=[2, 4],
        ),
        follower.took("nothing new, signed again an hour later", Frame(batch=unchanged), signed=7),
        follower.took("a sign of life", Frame(heartbeat=heartbeat)),
    ]
    return {
        "about": "Serialised FollowRequest and FollowResponse, and what XB holds after each frame. Entries 1, 2 and 4 "
        "are erased by 3, 5 and 6. `refused` are frames that the origin may not send where the first session ended: "
        "nothing of them is stored. The same notes and keys as in checkpoint.json.",
        "log_id": log.log_id.hex(),
        "federation": FEDERATION,
        "origin": ORIGIN,
        "follower": "XB",
        "members": list(MEMBERS),
        "log_keys": [signer().public_key.hex()],
        "sessions": [
            {"request": _hex(federation_pb2.FollowRequest(roster_version=2)), "frames": first},
            {"request": _hex(resumed), "frames": second},
        ],
        "refused": _refused(log),
    }


def _refused(log: WorkedLog) -> list[dict[str, Any]]:
    def batch(change: Callable[[federation_pb2.Batch], object]) -> federation_pb2.Batch:
        copy = federation_pb2.Batch.FromString(log.batch(3, 5, 7).SerializeToString())
        change(copy)
        return copy

    def flip(one: federation_pb2.Batch) -> None:
        header = bytearray(one.entries[0].header)
        header[-1] ^= 1
        one.entries[0].header = bytes(header)

    def other_body(one: federation_pb2.Batch) -> None:
        one.entries[0].body += b"?"

    def reorder(one: federation_pb2.Batch) -> None:
        entries = list(one.entries)[::-1]
        del one.entries[:]
        one.entries.extend(entries)

    def signed_by(label: str, size: int, time_ms: int, root: bytes | None = None) -> bytes:
        return sign_checkpoint(
            signer(label),
            federation=FEDERATION,
            origin=ORIGIN,
            log_id=log.log_id,
            size=size,
            root=log.tree.root(size) if root is None else root,
            time_ms=time_ms,
        ).note

    now = log.checkpoint(7).time_ms
    own = "log key of XA"
    cases: list[tuple[str, federation_pb2.Batch]] = [
        ("a gap", log.batch(4, 6, 7)),
        ("a repeated entry", log.batch(2, 5, 7)),
        ("entries in another order", batch(reorder)),
        ("a flipped bit in a header", batch(flip)),
        ("a body that is not the one digested", batch(other_body)),
        ("a body without its salt", batch(lambda one: one.entries[0].ClearField("salt"))),
        ("no consistency proof", batch(lambda one: one.ClearField("consistency_proof"))),
        ("no checkpoint that covers the entries", batch(lambda one: one.ClearField("checkpoint"))),
        (
            "a checkpoint by a key that the roster does not list",
            batch(lambda one: setattr(one, "checkpoint", signed_by("unknown log key", 7, now))),
        ),
        (
            "evidence: a smaller log at a later time",
            federation_pb2.Batch(log_id=log.log_id, first_seq=3, checkpoint=signed_by(own, 2, now)),
        ),
        (
            "evidence: another root at the size that was signed before",
            federation_pb2.Batch(
                log_id=log.log_id, first_seq=3, checkpoint=signed_by(own, 3, now, fixed("another root"))
            ),
        ),
        (
            "a log that does not begin with its genesis",
            federation_pb2.Batch(
                log_id=fixed("another log"), first_seq=0, entries=[log.wire(0, 1)], checkpoint=b""
            ),
        ),
    ]
    return [{"name": name, "frame": _hex(Frame(batch=one))} for name, one in cases]
