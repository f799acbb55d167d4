"""RegistryService and the draft half of DeskService over real mTLS: who may call, what is told, what is recorded."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from dief.v1 import codes_pb2, desk_pb2, draft_pb2, registry_pb2, registry_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from sqlalchemy import select, text

from node import audit
from node.audit.trail import AUDIT
from node.identity.credentials import NationalCredentials
from node.identity.development import DevelopmentPki
from node.identity.spiffe import Kind
from node.release.errors import SamePersonError, StaleDraftError
from node.services import drafts
from node.services.guard import NationalGuard
from node.services.registry import RegistryServicer
from tests.support.release import ANNA, OFFICER, Desk, content, rule


class Registries:
    """A national listener with RegistryService on it."""

    def __init__(self, desk: Desk, pki: Path, port: int) -> None:
        self.desk = desk
        self._pki = pki
        self._port = port

    def stub(self, kind: Kind = Kind.REGISTRY) -> registry_pb2_grpc.RegistryServiceAsyncStub:
        """Call with the certificate of a kind."""
        credentials = grpc.ssl_channel_credentials(
            (self._pki / "national-ca.pem").read_bytes(),
            (self._pki / f"{kind}.key").read_bytes(),
            (self._pki / f"{kind}.pem").read_bytes(),
        )
        channel = grpc.aio.secure_channel(f"127.0.0.1:{self._port}", credentials)
        return registry_pb2_grpc.RegistryServiceStub(channel)


@pytest.fixture
async def registries(tmp_path: Path) -> AsyncIterator[Registries]:
    pki = tmp_path / "pki"
    DevelopmentPki.make("XA", "dief", ips=["127.0.0.1"]).write(pki)
    own = NationalCredentials(
        certificate=pki / "national-server.pem",
        key=pki / "national-server.key",
        client_ca=pki / "national-ca.pem",
    )
    desk = Desk(tmp_path, rule("auto"))
    guard = NationalGuard(state="XA", federation="dief", ca=own.ca, crl=own.crl)
    server = grpc.aio.server()
    registry_pb2_grpc.add_RegistryServiceServicer_to_server(
        RegistryServicer(store=desk.store, desk=desk.desk, guard=guard), server
    )
    port = server.add_secure_port("127.0.0.1:0", own.server())
    await server.start()
    yield Registries(desk, pki, port)
    await server.stop(0)
    desk.store.close()


def row(key: str, serial: str) -> registry_pb2.RegistryRecord:
    record = registry_pb2.RegistryRecord(key=key, content_hash=hashlib.sha256(serial.encode()).digest())
    record.draft.alert.CopyFrom(content(serial))
    return record


def batch(*records: registry_pb2.RegistryRecord, cursor: bytes = b"7") -> registry_pb2.SubmitRecordsRequest:
    return registry_pb2.SubmitRecordsRequest(stream="licences", records=records, cursor=cursor)


def bad_request(status: object) -> list[str]:
    """Fields of the BadRequest detail of a google.rpc.Status."""
    found = error_details_pb2.BadRequest()
    for detail in status.details:  # type: ignore[attr-defined]
        if detail.Unpack(found):
            return [violation.field for violation in found.field_violations]
    return []


async def test_i10_each_row_has_its_own_outcome_and_a_refused_one_names_its_fields(
    registries: Registries,
) -> None:
    answer = await registries.stub().SubmitRecords(
        batch(row("a", "S 1"), row("b", "UNKNOWN"), row("c", "S 3"))
    )
    assert [outcome.key for outcome in answer.outcomes] == ["a", "b", "c"]
    assert [outcome.result for outcome in answer.outcomes] == [
        registry_pb2.RECORD_RESULT_ACCEPTED,
        registry_pb2.RECORD_RESULT_REFUSED,
        registry_pb2.RECORD_RESULT_ACCEPTED,
    ]
    assert answer.outcomes[0].draft.startswith("drafts/")
    assert set(bad_request(answer.outcomes[1].error)) == {"alert.items[0].serials[0].as_read"}


async def test_a_database_that_fails_is_told_to_a_registry_without_its_statement(
    registries: Registries,
) -> None:
    with registries.desk.store.write() as conn:
        conn.execute(text("DROP TABLE registry_stream"))
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await registries.stub().GetCursor(registry_pb2.GetCursorRequest(stream="licences"))
    assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE
    assert refusal.value.details() == "The node's storage does not answer (OperationalError)."


async def test_i5_the_cursor_is_that_of_the_last_batch(registries: Registries) -> None:
    stub = registries.stub()
    ask = registry_pb2.GetCursorRequest(stream="licences")
    assert await stub.GetCursor(ask) == registry_pb2.GetCursorResponse()
    await stub.SubmitRecords(batch(cursor=b"1"))
    await stub.SubmitRecords(batch(row("a", "S 1"), cursor=b"2"))
    answer = await stub.GetCursor(ask)
    assert answer.cursor == b"2"
    assert answer.stored_at.seconds > 0


async def test_outcomes_come_in_pages_in_the_order_of_the_keys(registries: Registries) -> None:
    stub = registries.stub()
    await stub.SubmitRecords(batch(*(row(f"k{number}", f"S {number}") for number in range(5))))
    seen = []
    token = ""
    while True:
        answer = await stub.ListOutcomes(
            registry_pb2.ListOutcomesRequest(stream="licences", page_size=2, page_token=token)
        )
        seen += [(each.key, each.state, each.revision) for each in answer.records]
        assert all(each.alert.startswith("alerts/XA/") for each in answer.records)
        token = answer.next_page_token
        if not token:
            break
    assert seen == [(f"k{number}", draft_pb2.DRAFT_STATE_RELEASED, 1) for number in range(5)]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (registry_pb2.SubmitRecordsRequest(stream="Not A Stream"), "stream"),
        (batch(registry_pb2.RegistryRecord(key="", content_hash=bytes(32))), "records[0].key"),
        (batch(registry_pb2.RegistryRecord(key="a", content_hash=bytes(31))), "records[0].content_hash"),
        (batch(*(row("a", "S 1"),) * 501), "records"),
        (batch(*(registry_pb2.RegistryRecord(key="a"),) * 2001), "records"),
        (batch(*(registry_pb2.RegistryRecord(key="a"),) * 900), "records[0]"),
    ],
    ids=["stream", "key", "hash", "too many drafts", "too many", "too many faults"],
)
async def test_i10_a_malformed_request_is_refused_whole_with_its_field(
    registries: Registries, request_: registry_pb2.SubmitRecordsRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await registries.stub().SubmitRecords(request_)
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field in bad_request(rpc_status.from_call(refusal.value))  # type: ignore[arg-type]
    assert registries.desk.entries() == 0


@pytest.mark.parametrize("kind", [Kind.OFFICER, Kind.DELEGATE, Kind.APPROVER, Kind.OPERATOR, Kind.AUDITOR])
async def test_i9_only_registries_may_call(registries: Registries, kind: Kind) -> None:
    stub = registries.stub(kind)
    for call in (
        stub.SubmitRecords(batch(row("a", "S 1"))),
        stub.GetCursor(registry_pb2.GetCursorRequest(stream="licences")),
        stub.ListOutcomes(registry_pb2.ListOutcomesRequest(stream="licences")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call
        assert refusal.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert registries.desk.entries() == 0


async def test_while_nothing_may_be_signed_a_batch_comes_again(registries: Registries) -> None:
    registries.desk.writer.pause("Nobody was asked yet.")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await registries.stub().SubmitRecords(batch(row("a", "S 1")))
    assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE
    registries.desk.writer.resume()
    answer = await registries.stub().SubmitRecords(batch(row("a", "S 1")))
    assert answer.outcomes[0].result == registry_pb2.RECORD_RESULT_ACCEPTED


# -- drafts ------------------------------------------------------------------------------------------------------------


def trail(desk: Desk) -> list[tuple[str, str, str]]:
    with desk.store.read() as conn:
        assert audit.verify(conn).broken_at is None
        found = conn.execute(select(AUDIT.c.action, AUDIT.c.actor, AUDIT.c.subject).order_by(AUDIT.c.id))
        return [(row.action, row.actor, row.subject) for row in found]


async def test_i8_reading_drafts_is_recorded_with_who_and_what(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    made = await drafts.create(
        desk.store,
        desk.desk,
        desk_pb2.CreateDraftRequest(input=draft_pb2.DraftInput(alert=content())),
        OFFICER,
    )
    shown = await drafts.get(desk.store, desk.desk, desk_pb2.GetDraftRequest(name=made.name), ANNA)
    listed = await drafts.list_(desk.store, desk.desk, desk_pb2.ListDraftsRequest(), ANNA)
    assert shown == made == listed.drafts[0]
    assert trail(desk)[-2:] == [("READ", str(ANNA), made.name), ("LISTED", str(ANNA), "")]


async def test_i8_the_trail_says_who_drafted_decided_and_released_without_content(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    asked = desk_pb2.CreateDraftRequest(input=draft_pb2.DraftInput(alert=content("SECRET-SERIAL")))
    made = await drafts.create(desk.store, desk.desk, asked, OFFICER)
    done = await drafts.approve(
        desk.store, desk.desk, desk_pb2.ApproveDraftRequest(name=made.name, etag=made.etag), ANNA
    )
    assert trail(desk)[1:] == [
        ("DRAFT_CREATED", str(OFFICER), made.name),
        ("DRAFT_DECIDED", "node", made.name),
        ("DRAFT_DECIDED", str(ANNA), made.name),
        ("RELEASED", str(ANNA), done.released_alert),
    ]
    taken = draft_pb2.DraftInput(
        action=draft_pb2.DRAFT_ACTION_WITHDRAW,
        alert_name=done.released_alert,
        withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_UNFOUNDED,
    )
    back = await drafts.create(desk.store, desk.desk, desk_pb2.CreateDraftRequest(input=taken), OFFICER)
    await drafts.approve(
        desk.store, desk.desk, desk_pb2.ApproveDraftRequest(name=back.name, etag=back.etag), ANNA
    )
    assert trail(desk)[-1] == ("WITHDRAWN", str(ANNA), done.released_alert)
    with desk.store.read() as conn:
        assert all("SECRET" not in str(tuple(each)) for each in conn.execute(select(AUDIT)))


async def test_a_decision_that_fails_changes_nothing_and_is_not_recorded(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    asked = desk_pb2.CreateDraftRequest(input=draft_pb2.DraftInput(alert=content()))
    made = await drafts.create(desk.store, desk.desk, asked, OFFICER)
    before = trail(desk)
    with pytest.raises(SamePersonError):
        await drafts.approve(
            desk.store, desk.desk, desk_pb2.ApproveDraftRequest(name=made.name, etag=made.etag), OFFICER
        )
    with pytest.raises(StaleDraftError):
        await drafts.refuse(
            desk.store, desk.desk, desk_pb2.RefuseDraftRequest(name=made.name, etag="v0", reason="no"), ANNA
        )
    assert trail(desk) == before
    refused = await drafts.refuse(
        desk.store, desk.desk, desk_pb2.RefuseDraftRequest(name=made.name, etag=made.etag, reason="no"), ANNA
    )
    assert refused.state == draft_pb2.DRAFT_STATE_REFUSED
    assert trail(desk)[-1] == ("DRAFT_DECIDED", str(ANNA), made.name)
