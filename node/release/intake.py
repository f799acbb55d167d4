"""What registries hand in: rows become drafts, revisions and withdrawals, by the registry's own key.

Rules:
- A record is known by (registry, stream, key). The same content again does nothing; other content revises what the key
  was released as, or takes the place of its open draft.
- A record that no longer calls for an alert withdraws what it was released as, or drops its open draft.
- What was held, or ended otherwise than by its registry, is told again by a person only.
- A record that breaks a rule is refused by itself: nothing of it is stored, the others are (I10).
- While nothing may be signed the whole batch fails and comes again: that is no fault of a record.
- Records, drafts, releases and the cursor behind them commit together (I5).
- What rules release of one batch is appended together: one signature an audience, not one a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dief.v1 import draft_pb2, registry_pb2
from sqlalchemy import Connection, Row, or_, select, update

from node.identity.spiffe import SpiffeId
from node.ledger.errors import SigningPausedError
from node.ops.errors import DiefError
from node.release import policy as policies
from node.release import rows
from node.release.desk import ReleaseDesk
from node.release.drafting import Origin, Step, publishing, revising, withdrawing
from node.release.rows import DRAFT, RECORD, STREAM
from node.release.standing import OwnAlert, own_alert

ACCEPTED = registry_pb2.RECORD_RESULT_ACCEPTED
UNCHANGED = registry_pb2.RECORD_RESULT_UNCHANGED
REFUSED = registry_pb2.RECORD_RESULT_REFUSED


@dataclass(slots=True)
class Outcome:
    """What became of one record: its draft, or the error that it was refused with."""

    key: str
    result: registry_pb2.RecordResult.ValueType
    draft: str = ""
    error: DiefError | None = None


class RegistryIntake:
    """Takes the batches of one State's registries."""

    def __init__(self, desk: ReleaseDesk) -> None:
        self._desk = desk

    def submit(
        self,
        conn: Connection,
        registry: SpiffeId,
        stream: str,
        records: Sequence[registry_pb2.RegistryRecord],
        cursor: bytes,
        now_ms: int,
    ) -> list[Outcome]:
        """Take a batch, and store the cursor behind it.

        Args:
            conn: Write transaction.
            registry: Who hands it in.
            stream: Name of its stream.
            records: In the order of the registry.
            cursor: Opaque; stored with the batch.
            now_ms: This node's clock.

        Raises:
            SigningPausedError: Nothing was taken; hand the batch in again later.
        """
        stream_id = _stream(conn, registry, stream)
        outcomes: list[Outcome] = []
        due: dict[str, tuple[int, Outcome]] = {}
        for record in records:
            if record.key in due:
                self._release(conn, due)
            outcome = Outcome(record.key, UNCHANGED)
            outcomes.append(outcome)
            try:
                with conn.begin_nested():
                    draft_id = self._take(
                        conn, Origin(registry, "", stream_id, stream, record.key), record, now_ms
                    )
            except DiefError as error:
                outcome.result, outcome.error = REFUSED, error
                continue
            if draft_id is None:
                continue
            draft = rows.by_id(conn, draft_id)
            outcome.result, outcome.draft = ACCEPTED, rows.draft_name(draft.uuid)
            if draft.policy_outcome == policies.AUTO:
                due[record.key] = (draft_id, outcome)
        self._release(conn, due)
        conn.execute(update(STREAM).where(STREAM.c.id == stream_id).values(cursor=cursor, stored_ms=now_ms))
        return outcomes

    def _take(
        self, conn: Connection, origin: Origin, record: registry_pb2.RegistryRecord, now_ms: int
    ) -> int | None:
        """Make a draft of a record; None where there is nothing to do."""
        known = conn.execute(
            select(RECORD).where(RECORD.c.stream_id == origin.stream_id, RECORD.c.key == record.key)
        ).one_or_none()
        if record.WhichOneof("change") == "withdraw":
            return self._withdraw(conn, origin, record, known, now_ms)
        if known is not None and known.content_hash == record.content_hash and not known.withdrawn:
            return None
        about = None if known is None else self._alert(conn, known)
        held = known is not None and self._supersede(conn, known) == rows.HELD
        given = draft_pb2.DraftInput()
        given.CopyFrom(record.draft)
        given.alert.ClearField("name")
        given.alert.ClearField("revision")
        if about is None:
            told_before = known is not None and known.alert_uuid is not None and not known.withdrawn
            floor = policies.ASK if held or told_before else policies.AUTO
            step = publishing(given, self._desk.own_state, now_ms, at_least=floor)
        else:
            excluded = rows.excluded_before(conn, about.uuid)
            step = revising(given, about, self._desk.own_state, now_ms, excluded=excluded)
        return self._store(conn, origin, record, step, known, now_ms)

    def _withdraw(
        self,
        conn: Connection,
        origin: Origin,
        record: registry_pb2.RegistryRecord,
        known: Row[Any] | None,
        now_ms: int,
    ) -> int | None:
        if known is None or known.withdrawn:
            return None
        about = self._alert(conn, known)
        self._supersede(conn, known)
        if about is None:
            conn.execute(
                update(RECORD)
                .where(RECORD.c.id == known.id)
                .values(withdrawn=True, content_hash=record.content_hash, updated_ms=now_ms)
            )
            return None
        return self._store(
            conn, origin, record, withdrawing(about, record.withdraw.reason), known, now_ms, withdrawn=True
        )

    def _store(
        self,
        conn: Connection,
        origin: Origin,
        record: registry_pb2.RegistryRecord,
        step: Step,
        known: Row[Any] | None,
        now_ms: int,
        *,
        withdrawn: bool = False,
    ) -> int:
        draft = self._desk.store(conn, step, origin)
        values = {
            "content_hash": record.content_hash,
            "withdrawn": withdrawn,
            "draft_id": draft.id,
            "updated_ms": now_ms,
        }
        if known is None:
            conn.execute(
                RECORD.insert().values(
                    stream_id=origin.stream_id, key=record.key, alert_uuid=None, revision=0, **values
                )
            )
        else:
            conn.execute(update(RECORD).where(RECORD.c.id == known.id).values(**values))
        return int(draft.id)

    def _alert(self, conn: Connection, known: Row[Any]) -> OwnAlert | None:
        """The alert that a record was released as, while anything of it is left."""
        if known.alert_uuid is None:
            return None
        found = own_alert(conn, self._desk.own_state, known.alert_uuid)
        return found if found is not None and found.unerased else None

    def _supersede(self, conn: Connection, known: Row[Any]) -> int:
        """Drop the open draft of a record; the state that it was in."""
        if known.draft_id is None:
            return 0
        state = int(rows.by_id(conn, known.draft_id).state)
        self._desk.supersede(conn, known.draft_id)
        return state

    def _release(self, conn: Connection, due: dict[str, tuple[int, Outcome]]) -> None:
        """Release what rules let out, together; if that fails, one by one, so that one record stops no other."""
        if not due:
            return
        waiting = list(due.values())
        due.clear()
        try:
            with conn.begin_nested():
                drafts = [rows.by_id(conn, key) for key, _ in waiting]
                self._desk.releaser.release(conn, drafts, actor="node", fresh=True)
        except SigningPausedError:
            raise
        except DiefError:
            for key, outcome in waiting:
                self._release_one(conn, key, outcome)

    def _release_one(self, conn: Connection, key: int, outcome: Outcome) -> None:
        try:
            with conn.begin_nested():
                self._desk.releaser.release(conn, [rows.by_id(conn, key)], actor="node", fresh=True)
        except SigningPausedError:
            raise
        except DiefError as error:
            outcome.result, outcome.error = REFUSED, error
            undone = {"content_hash": bytes(32), "withdrawn": False}
            conn.execute(update(RECORD).where(RECORD.c.draft_id == key).values(**undone))
            self._desk.supersede(conn, key)


