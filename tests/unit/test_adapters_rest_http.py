"""How a registry is asked: who may see a key, what is repeated, and where patience ends."""

from __future__ import annotations

import base64
import gzip
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from registry_adapters import Row
from registry_adapters.errors import MappingError, SourceError
from registry_adapters.sources.rest import RestSource
from registry_adapters.sources.rest_auth import TokenAuth
from registry_adapters.sources.rest_http import Channel, retry_after
from registry_adapters.sources.rest_settings import OAuthSettings, RestSettings
from tests.support.https import TestAuthority
from tests.support.rest_server import Reply, RestRegistry

SECRET = "s3cret-Key/with+signs"
OK = Reply(200, [{"id": 1}])


@pytest.fixture
def registry() -> Iterator[RestRegistry]:
    with RestRegistry() as started:
        started.always(lambda asked: OK)
        yield started


@pytest.fixture
def waits() -> list[float]:
    return []


def source(
    registry: RestRegistry | str, waits: list[float] | None = None, home: Path = Path(), **more: object
) -> RestSource:
    url = registry if isinstance(registry, str) else f"{registry.url}/list"
    settings = RestSettings.model_validate({"kind": "rest", "url": url, "key": ["id"], **more})
    return RestSource(settings, home, wait=(waits if waits is not None else []).append)


def keys(reader: RestSource) -> list[str | None]:
    return [part.key for part in reader.read(None) if isinstance(part, Row)]


def refused(reader: RestSource) -> SourceError:
    with pytest.raises(SourceError) as raised:
        keys(reader)
    assert SECRET not in str(raised.value)
    assert SECRET not in repr(raised.value.args)
    return raised.value


# -- Waiting


@pytest.mark.parametrize("status", [429, 503])
def test_busy_registry_is_asked_again_when_it_says(
    registry: RestRegistry, waits: list[float], status: int
) -> None:
    registry.answer(1, Reply(status, headers={"Retry-After": "7"}))
    registry.answer(2, Reply(status, headers={"Retry-After": "0"}))
    assert keys(source(registry, waits)) == ["1"]
    assert waits == [7, 0]


def test_other_passing_failures_are_repeated_after_a_growing_time(
    registry: RestRegistry, waits: list[float]
) -> None:
    for number, status in enumerate((500, 502, 504, 503), 1):
        registry.answer(number, Reply(status))
    assert keys(source(registry, waits)) == ["1"]
    assert waits == [1, 2, 4, 8]


def test_wait_that_is_too_long_is_not_waited(registry: RestRegistry, waits: list[float]) -> None:
    registry.answer(1, Reply(429, headers={"Retry-After": "86400"}))
    error = refused(source(registry, waits, max_wait_seconds="60s"))
    assert error.reason == "REGISTRY_BUSY"
    assert "86400" in error.diagnosis
    assert "max_wait_seconds" in error.mend
    assert waits == []


def test_registry_that_stays_busy_is_given_up(registry: RestRegistry, waits: list[float]) -> None:
    registry.always(lambda asked: Reply(503, headers={"Retry-After": "1"}))
    assert refused(source(registry, waits, max_retries=3)).reason == "REGISTRY_BUSY"
    assert waits == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        (" 5 ", 5),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("9" * 400, 999999999999.0),
    ],
)
def test_retry_after_is_read_with_care(text: str, seconds: float | None) -> None:
    assert retry_after(text, datetime.now(UTC)) == seconds


