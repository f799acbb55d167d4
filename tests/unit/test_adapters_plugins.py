"""Adapters of a State's own: the package that `dief adapter new` writes works as it is, from its entry point on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_adapters.conformance import try_source
from registry_adapters.errors import AdapterError
from registry_adapters.skeleton import write_package
from registry_adapters.source import Cursor, Milestone, Row

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed into a folder of its own: `site` beside it."""
    folder = tmp_path_factory.mktemp("own") / "xa-arms-book"
    write_package(folder, "arms_book")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
            "--disable-pip-version-check", "--root-user-action", "ignore", "--target", str(folder.parent / "site"),
            str(folder),
        ],
        check=True,
    )  # fmt: skip
    return folder


def run(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(package.parent / "site"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "node.cli", "adapter", *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def test_a_package_as_written_is_found_tried_and_read(package: Path) -> None:
    mapping = str(package / "mapping.toml")
    conform = run(package, "conform", mapping, "--json")
    assert conform.returncode == 0, conform.stderr
    assert all(trial["holds"] for trial in json.loads(conform.stdout))
    check = run(package, "check", mapping, "--json")
    assert (json.loads(check.stdout)["watched"], json.loads(check.stdout)["quarantined"]) == (2, 0)


def test_the_trials_that_come_with_the_package_pass(package: Path) -> None:
    path = os.pathsep.join([str(package.parent / "site"), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(package)],
        capture_output=True, text=True, check=False, cwd=package, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout


def test_settings_of_the_package_are_checked_by_the_package(package: Path) -> None:
    bad = package / "bad.toml"
    text = (package / "mapping.toml").read_text(encoding="utf-8")
    bad.write_text(text.replace('file = "', 'fiel = "'), encoding="utf-8")
    result = run(package, "check", str(bad))
    assert result.returncode == 1
    assert "fiel" in result.stderr
    assert "bad.toml:7" in result.stderr


def test_a_kind_that_nobody_brings_is_told_with_those_that_there_are(package: Path, tmp_path: Path) -> None:
    text = (
        (package / "mapping.toml")
        .read_text(encoding="utf-8")
        .replace('"arms_book"\nfile', '"arms_bok"\nfile')
    )
    (tmp_path / "m.toml").write_text(text, encoding="utf-8")
    result = run(package, "check", str(tmp_path / "m.toml"))
    assert result.returncode == 1
    assert "'csv'" in result.stderr


@pytest.mark.parametrize("kind", ["Arms", "1arms", "a", "arms-book", "../arms"])
def test_a_name_that_does_not_do_writes_nothing(tmp_path: Path, kind: str) -> None:
    with pytest.raises(AdapterError, match="cannot be the name"):
        write_package(tmp_path / "new", kind)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="exists already"):
        write_package(tmp_path, "arms")
    assert list(tmp_path.iterdir()) == []


# -- the trials themselves tell a bad source from a good one ---------------------------------------------------------


class Listed:
    """A source of a list, with one fault at a time."""

    kind = "listed"

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.reads = 0

    def columns(self) -> tuple[str, ...]:
        return ("id", "id") if self.fault == "columns" else ("id",)

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        Listed.total += 1
        begin = int(cursor.state["n"]) if cursor else 0
        if self.fault == "loses" and cursor:
            begin += 1
        if self.fault == "raises":
            raise ZeroDivisionError
        kind = "other" if self.fault == "kind" else self.kind
        for n in range(begin, 20):
            key = None if self.fault == "keyless" and n == 3 else str(n)
            value = Listed.total if self.fault == "changes" else n
            yield Row(key, {"id": value}, f"list:{n}", Cursor(kind, {"n": n + 1}))
        yield Milestone(Cursor(kind, {"n": 20}))

    total = 0


def test_a_good_source_passes_every_trial() -> None:
    assert [trial for trial in try_source(Listed, fingerprint=lambda: 1) if not trial.held] == []


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("columns", "columns have names"),
        ("keyless", "every row has a key"),
        ("kind", "every cursor"),
        ("changes", "reading twice"),
        ("loses", "without losing one"),
        ("raises", "every row has a key"),
    ],
)
def test_a_trial_tells_a_source_that_breaks_its_rule(fault: str, rule: str) -> None:
    failed = [trial for trial in try_source(lambda: Listed(fault)) if not trial.held]
    assert any(rule in trial.rule for trial in failed), failed
    assert all(trial.seen for trial in failed)


def test_a_registry_that_was_written_is_told() -> None:
    marks = iter(range(100))
    failed = [trial for trial in try_source(Listed, fingerprint=lambda: next(marks)) if not trial.held]
    assert [trial.rule for trial in failed] == ["the registry is not written"]