def cursor_of(conn: Connection, registry: SpiffeId, stream: str) -> tuple[bytes, int] | None:
    """The cursor that a registry's stream stored last, and when (ms); None where nothing was accepted yet."""
    row = conn.execute(
        select(STREAM.c.cursor, STREAM.c.stored_ms).where(
            STREAM.c.caller == str(registry), STREAM.c.name == stream
        )
    ).one_or_none()
    return None if row is None else (row.cursor, row.stored_ms)


def standings(
    conn: Connection, registry: SpiffeId, stream: str, after_key: str, limit: int, since_ms: int = 0
) -> list[Row[Any]]:
    """Records of a stream in the order of their keys, each with its newest draft.

    Args:
        conn: Snapshot.
        registry: Who handed them in.
        stream: Name of its stream.
        after_key: Only records with a higher key.
        limit: At most so many.
        since_ms: Only records whose standing changed at this moment or later.
    """
    return list(
        conn.execute(
            select(
                RECORD.c.key,
                RECORD.c.alert_uuid,
                RECORD.c.revision,
                DRAFT.c.uuid,
                DRAFT.c.state,
                DRAFT.c.reason,
                RECORD.c.updated_ms,
                DRAFT.c.updated_ms.label("draft_ms"),
            )
            .join(STREAM, STREAM.c.id == RECORD.c.stream_id)
            .join(DRAFT, DRAFT.c.id == RECORD.c.draft_id)
            .where(
                STREAM.c.caller == str(registry),
                STREAM.c.name == stream,
                RECORD.c.key > after_key,
                or_(RECORD.c.updated_ms >= since_ms, DRAFT.c.updated_ms >= since_ms),
            )
            .order_by(RECORD.c.key)
            .limit(limit)
        )
    )


def _stream(conn: Connection, registry: SpiffeId, name: str) -> int:
    row = conn.execute(
        select(STREAM.c.id).where(STREAM.c.caller == str(registry), STREAM.c.name == name)
    ).one_or_none()
    if row is not None:
        return int(row.id)
    made = conn.execute(STREAM.insert().values(caller=str(registry), name=name, cursor=b"", stored_ms=0))
    key = made.inserted_primary_key
    if key is None:
        raise RuntimeError("the database returned no key for a new stream")
    return int(key[0])
