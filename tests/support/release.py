"""A release desk on a real store, log writer and policy, without a network."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dief.v1 import draft_pb2, handling_pb2
from dief.v1.alert_pb2 import DiversionAlert
from sqlalchemy import select

from node.identity.spiffe import Kind, SpiffeId
from node.ledger.anchor import Anchor
from node.ledger.checkpoint import Ed25519NoteSigner, trust_domain
from node.ledger.storing import ENTRY
from node.ledger.writer import LogWriter
from node.release import Policy, ReleaseDesk
from node.store.engine import Store
from tests.support.alerts import minimal_alert

MEMBERS = ("XA", "XB", "XE")


def person(kind: Kind, name: str) -> SpiffeId:
    """An identity of XA."""
    return SpiffeId("XA", "dief", kind, name)


OFFICER = person(Kind.OFFICER, "olga")
ANNA, BERT = person(Kind.APPROVER, "anna"), person(Kind.APPROVER, "bert")
REGISTRY = person(Kind.REGISTRY, "licensing")


def members(audience: handling_pb2.Audience) -> tuple[str, ...]:
    """Members of a log of this audience, among XA, XB and XE."""
    if audience.kind == handling_pb2.AUDIENCE_KIND_NAMED_STATES:
        return tuple(state for state in MEMBERS if state in audience.states or state == "XA")
    return MEMBERS


def rule(outcome: str, when: str = "true", name: str = "only", **more: str) -> str:
    """A policy of one rule."""
    extra = "".join(f"{key} = {value}\n" for key, value in more.items())
    return f'[[rule]]\nname = "{name}"\nwhen = "{when}"\noutcome = "{outcome}"\nlegal_basis = "Act, s. 1"\n{extra}'


class Desk:
    """The desk of XA under a policy."""

    def __init__(self, folder: Path, policy: str) -> None:
        self.store = Store.open(f"sqlite:///{folder}/xa.db")
        self.store.create_all()
        path = folder / "policy.toml"
        path.write_text(policy)
        self.writer = LogWriter(
            federation="dief",
            origin="XA",
            signer=Ed25519NoteSigner(trust_domain("dief", "XA"), Ed25519PrivateKey.generate()),
            anchor=Anchor(folder / "anchor.log"),
            members=members,
        )
        self.desk = ReleaseDesk(
            store=self.store, writer=self.writer, policy=Policy.load(path), members=members, own_state="XA"
        )

    def draft(self, alert: DiversionAlert, **more: object) -> draft_pb2.Draft:
        """Make a draft by hand."""
        from node.release import reading

        given = draft_pb2.DraftInput(alert=alert, **more)  # type: ignore[arg-type]
        with self.store.write() as conn:
            made = self.desk.create(conn, OFFICER, given)
            return reading.show(conn, self.desk.releaser, made)

    def approve(self, draft: draft_pb2.Draft, who: SpiffeId, **more: object) -> draft_pb2.Draft:
        """Approve a draft as it was read."""
        from node.release import reading

        with self.store.write() as conn:
            decided = self.desk.approve(conn, draft.name, draft.etag, who, **more)  # type: ignore[arg-type]
            return reading.show(conn, self.desk.releaser, decided)

    def bodies(self) -> bytes:
        """Everything that is in logs, as bytes."""
        with self.store.read() as conn:
            rows = conn.execute(select(ENTRY.c.header, ENTRY.c.body)).all()
        return b"".join(header + (body or b"") for header, body in rows)

    def entries(self) -> int:
        """How many entries are in logs, geneses among them."""
        with self.store.read() as conn:
            return len(conn.execute(select(ENTRY.c.id)).all())


def content(serial: str = "RELEASE 1", states: tuple[str, ...] = ("XB",)) -> DiversionAlert:
    """Content of a new alert of XA."""
    alert = minimal_alert("XA", serial=serial, states=states)
    alert.ClearField("name")
    alert.ClearField("revision")
    return alert
