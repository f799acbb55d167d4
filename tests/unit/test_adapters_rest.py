"""A registry that answers in JSON: marks, what is asked for again, records as they really come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from registry_adapters import Cursor, Mapping, Milestone, Row, open_source
from registry_adapters.errors import MappingError, SchemaDriftError, SourceError
from registry_adapters.sources.rest import RestSource
from registry_adapters.sources.rest_settings import RestSettings
from tests.support.rest_server import Reply, RestRegistry

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
PLAIN = {"records": "data.items"}
MARKED: dict[str, Any] = {
    **PLAIN,
    "watermark": "updated",
    "since_parameter": "since",
    "overlap_seconds": "60s",
}


@pytest.fixture
def registry() -> Iterator[RestRegistry]:
    with RestRegistry() as started:
        yield started


def source(
    registry: RestRegistry,
    path: str = "plain",
    needed: tuple[str, ...] = (),
    clock: Callable[[], float] = lambda: NOW,
    **more: object,
) -> RestSource:
    given = {"kind": "rest", "url": f"{registry.url}/{path}", "key": ["id"], **PLAIN, **more}
    return RestSource(
        RestSettings.model_validate(given), Path(), frozenset(needed), clock, wait=lambda seconds: None
    )


def read(reader: RestSource, cursor: Cursor | None = None) -> tuple[list[Row], Milestone]:
    parts = list(reader.read(cursor))
    last = parts[-1]
    assert isinstance(last, Milestone)
    return [part for part in parts if isinstance(part, Row)], last


def after(milestone: Milestone) -> Cursor | None:
    return Cursor.decode(milestone.cursor.encode(), "rest")


def row(key: int, at: str = "2026-11-01T10:00:00Z", **more: object) -> dict[str, Any]:
    return {"id": key, "updated": at, **more}


# -- Marks


def test_run_asks_from_the_newest_mark_less_the_overlap(registry: RestRegistry) -> None:
    registry.rows = [row(1), row(2, "2026-11-01T10:05:00Z"), row(3, "2026-11-01T09:00:00Z")]
    found, end = read(source(registry, **MARKED))
    assert [r.key for r in found] == ["1", "2", "3"]
    assert "since" not in registry.asked[-1].query
    registry.rows.append(row(4, "2026-11-01T10:05:00Z"))
    registry.rows.append(row(5, "2026-11-01T10:04:10Z"))
    found, end = read(source(registry, **MARKED), after(end))
    assert registry.asked[-1].query["since"] == "2026-11-01T10:04:00Z"
    assert [r.key for r in found] == ["2", "4", "5"], "one with the same mark, one that came late"
    assert not end.completed_scan, "changes alone do not tell what is gone"


def test_killed_run_asks_from_the_same_mark_again(registry: RestRegistry) -> None:
    registry.rows = [row(1)]
    _, end = read(source(registry, **MARKED))
    registry.rows += [row(n, f"2026-11-02T10:0{n}:00Z") for n in range(2, 6)]
    parts = source(registry, **MARKED).read(after(end))
    seen = [next(parts) for _ in range(3)]
    again, _ = read(source(registry, **MARKED), Cursor.decode(seen[-1].cursor.encode(), "rest"))
    assert {r.key for r in again} >= {"2", "3", "4", "5"}


def test_mark_in_the_future_moves_nothing_and_is_told(registry: RestRegistry) -> None:
    registry.rows = [row(1), row(2, "2099-01-01T00:00:00Z")]
    reader = source(registry, **MARKED)
    _, end = read(reader)
    assert any("ahead of our clock" in warning for warning in reader.report.warnings)
    registry.rows.append(row(3, "2026-11-03T00:00:00Z"))
    found, _ = read(source(registry, **MARKED), after(end))
    assert "3" in [r.key for r in found]


@pytest.mark.parametrize("mark", [None, "", "soon", True, [1], {"a": 1}])
def test_row_without_a_mark_flows_and_moves_nothing(registry: RestRegistry, mark: object) -> None:
    registry.rows = [row(1)]
    _, end = read(source(registry, **MARKED))
    registry.always(lambda asked: Reply(200, {"data": {"items": [{"id": 9, "updated": mark}]}}))
    found, later = read(source(registry, **MARKED), after(end))
    assert [r.key for r in found] == ["9"]
    assert later.cursor.state["mark"] == end.cursor.state["mark"]


@pytest.mark.parametrize(
    ("unit", "mark", "asked"),
    [
        ("s", 1_790_000_000, "1789999940"),
        ("ms", 1_790_000_000_000, "1789999940000"),
        ("number", 1000, "940"),
        ("number", "1000", "940"),
        ("time", "2026-11-01", "2026-10-31"),
        ("time", "2026-11-01 10:00:00.5+02:00", "2026-11-01 09:59:00.500000+02:00"),
    ],
)
def test_marks_are_asked_for_as_they_came(
    registry: RestRegistry, unit: str, mark: object, asked: str
) -> None:
    registry.always(lambda asked: Reply(200, {"data": {"items": [{"id": 1, "updated": mark}]}}))
    settings: dict[str, Any] = {**MARKED, "watermark_unit": unit}
    _, end = read(source(registry, **settings))
    read(source(registry, **settings), after(end))
    assert registry.asked[-1].query["since"] == asked


def test_all_rows_are_read_now_and_then_to_find_what_is_gone(registry: RestRegistry) -> None:
    registry.rows = [row(1), row(2)]
    now = [NOW]
    settings: dict[str, Any] = {**MARKED, "complete_every": "24h"}
    _, end = read(source(registry, clock=lambda: now[0], **settings))
    assert end.completed_scan
    now[0] += 3600
    _, end = read(source(registry, clock=lambda: now[0], **settings), after(end))
    assert not end.completed_scan
    now[0] += 86_400
    registry.rows.pop(0)
    found, end = read(source(registry, clock=lambda: now[0], **settings), after(end))
    assert "since" not in registry.asked[-1].query
    assert [r.key for r in found] == ["2"]
    assert end.completed_scan
    assert all(r.scan == end.completed_scan for r in found)


# -- What has not changed


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
def test_list_that_has_not_changed_is_not_read_again(registry: RestRegistry, header: str) -> None:
    held = {"ETag": 'W/"7"', "Last-Modified": "Sun, 01 Nov 2026 10:00:00 GMT"}[header]
    asks = {"ETag": "if-none-match", "Last-Modified": "if-modified-since"}[header]
    body = {"data": {"items": [row(1)]}}
    registry.always(
        lambda asked: Reply(304) if asked.headers.get(asks) == held else Reply(200, body, {header: held})
    )
    found, end = read(source(registry))
    assert len(found) == 1
    found, same = read(source(registry), after(end))
    assert found == []
    assert not same.completed_scan
    assert after(same) == after(end)


def test_list_that_changed_is_read_whole(registry: RestRegistry) -> None:
    registry.rows = [row(1), row(2)]
    _, end = read(source(registry))
    registry.rows.pop(0)
    found, end = read(source(registry), after(end))
    assert [r.key for r in found] == ["2"]
    assert end.completed_scan


def test_page_is_never_asked_for_by_its_tag(registry: RestRegistry) -> None:
    registry.always(
        lambda asked: Reply(200, {"results": [row(1)] if asked.query["page"] == "1" else []}, {"ETag": '"1"'})
    )
    settings: dict[str, Any] = {"records": "results", "paging": {"style": "page", "parameter": "page"}}
    _, end = read(source(registry, **settings))
    read(source(registry, **settings), after(end))
    assert all("if-none-match" not in asked.headers for asked in registry.asked)


# -- Records


def test_values_keep_their_digits_and_nested_members_are_columns(registry: RestRegistry) -> None:
    record = b'{"id":12345678901234567890123,"value":7.620,"holder":{"at":{"city":"Y"}},"serials":["A","B"]}'
    text = b'{"data":{"items":[' + record + b"]}}"
    registry.always(lambda asked: Reply(200, text))
    [found], _ = read(source(registry))
    assert found.key == "12345678901234567890123"
    assert str(found.values["value"]) == "7.620"
    assert isinstance(found.values["value"], Decimal)
    assert found.values["holder.at.city"] == "Y"
    assert found.values["serials"] == ["A", "B"]
    assert source(registry).columns() == tuple(found.values)


@pytest.mark.parametrize(
    ("record", "reason", "key"),
    [
        ("7", "NOT_AN_OBJECT", None),
        ("null", "NOT_AN_OBJECT", None),
        ('{"id": 1, "name": "a", "name": "b"}', "MEMBER_TWICE", "1"),
        ('{"id": 1, "a": {"b": 1, "b": 2}}', "MEMBER_TWICE", "1"),
        ('{"id": 1, "a.b": 1, "a": {"b": 2}}', "MEMBER_TWICE", "1"),
        ('{"id": 1, "deep": ' + "[" * 60 + "]" * 60 + "}", "TOO_DEEP", "1"),
        ('{"name": "secret words"}', "KEY_MISSING", None),
        ('{"id": null}', "KEY_MISSING", None),
        ('{"id": true}', "KEY_MISSING", None),
        ('{"id": {"a": 1}}', "KEY_MISSING", None),
        ('{"id": " "}', "KEY_MISSING", None),
    ],
)
def test_bad_record_is_handed_over_with_its_fault_beside_good_ones(
    registry: RestRegistry, record: str, reason: str, key: str | None
) -> None:
    registry.always(
        lambda asked: Reply(200, f'{{"data":{{"items":[{{"id":0}},{record},{{"id":2}}]}}}}'.encode())
    )
    reader = source(registry)
    (first, bad, last), end = read(reader)
    assert (first.key, last.key) == ("0", "2")
    assert [fault.reason for fault in bad.faults] == [reason]
    assert bad.key == key
    assert end.completed_scan
    assert "secret" not in str(bad.faults)
    assert "secret" not in bad.position
    kept = Row(bad.key, bad.values, bad.position, bad.cursor, raw=bad.raw)
    assert bool(reader.restored(kept).faults) == bool(bad.raw), "what was torn is never sent by a replay"


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"<html>Log in, please</html>", {"Content-Type": "text/html; charset=utf-8"}, "NOT_JSON"),
        (b"", {}, "NOT_JSON"),
        (b'{"data":{"items":[', {}, "NOT_JSON"),
        (b'{"data":{"items":[{"id":NaN}]}}', {}, "NOT_JSON"),
        (b'{"data":{"items":[{"id":1e999999999}]}}', {}, "NOT_JSON"),
        (b'{"data":{"items":[{"id":' + b"9" * 5000 + b"}]}}", {}, "NOT_JSON"),
        (b"[" * 100_000, {}, "NOT_JSON"),
        ('{"data":{"items":[{"id":"é"}]}}'.encode("latin-1"), {}, "NOT_JSON"),
        (b'{"data":{}}', {}, "RECORDS_MISSING"),
        (b'{"data":{"items":{"id":1}}}', {}, "RECORDS_MISSING"),
        (b"[]", {}, "RECORDS_MISSING"),
        (b'{"error":"secret words"}', {}, "RECORDS_MISSING"),
    ],
)
def test_answer_that_is_no_list_is_told_without_its_content(
    registry: RestRegistry, body: bytes, headers: dict[str, str], reason: str
) -> None:
    registry.always(lambda asked: Reply(200, body, headers))
    with pytest.raises(SourceError) as raised:
        read(source(registry))
    assert raised.value.reason == reason
    assert "secret" not in str(raised.value)
    assert "Log in" not in str(raised.value)
    if headers:
        assert "text/html" in str(raised.value)


def test_mark_at_the_beginning_of_the_answer_is_no_part_of_it(registry: RestRegistry) -> None:
    registry.always(lambda asked: Reply(200, b'\xef\xbb\xbf{"data":{"items":[{"id":1}]}}'))
    assert read(source(registry))[0][0].key == "1"


def test_soft_deleted_row_is_told_as_deleted(registry: RestRegistry) -> None:
    registry.rows = [row(1, gone=None), row(2, gone="2026-11-01"), row(3, gone=False), row(4, gone=True)]
    found, _ = read(source(registry, soft_delete="gone"))
    assert [r.key for r in found if r.deleted] == ["2", "4"]


def test_renamed_column_stops_the_run_before_a_row_is_lost(registry: RestRegistry) -> None:
    registry.rows = [row(1, serial_number="A")]
    parts = source(registry, needed=("serial_no",)).read(None)
    with pytest.raises(SchemaDriftError) as raised:
        next(parts)
    assert "serial_number" in str(raised.value)
    assert len(read(source(registry, needed=("serial_no",), unused=("serial_number",)))[0]) == 1


def test_key_that_no_record_has_stops_the_run(registry: RestRegistry) -> None:
    registry.rows = [{"ref": 1}]
    with pytest.raises(SchemaDriftError):
        read(source(registry))


def test_key_of_several_columns_may_lie_inside(registry: RestRegistry) -> None:
    registry.rows = [{"office": {"no": "0/7"}, "id": 5}]
    assert read(source(registry, key=["office.no", "id"]))[0][0].key == "0%2F7/5"


# -- Settings


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"url": "http://registry.xa.example/api"}, "https"),
        ({"url": "https://user:word@registry.xa.example/"}, "no user or password"),
        ({"url": "ftp://registry.xa.example/"}, "address"),
        ({"url": "registry.xa.example"}, "address"),
        ({"url": None}, "one of url, url_env"),
        ({"watermark": "updated"}, "since_parameter"),
        ({"complete_every": "1h"}, "needs watermark"),
        ({"paging": {"style": "page"}}, "parameter"),
        ({"paging": {"style": "offset", "parameter": "o"}}, "size"),
        ({"paging": {"style": "cursor", "parameter": "o"}}, "next"),
        ({"paging": {"style": "page", "parameter": "o", "past_end_404": True}}, "total"),
        ({"headers": {"authorization": "Bearer x"}}, "secret never stands"),
        ({"auth": {"kind": "header", "name": "X Y", "value_env": "E"}}, "name"),
        ({"auth": {"kind": "header", "value": "secret"}}, "value_env"),
        ({"auth": {"kind": "oauth2", "token_url": "http://a.example", "client_id": "x"}}, "https"),
        ({"tls": {"certificate": "a.pem"}}, "certificate and key"),
        ({"headers": {"X-A": "a\r\nb"}}, "X-A"),
    ],
)
def test_settings_that_cannot_be_are_refused(changed: dict[str, object], words: str) -> None:
    given = {"kind": "rest", "url": "https://registry.xa.example/api", "key": ["id"], **changed}
    with pytest.raises(ValueError, match=words):
        RestSettings.model_validate(given)


MAPPING = """
version = 1
stream = "notices"

