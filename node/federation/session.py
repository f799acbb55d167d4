"""One connection to a peer: what it sends is verified and stored in its order, what is owed to it is sent.

- While one batch is stored the next ones are read and prepared; they are stored in the order in which they came.
- A fault of one log, ours or its origin's, stops that log for this session, nothing else (I12); a peer with very many
  faulty logs is left alone for a while.
- Receipts that the peer does not take stay owed and are tried again; the stream goes on meanwhile.
- Nothing that a peer sends as text becomes a label of a counter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from dief.v1 import error_pb2, federation_pb2, federation_pb2_grpc, operator_pb2
from sqlalchemy import Connection, exc

from node import __version__
from node.federation import intake, receipts
from node.federation.backoff import Backoff
from node.federation.errors import FaultyPeerError
from node.federation.preparing import Ahead, Assumed, Pending, Preparers
from node.federation.progress import LogFaults, Progress
from node.federation.read_ahead import ReadAhead
from node.federation.trust import LiveTrust
from node.ledger import logs
from node.ledger.checkpoint import open_checkpoint
from node.ledger.errors import LedgerError, LogDivergedError, LogEvidenceError
from node.ledger.evidence import judge, rewritten_root
from node.ledger.ingest import Source
from node.ledger.state import LogState
from node.ops.clock import now_ms
from node.ops.counters import refused
from node.ops.failures import failure
from node.ops.tasks import end
from node.store.engine import Store

SILENCE_SECONDS = 60
MOST_SKIPPED_LOGS = 1000
RECEIPTS_RETRY_SECONDS = 5.0
RECEIPTS_LAST_RETRY_SECONDS = 600.0

Stub: TypeAlias = "federation_pb2_grpc.FederationServiceAsyncStub"
STORAGE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, OSError)
"""What concerns every log: the database or its disk is away."""
_REASONS = frozenset(name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys())


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of one follower share.

    Attributes:
        on_roster: Told of a State and the version of the roster that it holds, where that is newer.
        on_current: Told of entries that are now what their alert is.
        backup_horizon_days: When backups of erased bytes have expired; None where the operator does not say.
    """

    store: Store
    trust: LiveTrust
    preparers: Preparers
    on_roster: Callable[[str, int], None]
    on_current: Callable[[tuple[int, ...]], None]
    backup_horizon_days: int | None
    progress: Progress
    faults: LogFaults
    receipts_due: asyncio.Event
    log: Any


