"""The published vectors in another language."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.make_vectors import FOLDER

Run = Callable[[str, Path], "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.timeout(420)


def test_another_language_recomputes_every_published_vector(
    client: Run,
) -> None:
    result = client("vectors", FOLDER)
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout)
    assert set(counts) == {path.name for path in FOLDER.glob("*.json")}
    assert all(counts.values())
