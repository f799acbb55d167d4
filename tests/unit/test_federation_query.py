"""`dief query` believes none of what it is told: not the entries, and not that the answer has an end (I11)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from dief.v1 import federation_pb2, log_pb2
from dief.v1.event_pb2 import AlertPublished

from node.federation.errors import EndlessAnswerError
from node.federation.query import MAX_EMPTY_PAGES, ask
from node.ledger.ingest import Source
from node.ops.clock import now_ms
from tests.support.alerts import minimal_alert
from tests.support.ledger import FEDERATION, ForgedLog

Pages = list[federation_pb2.QueryAlertsResponse]


class Answering:
    """A peer that gives the same pages over and over, whatever it is asked for."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.asked = 0

    def answer(
        self, _request: federation_pb2.QueryAlertsRequest, _context: Any
    ) -> federation_pb2.QueryAlertsResponse:
        """The next page."""
        self.asked += 1
        return self.pages[(self.asked - 1) % len(self.pages)]


@contextmanager
def answering(pages: Pages) -> Iterator[tuple[Answering, grpc.Channel]]:
    """What a peer says is judged after the channel, so this one has no TLS."""
    peer = Answering(pages)
    server = grpc.server(ThreadPoolExecutor(1))
    handler = grpc.unary_unary_rpc_method_handler(
        peer.answer,
        request_deserializer=federation_pb2.QueryAlertsRequest.FromString,
        response_serializer=federation_pb2.QueryAlertsResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("dief.v1.FederationService", {"QueryAlerts": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield peer, channel
    server.stop(0).wait()


def proven(log: ForgedLog, seq: int) -> log_pb2.ProvenEntry:
    return log_pb2.ProvenEntry(
        entry=log.entries[seq],
        inclusion_proof=log.inclusion(seq, len(log.entries)),
        checkpoint=log.sign(),
    )


def alerts(count: int) -> tuple[ForgedLog, Source]:
    log = ForgedLog()
    for number in range(1, count + 1):
        alert = minimal_alert("XA", number=number, states=("XA", "XB"))
        log.add(AlertPublished(alert=alert).SerializeToString(), subject=alert.name, revision=1)
    return log, Source(FEDERATION, "XB", "XA", log.verifiers)


def names(channel: grpc.Channel, source: Source, shown: list[str]) -> None:
    """Ask, and note what is shown until the query ends or fails."""
    answers = ask(channel, source, federation_pb2.AlertFilter(), (), now_ms())
    shown.extend(answer.alert.name for answer in answers)


def page(*entries: log_pb2.ProvenEntry, token: str = "") -> federation_pb2.QueryAlertsResponse:
    return federation_pb2.QueryAlertsResponse(alerts=entries, next_page_token=token)


def test_pages_are_followed_to_their_end() -> None:
    log, source = alerts(3)
    shown: list[str] = []
    pages = [page(proven(log, 1), proven(log, 2), token="a"), page(token="b"), page(proven(log, 3))]
    with answering(pages) as (peer, channel):
        names(channel, source, shown)
    assert (len(shown), peer.asked) == (3, 3)


@pytest.mark.parametrize("tokens", [["a", "a"], ["a", "b", "c", "a"]])
def test_i11_a_page_token_that_comes_again_ends_the_query_with_a_precise_error(tokens: list[str]) -> None:
    log, source = alerts(len(tokens))
    pages = [page(proven(log, place + 1), token=token) for place, token in enumerate(tokens)]
    shown: list[str] = []
    with answering(pages) as (peer, channel):
        with pytest.raises(EndlessAnswerError, match="XA repeats a page token"):
            names(channel, source, shown)
        assert peer.asked == len(tokens)
    assert len(shown) == len(tokens)


def test_i11_an_alert_that_comes_again_ends_the_query_though_every_token_is_new() -> None:
    log, source = alerts(2)
    pages = [
        page(proven(log, 1), token="a"),
        page(proven(log, 2), token="b"),
        page(proven(log, 1), token="c"),
    ]
    shown: list[str] = []
    with answering(pages) as (peer, channel):
        with pytest.raises(EndlessAnswerError, match="one alert twice"):
            names(channel, source, shown)
        assert peer.asked == 3
    assert len(shown) == 2


def test_i11_page_after_page_without_an_alert_ends_the_query() -> None:
    _, source = alerts(0)
    pages = [page(token=f"{number}") for number in range(MAX_EMPTY_PAGES * 10)]
    with answering(pages) as (peer, channel):
        with pytest.raises(EndlessAnswerError, match="without an alert"):
            names(channel, source, [])
        assert peer.asked == MAX_EMPTY_PAGES + 1