def test_retry_after_may_be_a_date() -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    assert retry_after(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert retry_after(format_datetime(now - timedelta(days=9), usegmt=True), now) == 0
    assert retry_after("Sun, 99 Nov 2026 10:00:00 GMT", now) is None


def test_failure_that_does_not_pass_is_not_repeated(registry: RestRegistry, waits: list[float]) -> None:
    for status, reason in ((400, "REGISTRY_FAILS"), (404, "REGISTRY_FAILS"), (403, "REGISTRY_DENIES")):
        registry.always(lambda asked, status=status: Reply(status, {"m": SECRET}))  # type: ignore[misc]
        error = refused(source(registry, waits))
        assert error.reason == reason
        assert str(status) in error.diagnosis
    assert waits == []


# -- Broken and hostile answers


def test_registry_away_is_told_after_the_retries(waits: list[float]) -> None:
    with RestRegistry() as gone:
        url = gone.url
    error = refused(source(url, waits, max_retries=2))
    assert error.reason == "REGISTRY_AWAY"
    assert waits == [1, 2]


def test_answer_that_breaks_off_is_asked_for_again(registry: RestRegistry, waits: list[float]) -> None:
    registry.answer(1, Reply(200, [{"id": 1}], declared=5000))
    assert keys(source(registry, waits)) == ["1"]
    assert waits == [1]


def test_silent_registry_is_given_up(registry: RestRegistry) -> None:
    free = threading.Event()
    registry.before(1, free.wait)
    error = refused(source(registry, read_seconds=0.2, max_retries=0))
    free.set()
    assert error.reason == "REGISTRY_SILENT"


def test_answer_that_drips_for_ever_is_given_up(registry: RestRegistry) -> None:
    pause = threading.Event()
    registry.always(lambda asked: Reply(200, b" " * 100_000, drip=lambda: pause.wait(0.01)))
    error = refused(source(registry, read_seconds=60, answer_seconds=0.5))
    assert error.reason == "ANSWER_TOO_SLOW"


@pytest.mark.parametrize("packed", [False, True])
def test_answer_that_is_too_large_is_given_up(registry: RestRegistry, packed: bool) -> None:
    body = b"[" + b" " * 50_000_000 + b"]"
    headers = {"Content-Encoding": "gzip"} if packed else {}
    registry.always(lambda asked: Reply(200, gzip.compress(body) if packed else body, headers))
    error = refused(source(registry, max_answer_bytes=100_000))
    assert error.reason == "ANSWER_TOO_LARGE"
    assert "max_answer_bytes = 100000" in error.diagnosis


def test_packed_answer_is_unpacked(registry: RestRegistry) -> None:
    registry.always(lambda asked: Reply(200, gzip.compress(b'[{"id":5}]'), {"Content-Encoding": "gzip"}))
    assert keys(source(registry)) == ["5"]


def test_answer_that_is_not_packed_as_it_says_is_told(registry: RestRegistry) -> None:
    registry.always(lambda asked: Reply(200, b"[]", {"Content-Encoding": "gzip"}))
    assert refused(source(registry, max_retries=0)).reason == "ANSWER_BROKEN"


# -- Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_within_the_origin_is_followed(registry: RestRegistry, status: int) -> None:
    registry.answer(1, Reply(status, headers={"Location": "/other?x=1"}))
    assert keys(source(registry)) == ["1"]
    assert registry.asked[-1].path == "/other"


@pytest.mark.parametrize(
    "place",
    [
        "https://localhost/x",
        "http://localhost:1/x",
        "http://registry.xd.example/x",
        "//127.0.0.1/",
        "",
        "http://[",
    ],
)
def test_redirect_elsewhere_is_refused_and_shows_no_key(
    registry: RestRegistry, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIEF_TEST_KEY", SECRET)
    with RestRegistry() as other:
        target = place or f"{other.url}/list"
        registry.always(lambda asked: Reply(302, headers={"Location": target}))
        auth = {"kind": "header", "value_env": "DIEF_TEST_KEY"}
        assert refused(source(registry, auth=auth)).reason == "REDIRECT_ELSEWHERE"
        assert other.asked == []


def test_redirects_in_a_circle_end(registry: RestRegistry) -> None:
    registry.always(lambda asked: Reply(302, headers={"Location": "/again"}))
    assert refused(source(registry)).reason == "REDIRECT_ELSEWHERE"
    assert len(registry.asked) < 10


def test_proxy_of_the_environment_is_not_used(
    registry: RestRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert keys(source(registry)) == ["1"]


# -- Who the adapter is


def test_key_user_and_password_come_from_the_environment(
    registry: RestRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIEF_TEST_KEY", SECRET)
    keys(source(registry, auth={"kind": "header", "prefix": "Token ", "value_env": "DIEF_TEST_KEY"}))
    assert registry.asked[-1].headers["authorization"] == f"Token {SECRET}"
    keys(source(registry, auth={"kind": "basic", "user": "reader", "password_env": "DIEF_TEST_KEY"}))
    pair = base64.b64encode(f"reader:{SECRET}".encode()).decode()
    assert registry.asked[-1].headers["authorization"] == f"Basic {pair}"


@pytest.mark.parametrize("value", ["", "a\r\nX-Evil: 1", "a\x00b", "ключ"])
def test_secret_that_no_header_can_hold_is_refused(
    registry: RestRegistry, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    if "\x00" not in value:
        monkeypatch.setenv("DIEF_TEST_KEY", value)
    with pytest.raises(MappingError) as raised:
        source(registry, auth={"kind": "header", "value_env": "DIEF_TEST_KEY"})
    assert "DIEF_TEST_KEY" in str(raised.value)
    assert "Evil" not in str(raised.value)


def oauth(registry: RestRegistry, **more: str) -> dict[str, str]:
    held = {"kind": "oauth2", "token_url": f"{registry.url}/token", "client_id": "adapter", **more}
    return {"client_secret_env": "DIEF_TEST_KEY", **held}


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[RestRegistry]:
    monkeypatch.setenv("DIEF_TEST_KEY", "secret")
    with RestRegistry([{"id": n} for n in range(7)]) as started:
        started.secret = "secret"
        yield started


def pages(registry: RestRegistry, auth: dict[str, str]) -> RestSource:
    paging = {"style": "page", "parameter": "page"}
    return source(f"{registry.url}/page", auth=auth, paging=paging, records="results")


@pytest.mark.parametrize("send", ["basic", "form"])
def test_token_is_fetched_once_and_shown(guarded: RestRegistry, send: str) -> None:
    assert len(keys(pages(guarded, oauth(guarded, send=send, scope="read", audience="registry")))) == 7
    [asked] = [asked for asked in guarded.asked if asked.path == "/token"]
    assert b"scope=read" in asked.body
    assert b"audience=registry" in asked.body
    assert (b"client_secret" in asked.body) == (send == "form")


def test_token_that_was_revoked_is_renewed_once(guarded: RestRegistry) -> None:
    guarded.before(4, lambda: guarded.tokens.append("another"))
    assert len({*keys(pages(guarded, oauth(guarded)))}) == 7
    assert len([asked for asked in guarded.asked if asked.path == "/token"]) == 2


def test_token_that_ends_is_renewed_before(guarded: RestRegistry) -> None:
    given = {"kind": "rest", "url": guarded.url, "key": ["id"], "auth": oauth(guarded)}
    settings = RestSettings.model_validate(given)
    assert isinstance(settings.auth, OAuthSettings)
    now = [0.0]
    auth = TokenAuth(settings.auth, Channel(settings, Path()), lambda: now[0])
    first = auth.headers()
    now[0] = 3569
    assert auth.headers() == first
    now[0] = 3571
    assert auth.headers() != first
    assert len(guarded.tokens) == 2


def test_registry_that_refuses_every_token_is_not_asked_for_ever(guarded: RestRegistry) -> None:
    guarded.always(lambda asked: Reply(401) if asked.path == "/page" else None)
    assert refused(pages(guarded, oauth(guarded))).reason == "REGISTRY_DENIES"
    assert len(guarded.asked) == 4


@pytest.mark.parametrize(
    "reply",
    [
        Reply(401, {"error": "invalid_client"}),
        Reply(400, {"error": SECRET}),
        Reply(200, b"<html>"),
        Reply(200, {"access_token": "a\r\nb"}),
        Reply(200, {"access_token": 5}),
        Reply(200, {"access_token": "t", "token_type": "mac"}),
        Reply(302, headers={"Location": "/elsewhere"}),
        Reply(200, [1]),
    ],
)
def test_token_that_is_none_is_told(guarded: RestRegistry, reply: Reply) -> None:
    guarded.always(lambda asked: reply if asked.path == "/token" else None)
    assert refused(pages(guarded, oauth(guarded))).reason == "TOKEN_REFUSED"


def test_server_of_tokens_that_is_busy_is_asked_again(guarded: RestRegistry) -> None:
    guarded.answer(1, Reply(503))
    assert len(keys(pages(guarded, oauth(guarded)))) == 7


# -- TLS


def test_certificate_is_verified_by_the_authority_of_the_mapping(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    chain, key = authority.issue("localhost")
    with RestRegistry(certificate=chain, key=key) as registry:
        registry.always(lambda asked: OK)
        assert keys(source(registry, home=tmp_path, tls={"ca": "ca.pem"})) == ["1"]
        error = refused(source(registry))
        assert error.reason == "TLS_REFUSED"
        assert "not trusted" in error.diagnosis
        other = f"https://127.0.0.1:{registry.port}/"
        assert refused(source(other, home=tmp_path, tls={"ca": "ca.pem"})).reason == "TLS_REFUSED"


def test_registry_knows_the_adapter_by_its_certificate(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    chain, key = authority.issue("localhost")
    authority.issue("adapter")
    with RestRegistry(certificate=chain, key=key, client_ca=tmp_path / "ca.pem") as registry:
        registry.always(lambda asked: OK)
        tls = {"ca": "ca.pem", "certificate": "adapter.pem", "key": "adapter.key"}
        assert keys(source(registry, home=tmp_path, tls=tls)) == ["1"]
        assert registry.asked[0].peer == "adapter"
        error = refused(source(registry, home=tmp_path, tls={"ca": "ca.pem"}, max_retries=0))
        assert error.reason in ("TLS_REFUSED", "REGISTRY_AWAY")


def test_files_of_tls_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("no certificate")
    for tls in (
        {"ca": "missing.pem"},
        {"ca": "broken.pem"},
        {"certificate": "broken.pem", "key": "broken.pem"},
    ):
        with pytest.raises(MappingError, match="tls"):
            source("https://registry.xa.example/", home=tmp_path, tls=tls)


def test_address_may_come_from_the_environment(
    registry: RestRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {
        "kind": "rest",
        "url_env": "DIEF_TEST_URL",
        "key": ["id"],
        "query": {"a": "b c&d"},
    }
    settings = RestSettings.model_validate(given)
    monkeypatch.delenv("DIEF_TEST_URL", raising=False)
    with pytest.raises(MappingError, match="DIEF_TEST_URL"):
        RestSource(settings, Path())
    monkeypatch.setenv("DIEF_TEST_URL", f"http://registry.xa.example/?key={SECRET}")
    with pytest.raises(MappingError) as raised:
        RestSource(settings, Path())
    assert SECRET not in str(raised.value)
    monkeypatch.setenv("DIEF_TEST_URL", f"{registry.url}/list?key=1")
    assert keys(RestSource(settings, Path())) == ["1"]
    assert registry.asked[-1].query == {"key": "1", "a": "b c&d"}
