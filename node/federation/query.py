"""Asking a peer for its alerts and believing none of it: every answer proves itself, identifiers match at home.

- The peer sees a filter on stage, status, category, State and time, never a serial or a name (I7).
- Each entry is verified against a checkpoint signed with a key of the admitted roster; one failure ends the query.
- An answer of another log's member list, an expired alert or an invalid body is not shown.
- Pages have to end: a page token or an entry that comes twice, or page after page without an alert, ends the query.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc
from dief.v1 import alert_pb2, event_pb2, federation_pb2, federation_pb2_grpc, handling_pb2, log_pb2
from google.protobuf.message import DecodeError

from node.alerts.bodies import ParsedBody, parse_body
from node.alerts.indicators import indicators
from node.alerts.normal import NORMAL_FORMS
from node.federation.errors import EndlessAnswerError
from node.ledger.checkpoint import Checkpoint
from node.ledger.header import HeaderFacts
from node.ledger.ingest import Source, verify_proven_entry

CALL_SECONDS = 60
PAGE = 200
MAX_EMPTY_PAGES = 10


@dataclass(frozen=True, slots=True)
class Term:
    """One identifier or name to be matched at home; `kind` is a value of dief.v1.IndicatorKind."""

    kind: int
    value: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One alert of the peer, proven."""

    alert: alert_pb2.DiversionAlert
    facts: HeaderFacts
    checkpoint: Checkpoint
    log_id: bytes
    matches: tuple[str, ...]


def ask(
    channel: grpc.Channel,
    source: Source,
    filter_: federation_pb2.AlertFilter,
    terms: Sequence[Term],
    now_ms: int,
) -> Iterator[Answer]:
    """Alerts of a peer that meet the filter and, where terms are given, at least one of them.

    Args:
        channel: mTLS channel to the peer that trusts only its bundle.
        source: The peer's log keys and names.
        filter_: What the peer may see.
        terms: What it may not.
        now_ms: This machine's clock.

    Raises:
        LedgerError: An answer does not prove itself; nothing of it is shown.
        EndlessAnswerError: The peer's pages do not end.
        grpc.RpcError: The peer refused or went away.
    """
    stub = federation_pb2_grpc.FederationServiceStub(channel)
    wanted = [(term.kind, frozenset(NORMAL_FORMS[term.kind](term.value))) for term in terms]
    token = ""
    progress = _Progress(source.origin)
    while True:
        request = federation_pb2.QueryAlertsRequest(filter=filter_, page_size=PAGE, page_token=token)
        page = stub.QueryAlerts(request, timeout=CALL_SECONDS)
        for proven in page.alerts:
            checkpoint, facts = verify_proven_entry(source, proven)
            progress.entry(checkpoint.log_id, facts.seq)
            answer = _answer(source, proven, checkpoint, facts, wanted, now_ms)
            if answer is not None:
                yield answer
        token = page.next_page_token
        if not token:
            return
        progress.page(token, empty=not page.alerts)


class _Progress:
    """Whether a query comes nearer to its end: what is new is proven, and a signed tree has an end."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._tokens: set[bytes] = set()
        self._entries: set[tuple[bytes, int]] = set()
        self._empty = 0

    def entry(self, log_id: bytes, seq: int) -> None:
        if (log_id, seq) in self._entries:
            raise EndlessAnswerError(f"{self._origin} sent one alert twice in the pages of one query.")
        self._entries.add((log_id, seq))

    def page(self, token: str, *, empty: bool) -> None:
        digest = hashlib.sha256(token.encode()).digest()
        if digest in self._tokens:
            raise EndlessAnswerError(f"{self._origin} repeats a page token: its answer would never end.")
        self._tokens.add(digest)
        self._empty = self._empty + 1 if empty else 0
        if self._empty > MAX_EMPTY_PAGES:
            raise EndlessAnswerError(f"{self._origin} sends page after page without an alert.")


def _answer(
    source: Source,
    proven: log_pb2.ProvenEntry,
    checkpoint: Checkpoint,
    facts: HeaderFacts,
    wanted: Sequence[tuple[int, frozenset[str]]],
    now_ms: int,
) -> Answer | None:
    handling = _handling(proven.entry.body)
    parsed = parse_body(
        facts.kind,
        proven.entry.body,
        subject=facts.subject,
        revision=facts.revision,
        origin=source.origin,
        audience=handling.audience,
        reader_role=handling.audience.reader_role,
    )
    if not isinstance(parsed, ParsedBody) or parsed.alert is None:
        return None
    if facts.expires_ms is not None and facts.expires_ms <= now_ms:
        return None
    alert = parsed.alert
    matches = [
        indicator.path
        for indicator in (indicators(alert) if wanted else ())
        if any(indicator.kind == kind and indicator.form in forms for kind, forms in wanted)
    ]
    if wanted and not matches:
        return None
    return Answer(alert, facts, checkpoint, checkpoint.log_id, tuple(matches))


def _handling(body: bytes) -> handling_pb2.Handling:
    """The handling that a body claims, for its own check; empty where it does not parse."""
    try:
        return event_pb2.AlertRevised.FromString(body).alert.handling
    except DecodeError:
        return handling_pb2.Handling()
