"""The house holds together: what builds is what is locked, and nothing generated or local is committed."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _locked(lock: str) -> dict[str, set[Version]]:
    """Returns the versions that a lock pins by name (more than one where markers tell platforms apart)."""
    pins: dict[str, set[Version]] = {}
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        if pin := re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)", line):
            pins.setdefault(canonicalize_name(pin[1]), set()).add(Version(pin[2]))
    return pins


def _required() -> list[Requirement]:
    extras = [line for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra]
    lines = [*PROJECT["project"]["dependencies"], *extras, *PROJECT["dependency-groups"]["build"]]
    return [Requirement(line) for line in lines]


def test_the_locked_environment_builds_with_exactly_what_an_isolated_build_takes() -> None:
    isolated = set(PROJECT["build-system"]["requires"])
    locked = set(PROJECT["dependency-groups"]["build"])
    assert locked - isolated == {"editables>=0.6"}
    assert isolated <= locked


@pytest.mark.parametrize("lock", LOCKS)
def test_each_lock_satisfies_what_the_project_requires(lock: str) -> None:
    pins = _locked(lock)
    unmet = [
        str(requirement)
        for requirement in _required()
        if not any(map(requirement.specifier.contains, pins.get(canonicalize_name(requirement.name), ())))
    ]
    assert unmet == [], "mend: make lock"


def test_the_development_lock_only_adds_to_the_runtime_lock() -> None:
    development = _locked("requirements-dev.txt")
    assert {name: development.get(name) for name in _locked("requirements.txt")} == _locked(
        "requirements.txt"
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_registry(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=sha256:)", text, re.MULTILINE)


def test_the_code_generator_is_not_newer_than_the_grpc_that_runs_its_code() -> None:
    pins = _locked("requirements.txt")
    assert max(pins["grpcio-tools"]) <= min(pins["grpcio"])


def test_nothing_generated_is_committed() -> None:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git work tree: an unpacked archive has nothing committed")
    made = re.compile(r"^gen/|_pb2(_grpc)?\.pyi?$|^(uv\.lock|pylock\.toml)$")
    assert [name for name in listing.stdout.splitlines() if made.search(name)] == []
