"""Real nodes as processes: own homes, own CAs, real mTLS sockets on loopback, real databases, real signals.

with Federation(tmp_path, ["XA", "XB"]) as fed:
    fed.start()
    fed["XA"].cli("alert", "draft", str(path))
    fed["XB"].kill()                      # SIGKILL
    fed["XB"].start()
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from dief.v1 import desk_pb2_grpc, federation_pb2_grpc, operator_pb2, operator_pb2_grpc, registry_pb2_grpc

from node.home import make_home
from node.identity import roster as roster_rules
from node.identity import trust_store
from node.identity.pem import certificates_pem, key_pem
from node.identity.pki import Credential
from node.ops import settings as node_settings
from node.ops.clock import now_ms
from node.store.engine import Store
from node.store.migrations import migrate
from tests.support.pki import DevFederation
from tests.support.waiting import until

AUTO_POLICY = """\
[[rule]]
name = "test-releases-everything"
when = "true"
outcome = "auto"
legal_basis = "Test Act, section 1"
"""
START_SECONDS = 120


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class NodeProcess:
    """One node: its home, its process, and channels to it."""

    def __init__(self, home: Path, state: str, fed: DevFederation, policy: str) -> None:
        self.home = home
        self.state = state
        self.federation_port = free_port()
        self.national_port = free_port()
        self._fed = fed
        self._process: subprocess.Popen[bytes] | None = None
        make_home(
            home,
            state,
            fed.federation,
            federation_listen=f"127.0.0.1:{self.federation_port}",
            national_listen=f"127.0.0.1:{self.national_port}",
            dev=False,
            policy=policy,
        )
        fed[state].write(home / "pki")
        self.environment: dict[str, str] = {}

    @property
    def endpoint(self) -> str:
        """Address of the federation listener."""
        return f"127.0.0.1:{self.federation_port}"

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.home / "dief.toml"

    @property
    def settings(self) -> node_settings.Settings:
        """Settings as the node reads them."""
        return node_settings.load(self.config, {**os.environ, **self.environment})

    @property
    def pid(self) -> int:
        """Process id of the running node."""
        if self._process is None:
            raise RuntimeError(f"{self.state} is not running")
        return self._process.pid

    def trust(self, admit: Iterable[str]) -> None:
        """Trust the federation's newest roster and admit States, while the node is stopped."""
        store = Store.open(self.settings.database_url)
        migrate(store)
        with store.write() as conn:
            first = self._fed.envelopes[0]
            trust_store.trust_first(conn, first, roster_rules.digest_of(first), now_ms())
            for envelope in self._fed.envelopes[1:]:
                trust_store.update(conn, envelope, now_ms())
            for state in admit:
                if state != self.state:
                    trust_store.admit(conn, state, None, "test")
        store.close()

    def start(self, *, wait: bool = True, signing: bool = True) -> None:
        """Start the process; by default wait until it answers its operator, and signs unless `signing` is False."""
        log = (self.home / "node.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "node.cli", "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        if wait:
            ready = self.ready if signing else self.answers
            self.wait_until(ready)

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until a check holds; where it does not, the failure shows the end of the node's log."""
        try:
            until(ready, f"{self.state} ready", seconds=START_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log:\n{self.log_tail()}") from None

    def ready(self) -> bool:
        """Whether it answers its operator and may sign."""
        return self.answers() and not self.status().signing_paused

    def answers(self) -> bool:
        """Whether it answers its operator."""
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"{self.state} ended with {self._process.returncode}: {self.log_tail()}")
        with socket.create_connection(("127.0.0.1", self.national_port), timeout=1):
            pass
        return bool(self.status().state)

    def log_tail(self, lines: int = 30) -> str:
        """The end of the node's log."""
        path = self.home / "node.log"
        return (
            "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(none)"
        )

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        return process.wait(timeout=30)

    @contextmanager
    def national(self, role: str, credential: Credential | None = None) -> Iterator[grpc.Channel]:
        """A channel to the national listener, as a role or with any certificate."""
        shown = credential or self._fed[self.state].national(role)
        credentials = grpc.ssl_channel_credentials(
            certificates_pem([self._fed[self.state].national_ca.certificate]),
            key_pem(shown.key),
            certificates_pem(shown.chain),
        )
        with grpc.secure_channel(f"127.0.0.1:{self.national_port}", credentials) as channel:
            yield channel

    @contextmanager
    def peer_channel(self, caller: str, credential: Credential | None = None) -> Iterator[grpc.Channel]:
        """A channel to the federation listener, as another State's node or with any certificate."""
        shown = credential or self._fed[caller].node
        credentials = grpc.ssl_channel_credentials(
            certificates_pem([self._fed[self.state].ca.certificate]),
            key_pem(shown.key),
            certificates_pem(shown.chain),
        )
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(self.endpoint, credentials, options=options) as channel:
            yield channel

    def status(self) -> operator_pb2.GetStatusResponse:
        """The node's status."""
        with self.national("operator") as channel:
            stub = operator_pb2_grpc.OperatorServiceStub(channel)
            return stub.GetStatus(operator_pb2.GetStatusRequest(), timeout=5)

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `dief` command against this node."""
        result = subprocess.run(
            [sys.executable, "-m", "node.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **self.environment, "DIEF_CONFIG": str(self.config), "COLUMNS": "200"},
        )
        if check and result.returncode != 0:
            raise AssertionError(f"dief {' '.join(arguments)} failed:\n{result.stdout}\n{result.stderr}")
        return result

    def cli_json(self, *arguments: str) -> Any:
        """Run a `dief` command with --json and parse what it prints."""
        return json.loads(self.cli(*arguments, "--json").stdout)

    def files_holding(self, needle: bytes) -> list[Path]:
        """Files below the node's home whose bytes hold `needle`."""
        return [path for path in self.home.rglob("*") if path.is_file() and needle in path.read_bytes()]


class Federation:
    """Nodes that trust one roster and have admitted each other."""

    def __init__(
        self,
        folder: Path,
        states: Sequence[str] = ("XA", "XB"),
        *,
        signatories: Sequence[str] = (),
        policy: str = AUTO_POLICY,
        admit: bool = True,
    ) -> None:
        self.pki = DevFederation(states, signatories=signatories)
        self.nodes = {
            state: NodeProcess(folder / state.lower(), state, self.pki, policy) for state in self.pki.states
        }

        def endpoints(roster: Any) -> None:
            for participant in roster.participants:
                participant.endpoints[:] = [self.nodes[participant.state].endpoint]

        self.pki.next(endpoints)
        for node in self.nodes.values():
            node.trust(self.nodes if admit else [])

    def __getitem__(self, state: str) -> NodeProcess:
        return self.nodes[state]

    def start(self, *states: str) -> None:
        """Start nodes, all by default, and wait until they answer."""
        chosen = [self.nodes[state] for state in states or self.nodes]
        for node in chosen:
            node.start(wait=False)
        for node in chosen:
            node.wait_until(node.ready)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes.values():
            node.kill()


def desk(channel: grpc.Channel) -> desk_pb2_grpc.DeskServiceStub:
    """Stub of DeskService."""
    return desk_pb2_grpc.DeskServiceStub(channel)


def federation(channel: grpc.Channel) -> federation_pb2_grpc.FederationServiceStub:
    """Stub of FederationService."""
    return federation_pb2_grpc.FederationServiceStub(channel)


def registry(channel: grpc.Channel) -> registry_pb2_grpc.RegistryServiceStub:
    """Stub of RegistryService."""
    return registry_pb2_grpc.RegistryServiceStub(channel)
