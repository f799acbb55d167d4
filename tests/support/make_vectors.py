"""Writes the test vectors of protos/vectors, with which a peer in any language checks itself.

    python -m tests.support.make_vectors        # after a wire change that was meant

Rules
- Deterministic: the same code writes the same bytes (fixed keys, salts and moments; RFC 8032 and RFC 6979 signatures).
- Bytes are lower-case hex, moments milliseconds since the epoch; each file begins with what it is for.
- What must be refused stands beside what must hold, each with a name that says the defect.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from dief.v1 import log_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from node.ops.clock import to_timestamp
from tests.support.vector_checkpoints import checkpoint_vectors
from tests.support.vector_follow import follow
from tests.support.vector_log import (
    OPENED_MS,
    WorkedLog,
    fixed,
    genesis,
)
from tests.support.vector_names import names
from tests.support.vector_roster import rosters
from tests.support.vector_trees import consistency_vectors, inclusion_vectors

FOLDER = Path(__file__).resolve().parents[2] / "protos" / "vectors"


def fields(message: Message) -> dict[str, Any]:
    """A message for people, as proto3 JSON; what is hashed is always the hex beside it."""
    return MessageToDict(message, preserving_proto_field_name=True)


def genesis_vectors(log: WorkedLog) -> dict[str, Any]:
    """log_id = SHA-256 of the body of entry 0."""
    second = genesis(
        epoch=2,
        previous=log_pb2.PreviousEpoch(log_id=log.log_id, checkpoint=log.checkpoint(7).note),
        salt=fixed("salt of the second genesis"),
        opened_at=to_timestamp(OPENED_MS + 60_000),
    ).SerializeToString(deterministic=True)
    cases = [("first epoch", log.genesis_body), ("second epoch, citing the first", second)]
    return {
        "about": "log_id = SHA-256(body), body being the exact bytes of the Genesis in entry 0.",
        "cases": [
            {
                "name": name,
                "body": body.hex(),
                "log_id": sha256(body).hexdigest(),
                "fields": fields(log_pb2.Genesis.FromString(body)),
            }
            for name, body in cases
        ],
    }


def leaf_vectors(log: WorkedLog) -> dict[str, Any]:
    """Leaf hash and body digest of every entry of the worked log."""
    return {
        "about": "leaf_hash = SHA-256(0x00 || header); body_digest = SHA-256(salt || body), or empty without a body. "
        "Hash the header's exact bytes: serialising entries 4 and 6 again gives other bytes in many libraries.",
        "log_id": log.log_id.hex(),
        "entries": [
            {
                "name": one.name,
                "seq": one.facts.seq,
                "header": one.facts.raw.hex(),
                "leaf_hash": one.facts.leaf.hex(),
                "salt": "" if one.body is None else one.salt.hex(),
                "body": "" if one.body is None else one.body.hex(),
                "body_digest": one.facts.body_digest.hex(),
                "body_size": one.facts.body_size,
                "fields": fields(log_pb2.EntryHeader.FromString(one.facts.raw)),
            }
            for one in log.entries
        ],
        "roots": [log.tree.root(size).hex() for size in range(len(log.entries) + 1)],
    }


def proven_vectors(log: WorkedLog) -> dict[str, Any]:
    """ProvenEntry, the answer of QueryAlerts and GetAlert, as it travels."""
    good = log.proven(3, 7)

    def changed(change: Callable[[log_pb2.ProvenEntry], object]) -> str:
        copy = log_pb2.ProvenEntry.FromString(good.SerializeToString())
        change(copy)
        return copy.SerializeToString(deterministic=True).hex()

    def set_body(entry: log_pb2.ProvenEntry) -> None:
        entry.entry.body = entry.entry.body[:-1] + b"?"

    def set_header(entry: log_pb2.ProvenEntry) -> None:
        entry.entry.header = log.entries[1].facts.raw

    def set_checkpoint(entry: log_pb2.ProvenEntry) -> None:
        entry.checkpoint = log.checkpoint(3).note

    return {
        "about": "Serialised ProvenEntry. Take header, log_id and seq from it, open the checkpoint with the origin's "
        "keys (checkpoint.json), prove inclusion, compare the body digest.",
        "valid": [
            {
                "name": log.entries[seq].name,
                "proven": log.proven(seq, 7).SerializeToString(deterministic=True).hex(),
                "seq": seq,
                "size": 7,
                "has_body": seq not in log.erased_by(7) and log.entries[seq].body is not None,
            }
            for seq in range(len(log.entries))
        ],
        "refused": [
            {"name": "another body", "proven": changed(set_body)},
            {"name": "another header of the same log", "proven": changed(set_header)},
            {"name": "a checkpoint that does not reach so far", "proven": changed(set_checkpoint)},
            {"name": "a body without its salt", "proven": changed(lambda e: e.entry.ClearField("salt"))},
            {"name": "no proof", "proven": changed(lambda e: e.ClearField("inclusion_proof"))},
            {"name": "no checkpoint", "proven": changed(lambda e: e.ClearField("checkpoint"))},
        ],
    }


def vectors() -> dict[str, dict[str, Any]]:
    """All files by name."""
    log = WorkedLog()
    return {
        "genesis.json": genesis_vectors(log),
        "leaf.json": leaf_vectors(log),
        "inclusion.json": inclusion_vectors(),
        "consistency.json": consistency_vectors(),
        "checkpoint.json": checkpoint_vectors(log),
        "proven_entry.json": proven_vectors(log),
        "follow.json": follow(log),
        "roster_dsse.json": rosters(),
        "names.json": names(),
    }


def text_of(content: dict[str, Any]) -> str:
    """A file as it is committed."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all files and remove those that are no longer made."""
    FOLDER.mkdir(exist_ok=True)
    made = vectors()
    for path in FOLDER.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, content in made.items():
        (FOLDER / name).write_text(text_of(content), encoding="utf-8")


if __name__ == "__main__":
    main()
