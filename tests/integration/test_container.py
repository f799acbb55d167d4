"""The image of deploy/Containerfile, built and run: two nodes on a network of their own and an adapter beside one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers import ROOT, Container, Engine
from tests.support.registries import arm, drop
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(1800)

PATIENCE = 240
"""Seconds: each look is a process in a container on a machine that may be busy."""
HARDENED = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp")
BOUNDED = ("--memory", "512m", "--pids-limit", "200")


class Pair:
    """XA and XB as containers, the adapter of XB's register of seizures, and the folder that it reads."""

    def __init__(self, engine: Engine, image: str, folder: Path) -> None:
        self._engine = engine
        self._prefix = f"dief-test-{os.getpid()}"
        self._containers: list[Container] = []
        self._volumes: list[str] = []
        self.image = image
        self.mapping = folder / "mapping.toml"
        (folder / "drop").mkdir()
        self.federation = f"{self._prefix}-federation"
        self.national = f"{self._prefix}-national"
        for network in (self.federation, self.national):
            engine.do("network", "create", "--internal", network)
        self._make_homes()
        self.xa = self._node("xa")
        self.xb = self._node("xb")
        engine.do("network", "connect", "--alias", "xb", self.national, self.xb.name)
        self.adapter = self._adapter(folder / "drop")

    def volume(self, name: str, path: str) -> tuple[str, str]:
        """Options that mount a volume."""
        full = f"{self._prefix}-{name}"
        if full not in self._volumes:
            self._volumes.append(full)
            self._engine.do("volume", "create", full)
        return "--volume", f"{full}:{path}"

    def connect(self, node: Container, *, connected: bool) -> None:
        """Plug a node into the federation's network, or unplug it."""
        if connected:
            alias = node.name.rpartition("-")[2]
            self._engine.do("network", "connect", "--alias", alias, self.federation, node.name)
        else:
            self._engine.do("network", "disconnect", self.federation, node.name)

    def federate(self) -> None:
        """Start everything and introduce the States to each other."""
        for container in (self.xa, self.xb, self.adapter):
            container.start()
        for node in (self.xa, self.xb):
            until(lambda node=node: healthy(node), f"health of {node.name}", seconds=PATIENCE)  # type: ignore[misc]
            digest = node.do("cat", "/etc/dief/roster.sha256").strip()
            node.do("dief", "roster", "trust", "/etc/dief/roster.json", "--sha256", digest)
        self.xa.do("dief", "peer", "admit", "XB")
        self.xb.do("dief", "peer", "admit", "XA")

    def drop(self, name: str, *lines: str) -> None:
        """Hand a file of the register over."""
        drop(self.mapping, name, *lines)

    def approve(self, drafts: int) -> None:
        """As XB's approver, approve drafts once that many wait."""

        def waiting() -> list[str]:
            found = [row["draft"] for row in self.xb.json("dief", "release", "list")]
            return found if len(found) >= drafts else []

        for draft in until(waiting, f"{drafts} drafts at XB; {self.adapter.logs()}", seconds=PATIENCE):
            self.xb.do("dief", "release", "approve", draft)

    def remove(self) -> None:
        """Remove everything but the image."""
        for container in self._containers:
            container.remove()
        for network in (self.federation, self.national):
            self._engine.try_("network", "rm", "--force", network)
        for volume in self._volumes:
            self._engine.try_("volume", "rm", "--force", volume)

    def _make_homes(self) -> None:
        folders = ("xa", "xb", "xb-registry", "keepers")
        mounts = [option for name in folders for option in self.volume(name, f"/homes/{name}")]
        self._engine.do(
            *("run", "--rm", "--user", "0", "--network", "none", "--no-healthcheck", *mounts),
            *("--volume", f"{ROOT / 'deploy'}:/deploy:ro,z", "--entrypoint", "sh", self.image),
            *("/deploy/try-homes.sh", "/homes", "10001"),
        )

    def _create(self, name: str, *arguments: str) -> Container:
        made = Container(self._engine, f"{self._prefix}-{name}", [*HARDENED, *BOUNDED, *arguments])
        self._containers.append(made)
        return made

    def _node(self, name: str) -> Container:
        return self._create(
            name,
            *("--hostname", name, "--network", self.federation, "--network-alias", name),
            *self.volume(name, "/etc/dief"),
            *self.volume(f"{name}-data", "/var/lib/dief"),
            *self.volume(f"{name}-anchor", "/var/lib/dief-anchor"),
            self.image,
        )

    def _adapter(self, folder: Path) -> Container:
        files = ("--cert", "/etc/dief/registry.pem", "--key", "/etc/dief/registry.key")
        return self._create(
            "adapter",
            *("--network", self.national, "--no-healthcheck"),
            *self.volume("xb-registry", "/etc/dief:ro"),
            *self.volume("xb-adapter", "/var/lib/dief"),
            *("--volume", f"{folder}:/var/lib/registry:ro,z", self.image),
            *(
                "adapter",
                "run",
                "/etc/dief/mapping.toml",
                "--every",
                "1s",
                "--state",
                "/var/lib/dief/adapter",
            ),
            *("--node", "xb:7444", *files, "--ca", "/etc/dief/national-ca.pem", "--json"),
        )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    engine = Engine.find(tmp_path_factory.mktemp("engine"))
    made = Pair(engine, engine.image(engine.base()), tmp_path_factory.mktemp("registry"))
    try:
        made.federate()
        yield made
    finally:
        made.remove()


