"""The published test vectors: the code makes exactly the committed files, and holds itself to every line of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from dief.v1 import federation_pb2, log_pb2
from sqlalchemy import select

from node.alerts import project
from node.alerts.bodies import Refusal
from node.alerts.states import uuid_of
from node.identity import dsse, roster
from node.identity.errors import IdentityError, MalformedSpiffeIdError
from node.identity.spiffe import SpiffeId
from node.ledger import logs
from node.ledger.checkpoint import Ed25519NoteVerifier, compare, open_checkpoint
from node.ledger.errors import CheckpointError, LedgerError, LogEvidenceError, ProofError
from node.ledger.ingest import Source, ingest, ingest_prelude, verify_proven_entry
from node.ledger.merkle import verify_consistency, verify_inclusion
from node.ledger.state import split_entry_id
from node.ledger.storing import ENTRY
from node.store.engine import Store
from tests.support.make_vectors import FOLDER, text_of, vectors
from tests.support.vector_log import OPENED_MS, UNKNOWN_KIND

NOW_MS = OPENED_MS + 3_600_000


def committed(name: str) -> Any:
    """A committed file."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def unhex(values: list[str]) -> list[bytes]:
    """Hashes of a proof."""
    return [bytes.fromhex(value) for value in values]


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return {name: text_of(content) for name, content in vectors().items()}


def verifiers() -> list[Ed25519NoteVerifier]:
    return [
        Ed25519NoteVerifier(key["name"], bytes.fromhex(key["public_key"]))
        for key in committed("checkpoint.json")["keys"]
    ]


def source() -> Source:
    return Source(
        federation="dief",
        own_state="XB",
        origin="XA",
        verifiers=tuple(key for key in verifiers() if key.name == "xa.dief"),
    )


def test_committed_vectors_are_what_the_code_makes(made: dict[str, str]) -> None:
    """A wire change that was not meant shows here; one that was: python -m tests.support.make_vectors."""
    assert {path.name for path in FOLDER.glob("*.json")} == set(made)
    for name, text in made.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, f"{name} differs from what the code makes"


def test_the_id_of_a_log_is_the_hash_of_its_genesis() -> None:
    for case in committed("genesis.json")["cases"]:
        body = bytes.fromhex(case["body"])
        assert sha256(body).hexdigest() == case["log_id"]
        log_pb2.Genesis.FromString(body)


def test_leaf_hashes_and_body_digests_cover_the_exact_bytes() -> None:
    entries = committed("leaf.json")["entries"]
    for entry in entries:
        header, body = bytes.fromhex(entry["header"]), bytes.fromhex(entry["body"])
        assert sha256(b"\x00" + header).hexdigest() == entry["leaf_hash"]
        if entry["body_digest"]:
            assert sha256(bytes.fromhex(entry["salt"]) + body).hexdigest() == entry["body_digest"]
        assert len(body) == entry["body_size"]


def test_a_header_in_another_order_is_not_what_a_library_would_write_again() -> None:
    """The trap of entry 6: whoever hashes a message instead of its bytes is found out by it."""
    header = bytes.fromhex(committed("leaf.json")["entries"][6]["header"])
    assert log_pb2.EntryHeader.FromString(header).SerializeToString() != header


def test_inclusion_vectors() -> None:
    content = committed("inclusion.json")
    for case in content["valid"]:
        verify_inclusion(
            bytes.fromhex(case["leaf_hash"]),
            case["index"],
            case["size"],
            unhex(case["proof"]),
            bytes.fromhex(case["root"]),
        )
    for case in content["refused"]:
        with pytest.raises(ProofError):
            verify_inclusion(
                bytes.fromhex(case["leaf_hash"]),
                case["index"],
                case["size"],
                unhex(case["proof"]),
                bytes.fromhex(case["root"]),
            )


def test_consistency_vectors() -> None:
    content = committed("consistency.json")

    def verify(case: dict[str, Any]) -> None:
        verify_consistency(
            case["m"],
            bytes.fromhex(case["root_m"]),
            case["n"],
            bytes.fromhex(case["root_n"]),
            unhex(case["proof"]),
        )

    for case in content["valid"]:
        verify(case)
    for case in content["refused"]:
        with pytest.raises(ProofError):
            verify(case)


def test_checkpoint_vectors() -> None:
    """I3: a checkpoint counts only with a signature by a key of its own origin."""
    content = committed("checkpoint.json")
    wanted = {"federation": "dief", "origin": "XA", "log_id": bytes.fromhex(content["log_id"])}
    for case in content["valid"]:
        opened = open_checkpoint(case["note"].encode(), verifiers(), **wanted)
        assert (opened.size, opened.root.hex(), opened.time_ms) == (
            content["size"],
            content["root"],
            content["time_ms"],
        )
    for case in content["refused"]:
        with pytest.raises(CheckpointError) as refusal:
            open_checkpoint(case["note"].encode(), verifiers(), **wanted)
        assert refusal.value.reason == case["refusal"], case["name"]


def test_pairs_of_checkpoints_are_judged_as_published() -> None:
    """I4: which pairs are evidence of a lie that anyone can check."""
    content = committed("checkpoint.json")
    wanted = {"federation": "dief", "origin": "XA", "log_id": bytes.fromhex(content["log_id"])}
    verdicts = set()
    for case in content["judged"]:
        first, second = (
            open_checkpoint(case[which].encode(), verifiers(), **wanted) for which in ("first", "second")
        )
        proof = None if case["proof"] is None else unhex(case["proof"])
        proof_root = None if case["proof_root"] is None else bytes.fromhex(case["proof_root"])
        assert compare(first, second, proof, proof_root).name == case["verdict"], case["name"]
        verdicts.add(case["verdict"])
    assert verdicts == {"CONSISTENT", "UNPROVEN", "EVIDENCE_SPLIT", "EVIDENCE_SHRINK", "EVIDENCE_REWRITE"}


