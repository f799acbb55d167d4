"""An origin and a follower under any order of acts, faults between any two of them included (I3, I4, I5, I6).

After every step:
- what the follower holds is a prefix of what the origin wrote, header by header, under a signed checkpoint (I3);
- no body that a held header erases is held, at either side (I6);
- the anchor never says less than what has left.
After a full sync both hold the same.
"""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from node.ledger.checkpoint import open_checkpoint
from node.ledger.header import parse_header
from node.ledger.ingest import ingest
from node.ledger.logs import HeldLog
from node.ledger.merkle import CompactRange, leaf_hash
from node.ledger.state import LogState
from node.store.engine import Store
from node.store.migrations import migrate
from tests.support.ledger import FEDERATION, FollowerStore, Origin, entries, event, named

AUDIENCES = (named("XA", "XB"), named("XA", "XB", "XE"))


class CrashError(Exception):
    """The process ends here."""


class OriginAndFollower(RuleBasedStateMachine):
    """Rules are what may happen; `bodies` is what the model believes is alive."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.urls = [f"sqlite:///{self.folder}/{name}.db" for name in ("origin", "follower")]
        stores = [Store.open(url) for url in self.urls]
        for store in stores:
            migrate(store)
        self.origin = Origin(stores[0], self.folder / "anchor.log")
        self.follower = FollowerStore(stores[1], "XB", self.origin)
        self.alive: dict[tuple[bytes, int], bytes] = {}
        self.written = 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.origin.store.close()
            self.follower.store.close()
            shutil.rmtree(self.folder)

    def _body(self) -> bytes:
        self.written += 1
        return b"body %d" % self.written

    def _append(self, audience: int, *erases: tuple[bytes, int], body: bool = True) -> None:
        self.origin.clock.now += 1
        content = self._body() if body else None
        applied = self.origin.append(
            event(content, erases=erases) if content else event(None, erases=erases),
            audience=AUDIENCES[audience],
        )
        for target in erases:
            self.alive.pop(target)
        for entry in applied.stored:
            if entry.body is not None and entry.seq:
                self.alive[entry.log_id, entry.seq] = entry.body

    def _choose(self, data: st.DataObject) -> tuple[bytes, int]:
        return data.draw(st.sampled_from(sorted(self.alive)))

    @rule(audience=st.integers(0, 1), count=st.integers(1, 4))
    def append(self, audience: int, count: int) -> None:
        for _ in range(count):
            self._append(audience)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def revise_in_place(self, data: st.DataObject) -> None:
        log_id, seq = self._choose(data)
        with self.origin.store.write() as conn:
            body = self._body()
            applied = self.origin.writer.append_to(conn, log_id, [event(body, erases=((b"", seq),))])
        del self.alive[log_id, seq]
        self.alive[log_id, applied.stored[0].seq] = body

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), audience=st.integers(0, 1))
    def move_or_revise(self, data: st.DataObject, audience: int) -> None:
        self._append(audience, self._choose(data))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), audience=st.integers(0, 1))
    def withdraw(self, data: st.DataObject, audience: int) -> None:
        self._append(audience, self._choose(data), body=False)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def erase(self, data: st.DataObject) -> None:
        log_id, seq = self._choose(data)
        with self.origin.store.write() as conn:
            self.origin.writer.erase(conn, log_id, [seq])
        del self.alive[log_id, seq]

    @rule(newcomer=st.booleans())
    def membership_changes(self, newcomer: bool) -> None:
        self.origin.members = ("XA", "XB", "XE", "XF") if newcomer else ("XA", "XB", "XE")

    @rule()
    def resign(self) -> None:
        self.origin.clock.now += 10
        with self.origin.store.write() as conn:
            self.origin.writer.resign(conn, self.origin.clock())

    @rule(limit=st.integers(1, 5))
    def sync(self, limit: int) -> None:
        self.follower.sync(limit)
        own, held = self.origin.logs(), self.follower.logs()
        assert [(log.log_id, log.size, log.checkpoint_root, log.state) for log in own] == [
            (log.log_id, log.size, log.checkpoint_root, log.state) for log in held
        ]
        for theirs, ours in zip(own, held, strict=True):
            assert entries(self.origin.store, theirs) == entries(self.follower.store, ours)

    @rule(limit=st.integers(1, 5), frames=st.integers(1, 4))
    def sync_a_part(self, limit: int, frames: int) -> None:
        self.follower.sync(limit, frames)

    @rule(audience=st.integers(0, 1))
    def origin_fails_before_its_commit(self, audience: int) -> None:
        try:
            with self.origin.store.write() as conn:
                self.origin.writer.append(conn, AUDIENCES[audience], [event(b"never")])
                raise CrashError
        except CrashError:
            pass

    @precondition(lambda self: self.origin.logs())
    @rule(limit=st.integers(1, 5))
    def follower_fails_before_its_commit(self, limit: int) -> None:
        frames = list(self.origin.frames(self.follower.cursors(), limit))
        try:
            with self.follower.store.write() as conn:
                batch = next(frame for frame in frames if hasattr(frame, "entries"))
                ingest(conn, self.follower.source, batch, self.follower.clock())
                raise CrashError
        except CrashError:
            pass

    @rule()
    def origin_restarts(self) -> None:
        self.origin.store.close()
        self.origin.reopen(Store.open(self.urls[0]))

    @rule()
    def follower_restarts(self) -> None:
        self.follower.store.close()
        self.follower.store = Store.open(self.urls[1])

    @invariant()
    def follower_holds_a_covered_prefix(self) -> None:
        if not hasattr(self, "follower"):
            return
        own = {log.log_id: log for log in self.origin.logs()}
        for held in self.follower.logs():
            theirs = [header for header, _, _ in entries(self.origin.store, own[held.log_id])]
            ours = [header for header, _, _ in entries(self.follower.store, held)]
            assert ours == theirs[: held.size]
            checkpoint = open_checkpoint(
                held.checkpoint,
                self.origin.verifiers,
                federation=FEDERATION,
                origin="XA",
                log_id=held.log_id,
            )
            assert checkpoint.size >= held.size
            tree = CompactRange()
            tree.extend([leaf_hash(header) for header in theirs[: checkpoint.size]])
            assert tree.root() == checkpoint.root
            anchored = self.origin.anchor.get(held.log_id)
            assert anchored is not None
            assert anchored.size >= checkpoint.size

    @invariant()
    def nothing_erased_is_held_and_nothing_alive_is_lost(self) -> None:
        if not hasattr(self, "follower"):
            return
        for log in self.origin.logs():
            held = {
                (log.log_id, seq): body
                for seq, (_, _, body) in enumerate(entries(self.origin.store, log))
                if seq and body is not None
            }
            assert held == {key: body for key, body in self.alive.items() if key[0] == log.log_id}
        for log in self.follower.logs():
            self._nothing_ordered_is_held(log)

    def _nothing_ordered_is_held(self, log: HeldLog) -> None:
        rows = entries(self.follower.store, log)
        gone = {
            seq
            for at, (header, _, _) in enumerate(rows)
            for target, seq in parse_header(header, log.log_id, at).erases
            if target in (b"", log.log_id)
        }
        for seq, (_, salt, body) in enumerate(rows):
            assert (salt is None) == (body is None)
            assert seq not in gone or body is None
            if body is not None and seq:
                assert body == self.alive.get((log.log_id, seq), body)
        assert log.state in (LogState.LIVE, LogState.CLOSED, LogState.INCOMPLETE)


OriginAndFollower.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestOriginAndFollower = OriginAndFollower.TestCase