def healthy(node: Container) -> bool:
    """Whether the command of the image's health check succeeds in the container."""
    if not node.running():
        raise RuntimeError(f"{node.name} ended with {node.exit_status()}: {node.logs()[-2000:]}")
    return node.try_(*health_command(node)).returncode == 0


def health_command(node: Container) -> list[str]:
    config = node._engine.inspect("container", node.name)["Config"]
    kind, *command = config["Healthcheck"]["Test"]
    assert kind == "CMD"
    return [str(part) for part in command]


def alerts_with(node: Container, *serials: str) -> dict[str, set[str]]:
    """Serial to the names of the alerts that a node finds by it."""
    terms = [word for serial in serials for word in ("--serial", serial)]
    found: dict[str, set[str]] = {serial: set() for serial in serials}
    for hit in node.json("dief", "screen", *terms)["hits"]:
        found[hit["term"]].add(hit["alert"])
    return found


def arrived(node: Container, *serials: str) -> list[str]:
    """Name of the one alert of each serial, once a node has them all."""

    def look() -> list[str]:
        found = alerts_with(node, *serials)
        return [name for names in found.values() for name in names] if all(found.values()) else []

    found = until(look, f"{', '.join(serials)} at {node.name}; {node.logs()[-2000:]}", seconds=PATIENCE)
    assert len(found) == len(set(found)) == len(serials), "one alert for each"
    return found


def test_a_row_of_a_registry_in_one_container_is_an_alert_in_the_other_state(pair: Pair) -> None:
    pair.drop("first.csv", arm("1", serial="CONT 10001"), arm("2", serial="CONT 10002", situation="REGULAR"))
    pair.approve(1)
    (name,) = arrived(pair.xa, "CONT 10001")
    assert name.startswith("alerts/XB/")
    assert alerts_with(pair.xa, "CONT 10002") == {"CONT 10002": set()}, "a regular arm is nobody's business"


@pytest.mark.parametrize("who", ["xa", "xb", "adapter"])
def test_nothing_in_a_container_is_privileged_or_writable(pair: Pair, who: str) -> None:
    container: Container = getattr(pair, who)
    status = dict(line.split(":", 1) for line in container.do("cat", "/proc/1/status").splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert status["NoNewPrivs"].strip() == "1"
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    for folder in ("/", "/opt/dief", "/etc", "/usr/lib"):
        done = container.try_("touch", f"{folder}/probe")
        assert done.returncode != 0, f"{folder} can be written"
    mounts = [line.split() for line in container.do("cat", "/proc/mounts").splitlines()]
    assert next(options.split(",") for _, place, _, options, *_ in mounts if place == "/")[0] == "ro"


def test_the_adapter_holds_the_registrys_certificate_and_no_key_of_the_node(pair: Pair) -> None:
    held = set(pair.adapter.do("ls", "/etc/dief").split())
    assert held == {"mapping.toml", "national-ca.pem", "registry.key", "registry.pem"}


def test_the_image_has_no_installer_and_no_keys(pair: Pair) -> None:
    assert pair.xa.try_("python3", "-m", "pip").returncode != 0
    found = pair.xa.do("find", "/opt/dief", "-name", "*.key", "-o", "-name", "grpc_tools")
    assert found.split() == []


def test_the_health_check_answers_and_fails_where_the_node_hangs(pair: Pair) -> None:
    assert healthy(pair.xa)
    pair.xa.signal("STOP")
    try:
        assert not healthy(pair.xa)
    finally:
        pair.xa.signal("CONT")
    until(lambda: healthy(pair.xa), "health after the node went on", seconds=PATIENCE)


def test_i5_sigkill_of_every_container_loses_and_doubles_nothing(pair: Pair) -> None:
    """I5: what was released before, and what was on its way, is there once after all were killed and started."""
    serials = [f"KILLED {number}" for number in range(20001, 20009)]
    pair.drop("before.csv", arm("k0", serial=serials[0]))
    pair.approve(1)
    before = arrived(pair.xa, serials[0])
    pair.drop("during.csv", *(arm(f"k{n}", serial=serial) for n, serial in enumerate(serials[1:], 1)))
    until(lambda: pair.xb.json("dief", "release", "list"), "the first drafts at XB", seconds=PATIENCE)
    for container in (pair.adapter, pair.xb, pair.xa):
        container.signal("KILL")
    until(
        lambda: not any(map(Container.running, (pair.adapter, pair.xb, pair.xa))),
        "all dead",
        seconds=PATIENCE,
    )
    for container in (pair.xa, pair.xb, pair.adapter):
        container.start()
    until(lambda: healthy(pair.xb), "health of XB", seconds=PATIENCE)
    pair.approve(len(serials) - 1)
    found = arrived(pair.xa, *serials)
    assert before[0] in found
    assert arrived(pair.xb, *serials) == found


def test_i5_a_node_cut_off_the_network_catches_up_when_it_is_back(pair: Pair) -> None:
    pair.connect(pair.xa, connected=False)
    pair.drop("cut.csv", arm("c1", serial="CUTOFF 3001"))
    pair.approve(1)
    assert alerts_with(pair.xa, "CUTOFF 3001") == {"CUTOFF 3001": set()}
    pair.connect(pair.xa, connected=True)
    arrived(pair.xa, "CUTOFF 3001")


@pytest.mark.parametrize("who", ["adapter", "xb"])
def test_sigterm_drains_and_ends_with_zero(pair: Pair, who: str) -> None:
    container: Container = getattr(pair, who)
    assert container.stop() == 0
    if who == "xb":
        assert '"event": "node_stopped"' in container.logs()
    container.start()
    until(container.running, "the container after it was started again", seconds=PATIENCE)
