"""The story: each step does something for real and checks what it claims; a step that fails ends it."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
from dief.v1 import (
    alert_pb2,
    codes_pb2,
    desk_pb2,
    draft_pb2,
    federation_pb2,
    federation_pb2_grpc,
    operator_pb2,
)

from node import audit
from node.demo import cases
from node.demo.liar import tampering
from node.demo.stage import CALL_SECONDS, PATIENCE_SECONDS, Actor, Stage, StepFailedError, peer_channel, until
from node.store.engine import Store

ERASED = federation_pb2.RECEIPT_KIND_ERASED


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name for machines, what it shows, and the act, which returns what happened in words.

    `case` is the documented case of diversion that its alert follows, "" for none.
    """

    name: str
    shows: str
    act: Callable[[], str]
    case: str = ""


class Story:
    """Acts on a stage, in order."""

    def __init__(self, stage: Stage, samples: Path) -> None:
        """Prepare.

        Args:
            stage: Not built yet.
            samples: Folder with the sample registries `licensing_a` and `seizures_c`.
        """
        self._stage = stage
        self._samples = samples
        self._names: dict[str, str] = {}

    def steps(self) -> Iterator[Step]:
        """All steps, in order."""
        yield Step(
            "nodes",
            "Four States start their nodes; a roster signed by 2 of 3 keepers is trusted, each admits the others",
            self._nodes,
        )
        yield Step(
            "registry",
            "A licence is revoked in XA's licensing database (SQLite); its adapter notices, a rule releases the alert",
            self._registry,
        )
        yield Step(
            "audience-parties",
            "An alert for States Parties reaches XB and XE; XD, a signatory, never learns that it exists",
            self._parties,
            "a forged police order: who never ordered is named as buyer",
        )
        yield Step(
            "audience-bilateral",
            "XA tells XB alone of missiles re-transferred within 59 days of export",
            self._bilateral,
            "59 days from factory to armed group",
        )
        yield Step(
            "release",
            "An alert that names a person waits for an approver; the person's name is stripped before signing",
            self._release,
            "sealed shipper-owned containers with a false cargo declaration",
        )
        yield Step(
            "screening",
            "Police in XB seize an arm (CSV register, cp1252); a licensing officer in XE screens its serial",
            self._screening,
        )
        yield Step(
            "query", "XD keeps no copy: it asks XA over gRPC, and checks every proof itself", self._query
        )
        yield Step("revision", "XA revises an alert; the earlier text is erased everywhere", self._revision)
        yield Step(
            "withdrawal",
            "XA named a forwarder wrongly: UNFOUNDED, erased everywhere to the last byte, receipts come back",
            self._withdrawal,
            "a wrong alert withdrawn",
        )
        yield Step("kill", "XB is killed with SIGKILL, misses news, restarts and catches up", self._kill)
        yield Step(
            "tampering",
            "XE's node sends XB an entry with one flipped bit; XB refuses it, XA's log goes on",
            self._tampering,
            "stock that passes through a neighbour, met a decade later",
        )
        yield Step("deny", "XA's operator denies XE: its live stream is cut", self._deny)
        yield Step(
            "audit", "XA's audit trail says who read, decided and received what, and verifies", self._audit
        )

    # -- steps -----------------------------------------------------------------------------------------------------

    def _nodes(self) -> str:
        self._stage.build()
        until(lambda: self._stage.all_live(), "every node following every other")
        return "12 streams under mutual TLS, each State with its own CA"

    def _registry(self) -> str:
        xa = self._stage["XA"]
        registry = xa.home / "registry"
        shutil.copytree(self._samples / "licensing_a", registry)
        database = sqlite3.connect(registry / "licensing.sqlite")
        database.executescript((registry / "schema.sql").read_text(encoding="utf-8"))
        database.executescript((registry / "seed.sql").read_text(encoding="utf-8"))
        database.commit()
        self._stage.run_beside(
            "adapter", "run", str(registry / "mapping.toml"), "--every", "0.3s", state="XA", log="adapter.log"
        )
        xb = self._stage["XB"]
        until(lambda: len(self._listed(xb, "XA")) >= 2, "the first run of XA's adapter")
        known = set(self._listed(xb, "XA"))
        began = time.perf_counter()
        database.execute("UPDATE licence SET status = 'revoked' WHERE id = 'l-3'")
        database.commit()
        database.close()
        fresh = until(lambda: set(self._listed(xb, "XA")) - known, "the revoked licence arriving at XB")
        took = (time.perf_counter() - began) * 1000
        self._wait(self._stage["XE"], next(iter(fresh)))
        return f"row changed in XA, alert readable at XB after {took:.0f} ms (the adapter looks every 300 ms)"

    def _parties(self) -> str:
        name = self._publish("XA", cases.forged_police_order("GL 7734501"), "XB", "XE")
        log_id = self._view(self._stage["XB"], name).proof.log_id
        xd = self._stage["XD"]
        self._expect(self._find(xd, name) is None, "XD reads it")
        self._expect(log_id not in {log.log_id for log in xd.status().logs}, "XD holds its log")
        self._expect(not xd.files_holding(log_id), "the log's id stands in XD's files")
        return "at XB and XE; in XD no alert, no log, not a byte of its id"

    def _bilateral(self) -> str:
        name = self._publish("XA", cases.factory_to_armed_group(), "XB")
        for state in ("XD", "XE"):
            self._expect(self._find(self._stage[state], name) is None, f"{state} reads it")
            self._expect(not self._stage[state].files_holding(b"ATM9-59-000417"), f"{state} has its serial")
        return "at XB; XD and XE have nothing"

    def _release(self) -> str:
        xa = self._stage["XA"]
        made = self._submit(xa, draft_pb2.DraftInput(alert=cases.sealed_containers("ZZZU1234564")))
        self._expect(made.state == draft_pb2.DRAFT_STATE_WAITING, "the policy did not ask a person")
        self._expect(
            not self._stage["XB"].files_holding(b"ZZZU1234564"), "something of it left before the decision"
        )
        released = xa.approver.ApproveDraft(
            desk_pb2.ApproveDraftRequest(
                name=made.name, etag=made.etag, legal_basis="Customs Act, section 12"
            ),
            timeout=CALL_SECONDS,
        ).draft
        found = self._wait(self._stage["XB"], released.released_alert)
        self._expect(b"Nobody Of Example" not in found.alert.SerializeToString(), "the person's name left")
        self._expect(
            not self._stage["XB"].files_holding(b"Nobody Of Example"), "the person's name is in XB's files"
        )
        return f"released by {released.decisions[-1].decided_by}; {len(released.stripped_fields)} fields stripped"

    def _screening(self) -> str:
        xb, xe = self._stage["XB"], self._stage["XE"]
        registry = xb.home / "registry"
        shutil.copytree(self._samples / "seizures_c", registry)
        xb.dief("adapter", "run", str(registry / "mapping.toml"), "--once")
        began = time.perf_counter()
        hits = until(lambda: self._screen(xe, "tkr-04417"), "the hit at XE")
        took = (time.perf_counter() - began) * 1000
        near = self._screen(xe, "TKR04418")
        self._expect(not near, "the near miss is a hit")
        reason = hits[0].explanation
        met = f"serial tkr-04417 meets {hits[0].value} of {hits[0].alert.origin} ({took:.0f} ms)"
        return f"{met}: {reason} Near miss TKR04418: none"

    def _query(self) -> str:
        name = self._publish("XA", cases.for_signatories("GL 9120066"), "XB")
        with ThreadPoolExecutor(2) as both:
            found, hidden = both.map(self._ask_at_xa, ("gl9120066", "gl7734501"))
        self._expect([row["alert"] for row in found] == [name], "XD did not find exactly this alert")
        self._expect(hidden == [], "XD found what is for States Parties")
        return f"found and proven by {found[0]['proven_by']}; what is for States Parties only is not there"

    def _revision(self) -> str:
        first = cases.forged_police_order("GL 5550001", title="First wording, soon corrected")
        name = self._publish("XA", first, "XB", "XE")
        second = cases.forged_police_order("GL 5550002", title="Second wording")
        second.name = name
        self._submit(
            self._stage["XA"], draft_pb2.DraftInput(action=draft_pb2.DRAFT_ACTION_REVISE, alert=second)
        )
        for state in ("XB", "XE"):
            self._until_view(state, name, _is_second)
        self._gone(b"First wording, soon corrected", "XA", "XB", "XE")
        return "revision 2 at XB and XE; the first wording stands in no file of any node"

    def _withdrawal(self) -> str:
        named = "Blameless Forwarding GmbH"
        name = self._publish("XA", cases.wrongly_named_forwarder(named), "XB", "XE")
        self._expect(bool(self._stage["XB"].files_holding(named.encode())), "XB never had it")
        began = time.perf_counter()
        self._submit(
            self._stage["XA"],
            draft_pb2.DraftInput(
                action=draft_pb2.DRAFT_ACTION_WITHDRAW,
                alert_name=name,
                withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_UNFOUNDED,
            ),
        )
        for state in ("XB", "XE"):
            self._until_view(state, name, _is_cleared)
        took = (time.perf_counter() - began) * 1000
        self._gone(named.encode(), "XA", "XB", "XE")
        request = desk_pb2.ListReceiptsRequest(alert=name)
        until(
            lambda: (
                {
                    row.state: row.kind
                    for row in self._stage["XA"].desk.ListReceipts(request, timeout=CALL_SECONDS).rows
                }
                == {"XB": ERASED, "XE": ERASED}
            ),
            "receipts at XA",
        )
        return (
            f"cleared at XB and XE after {took:.0f} ms; the name stands in no file; both receipts are at XA"
        )

    def _kill(self) -> str:
        xb = self._stage["XB"]
        xb.end(signal.SIGKILL)
        name = self._publish("XA", cases.forged_police_order("GL 6660001"), "XE")
        began = time.perf_counter()
        xb.start()
        self._wait(xb, name)
        took = time.perf_counter() - began
        return f"started, caught up and showing it after {took:.1f} s"

    def _tampering(self) -> str:
        xb, xe = self._stage["XB"], self._stage["XE"]
        self._names["XE"] = self._publish("XE", cases.depot_theft("56-2 440011"), "XB")
        xe.end()
        refused_before = sum(xb.status().refused.values())
        with tampering(xe, xb, cases.depot_theft("56-2 440012")) as true_name:
            until(
                lambda: any(log.origin == "XE" and log.state == "FAULT" for log in xb.status().logs),
                "XB stopping XE's log",
            )
            self._expect(self._find(xb, true_name) is None, "XB shows the tampered alert")
            self._wait(xb, self._publish("XA", cases.forged_police_order("GL 8880001"), "XB"))
        refused = sum(xb.status().refused.values()) - refused_before
        xe.start()
        self._wait(xb, true_name)
        return f"refused {refused} times, XA's news arrived meanwhile; from XE's true node the same entry is taken"

    def _deny(self) -> str:
        xa, xe = self._stage["XA"], self._stage["XE"]
        caught, cut = threading.Event(), threading.Event()
        with peer_channel(xe, xa) as channel:
            stream = federation_pb2_grpc.FederationServiceStub(channel).Follow(federation_pb2.FollowRequest())

            def read() -> None:
                try:
                    for frame in stream:
                        if frame.HasField("caught_up"):
                            caught.set()
                except grpc.RpcError:
                    cut.set()

            threading.Thread(target=read, daemon=True).start()
            self._expect(caught.wait(PATIENCE_SECONDS), "XE could not follow XA")
            began = time.perf_counter()
            xa.operator.DenyPeer(
                operator_pb2.DenyPeerRequest(state="XE", reason="demonstration"), timeout=CALL_SECONDS
            )
            self._expect(cut.wait(PATIENCE_SECONDS), "XE's stream was not cut")
            took = (time.perf_counter() - began) * 1000
            code = stream.code()
        name = self._publish("XA", cases.forged_police_order("GL 9990001"), "XB")
        self._expect(self._find(xe, name) is None, "XE still receives")
        return f"cut after {took:.0f} ms with {code.name}; what XA publishes since does not reach XE"

    def _audit(self) -> str:
        store = Store.open(f"sqlite:///{self._stage['XA'].home}/data/node.db")
        try:
            with store.read() as conn:
                result = audit.verify(conn)
        finally:
            store.close()
        self._expect(result.broken_at is None, f"the trail breaks at {result.broken_at}")
        return f"{result.records} records, unbroken"

    # -- what steps share ------------------------------------------------------------------------------------------

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise StepFailedError(f"unexpected: {otherwise}")

    def _submit(self, actor: Actor, given: draft_pb2.DraftInput) -> draft_pb2.Draft:
        request = desk_pb2.CreateDraftRequest(input=given, request_id=str(uuid.uuid4()))
        return actor.desk.CreateDraft(request, timeout=CALL_SECONDS).draft

    def _publish(self, origin: str, alert: alert_pb2.DiversionAlert, *readers: str) -> str:
        made = self._submit(self._stage[origin], draft_pb2.DraftInput(alert=alert))
        self._expect(made.state == draft_pb2.DRAFT_STATE_RELEASED, "the policy did not release it")
        for state in readers:
            self._wait(self._stage[state], made.released_alert)
        return made.released_alert

    def _find(self, actor: Actor, name: str) -> desk_pb2.AlertView | None:
        try:
            request = desk_pb2.GetAlertViewRequest(name=name)
            return actor.desk.GetAlertView(request, timeout=CALL_SECONDS).alert
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise

    def _view(self, actor: Actor, name: str) -> desk_pb2.AlertView:
        found = self._find(actor, name)
        if found is None:
            raise StepFailedError(f"{actor.state} does not know {name}")
        return found

    def _wait(self, actor: Actor, name: str) -> desk_pb2.AlertView:
        return until(lambda: self._find(actor, name), f"{name} at {actor.state}")

    def _ask_at_xa(self, serial: str) -> list[dict[str, str]]:
        answer = self._stage["XD"].dief("query", "--peer", "XA", "--serial", serial, "--json")
        return list(json.loads(answer))

    def _listed(self, actor: Actor, origin: str) -> list[str]:
        request = desk_pb2.ListAlertsRequest(origins=[origin])
        return [view.name for view in actor.desk.ListAlerts(request, timeout=CALL_SECONDS).alerts]

    def _screen(self, actor: Actor, serial: str) -> list[desk_pb2.ScreenHit]:
        term = desk_pb2.ScreenTerm(kind=codes_pb2.INDICATOR_KIND_SERIAL, value=serial)
        return list(actor.desk.Screen(desk_pb2.ScreenRequest(terms=[term]), timeout=CALL_SECONDS).hits)

    def _gone(self, needle: bytes, *states: str) -> None:
        for state in states:
            actor = self._stage[state]
            until(partial(_without, actor, needle), f"the erased bytes leaving the files of {state}")

    def _until_view(self, state: str, name: str, holds: Callable[[desk_pb2.AlertView], bool]) -> None:
        actor = self._stage[state]
        until(lambda: holds(self._view(actor, name)), f"the change arriving at {state}")


def _without(actor: Actor, needle: bytes) -> bool:
    return not actor.files_holding(needle)


def _is_second(view: desk_pb2.AlertView) -> bool:
    return view.revision == 2


def _is_cleared(view: desk_pb2.AlertView) -> bool:
    return view.standing == desk_pb2.ALERT_STANDING_UNFOUNDED
