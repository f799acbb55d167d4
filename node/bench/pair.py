"""Two nodes in a folder of their own: origin XA and follower XB, trusted roster, policy that releases at once.

- Homes and certificates are those that `dief init --dev` makes; both run as `dief serve`.
- XA has admitted XB from the start; XB admits XA when a measurement begins.
- Guests are further States that XA has admitted: they have certificates and no node.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from dief.v1 import event_pb2, operator_pb2, operator_pb2_grpc, roster_pb2
from dief.v1.handling_pb2 import Audience

from node.alerts import project
from node.alerts.bodies import PUBLISHED
from node.bench.samples import audience, sample_alert
from node.federation.trust import LiveTrust
from node.identity import authoring, dsse, pem, roster, trust_store
from node.identity.development import DevelopmentPki
from node.ledger.anchor import Anchor
from node.ledger.checkpoint import Ed25519NoteSigner, Ed25519NoteVerifier, trust_domain
from node.ledger.events import NewEvent
from node.ledger.writer import LogWriter
from node.ops import settings as node_settings
from node.ops.clock import now_ms
from node.ops.errors import DiefError
from node.store.engine import Store
from node.store.migrations import migrate

FEDERATION = "dief"
LOOPBACK = "127.0.0.1"
BATCH = 1000
START_SECONDS = 60
POLICY = """\
[[rule]]
name = "releases-everything"
when = "true"
outcome = "auto"
legal_basis = "Bench Act, section 1"
"""

Progress = Callable[[int], None]
"""Called with how many of the wanted ones are done."""


class BenchError(DiefError):
    """A node of the measurement did not do what it should."""

    default_reason: ClassVar[str] = "BENCH"
    default_mend: ClassVar[str] = "Run again with --keep, and read node.log in the folder that is then named."


@dataclass(slots=True)
class BenchNode:
    """One node: its home and, while it runs, its process."""

    state: str
    home: Path
    federation_port: int
    national_port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @classmethod
    def make(cls, folder: Path, state: str) -> BenchNode:
        """Makes the home with development certificates."""
        node = cls(state, folder / state.lower(), _free_port(), _free_port())
        _dief(
            "init", str(node.home), "--state", state, "--federation", FEDERATION, "--dev",
            "--listen", node.endpoint, "--national", node.national_endpoint,
        )  # fmt: skip
        (node.home / "policy.toml").write_text(POLICY)
        return node

    @property
    def endpoint(self) -> str:
        """Address of the federation listener."""
        return f"{LOOPBACK}:{self.federation_port}"

    @property
    def national_endpoint(self) -> str:
        """Address of the national listener."""
        return f"{LOOPBACK}:{self.national_port}"

    @property
    def settings(self) -> node_settings.Settings:
        """Its settings file, read without this process's environment."""
        return node_settings.load(self.home / "dief.toml", {})

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return Path(self.settings.database_url.removeprefix("sqlite:///"))

    def watch(self) -> sqlite3.Connection:
        """A read-only connection to the database of the running node."""
        return sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, isolation_level=None, timeout=10)

    def start(self, **settings: str) -> None:
        """Starts `dief serve` and waits until the operator is answered.

        Args:
            settings: Overrides as in the environment, without the prefix: FEDERATION__MAX_STREAMS_PER_PEER="8".
        """
        with (self.home / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node.cli", "serve", "--config", str(self.home / "dief.toml")],
                stdout=log,
                stderr=log,
                env=environment() | {f"DIEF_{name}": value for name, value in settings.items()},
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.operate(lambda stub: stub.GetStatus(operator_pb2.GetStatusRequest(), timeout=2))
                return
            except grpc.RpcError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"The node of {self.state} did not start: {self._last_line()}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends the process and waits for it."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def national(self, role: str) -> grpc.Channel:
        """A channel to the national listener."""
        return grpc.secure_channel(self.national_endpoint, self._national_credentials(role), SEPARATE)

    def national_aio(self, role: str) -> grpc.aio.Channel:
        """A channel to the national listener, for an event loop."""
        return grpc.aio.secure_channel(self.national_endpoint, self._national_credentials(role), SEPARATE)

    def _national_credentials(self, role: str) -> grpc.ChannelCredentials:
        return credentials(self.home / "pki", "national-ca", role)

    def operate(self, call: Callable[[operator_pb2_grpc.OperatorServiceStub], object]) -> None:
        """One call as operator."""
        with self.national("operator") as channel:
            call(operator_pb2_grpc.OperatorServiceStub(channel))

    def resident_mb(self) -> float | None:
        """Memory of the process and its children in MB; None where the system does not tell."""
        if self.process is None:
            return None
        found = [kb for pid in _family(self.process.pid) if (kb := _status_kb(pid, "VmRSS:")) is not None]
        return sum(found) / 1024 if found else None

    def cpu_seconds(self) -> float | None:
        """Processor time that the process and its children have taken; None where the system does not tell."""
        if self.process is None:
            return None
        found = [seconds for pid in _family(self.process.pid) if (seconds := cpu_seconds_of(pid)) is not None]
        return sum(found) if found else None

    def _last_line(self) -> str:
        lines = (self.home / "node.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing."


SEPARATE = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 16 << 20)]


def credentials(
    folder: Path, root: str, name: str, root_folder: Path | None = None
) -> grpc.ChannelCredentials:
    """Channel credentials from the files of a home's `pki` folder."""
    return grpc.ssl_channel_credentials(
        ((root_folder or folder) / f"{root}.pem").read_bytes(),
        (folder / f"{name}.key").read_bytes(),
        (folder / f"{name}.pem").read_bytes(),
    )


