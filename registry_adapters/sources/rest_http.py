"""Requests to a registry's REST interface: bounded in size and time, repeated where that helps, to one origin only.

Rules:
- TLS 1.2 or newer, always verified; proxies of the environment are not used.
- A redirect is followed only within the same scheme, host and port, so that no key is shown to another.
- 429 and 503 are repeated after the time that the registry asks for, other passing failures after a growing time; both
  no more often, and no longer, than the settings allow.
- An answer is read in parts; one that is too large or too slow is given up.
- No error carries an address, a header or a byte of an answer.

Source: RFC 9110.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urljoin

import urllib3
from urllib3 import exceptions as http_errors
from urllib3.exceptions import (
    DecodeError,
    HTTPError,
    IncompleteRead,
    LocationParseError,
    NewConnectionError,
    SSLError,
)
from urllib3.util import Timeout, Url

from registry_adapters.errors import MappingError, SourceError
from registry_adapters.sources.rest_settings import RestSettings, TlsSettings, checked_url, origin_of

_CHUNK: Final = 65536
_REDIRECTS: Final = 5
_MOVED: Final = (301, 302, 303, 307, 308)
_BUSY: Final = (429, 503)
_PASSING: Final = (408, 425, 500, 502, 504)
_MEND_BUSY: Final = "Run the adapter less often, or raise max_wait_seconds or max_retries of [source]."


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP status.
        headers: Names to values; names in any case.
        data: The body, unpacked.
        url: Where it came from.
    """

    status: int
    headers: urllib3.HTTPHeaderDict
    data: bytes
    url: Url


class PassingError(Exception):
    """A request failed for a reason that may pass.

    Attributes:
        error: What to tell where it does not.
        wait: Seconds that the registry asks to wait; None where it does not say.
    """

    def __init__(self, error: SourceError, wait: float | None = None) -> None:
        super().__init__()
        self.error = error
        self.wait = wait


class Auth(Protocol):
    """How the adapter shows who it is."""

    def headers(self) -> Mapping[str, str]:
        """Headers of the next request.

        Raises:
            PassingError: They cannot be had now.
            SourceError: They are refused.
        """

    def renew(self) -> bool:
        """After a 401: forget what was held; whether a new one may help."""


