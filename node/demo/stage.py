"""The stage: homes, CAs, a roster signed by two of three keepers, and one process a node."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dief.v1 import desk_pb2_grpc, operator_pb2, operator_pb2_grpc, roster_pb2

from node.home import make_home
from node.identity import dsse, pem
from node.identity.roster import digest_of
from node.ops.clock import now_ms, to_timestamp

FEDERATION = "demo"
DAY_MS = 86_400_000
CALL_SECONDS = 60
PATIENCE_SECONDS = 180.0
"""Bounds failures only: on a loaded machine a process alone may take half a minute to start."""
POLL_SECONDS = (0.004, 0.1)
"""Between two looks, at first and after a second: measured times are fine, long waits cost the nodes nothing."""
PORTS = range(20_000, 32_000)
"""Below the ports that systems hand out to connections by themselves."""
T = TypeVar("T")

STATES = {
    "XA": ("Xanadu", roster_pb2.TREATY_STATUS_STATE_PARTY),
    "XB": ("Xebec", roster_pb2.TREATY_STATUS_STATE_PARTY),
    "XD": ("Xylon", roster_pb2.TREATY_STATUS_SIGNATORY),
    "XE": ("Xenia", roster_pb2.TREATY_STATUS_STATE_PARTY),
}

POLICY = """\
[[rule]]
name = "persons-are-named"
when = "alert.parties.exists(p, p.kind == 'PERSON') && draft.action != 'WITHDRAW'"
outcome = "ask"
legal_basis = "Data Protection Act, section 7 (demonstration)"

