"""Answers to a peer that keeps no copy: bounded in bytes, complete over their pages, proving themselves (I3, I11)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from dief.v1 import federation_pb2, log_pb2
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.event_pb2 import ListPart

from node.ledger.ingest import Source, verify_proven_entry
from node.services.federation import MAX_PAGE_BYTES
from tests.support.alert_parts import pistol
from tests.support.alerts import minimal_alert
from tests.support.databases import Databases
from tests.support.ledger import FEDERATION
from tests.support.projected import list_part, published, revised
from tests.support.served import CALL_SECONDS, EVERYBODY, Served, refusal_of, serving

CLIENT_BYTES = 4 << 20
"""What a gRPC client takes by default."""


@pytest.fixture
async def xa(sqlite_databases: Databases, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(sqlite_databases.open(), tmp_path) as served:
        yield served


def heavy(number: int) -> DiversionAlert:
    """An alert of more than 400 KiB."""
    alert = minimal_alert("XA", number=number, states=EVERYBODY)
    for index in range(450):
        item = pistol(f"EX {number} {index}")
        item.description = f"{index} ".ljust(900, "x")
        alert.items.append(item)
    return alert


def positions(xa: Served, entries: object) -> list[int]:
    """Positions of answers that prove themselves."""
    source = Source(FEDERATION, "XB", "XA", xa.origin.verifiers)
    return [verify_proven_entry(source, each)[1].seq for each in entries]  # type: ignore[attr-defined]


@pytest.mark.parametrize("page_size", [0, 3, 500])
async def test_i11_pages_of_heavy_alerts_stay_below_what_a_client_takes_and_miss_none(
    xa: Served, page_size: int
) -> None:
    for number in range(1, 13):
        xa.append(published(heavy(number)))
    stub = xa.stub("XB")
    seen: list[int] = []
    token = ""
    pages = 0
    while True:
        request = federation_pb2.QueryAlertsRequest(page_size=page_size, page_token=token)
        page = await stub.QueryAlerts(request, timeout=CALL_SECONDS)
        assert page.ByteSize() < CLIENT_BYTES
        assert sum(each.ByteSize() for each in page.alerts) <= MAX_PAGE_BYTES
        seen += positions(xa, page.alerts)
        pages += 1
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == list(range(1, 13))
    assert len(set(seen)) == len(seen)
    assert pages >= 3


async def test_light_alerts_still_fill_their_page(xa: Served) -> None:
    for number in range(1, 121):
        xa.publish(number)
    stub = xa.stub("XB")
    first = await stub.QueryAlerts(federation_pb2.QueryAlertsRequest(page_size=110), timeout=CALL_SECONDS)
    assert len(first.alerts) == 110
    rest = await stub.QueryAlerts(
        federation_pb2.QueryAlertsRequest(page_size=110, page_token=first.next_page_token),
        timeout=CALL_SECONDS,
    )
    assert (len(rest.alerts), rest.next_page_token) == (10, "")


def with_parts(xa: Served, number: int, count: int) -> DiversionAlert:
    """An alert whose further items stand in list parts of more than 400 KiB."""
    alert = minimal_alert("XA", number=number, states=EVERYBODY)
    parts = [
        ListPart(alert=alert.name, revision=1, index=index, items=heavy(index).items)
        for index in range(count)
    ]
    digests = [hashlib.sha256(part.SerializeToString()).digest() for part in parts]
    xa.append(published(alert, parts=digests), *map(list_part, parts))
    return alert


async def test_i11_the_list_parts_of_an_alert_come_in_as_many_answers_as_they_need(xa: Served) -> None:
    alert = with_parts(xa, 1, 11)
    stub = xa.stub("XB")
    answers: list[federation_pb2.GetAlertResponse] = []
    token = ""
    while not answers or token:
        request = federation_pb2.GetAlertRequest(name=alert.name, page_token=token)
        answers.append(await stub.GetAlert(request, timeout=CALL_SECONDS))
        assert answers[-1].ByteSize() < CLIENT_BYTES
        token = answers[-1].next_page_token
    assert len(answers) >= 3
    assert positions(xa, [answers[0].alert]) == [1]
    assert not any(answer.HasField("alert") for answer in answers[1:])
    parts = [part for answer in answers for part in answer.list_parts]
    assert positions(xa, parts) == list(range(2, 13))
    assert [ListPart.FromString(part.entry.body).index for part in parts] == list(range(11))


async def test_i11_parts_of_two_revisions_are_never_mixed(xa: Served) -> None:
    alert = with_parts(xa, 1, 11)
    stub = xa.stub("XB")
    first = await stub.GetAlert(federation_pb2.GetAlertRequest(name=alert.name), timeout=CALL_SECONDS)
    assert first.next_page_token
    log_id = xa.origin.log.log_id
    event = revised(alert, 2)
    xa.append(replace(event, erases=((log_id, 1),)))
    for token, reason in ((first.next_page_token, "STALE"), ("AAAA", "INVALID"), ("%%", "INVALID")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetAlert(
                federation_pb2.GetAlertRequest(name=alert.name, page_token=token), timeout=CALL_SECONDS
            )
        assert refusal_of(refused.value).reason == reason
    now = await stub.GetAlert(federation_pb2.GetAlertRequest(name=alert.name), timeout=CALL_SECONDS)
    header = log_pb2.EntryHeader.FromString(now.alert.entry.header)
    assert (header.revision, len(now.list_parts), now.next_page_token) == (2, 0, "")
