"""Lists that change between any two requests: what stays is read (NOTES L14), with offsets always."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import Url, parse_url

from registry_adapters.sources.rest_pages import Page, Walk, mark_of
from registry_adapters.sources.rest_settings import PagingSettings

HERE = parse_url("https://registry.xa.example/list")


class Registry:
    """A list whose rows come and go, but for those that stay; each request may find it changed."""

    def __init__(self, staying: int, passing: int, random: Random, rate: float, size: int) -> None:
        self.rows = [f"s{n}" for n in range(staying)] + [f"p{n}" for n in range(passing)]
        self.random, self.rate, self.size = random, rate, size
        self.new = 0
        random.shuffle(self.rows)

    def change(self) -> None:
        """Between two requests."""
        while self.random.random() < self.rate:
            going = [row for row in self.rows if row[0] != "s"]
            if going and self.random.random() < 0.5:
                self.rows.remove(self.random.choice(going))
            else:
                self.new += 1
                self.rows.insert(self.random.randrange(len(self.rows) + 1), f"n{self.new}")

    def ask(self, asked: Mapping[str, str] | Url) -> Page | None:
        """A page by its number, or from an offset."""
        assert not isinstance(asked, Url)
        self.change()
        begin = int(asked["offset"]) if "offset" in asked else (int(asked["page"]) - 1) * self.size
        records = [{"id": row} for row in self.rows[begin : begin + self.size]]
        return Page(records, [mark_of(record["id"], record) for record in records], records, "", HERE)


def read(registry: Registry, style: str) -> tuple[set[str], Walk]:
    paging = PagingSettings.model_validate(
        {"style": style, "parameter": style, "size_parameter": "size", "size": registry.size}
    )
    walk = Walk(paging, registry.ask)
    return {record["id"] for records, _ in walk.steps() for record in records}, walk


@given(
    st.integers(0, 30),
    st.integers(0, 30),
    st.randoms(use_true_random=False),
    st.floats(0, 0.5),
    st.integers(3, 9),
)
def test_every_row_that_stays_is_read_by_offsets(
    staying: int, passing: int, random: Random, rate: float, size: int
) -> None:
    found, _ = read(Registry(staying, passing, random, rate, size), "offset")
    assert found >= {f"s{n}" for n in range(staying)}


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.3])
def test_pass_over_page_numbers_that_held_still_has_read_every_row_that_stays(rate: float) -> None:
    for seed in range(60):
        found, walk = read(Registry(40, 40, Random(seed), rate, 5), "page")
        assert walk.moved or found >= {f"s{n}" for n in range(40)}
        assert rate or not walk.moved
