"""Containers for tests: the engine that this machine has, a base image, and the image of deploy/Containerfile.

Rules:
- podman or docker, whichever is installed and answers. Where none can run a container here, the test is skipped
  with what the engine said.
- Only `make e2e` (DIEF_E2E=1) runs them: to build takes a minute on an idle machine, and a base may have to be fetched.
- The base is the image that DIEF_TEST_BASE names, else the Containerfile's own, else one that an earlier run made;
  where none is stored here it is pulled, or as root made with debootstrap.
- Packages come as wheels by pip's own configuration and are installed without a network.
- Everything made here carries a prefix and is removed at the end, but for the images, which save the next build.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONTEXT = (
    "requirements.txt",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "protos",
    "node",
    "registry_adapters",
    "deploy",
)
OWN_BASE = "localhost/dief-test-base:bookworm"
IMAGE = "localhost/dief-test:latest"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
GLIBC = ("2_17", "2_24", "2_26", "2_27", "2_28", "2_31", "2_34")
"""Versions in the names of wheels; the bases that fit have newer ones."""
PLAIN_PODMAN = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""For podman as root inside a machine that has neither systemd nor the right to raise limits."""


def wanted() -> bool:
    """Whether this run may take its time and fetch images: `make e2e`."""
    return os.environ.get("DIEF_E2E") == "1"


class Engine:
    """podman or docker, able to run a container here."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.name = Path(program).name
        self._folder = folder
        self.environment = dict(os.environ)

    @classmethod
    def find(cls, folder: Path) -> Engine:
        """The first engine that answers.

        Args:
            folder: For its files.

        Raises:
            pytest.skip.Exception: There is none, or none is wanted; the message says why.
        """
        if not wanted():
            pytest.skip("Containers are built and run by `make e2e`.")
        told = []
        for name in ("podman", "docker"):
            program = shutil.which(name)
            if program is None:
                continue
            engine = cls(program, folder)
            answer = engine.try_("info", seconds=60)
            if answer.returncode == 0:
                return engine
            told.append(f"{name}: {_last_line(answer)}")
        pytest.skip(
            "; ".join(told) or "No container engine is installed (podman with runc and iptables, or docker)."
        )

    def try_(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """A command of the engine, whatever its end."""
        return subprocess.run(
            [self.program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env=self.environment,
        )

    def do(self, *arguments: str, seconds: float = 120) -> str:
        """A command of the engine that must succeed; what it printed."""
        done = self.try_(*arguments, seconds=seconds)
        if done.returncode != 0:
            words = " ".join(arguments)
            raise AssertionError(
                f"{self.name} {words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )
        return done.stdout

    def inspect(self, kind: str, name: str) -> Any:
        """What the engine knows of a container or image."""
        return json.loads(self.do(kind, "inspect", name))[0]

    def has_image(self, name: str) -> bool:
        """Whether an image is stored here."""
        return self.try_("image", "inspect", name).returncode == 0

    def base(self) -> str:
        """Name of a base image that a container of it runs from.

        Raises:
            pytest.skip.Exception: There is none; the message says why.
        """
        default = _default_base()
        named = os.environ.get("DIEF_TEST_BASE")
        choices = [named] if named else [default, OWN_BASE]
        found = next((choice for choice in choices if self.has_image(choice)), None)
        if found is None:
            found = self._fetched(named or default)
        self._settle(found)
        return found

    def image(self, base: str) -> str:
        """The image that deploy/Containerfile makes of a base, built without a network."""
        context = self._folder / "context"
        context.mkdir()
        for name in CONTEXT:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "try")
                shutil.copytree(ROOT / name, context / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, context / name)
        self._wheelhouse(base, context / "wheelhouse")
        options = ["--format", "docker"] if self.name == "podman" else []
        self.do(
            *("build", *options, "--network", "none", "--build-arg", f"BASE={base}", "-t", IMAGE),
            *("-f", str(context / "deploy" / "Containerfile"), str(context)),
            seconds=900,
        )
        shutil.rmtree(context)
        return IMAGE

    def _wheelhouse(self, base: str, folder: Path) -> None:
        """Wheels of requirements.txt that the base's Python takes."""
        script = "import platform, sys; print('%d.%d' % sys.version_info[:2], platform.machine())"
        version, machine = self.do("run", "--rm", "--network", "none", base, "python3", "-c", script).split()
        platforms = [f"--platform=manylinux_{glibc}_{machine}" for glibc in GLIBC]
        fetched = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"),
                *("--only-binary=:all:", "--implementation=cp", f"--python-version={version}", *platforms),
                *(f"--platform=manylinux2014_{machine}", "--require-hashes"),
                *("--requirement", str(ROOT / "requirements.txt"), "--dest", str(folder)),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if fetched.returncode != 0:
            pytest.skip(f"pip finds no wheels for Python {version} on {machine}: {_last_line(fetched)}")

    def _fetched(self, name: str) -> str:
        pulled = self.try_("pull", name, seconds=600)
        if pulled.returncode == 0:
            return name
        if shutil.which("debootstrap") is None or os.geteuid() != 0:
            pytest.skip(f"No base image: {_last_line(pulled)}; and debootstrap as root is not to be had.")
        with tempfile.TemporaryDirectory() as folder:
            tree, archive = Path(folder) / "tree", Path(folder) / "tree.tar"
            made = subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", str(tree)],
                capture_output=True,
                text=True,
                check=False,
                timeout=900,
            )
            if made.returncode != 0:
                pytest.skip(f"No base image: {_last_line(pulled)}; debootstrap: {_last_line(made)}")
            subprocess.run(["tar", "-C", str(tree), "-cf", str(archive), "."], check=True)
            self.do("import", str(archive), OWN_BASE, seconds=300)
        return OWN_BASE

    def _settle(self, base: str) -> None:
        """See that a container runs on a network of its own, with podman also by plainer settings."""
        answer = self._runs(base)
        if answer.returncode != 0 and self.name == "podman":
            plain = self._folder / "containers.conf"
            plain.write_text(PLAIN_PODMAN, encoding="utf-8")
            self.environment["CONTAINERS_CONF"] = str(plain)
            answer = self._runs(base)
        if answer.returncode != 0:
            pytest.skip(f"{self.name} can not run a container here: {_last_line(answer)}")

    def _runs(self, base: str) -> subprocess.CompletedProcess[str]:
        network = f"dief-probe-{os.getpid()}"
        made = self.try_("network", "create", "--internal", network)
        if made.returncode != 0:
            return made
        try:
            check = "import sys, venv; sys.exit(sys.version_info < (3, 11))"
            return self.try_("run", "--rm", "--network", network, base, "python3", "-c", check)
        finally:
            self.try_("network", "rm", network)