class Channel:
    """Single requests, one after the other.

    Args:
        settings: `[source]` of the mapping.
        home: Folder of the mapping file.
    """

    def __init__(self, settings: RestSettings, home: Path) -> None:
        self._settings = settings
        self._pool = urllib3.PoolManager(
            num_pools=4,
            maxsize=1,
            retries=False,
            ssl_context=_tls(settings.tls, home),
            timeout=Timeout(connect=settings.connect_seconds, read=settings.read_seconds),
        )

    def send(self, method: str, url: Url, headers: Mapping[str, str], body: str | None = None) -> Answer:
        """One request and its whole answer; a redirect is an answer.

        Raises:
            PassingError: The registry is away.
            SourceError: The answer breaks a limit, or TLS refuses the registry or the adapter.
        """
        deadline = time.monotonic() + self._settings.answer_seconds
        try:
            response = self._pool.request(
                method,
                url.url,
                body=body,
                headers={"Accept-Encoding": "gzip", **headers},
                redirect=False,
                preload_content=False,
            )
            try:
                data = self._read(response, deadline)
            except BaseException:
                response.close()
                raise
            response.release_conn()
            return Answer(response.status, response.headers, data, url)
        except (SSLError, ssl.SSLError) as error:
            raise SourceError(
                f"TLS with the registry failed: {_tls_words(error)}.",
                "Check [source.tls]: the authority of the registry, and the adapter's own certificate.",
                reason="TLS_REFUSED",
            ) from None
        except DecodeError:
            raise PassingError(
                SourceError(
                    "The registry's answer cannot be unpacked.",
                    "It is broken on the way; try its address by hand.",
                    reason="ANSWER_BROKEN",
                )
            ) from None
        except LocationParseError:
            raise SourceError(
                "The registry's address cannot be used.", "Mend `url` of [source].", reason="URL_UNFIT"
            ) from None
        except (HTTPError, OSError) as error:
            raise PassingError(_away(error)) from None

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def _read(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        limit = self._settings.max_answer_bytes
        parts, size = [], 0
        while chunk := response.read1(_CHUNK, decode_content=True):
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                raise SourceError(
                    f"An answer of the registry has more than max_answer_bytes = {limit} bytes.",
                    "Ask for smaller pages, or raise the limit.",
                    reason="ANSWER_TOO_LARGE",
                )
            if time.monotonic() > deadline:
                raise SourceError(
                    "An answer of the registry takes longer than"
                    f" answer_seconds = {self._settings.answer_seconds:g}.",
                    "Ask for smaller pages, or raise the limit.",
                    reason="ANSWER_TOO_SLOW",
                )
        return b"".join(parts)


class Client:
    """Requests that are repeated where that helps.

    Args:
        settings: `[source]` of the mapping.
        channel: Sends them.
        auth: Shows who the adapter is.
        wait: Waits some seconds.
    """

    def __init__(
        self,
        settings: RestSettings,
        channel: Channel,
        auth: Auth,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._channel = channel
        self._auth = auth
        self._wait = wait

    def get(self, url: Url, headers: Mapping[str, str], fine: frozenset[int] = frozenset({200})) -> Answer:
        """The answer to a request.

        Args:
            url: What is asked for.
            headers: Besides those of the settings.
            fine: Statuses that are no failure.

        Raises:
            SourceError: There is none, or it is a failure.
        """
        renewed = False
        failures = 0
        while True:
            try:
                answer = self._following(url, headers)
                if answer.status in fine:
                    return answer
                if answer.status == 401 and not renewed and self._auth.renew():
                    renewed = True
                    continue
                _refuse(answer)
            except PassingError as passing:
                failures += 1
                wait = 2.0 ** (failures - 1) if passing.wait is None else passing.wait
                if failures > self._settings.max_retries or wait > self._settings.max_wait_seconds:
                    raise passing.error from None
                self._wait(wait)

    def _following(self, url: Url, headers: Mapping[str, str]) -> Answer:
        origin = origin_of(url)
        for _ in range(_REDIRECTS + 1):
            own = {"Accept": "application/json", **self._settings.headers, **self._auth.headers(), **headers}
            answer = self._channel.send("GET", url, own)
            if answer.status not in _MOVED:
                return answer
            url = same_origin(url, answer.headers.get("location", ""), origin, "REDIRECT_ELSEWHERE")
        raise SourceError(
            f"The registry redirects more than {_REDIRECTS} times.",
            "Write the last address into `url` of [source].",
            reason="REDIRECT_ELSEWHERE",
        )


def same_origin(base: Url, text: str, origin: tuple[str, str, int], reason: str) -> Url:
    """An address that the registry gave, where it may be followed.

    Args:
        base: Where it stood.
        text: The address, perhaps relative.
        origin: Scheme, host and port that it must keep.
        reason: Of the error.

    Raises:
        SourceError: It leads elsewhere, or is none.
    """
    try:
        url = checked_url(urljoin(base.url, text))
    except ValueError:
        url = None
    if not text or url is None or origin_of(url) != origin:
        raise SourceError(
            "The registry sends the adapter to another scheme, host or port.",
            "Write the address that is meant into `url` of [source]; nothing was asked for elsewhere.",
            reason=reason,
        )
    return url


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds that a `Retry-After` asks for; None where it says nothing that can be read.

    Args:
        text: The header.
        now: The moment.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    with suppress(ValueError, OverflowError):
        moment = parsedate_to_datetime(text)
        zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return max(0.0, (zoned - now).total_seconds())
    return None


def _refuse(answer: Answer) -> None:
    status = answer.status
    if status in _BUSY:
        wait = retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC))
        asked = "" if wait is None else f" and asks to wait {wait:g} s"
        raise PassingError(
            SourceError(
                f"The registry answers {status}{asked}: it is busy.", _MEND_BUSY, reason="REGISTRY_BUSY"
            ),
            wait,
        )
    if status in (401, 403):
        raise SourceError(
            f"The registry answers {status}: it does not let the adapter in.",
            "Check [source.auth], the certificate of [source.tls], and what the account may read.",
            reason="REGISTRY_DENIES",
        )
    error = SourceError(
        f"The registry answers {status}.",
        "Check `url`, `query` and `[source.paging]` with the registry's own documentation.",
        reason="REGISTRY_FAILS",
    )
    if status in _PASSING:
        raise PassingError(error)
    raise error


def _away(error: Exception) -> SourceError:
    timed_out = isinstance(error, http_errors.TimeoutError) and not isinstance(error, NewConnectionError)
    if timed_out:
        return SourceError(
            "The registry does not answer in time.",
            "Try its address by hand; see connect_seconds and read_seconds of [source].",
            reason="REGISTRY_SILENT",
        )
    words = "broke off its answer" if isinstance(error, IncompleteRead) else "cannot be reached"
    return SourceError(
        f"The registry {words}: {type(error).__name__}.",
        "Try its address by hand; the run goes on where it stopped.",
        reason="REGISTRY_AWAY",
    )


def _tls(settings: TlsSettings, home: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if settings.ca is None else home / settings.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate is not None and settings.key is not None:
            # An empty answer, so that no key that needs a password asks at the terminal.
            context.load_cert_chain(home / settings.certificate, home / settings.key, lambda: "")
    except (OSError, ValueError) as error:
        raise MappingError(
            f"The files of [source.tls] cannot be used: {type(error).__name__}.",
            "Name PEM files that the adapter may read; the key without a password.",
        ) from None
    return context


def _tls_words(error: Exception) -> str:
    """What OpenSSL says, from its fixed list of words."""
    inner: object = error.args[0] if error.args else error
    for found in (error, inner):
        if isinstance(found, ssl.SSLCertVerificationError):
            return "its certificate is not trusted"
        if isinstance(found, ssl.SSLError) and found.reason:
            return str(found.reason).replace("_", " ").lower()
    return type(error).__name__