def test_proven_entries_prove_themselves() -> None:
    content = committed("proven_entry.json")
    for case in content["valid"]:
        proven = log_pb2.ProvenEntry.FromString(bytes.fromhex(case["proven"]))
        checkpoint, facts = verify_proven_entry(source(), proven)
        assert (facts.seq, checkpoint.size) == (case["seq"], case["size"])
        assert bool(proven.entry.salt) == case["has_body"]
    for case in content["refused"]:
        proven = log_pb2.ProvenEntry.FromString(bytes.fromhex(case["proven"]))
        with pytest.raises(LedgerError):
            verify_proven_entry(source(), proven)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'xb.db'}")
    opened.create_all()
    yield opened
    opened.close()


def take(store: Store, frame: str) -> set[Refusal]:
    """Take a frame as a follower does; reasons why entries are not shown."""
    parsed = federation_pb2.FollowResponse.FromString(bytes.fromhex(frame))
    reasons: set[Refusal] = set()
    with store.write() as conn:
        match parsed.WhichOneof("frame"):
            case "prelude":
                ingest_prelude(conn, source(), parsed.prelude, NOW_MS)
            case "batch":
                applied = ingest(conn, source(), parsed.batch, NOW_MS)
                reasons = {reason for _, reason in project.apply(conn, applied).unprojected}
    return reasons


def held(store: Store, log_id: bytes) -> dict[str, Any]:
    """What the store holds of the log, in the words of the vectors."""
    with store.read() as conn:
        log = logs.load(conn, log_id)
        if log is None:
            return {"size": 0, "root": sha256(b"").hexdigest(), "checkpoint_size": 0, "bodies": []}
        rows = conn.execute(select(ENTRY.c.id).where(ENTRY.c.body.is_not(None)).order_by(ENTRY.c.id))
        return {
            "size": log.size,
            "root": log.tree.root().hex(),
            "checkpoint_size": log.checkpoint_size,
            "bodies": [split_entry_id(key)[1] for key in rows.scalars()],
        }


def test_follow_sessions_leave_what_the_vectors_say(store: Store) -> None:
    """I5, I6: after each frame size, root and bodies are the published ones; erasures of the prelude act first."""
    content = committed("follow.json")
    reasons = set()
    for session in content["sessions"]:
        federation_pb2.FollowRequest.FromString(bytes.fromhex(session["request"]))
        for step in session["frames"]:
            reasons |= take(store, step["frame"])
            assert held(store, bytes.fromhex(content["log_id"])) == step["holds"], step["name"]
    assert reasons == {Refusal.NOT_UNDERSTOOD}, f"only kind {UNKNOWN_KIND} is not understood"


def test_refused_frames_leave_nothing(store: Store) -> None:
    """I4, I10: a bad header, proof or checkpoint stops the log; evidence is called so only with two signatures."""
    content = committed("follow.json")
    log_id = bytes.fromhex(content["log_id"])
    for step in content["sessions"][0]["frames"]:
        take(store, step["frame"])
    before = held(store, log_id)
    for case in content["refused"]:
        with pytest.raises(LedgerError) as refusal:
            take(store, case["frame"])
        assert isinstance(refusal.value, LogEvidenceError) == case["name"].startswith("evidence"), case[
            "name"
        ]
        assert held(store, log_id) == before, case["name"]


def test_roster_vectors() -> None:
    content = committed("roster_dsse.json")
    first, second = content["valid"]
    envelopes = [dsse.from_json(json.dumps(one["envelope"]).encode()) for one in (first, second)]
    for one, envelope in zip((first, second), envelopes, strict=True):
        assert sha256(envelope.payload).hexdigest() == one["payload_sha256"]
        message = one["pae_start"].encode() + envelope.payload
        assert sha256(message).hexdigest() == one["pae_sha256"]
        public_keys = {key["keyid"]: bytes.fromhex(key["public_key"]) for key in content["keys"]}
        for signature in one["envelope"]["signatures"]:
            Ed25519PublicKey.from_public_bytes(public_keys[signature["keyid"]]).verify(
                base64.b64decode(signature["sig"]), message
            )
    trusted = roster.trust_first(envelopes[0], bytes.fromhex(first["payload_sha256"]), NOW_MS)
    assert roster.update(trusted, envelopes[1], NOW_MS).version == 2
    for case in content["refused"]:
        with pytest.raises(IdentityError):
            roster.update(trusted, dsse.from_json(json.dumps(case["envelope"]).encode()), NOW_MS)


def test_names() -> None:
    content = committed("names.json")
    for case in content["alerts"]["valid"]:
        found = uuid_of(case["name"], case["origin"])
        assert found is not None
        assert found.hex() == case["uuid"].replace("-", "")
        assert int.from_bytes(found[:6], "big") == case["time_ms"]
    for case in content["alerts"]["refused"]:
        assert uuid_of(case["name"], "XA") is None, case["why"]
    for case in content["spiffe"]["valid"]:
        parsed = SpiffeId.parse(case["uri"])
        assert (parsed.state, parsed.federation, parsed.kind, parsed.name, parsed.trust_domain) == (
            case["state"],
            case["federation"],
            case["kind"],
            case["name"],
            case["trust_domain"],
        )
    for case in content["spiffe"]["refused"]:
        with pytest.raises(MalformedSpiffeIdError):
            SpiffeId.parse(case["uri"])
