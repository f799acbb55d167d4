"""The house keeps its promises: a build from pins, locks without addresses, nothing generated in git."""

from __future__ import annotations

import importlib
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt")
PINNED = r"[a-z0-9.-]+(\[[a-z,]+\])?==\S+ .*\\\n    --hash=sha256:[0-9a-f]{64}"
PROTOS = sorted(path.stem for path in (ROOT / "protos" / "dief" / "v1").glob("*.proto"))


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_locked_environment_builds_with_what_an_isolated_build_gets(pyproject: dict[str, Any]) -> None:
    assert set(pyproject["build-system"]["requires"]) <= set(pyproject["dependency-groups"]["build"])


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_registry_and_hashes_every_package(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash)", text, re.MULTILINE)
    packages = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(packages) > 20
    for package in packages:
        assert re.match(PINNED, package), package
            package
        )


def test_development_lock_pins_the_runtime_lock_alike() -> None:
    pins = [
        set(re.findall(r"^([a-z0-9]\S*==\S+)", (ROOT / lock).read_text(), re.MULTILINE)) for lock in LOCKS
    ]
    assert pins[0] <= pins[1]


def test_nothing_generated_is_committed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not re.search(r"_pb2|^gen/|^uv\.lock|^pylock", tracked, re.MULTILINE)


@pytest.mark.parametrize("proto", PROTOS)
def test_every_proto_is_importable_with_its_stubs(proto: str) -> None:
    for suffix in ("_pb2", "_pb2_grpc"):
        module = importlib.import_module(f"dief.v1.{proto}{suffix}")
        assert module.__file__ is not None
        assert Path(module.__file__).with_suffix(".pyi").is_file()