[source]
kind = "rest"
url = "{url}/keyset"
records = "results"
key = ["id"]
soft_delete = "deleted_at"

[source.paging]
style = "cursor"
parameter = "after"
next = "meta.next"

[source.auth]
kind = "header"
name = "X-Api-Key"
value_env = "DIEF_TEST_REGISTRY_KEY"

[select]
draft = {{ column = "state", in = ["stolen"] }}

[constants]
originator = "XA"

[[field]]
to = "national_reference"
column = "id"

[[field]]
to = "items[0].serials[0].as_read"
column = "weapon.serial"
"""


def test_mapping_file_names_a_rest_source(
    registry: RestRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.rows = [{"id": n, "state": "stolen", "weapon": {"serial": f"A{n}"}} for n in range(1, 8)]
    path = tmp_path / "mapping.toml"
    path.write_text(MAPPING.format(url=registry.url))
    mapping = Mapping.load(path)
    monkeypatch.delenv("DIEF_TEST_REGISTRY_KEY", raising=False)
    with pytest.raises(MappingError, match="DIEF_TEST_REGISTRY_KEY"):
        open_source(mapping)
    monkeypatch.setenv("DIEF_TEST_REGISTRY_KEY", "k-1")
    opened = open_source(mapping)
    assert isinstance(opened, RestSource)
    found, end = read(opened)
    assert [r.values["weapon.serial"] for r in found] == [f"A{n}" for n in range(1, 8)]
    assert end.completed_scan
    assert all(asked.headers["x-api-key"] == "k-1" for asked in registry.asked)


def test_mapping_file_tells_the_line_of_a_wrong_key(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(MAPPING.format(url="https://registry.xa.example").replace("next =", "nxt ="))
    with pytest.raises(
        MappingError, match=r"mapping\.toml:\d+: unknown key `source\.paging\.nxt`, do you mean `next`"
    ):
        Mapping.load(path)
