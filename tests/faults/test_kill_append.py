"""An origin killed with SIGKILL while it appends: nothing acknowledged is lost, nothing forks (I4, I5)."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from node.ledger import logs
from node.ledger.anchor import Anchor
from node.ledger.checkpoint import open_checkpoint
from node.ledger.recover import root_at
from node.ledger.startup import Decision, Memories, decide
from node.ledger.state import entry_id
from node.ledger.storing import ENTRY
from node.store.engine import Store
from node.store.migrations import migrate
from tests.support.append_loop import append_for_ever
from tests.support.ledger import FEDERATION, Origin, checked_root, entries

pytestmark = pytest.mark.timeout(200)

ROUNDS = 25
FIRST_WORD_S = 30


class Witness:
    """Everything that the killed processes ever acknowledged."""

    def __init__(self) -> None:
        self.entries: dict[tuple[bytes, int], bytes] = {}
        self.roots: dict[tuple[bytes, int], bytes] = {}
        self.notes: set[tuple[bytes, bytes]] = set()

    def hear(self, message: tuple[bytes, int, bytes, bytes, list[tuple[int, bytes]]]) -> None:
        """Note one message; two roots of one size would be a fork."""
        log_id, size, root, note, acknowledged = message
        assert self.roots.setdefault((log_id, size), root) == root, "two histories were signed"
        self.notes.add((log_id, note))
        for seq, digest in acknowledged:
            assert self.entries.setdefault((log_id, seq), digest) == digest, "one position was given twice"


@pytest.fixture
def processes() -> ForkServerContext:
    """Processes that start in milliseconds, because their modules are loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.append_loop"])
    return context


def killed_after(processes: ForkServerContext, seconds: float, witness: Witness, *arguments: object) -> None:
    """Let a process append until `seconds` after its first word, then kill it and hear the rest of what it said."""
    hearing, telling = processes.Pipe(duplex=False)
    process = processes.Process(target=append_for_ever, args=(*arguments, telling), daemon=True)
    process.start()
    telling.close()
    assert hearing.poll(FIRST_WORD_S), "the process said nothing"
    deadline = time.monotonic() + seconds
    try:
        while (left := deadline - time.monotonic()) > 0:
            if hearing.poll(left):
                witness.hear(hearing.recv())
        process.kill()
        while True:
            witness.hear(hearing.recv())
    except EOFError:
        process.join()
        assert process.exitcode == -9
    finally:
        hearing.close()


def check(store: Store, anchor: Anchor, witness: Witness) -> None:
    """What was promised holds in the files as the kill left them."""
    with store.read() as conn:
        held = {log.log_id: log for log in logs.load_all(conn, own=True)}
    assert set(held) >= {log_id for log_id, _ in witness.roots}
    for log_id, log in held.items():
        bodies = [body for _, _, body in entries(store, log)]
        assert checked_root(store, log) == log.checkpoint_root == log.tree.root()
        acknowledged = {seq: digest for (of, seq), digest in witness.entries.items() if of == log_id}
        for seq, digest in acknowledged.items():
            body = bodies[seq]
            assert body is not None
            assert hashlib.sha256(body).digest() == digest
        anchored = anchor.get(log_id)
        with store.read() as conn:
            highest = conn.execute(
                select(func.max(ENTRY.c.id)).where(ENTRY.c.id < entry_id(log.pk + 1, 0))
            ).scalar_one()
            assert highest == entry_id(log.pk, log.size - 1), "a hole, or entries beyond the size"
            if anchored is not None:
                assert root_at(conn, log, anchored.size) == anchored.root, (
                    "the anchor is ahead of the database"
                )
        for (of, size), root in witness.roots.items():
            if of == log_id:
                assert anchored is not None
                assert size <= anchored.size, "a checkpoint left that the anchor does not know"
                assert root
        memories = Memories(
            database_size=log.size,
            anchor=anchored,
            anchor_agrees=None if anchored is None else True,
            anchor_remembered=log.anchored_size,
            others=("XB",),
            answers=(),
            silent=("XB",),
        )
        assert decide(memories).decision is Decision.GO_ON


def test_i4_i5_an_origin_killed_while_it_appends_loses_nothing_and_never_forks(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    dice = random.Random(20261125)
    url, anchor, key = f"sqlite:///{tmp_path}/node.db", tmp_path / "anchor.log", Ed25519PrivateKey.generate()
    store = Store.open(url)
    migrate(store)
    store.close()
    witness = Witness()
    for number in range(ROUNDS):
        killed_after(
            processes,
            dice.random() * 0.25,
            witness,
            url,
            str(anchor),
            key.private_bytes_raw(),
            number,
        )
        store = Store.open(url)
        check(store, Anchor(anchor), witness)
        store.close()
    assert len(witness.entries) > ROUNDS
    origin = Origin(Store.open(url), anchor, key=key)
    held = {log.log_id: log for log in origin.logs()}
    with origin.store.read() as conn:
        for log_id, note in witness.notes:
            checkpoint = open_checkpoint(
                note, origin.verifiers, federation=FEDERATION, origin="XA", log_id=log_id
            )
            assert root_at(conn, held[log_id], checkpoint.size) == checkpoint.root
    origin.store.close()