class Session:
    """Reads one stream until it ends."""

    def __init__(
        self, stub: Stub, source: Source, around: Surroundings, on_caught_up: Callable[[], None]
    ) -> None:
        self._stub = stub
        self._source = source
        self._peer = source.origin
        self._around = around
        self._on_caught_up = on_caught_up
        self._store = around.store
        self._progress = around.progress
        self._skipped: set[bytes] = set()
        self._greeted = self._caught_up = False

    async def run(self) -> None:
        """Follow, and send receipts meanwhile.

        Raises:
            OSError, TimeoutError, grpc.RpcError: The peer is away, or ended the stream.
            FaultyPeerError: Too many of its logs are faulty.
        """
        sender = asyncio.create_task(self._send_receipts())
        reader = asyncio.create_task(self._read())
        try:
            done, _ = await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(sender, reader)

    # -- receiving -------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        request, assumed = await self._store.run_read(self._request)
        ahead = Ahead(self._around.preparers, self._peer, assumed)
        call = self._stub.Follow(request)

        async def read() -> object:
            async with asyncio.timeout(SILENCE_SECONDS):
                frame = await call.read()
            if isinstance(frame, federation_pb2.FollowResponse):
                self._progress.last_contact_ms = now_ms()
            return frame

        def begin(frame: object) -> Pending | None:
            if not isinstance(frame, federation_pb2.FollowResponse) or not frame.HasField("batch"):
                return None
            return None if frame.batch.log_id in self._skipped else ahead.begin(frame.batch)

        frames = ReadAhead(read, begin)
        try:
            while True:
                frame, pending = await frames.next()
                if not isinstance(frame, federation_pb2.FollowResponse):
                    code = await call.code()
                    if code is not grpc.StatusCode.OK:
                        raise OSError(f"{code.name}: {await call.details()}")
                    return
                if frame.HasField("caught_up"):
                    ahead.rest()
                await self._handle(request, frame, pending)
        finally:
            await frames.close()
            ahead.rest()

    def _request(self, conn: Connection) -> tuple[federation_pb2.FollowRequest, dict[bytes, Assumed]]:
        """Where this node stands in each log, and for whom each is."""
        view = self._around.trust.state.view
        request = federation_pb2.FollowRequest(
            roster_version=0 if view is None else view.version,
            erasures_only=view is None or view.expired(now_ms()),
            software=__version__,
        )
        assumed = {}
        for held in logs.load_all(conn, origin=self._peer):
            if held.state is LogState.EVIDENCE:
                continue
            assumed[held.log_id] = (held.audience_key, held.reader_role)
            request.cursors.add(
                log_id=held.log_id,
                size=held.size,
                checkpoint_size=held.checkpoint_size,
                checkpoint_time_ms=held.checkpoint_ms,
            )
        return request, assumed

    async def _handle(
        self,
        request: federation_pb2.FollowRequest,
        frame: federation_pb2.FollowResponse,
        pending: Pending | None,
    ) -> None:
        match frame.WhichOneof("frame"):
            case "hello" if not self._greeted:
                self._greeted = True
                await self._hello(frame.hello, request.erasures_only)
            case "prelude":
                await self._take(frame.prelude.log_id, frame.prelude, None)
            case "batch":
                await self._take(frame.batch.log_id, frame.batch, pending)
            case "log_error":
                told = frame.log_error.reason
                reason = told if told in _REASONS else "OTHER"
                refused.inc(f"PEER_{reason}")
                self._around.log.warning("log_error_from_peer", reason=reason)
                self._skip(frame.log_error.log_id)
            case "caught_up" if not self._caught_up:
                self._caught_up = True
                self._on_caught_up()
                if not request.erasures_only:
                    self._progress.state = operator_pb2.PEER_STATE_LIVE
                await self._store.run_release_memory()
                self._around.log.info("caught_up")
            case _:
                pass

    async def _hello(self, hello: federation_pb2.Hello, erasures_only: bool) -> None:
        self._progress.last_error = ""
        self._progress.software = hello.software[:64]
        self._progress.state = (
            operator_pb2.PEER_STATE_ERASE_ONLY if erasures_only else operator_pb2.PEER_STATE_CATCHING_UP
        )
        contact = self._progress.last_contact_ms
        await self._store.run_write(
            lambda conn: intake.note_contact(conn, self._peer, contact, self._progress.software)
        )
        view = self._around.trust.state.view
        if view is None or hello.roster_version > view.version:
            self._around.on_roster(self._peer, hello.roster_version)
        self._around.receipts_due.set()

    async def _take(
        self, log_id: bytes, frame: federation_pb2.Batch | federation_pb2.Prelude, pending: Pending | None
    ) -> None:
        if log_id in self._skipped:
            if pending is not None:
                pending.drop()
            return
        try:
            if isinstance(frame, federation_pb2.Batch):
                ready = None if pending is None else await pending.take(frame)
                taken = await self._store.run_write(
                    lambda conn: intake.take_batch(conn, self._source, frame, now_ms(), ready)
                )
            else:
                taken = await self._store.run_write(
                    lambda conn: intake.take_prelude(conn, self._source, frame, now_ms())
                )
        except LogDivergedError as error:
            await self._stop_log(log_id, await self._judge(log_id, error))
            return
        except LedgerError as error:
            await self._stop_log(log_id, error)
            return
        except STORAGE:
            raise
        except Exception as error:  # noqa: BLE001 - one log that nobody can digest must not stop the others
            refused.inc("LOG_FAILED")
            self._around.log.error("log_failed", log=log_id.hex()[:16], **failure(error))
            self._around.faults.note(log_id, for_good=False)
            self._skip(log_id)
            return
        self._around.faults.clear(log_id)
        if taken.owing:
            self._around.receipts_due.set()
        if taken.erased:
            await self._scrub()
        if taken.current:
            self._around.on_current(taken.current)

    async def _scrub(self) -> None:
        before = now_ms()
        if await self._store.run_scrub():
            await self._store.run_write(lambda conn: receipts.mark_scrubbed(conn, before))
            self._around.receipts_due.set()

    # -- faults ----------------------------------------------------------------------------------------------------

    async def _stop_log(self, log_id: bytes, error: LedgerError) -> None:
        refused.inc(error.reason)
        self._around.log.error(
            "log_stopped", log=log_id.hex()[:16], reason=error.reason, detail=error.diagnosis
        )
        await self._store.run_write(lambda conn: intake.note_fault(conn, log_id, error, now_ms()))
        for_good = isinstance(error, LogEvidenceError)
        self._around.faults.note(log_id, for_good=for_good)
        if for_good:
            self._progress.state = operator_pb2.PEER_STATE_QUARANTINED
        self._skip(log_id)

    def _skip(self, log_id: bytes) -> None:
        """Take nothing more of a log in this session."""
        self._skipped.add(log_id)
        if len(self._skipped) > MOST_SKIPPED_LOGS:
            raise FaultyPeerError(f"More than {MOST_SKIPPED_LOGS} logs of one connection are faulty.")

    async def _judge(self, log_id: bytes, error: LogDivergedError) -> LedgerError:
        """Ask the origin for the proof that makes a divergence evidence (I4); without it, it stays a fault."""
        source = self._source
        names: dict[str, Any] = {
            "federation": source.federation,
            "origin": source.origin,
            "log_id": log_id,
        }
        try:
            held = open_checkpoint(error.held_note, source.verifiers, **names)
            new = open_checkpoint(error.new_note, source.verifiers, **names)
            proof = await self._proof(log_id, new.size, consistency_from=held.size)
            other_root = error.other_root
            if other_root is None and error.next_leaf is not None:
                path = await self._proof(log_id, new.size, inclusion_of=held.size)
                other_root = rewritten_root(held, new, error.next_leaf, path)
        except (grpc.RpcError, LedgerError):
            return error
        return judge(held, new, proof, other_root) or error

    async def _proof(self, log_id: bytes, size: int, **what: int) -> list[bytes]:
        request = federation_pb2.GetProofRequest(log_id=log_id, tree_size=size, **what)
        answer = await self._stub.GetProof(request, timeout=30)
        return list(answer.proof)

    # -- sending ---------------------------------------------------------------------------------------------------

    async def _send_receipts(self) -> None:
        """For ever: what the peer refuses stays owed and is tried again, ever more rarely."""
        due = self._around.receipts_due
        backoff = Backoff(RECEIPTS_RETRY_SECONDS, RECEIPTS_LAST_RETRY_SECONDS)
        while True:
            await due.wait()
            due.clear()
            try:
                await self._send_all()
                backoff.reset()
            except grpc.RpcError as error:
                delay = backoff.next()
                refused.inc("RECEIPTS_NOT_TAKEN")
                self._around.log.warning("receipts_not_taken", error=code_of(error), retry_s=round(delay, 1))
                await asyncio.sleep(delay)
                due.set()

    async def _send_all(self) -> None:
        while True:
            keys, request = await self._store.run_read(
                lambda conn: receipts.sendable(conn, self._peer, self._around.backup_horizon_days)
            )
            if not keys:
                return
            await self._stub.SendReceipts(request, timeout=60)
            await self._store.run_write(lambda conn, keys=keys: receipts.sent(conn, keys))  # type: ignore[misc]


def code_of(error: BaseException) -> str:
    """Status of a failed call, or the class of what was raised: what may stand in a log."""
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
