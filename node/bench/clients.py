"""A peer that verifies what it is sent and stores nothing: what 99 of 100 followers are in a measurement."""

from __future__ import annotations

from dataclasses import dataclass, field

from dief.v1 import federation_pb2

from node.bench.pair import FEDERATION, BenchError
from node.ledger.checkpoint import Checkpoint, NoteVerifier, open_checkpoint
from node.ledger.header import HeaderFacts, body_digest, parse_header
from node.ledger.merkle import CompactRange, verify_consistency


@dataclass(slots=True)
class VerifyingClient:
    """Logs of one origin, each as a tree and the newest checkpoint."""

    verifier: NoteVerifier
    origin: str
    trees: dict[bytes, CompactRange] = field(default_factory=dict)
    newest: dict[bytes, Checkpoint] = field(default_factory=dict)

    def take(self, batch: federation_pb2.Batch) -> list[HeaderFacts]:
        """Check a batch: every header and body, and the tree against the signed checkpoint.

        Returns:
            What the headers say.

        Raises:
            BenchError: It does not prove itself.
            LedgerError: A header, proof or signature is wrong.
        """
        tree = self.trees.setdefault(batch.log_id, CompactRange())
        if batch.first_seq != tree.size:
            raise BenchError("A batch does not begin where the one before ended.")
        entries = [
            (parse_header(entry.header, batch.log_id, seq), entry)
            for seq, entry in enumerate(batch.entries, batch.first_seq)
        ]
        for facts, entry in entries:
            if facts.seq and body_digest(entry.salt, entry.body) != facts.body_digest:
                raise BenchError("A body is not the one that its header names.")
        tree.extend([facts.leaf for facts, _ in entries])
        if batch.checkpoint:
            self.newest[batch.log_id] = open_checkpoint(
                batch.checkpoint,
                [self.verifier],
                federation=FEDERATION,
                origin=self.origin,
                log_id=batch.log_id,
            )
        checkpoint = self.newest[batch.log_id]
        verify_consistency(
            tree.size, tree.root(), checkpoint.size, checkpoint.root, list(batch.consistency_proof)
        )
        return [facts for facts, _ in entries]

    def cursors(self, behind_ms: int = 0) -> list[federation_pb2.LogCursor]:
        """Where this client stands.

        Args:
            behind_ms: Tell of checkpoints so much older, as before they were signed again.
        """
        return [
            federation_pb2.LogCursor(
                log_id=log_id,
                size=tree.size,
                checkpoint_size=self.newest[log_id].size,
                checkpoint_time_ms=self.newest[log_id].time_ms - behind_ms,
            )
            for log_id, tree in self.trees.items()
        ]