class Pair:
    """Origin and follower."""

    def __init__(self, folder: Path, guests: Sequence[str] = ()) -> None:
        """Makes both homes and has them trust one roster.

        Args:
            folder: Where.
            guests: Further States of the roster.
        """
        self.folder = folder
        self.origin = BenchNode.make(folder, "XA")
        self.follower = BenchNode.make(folder, "XB")
        self.guests = tuple(guests)
        self.filled = 0
        for state in self.guests:
            DevelopmentPki.make(state, FEDERATION).write(self.pki_of(state))
        self._trust()

    def pki_of(self, state: str) -> Path:
        """Folder of a State's certificates and keys."""
        return self.folder / state.lower() / "pki"

    def peer_credentials(self, state: str) -> grpc.ChannelCredentials:
        """Credentials of a State's node towards the origin."""
        return credentials(self.pki_of(state), "federation-ca", "node", self.pki_of(self.origin.state))

    @property
    def verifier(self) -> Ed25519NoteVerifier:
        """Verifier of the origin's checkpoints."""
        key = pem.read_ed25519_key(self.pki_of(self.origin.state) / "log.key")
        return Ed25519NoteVerifier(trust_domain(FEDERATION, self.origin.state), dsse.public_bytes(key))

    def fill(self, count: int, progress: Progress, audiences: Sequence[Audience] = (audience(),)) -> None:
        """Appends samples to the origin's logs, as the node does it, while the node is stopped.

        Args:
            count: How many more.
            progress: Told of them.
            audiences: A batch goes to each in turn, so that each has a log of its own.
        """
        with self.writing() as (store, writer):
            end = self.filled + count
            batch = min(BATCH, max(1, count // len(audiences)))
            turns = itertools.cycle(audiences)
            while self.filled < end:
                last = min(end, self.filled + batch)
                whom = next(turns)
                events = [event(i, whom) for i in range(self.filled, last)]
                with store.write() as conn:
                    project.apply(conn, writer.append(conn, whom, events))
                progress(last - self.filled)
                self.filled = last

    @contextmanager
    def writing(self) -> Iterator[tuple[Store, LogWriter]]:
        """The origin's store and the writer of its logs, as the node has them, while the node is stopped."""
        settings = self.origin.settings
        store = Store.open(settings.database_url)
        try:
            yield (
                store,
                LogWriter(
                    federation=FEDERATION,
                    origin=self.origin.state,
                    signer=Ed25519NoteSigner(
                        trust_domain(FEDERATION, self.origin.state),
                        pem.read_ed25519_key(settings.path(settings.log.key)),
                    ),
                    anchor=Anchor(settings.path(settings.log.anchor)),
                    members=LiveTrust(store, self.origin.state).members,
                ),
            )
        finally:
            store.close()

    def admit(self) -> None:
        """XB admits XA: from now on it may connect."""
        self.follower.operate(lambda stub: stub.AdmitPeer(operator_pb2.AdmitPeerRequest(state="XA")))

    def stop(self) -> None:
        """Ends both processes."""
        self.origin.stop()
        self.follower.stop()

    def _trust(self) -> None:
        keeper = Ed25519PrivateKey.generate()
        now = now_ms()
        content = authoring.first_version(
            FEDERATION, keepers=[dsse.public_bytes(keeper)], threshold=1, now_ms=now
        )
        for state, endpoints in (
            (self.origin.state, [self.origin.endpoint]),
            (self.follower.state, [self.follower.endpoint]),
            *((guest, []) for guest in self.guests),
        ):
            authoring.put(content, _participant(state, self.pki_of(state), endpoints), now)
        envelope = dsse.sign(authoring.wrap(content), dsse.signer_of(keeper))
        for node in (self.origin, self.follower):
            store = Store.open(node.settings.database_url)
            migrate(store)
            with store.write() as conn:
                trust_store.trust_first(conn, envelope, roster.digest_of(envelope), now)
                if node is self.origin:
                    for state in (self.follower.state, *self.guests):
                        trust_store.admit(conn, state, None, "bench")
            store.close()


def event(i: int, whom: Audience) -> NewEvent:
    """The i-th sample as an event of a log."""
    alert = sample_alert(i)
    alert.handling.audience.CopyFrom(whom)
    body = event_pb2.AlertPublished(alert=alert).SerializeToString(deterministic=True)
    expires_ms = alert.handling.expires_on.seconds * 1000
    return NewEvent(kind=PUBLISHED, subject=alert.name, revision=1, body=body, expires_ms=expires_ms)


def _participant(state: str, folder: Path, endpoints: list[str]) -> roster_pb2.Participant:
    key = pem.read_ed25519_key(folder / "log.key")
    return roster_pb2.Participant(
        state=state,
        display_name=f"State {state}",
        treaty_status=roster_pb2.TREATY_STATUS_STATE_PARTY,
        state_of_participation=roster_pb2.PARTICIPANT_STATE_ACTIVE,
        ca_certificates=[
            one.public_bytes(Encoding.DER) for one in pem.read_certificates(folder / "federation-ca.pem")
        ],
        log_keys=[authoring.roster_key(dsse.public_bytes(key))],
        endpoints=endpoints,
    )


def environment() -> dict[str, str]:
    """This process's environment without settings of a node."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DIEF_")}


def _dief(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "node.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    if done.returncode:
        raise BenchError(f"`dief {arguments[0]}` failed: {done.stderr.strip()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        found = [int(child) for child in children.read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(each for child in found for each in _family(child))]


def cpu_seconds_of(pid: int) -> float | None:
    """Processor time that a process has taken; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float | None:
    """Memory that a process has had at most, MB; None where the system does not tell or the process is gone."""
    found = _status_kb(pid, "VmHWM:")
    return None if found is None else found / 1024


def _status_kb(pid: int, name: str) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith(name)), None)