[[rule]]
name = "released-by-rule"
when = "true"
outcome = "auto"
legal_basis = "Export Control Act, section 12 (2) (demonstration)"
"""


class StepFailedError(Exception):
    """A step of the demonstration did not end as it must; the text says what was expected."""


def until(look: Callable[[], T | None], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """The first true result of `look`, asked again and again.

    Raises:
        StepFailedError: It did not come in time.
    """
    began = time.monotonic()
    refusal = ""
    while (waited := time.monotonic() - began) < seconds:
        try:
            found = look()
        except grpc.RpcError as error:
            found, refusal = None, f"; last answer: {str(error)[:300]}"
        if found:
            return found
        time.sleep(POLL_SECONDS[waited > 1])
    raise StepFailedError(f"{what}: not within {seconds:.0f} s{refusal}")


class Ports:
    """Free TCP ports of the loopback address, claimed so that no other demonstration takes them meanwhile.

    - The claim is a UDP socket on the port of the same number: it stands in no listener's way, and ends with us.
    """

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []

    def take(self) -> int:
        """One more."""
        while True:
            port = random.choice(PORTS)  # noqa: S311 - not a secret
            claim = socket.socket(type=socket.SOCK_DGRAM)
            try:
                claim.bind(("127.0.0.1", port))
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
            self._claims.append(claim)
            return port

    def close(self) -> None:
        """End the claims."""
        for claim in self._claims:
            claim.close()


@dataclass
class Actor:
    """One State's node: its home, its process, and what its people and systems may call."""

    state: str
    home: Path
    federation_port: int
    national_port: int
    process: subprocess.Popen[bytes] | None = None
    _channels: dict[str, grpc.Channel] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """Its settings file."""
        return self.home / "dief.toml"

    @property
    def endpoint(self) -> str:
        """Address of its federation listener."""
        return f"127.0.0.1:{self.federation_port}"

    def start(self) -> None:
        """Start its process."""
        with (self.home / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node.cli", "serve", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End its process and forget its connections."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(how)
            _wait_for_end(process)

    def channel(self, role: str) -> grpc.Channel:
        """Its national listener, as one of its roles."""
        if role not in self._channels:
            pki = self.home / "pki"
            credentials = grpc.ssl_channel_credentials(
                (pki / "national-ca.pem").read_bytes(),
                (pki / f"{role}.key").read_bytes(),
                (pki / f"{role}.pem").read_bytes(),
            )
            self._channels[role] = grpc.secure_channel(f"127.0.0.1:{self.national_port}", credentials)
        return self._channels[role]

    @property
    def desk(self) -> desk_pb2_grpc.DeskServiceStub:
        """The desk, as an officer."""
        return desk_pb2_grpc.DeskServiceStub(self.channel("officer"))

    @property
    def approver(self) -> desk_pb2_grpc.DeskServiceStub:
        """The desk, as an approver."""
        return desk_pb2_grpc.DeskServiceStub(self.channel("approver"))

    @property
    def operator(self) -> operator_pb2_grpc.OperatorServiceStub:
        """The operator's service."""
        return operator_pb2_grpc.OperatorServiceStub(self.channel("operator"))

    def status(self) -> operator_pb2.GetStatusResponse:
        """Its status.

        Raises:
            StepFailedError: Its process has ended.
        """
        if self.process is not None and self.process.poll() is not None:
            last = (self.home / "node.log").read_text(encoding="utf-8", errors="replace").strip()[-500:]
            raise StepFailedError(f"The node of {self.state} has ended by itself: {last}")
        return self.operator.GetStatus(operator_pb2.GetStatusRequest(), timeout=CALL_SECONDS)

    def dief(self, *arguments: str) -> str:
        """What a `dief` command for this node prints.

        Raises:
            StepFailedError: The command failed.
        """
        result = subprocess.run(
            [sys.executable, "-m", "node.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            env={**os.environ, "DIEF_CONFIG": str(self.config)},
        )
        if result.returncode:
            raise StepFailedError(f"dief {' '.join(arguments)}: {result.stderr.strip()[:500]}")
        return result.stdout

    def files_holding(self, needle: bytes) -> list[Path]:
        """Files of its home, databases and logs among them, whose bytes hold `needle`."""
        return [path for path in self.home.rglob("*") if path.is_file() and _holds(path, needle)]


class Stage:
    """Four nodes that trust one roster and have admitted each other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = Ports()
        self.actors = {
            state: Actor(state, folder / state.lower(), self._ports.take(), self._ports.take())
            for state in STATES
        }
        self._others: list[subprocess.Popen[bytes]] = []

    def __getitem__(self, state: str) -> Actor:
        return self.actors[state]

    def build(self) -> None:
        """Homes, roster, processes, first trust, admissions."""
        for actor in self.actors.values():
            make_home(
                actor.home,
                actor.state,
                FEDERATION,
                federation_listen=actor.endpoint,
                national_listen=f"127.0.0.1:{actor.national_port}",
                dev=True,
                policy=POLICY,
            )
            actor.start()
        envelope = self._roster()
        digest = digest_of(envelope)
        for actor in self.actors.values():
            until(lambda actor=actor: actor.status().state, f"{actor.state} answering")  # type: ignore[misc]
            actor.operator.UpdateRoster(
                operator_pb2.UpdateRosterRequest(envelope=envelope, trust_sha256=digest), timeout=CALL_SECONDS
            )
        for actor in self.actors.values():
            for other in self.actors:
                if other != actor.state:
                    actor.operator.AdmitPeer(operator_pb2.AdmitPeerRequest(state=other), timeout=CALL_SECONDS)

    def all_live(self) -> bool:
        """Whether every node follows every other."""
        return all(
            peer.peer_state == operator_pb2.PEER_STATE_LIVE
            for actor in self.actors.values()
            for peer in actor.status().peers
        )

    def run_beside(self, *arguments: str, state: str, log: str) -> subprocess.Popen[bytes]:
        """Start a `dief` command that goes on beside the nodes."""
        with (self[state].home / log).open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "node.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, "DIEF_CONFIG": str(self[state].config)},
                start_new_session=True,
            )
        self._others.append(process)
        return process

    def end(self) -> None:
        """End every process; all are told first, because each waits some seconds for its streams."""
        for actor in self.actors.values():
            if actor.process is not None:
                actor.process.terminate()
        for process in self._others:
            process.terminate()
        for process in self._others:
            _wait_for_end(process)
        for actor in self.actors.values():
            actor.end()
        self._ports.close()

    @property
    def process_ids(self) -> list[int]:
        """Of the nodes and of what runs beside them."""
        nodes = [actor.process for actor in self.actors.values() if actor.process is not None]
        return [process.pid for process in (*nodes, *self._others)]

    def _roster(self) -> roster_pb2.RosterEnvelope:
        keepers = [Ed25519PrivateKey.generate() for _ in range(3)]
        issued = now_ms()
        roster = roster_pb2.Roster(
            federation=FEDERATION,
            version=1,
            issued_at=to_timestamp(issued),
            expires_at=to_timestamp(issued + 30 * DAY_MS),
            threshold=2,
            roster_keys=[_roster_key(key) for key in keepers],
            participants=[self._participant(actor, issued) for actor in self.actors.values()],
        )
        envelope = dsse.wrap(roster.SerializeToString(deterministic=True))
        for key in keepers[:2]:
            envelope = dsse.sign(envelope, dsse.signer_of(key))
        return envelope

    def _participant(self, actor: Actor, since_ms: int) -> roster_pb2.Participant:
        name, status = STATES[actor.state]
        pki = actor.home / "pki"
        authority = pem.read_certificates(pki / "federation-ca.pem")[0]
        return roster_pb2.Participant(
            state=actor.state,
            display_name=name,
            treaty_status=status,
            state_of_participation=roster_pb2.PARTICIPANT_STATE_ACTIVE,
            state_of_participation_since=to_timestamp(since_ms),
            ca_certificates=[authority.public_bytes(serialization.Encoding.DER)],
            log_keys=[_roster_key(pem.read_ed25519_key(pki / "log.key"))],
            endpoints=[actor.endpoint],
        )


def _wait_for_end(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process that was told to end has ended; end it by force if it does not."""
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=30)


def _holds(path: Path, needle: bytes) -> bool:
    """Whether a file holds bytes; one that is gone meanwhile (a write-ahead log, when its database closes) does not."""
    try:
        return needle in path.read_bytes()
    except FileNotFoundError:
        return False


@contextmanager
def peer_channel(caller: Actor, to: Actor, options: Sequence[tuple[str, int]] = ()) -> Iterator[grpc.Channel]:
    """A connection from one State's node to another's, with the caller's node certificate."""
    credentials = grpc.ssl_channel_credentials(
        (to.home / "pki" / "federation-ca.pem").read_bytes(),
        (caller.home / "pki" / "node.key").read_bytes(),
        (caller.home / "pki" / "node.pem").read_bytes(),
    )
    with grpc.secure_channel(to.endpoint, credentials, options=options) as channel:
        yield channel


def _roster_key(key: Ed25519PrivateKey) -> roster_pb2.RosterKey:
    return roster_pb2.RosterKey(
        algorithm=roster_pb2.KEY_ALGORITHM_ED25519,
        public_key=dsse.public_bytes(key),
        state=roster_pb2.KEY_STATE_ACTIVE,
    )
