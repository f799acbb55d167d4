"""Federations of real node processes, one a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.nodes import Federation


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """XA, XB and XE States Parties, XD signatory; all up, all admitted, everything released by rule."""
    with Federation(tmp_path_factory.mktemp("four"), ["XA", "XB", "XE"], signatories=["XD"]) as federation:
        federation.start()
        yield federation
