"""Lists in pages, from a real server: no row is passed over while others appear and vanish (NOTES L14)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from registry_adapters import Cursor, Milestone, Row
from registry_adapters.errors import SourceError
from registry_adapters.sources.rest import RestSource
from registry_adapters.sources.rest_pages import next_link
from registry_adapters.sources.rest_settings import RestSettings
from tests.support.rest_server import Asked, Reply, RestRegistry

PAGING: dict[str, dict[str, Any]] = {
    "offset": {"style": "offset", "parameter": "offset", "size_parameter": "limit", "size": 3},
    "page": {"style": "page", "parameter": "page"},
    "page-404": {"style": "page", "parameter": "page", "past_end_404": True, "total": "total"},
    "keyset": {"style": "cursor", "parameter": "after", "next": "meta.next"},
    "link": {"style": "link"},
    "next-url": {"style": "next_url", "next": "next"},
    "plain": {"style": "none"},
}
RECORDS = {"link": "", "plain": "data.items"}
COUNTING = ("offset", "page", "page-404")


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"id": f"k{n:03}", "name": f"row {n}"} for n in range(count)]


def source(
    registry: RestRegistry, path: str, paging: dict[str, Any] | None = None, **more: object
) -> RestSource:
    given = {
        "kind": "rest",
        "url": f"{registry.url}/{path}",
        "records": RECORDS.get(path, "results"),
        "key": ["id"],
        "paging": PAGING.get(path, {}) if paging is None else paging,
        **more,
    }
    return RestSource(RestSettings.model_validate(given), Path(), wait=lambda seconds: None)


def keys(parts: list[Row | Milestone]) -> list[str | None]:
    return [part.key for part in parts if isinstance(part, Row)]


def completed(parts: list[Row | Milestone]) -> str:
    last = parts[-1]
    assert isinstance(last, Milestone)
    return last.completed_scan


@pytest.fixture
def registry() -> Iterator[RestRegistry]:
    with RestRegistry() as started:
        yield started


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9, 10])
@pytest.mark.parametrize("family", PAGING)
def test_every_family_of_pages_gives_every_row(registry: RestRegistry, family: str, count: int) -> None:
    registry.rows = rows_of(count)
    parts = list(source(registry, family).read(None))
    assert sorted({*keys(parts)}) == [row["id"] for row in registry.rows]  # type: ignore[type-var]
    assert completed(parts), "the list held still: what it did not show is gone"
    if family in (*COUNTING, "keyset", "plain"):
        assert len(keys(parts)) == count, "and each row once"


@pytest.mark.parametrize("family", COUNTING)
def test_row_that_moves_up_as_another_vanishes_is_not_passed_over(
    registry: RestRegistry, family: str
) -> None:
    for request in range(2, 9):
        registry.rows = rows_of(12)
        registry.asked.clear()
        registry.before(request, lambda: registry.rows.pop(0))
        parts = list(source(registry, family).read(None))
        assert {*keys(parts)} >= {f"k{n:03}" for n in range(1, 12)}, f"before request {request}"
        assert completed(parts)


@pytest.mark.parametrize("family", COUNTING)
@pytest.mark.parametrize("seed", range(12))
def test_rows_that_stay_are_read_however_others_come_and_go(
    registry: RestRegistry, family: str, seed: int
) -> None:
    random = Random(seed)
    staying = {f"s{n:03}" for n in range(20)}
    registry.rows = [{"id": key} for key in sorted(staying)]
    registry.rows += [{"id": f"v{n:03}"} for n in range(20)]
    random.shuffle(registry.rows)

    def change(asked: Asked) -> None:
        for _ in range(random.randrange(4)):
            going = [row for row in registry.rows if row["id"][0] != "s"]
            if going and random.random() < 0.6:
                registry.rows.remove(random.choice(going))
        if random.random() < 0.3:
            registry.rows.insert(random.randrange(len(registry.rows)), {"id": f"n{random.random()}"})

    turn = iter(range(10**6))
    registry.always(
        lambda asked: change(asked) if next(turn) % (2 if family == "offset" else 3) == 0 else None
    )
    found = {*keys(list(source(registry, family).read(None)))}
    assert found >= staying


@pytest.mark.parametrize("family", ["link", "next-url"])
def test_list_behind_addresses_is_read_until_two_passes_agree(registry: RestRegistry, family: str) -> None:
    registry.rows = rows_of(10)
    registry.before(3, lambda: registry.rows.pop(0))
    parts = list(source(registry, family).read(None))
    assert {*keys(parts)} >= {f"k{n:03}" for n in range(1, 10)}
    assert completed(parts)


def test_list_that_never_holds_still_tells_nothing_as_gone(registry: RestRegistry) -> None:
    registry.rows = rows_of(30)

    def lose_one(asked: Asked) -> None:
        registry.rows.pop(0)

    registry.always(lose_one)
    reader = source(registry, "link")
    parts = list(reader.read(None))
    assert not completed(parts)
    assert any("did not hold still" in warning for warning in reader.report.warnings)


@pytest.mark.parametrize("family", ["offset", "page"])
def test_total_that_is_never_reached_tells_nothing_as_gone(registry: RestRegistry, family: str) -> None:
    registry.rows = rows_of(9)
    registry.always(lambda asked: _cut(registry, asked, family))
    parts = list(source(registry, family, {**PAGING[family], "total": "total"}).read(None))
    assert len(keys(parts)) == 6
    assert not completed(parts)


def _cut(registry: RestRegistry, asked: Asked, family: str) -> Reply | None:
    """A registry that shows no more than six rows of a list, whatever it holds."""
    begin = int(asked.query["offset"]) if family == "offset" else (int(asked.query["page"]) - 1) * 3
    return Reply(200, {"total": 9, "results": registry.rows[begin : min(begin + 3, 6)]})


def test_server_that_gives_smaller_pages_than_asked_for_loses_nothing(registry: RestRegistry) -> None:
    registry.rows = rows_of(11)
    registry.cap = 2
    paging = {**PAGING["offset"], "size": 100}
    assert len({*keys(list(source(registry, "offset", paging).read(None)))}) == 11


def test_server_that_repeats_its_last_page_ends_where_the_total_is_reached(registry: RestRegistry) -> None:
    registry.rows = rows_of(7)
    paging = {**PAGING["page"], "total": "total"}
    parts = list(source(registry, "page-clamped", paging).read(None))
    assert len(keys(parts)) == 7
    assert completed(parts)
    registry.asked.clear()
    more = {**PAGING["page"], "more": "more"}
    assert len(keys(list(source(registry, "page-clamped", more).read(None)))) == 7
    with pytest.raises(SourceError) as raised:
        list(source(registry, "page-clamped", PAGING["page"]).read(None))
    assert raised.value.reason == "PAGE_REPEATS"


@pytest.mark.parametrize("family", ["offset", "page", "keyset", "link", "next-url"])
def test_server_that_gives_the_same_page_for_ever_is_found_out(registry: RestRegistry, family: str) -> None:
    same = rows_of(3)
    token = iter(range(10**6))

    def reply(asked: Asked) -> Reply:
        number = next(token)
        link = {"Link": f'<{registry.url}/{family}?n={number}>; rel="next"'}
        if family == "link":
            return Reply(200, same, link)
        return Reply(200, {"results": same, "meta": {"next": f"t{number}"}, "next": f"?n={number}"}, link)

    registry.always(reply)
    with pytest.raises(SourceError) as raised:
        list(source(registry, family).read(None))
    assert raised.value.reason == "PAGE_REPEATS"
    assert len(registry.asked) < 20


def test_token_that_comes_again_is_found_out_although_the_rows_differ(registry: RestRegistry) -> None:
    count = iter(range(10**6))
    registry.always(lambda asked: Reply(200, {"results": [{"id": next(count)}], "meta": {"next": "t"}}))
    with pytest.raises(SourceError) as raised:
        list(source(registry, "keyset").read(None))
    assert raised.value.reason == "PAGE_REPEATS"


def test_endless_list_ends_at_max_pages(registry: RestRegistry) -> None:
    count = iter(range(10**6))

    def reply(asked: Asked) -> Reply:
        number = next(count)
        return Reply(200, {"results": [{"id": number}], "meta": {"next": number}})

    registry.always(reply)
    with pytest.raises(SourceError) as raised:
        list(source(registry, "keyset", max_pages=10).read(None))
    assert raised.value.reason == "TOO_MANY_PAGES"
    assert len(registry.asked) == 10


def test_page_that_is_missing_in_the_middle_is_not_the_end(registry: RestRegistry) -> None:
    registry.rows = rows_of(12)
    registry.always(lambda asked: Reply(404) if asked.query["page"] == "3" else None)
    parts = list(source(registry, "page-404").read(None))
    assert len({*keys(parts)}) == 6
    assert not completed(parts), "the registry tells of twelve rows"


@pytest.mark.parametrize("family", PAGING)
def test_rows_with_one_key_and_different_content_are_all_handed_over(
    registry: RestRegistry, family: str
) -> None:
    registry.rows = [{"id": f"k{n // 2}", "name": f"row {n}"} for n in range(8)]
    parts = list(source(registry, family).read(None))
    found = {part.values["name"] for part in parts if isinstance(part, Row)}
    if family != "keyset":  # which goes on behind a key
        assert found == {f"row {n}" for n in range(8)}


def test_order_without_hold_is_found_out(registry: RestRegistry) -> None:
    count = iter(range(10**6))
    registry.always(lambda asked: Reply(200, {"results": [{"id": next(count)} for _ in range(3)]}))
    with pytest.raises(SourceError) as raised:
        list(source(registry, "page").read(None))
    assert raised.value.reason == "LIST_UNSTABLE"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://localhost:1/x",
        "https://registry.xd.example/x",
        "//registry.xd.example/x",
        "file:///etc/hosts",
        "http://[",
    ],
)
@pytest.mark.parametrize("family", ["link", "next-url"])
def test_next_page_elsewhere_is_never_asked_for(registry: RestRegistry, family: str, elsewhere: str) -> None:
    rows = rows_of(3)
    body: Any = rows if family == "link" else {"results": rows, "next": elsewhere}
    registry.always(lambda asked: Reply(200, body, {"Link": f"<{elsewhere}>; rel=next"}))
    with pytest.raises(SourceError) as raised:
        list(source(registry, family).read(None))
    assert raised.value.reason == "NEXT_ELSEWHERE"
    assert "registry.xd" not in str(raised.value)
    assert len(registry.asked) == 1


def test_token_from_the_last_record_goes_on_behind_it(registry: RestRegistry) -> None:
    registry.rows = rows_of(8)
    paging = {"style": "cursor", "parameter": "after", "last": "id", "more": "has_more"}
    assert len(keys(list(source(registry, "keyset", paging).read(None)))) == 8


def test_token_that_means_from_here_on_ends_with_its_own_row(registry: RestRegistry) -> None:
    registry.rows = rows_of(8)

    def reply(asked: Asked) -> Reply:
        left = [row for row in registry.rows if row["id"] >= asked.query.get("after", "")]
        return Reply(200, {"results": left[:3]})

    registry.always(reply)
    paging = {"style": "cursor", "parameter": "after", "last": "id"}
    assert len({*keys(list(source(registry, "keyset", paging).read(None)))}) == 8


@pytest.mark.parametrize("token", [{"a": 1}, [1], "x" * 9000, 1.5])
def test_token_that_is_none_is_told(registry: RestRegistry, token: object) -> None:
    registry.always(lambda asked: Reply(200, {"results": rows_of(3), "meta": {"next": token}}))
    with pytest.raises(SourceError) as raised:
        list(source(registry, "keyset").read(None))
    assert raised.value.reason == "NEXT_UNFIT"


@pytest.mark.parametrize("family", COUNTING)
def test_pass_goes_on_after_any_row_and_tells_what_is_gone(registry: RestRegistry, family: str) -> None:
    registry.rows = rows_of(10)
    whole = list(source(registry, family).read(None))
    for stop in range(len(whole)):
        cursor = Cursor.decode(whole[stop].cursor.encode(), "rest")
        rest = list(source(registry, family).read(cursor))
        assert {*keys(whole[: stop + 1]), *keys(rest)} == {row["id"] for row in registry.rows}
        if isinstance(whole[stop], Row):
            assert completed(rest) == completed(whole), "it is the same pass"


@pytest.mark.parametrize("family", COUNTING)
def test_pass_that_goes_on_finds_its_way_back_where_rows_vanished_meanwhile(
    registry: RestRegistry, family: str
) -> None:
    registry.rows = rows_of(20)
    parts = source(registry, family).read(None)
    read = [next(parts) for _ in range(13)]
    cursor = Cursor.decode(read[-1].cursor.encode(), "rest")
    del registry.rows[2:9]
    rest = list(source(registry, family).read(cursor))
    assert {*keys(read), *keys(rest)} >= {row["id"] for row in registry.rows}


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ('<http://a/2>; rel="next"', "http://a/2"),
        ("<http://a/2>; rel=next", "http://a/2"),
        ('<http://a/1>; rel="prev", <http://a/3>; rel="NEXT"', "http://a/3"),
        ('<http://a/1,2;x>; title="rel=next"; rel="last"', None),
        ('<http://a/2>; type="x"; rel = "first next"', "http://a/2"),
        ("<<<<" * 9000, None),
        ("", None),
    ],
)
def test_link_header_is_read_as_the_rfc_has_it(header: str, address: str | None) -> None:
    assert next_link(header) == address
