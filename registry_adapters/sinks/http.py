"""Notices to a registry's own service: one POST of JSON a notice.

Rules:
- TLS is always verified; plain http is for this machine only. Redirects are not followed.
- `Idempotency-Key` carries the notice's id, so that a repeat can be told from a new one.
- A webhook is signed: `Dief-Signature: t=<seconds>,v1=<hex>`, HMAC-SHA256 over "<seconds>.<body>"; a receiver refuses
  old times, so that nobody can send a recorded one again.
- 2xx is taken; 409 means that the service has it already. Everything else comes again.

Source: RFC 9110, RFC 2104, draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Timeout

from registry_adapters.errors import MappingError, SinkError
from registry_adapters.notice import Notice
from registry_adapters.sinks.settings import HttpSinkSettings, secret
from registry_adapters.sources.rest_settings import checked_url

_HAS_IT = 409


class HttpSink:
    """A service of the registry.

    Args:
        settings: `[write_back]` of the mapping.
        home: Folder of the mapping file.

    Raises:
        MappingError: The address may not be used, or a secret or a file of TLS is missing.
    """

    def __init__(self, settings: HttpSinkSettings, home: Path) -> None:
        self.kind = settings.kind
        self._settings = settings
        try:
            self._url = checked_url(settings.url)
        except (ValueError, LocationParseError) as error:
            raise MappingError(f"`url` of [write_back] {error}.", "Mend it.") from None
        self._headers = {"Content-Type": "application/json"}
        if settings.key_env is not None:
            self._headers[settings.header] = secret(settings.key_env, "the key of the registry's service")
        self._signing_key = (
            None
            if settings.signing_key_env is None
            else secret(settings.signing_key_env, "the key that signs webhooks").encode()
        )
        self._pool = urllib3.PoolManager(
            retries=False,
            ssl_context=_context(settings, home),
            timeout=Timeout(total=settings.timeout_seconds),
        )

    def check(self) -> None:
        """Whether the service can be reached."""
        try:
            self._pool.request("HEAD", self._url.url, redirect=False, preload_content=False).release_conn()
        except HTTPError as error:
            raise _away(error) from None

    def write(self, notices: Sequence[Notice]) -> None:
        """POST them one by one, in order."""
        for notice in notices:
            self._post(notice)

    def _post(self, notice: Notice) -> None:
        body = json.dumps(notice.as_dict(), ensure_ascii=False).encode()
        headers = {**self._headers, "Idempotency-Key": notice.notice}
        if self._signing_key is not None:
            headers["Dief-Signature"] = signature(self._signing_key, body, int(time.time()))
        try:
            answer = self._pool.request(
                "POST", self._url.url, body=body, headers=headers, redirect=False, preload_content=False
            )
            status = answer.status
            answer.drain_conn()
            answer.release_conn()
        except HTTPError as error:
            raise _away(error) from None
        if not 200 <= status < 300 and status != _HAS_IT:
            raise SinkError(
                f"The registry's service answered {status}.",
                "Look into its log; nothing is lost, the same notices come again.",
            )


def signature(key: bytes, body: bytes, seconds: int) -> str:
    """What stands in `Dief-Signature`.

    Args:
        key: Shared with the receiver.
        body: As sent.
        seconds: Time of sending, since 1970 UTC.
    """
    digest = hmac.new(key, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def _context(settings: HttpSinkSettings, home: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if settings.ca is None else home / settings.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate is not None and settings.certificate_key is not None:
            context.load_cert_chain(home / settings.certificate, home / settings.certificate_key, lambda: "")
    except (OSError, ValueError) as error:
        raise MappingError(
            f"A certificate file of [write_back] cannot be used: {type(error).__name__}.",
            "Name PEM files that the adapter may read; the key without a password.",
        ) from None
    return context


def _away(error: HTTPError) -> SinkError:
    return SinkError(
        f"The registry's service cannot be reached: {type(error).__name__}.",
        "Check `url` and the certificates of [write_back]; nothing is lost, the same notices come again.",
    )