class Container:
    """One container that was created; `start` starts it."""

    def __init__(self, engine: Engine, name: str, arguments: Sequence[str]) -> None:
        """Create it.

        Args:
            engine: Who runs it.
            name: Its name.
            arguments: Of `create`: options, image, command.
        """
        self._engine = engine
        self.name = name
        engine.do("create", "--name", name, *arguments)

    def start(self) -> None:
        """Start it, also after it ended."""
        self._engine.do("start", self.name)

    def stop(self, seconds: int = 60) -> int:
        """SIGTERM, and SIGKILL after a while; its exit status, 137 where it had to be killed."""
        self._engine.do("stop", "--time", str(seconds), self.name, seconds=seconds + 60)
        return self.exit_status()

    def signal(self, name: str) -> None:
        """Send a signal."""
        self._engine.do("kill", "--signal", name, self.name)

    def exit_status(self) -> int:
        """With what it ended."""
        return int(self._engine.inspect("container", self.name)["State"]["ExitCode"])

    def running(self) -> bool:
        """Whether it runs."""
        return bool(self._engine.inspect("container", self.name)["State"]["Running"])

    def try_(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command inside, whatever its end."""
        return self._engine.try_("exec", self.name, *command)

    def do(self, *command: str) -> str:
        """A command inside that must succeed; what it printed."""
        return self._engine.do("exec", self.name, *command)

    def json(self, *command: str) -> Any:
        """A command inside with --json; what it said."""
        return json.loads(self.do(*command, "--json"))

    def logs(self) -> str:
        """Everything it wrote."""
        done = self._engine.try_("logs", self.name)
        return done.stdout + done.stderr

    def remove(self) -> None:
        """Remove it, running or not."""
        self._engine.try_("kill", self.name)
        self._engine.try_("rm", "--force", "--volumes", self.name)


def _default_base() -> str:
    text = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    found = re.search(r"^ARG BASE=(\S+)$", text, re.MULTILINE)
    assert found is not None, "deploy/Containerfile names a base"
    return found[1]


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1][:300] if lines else f"ended with {done.returncode}"
