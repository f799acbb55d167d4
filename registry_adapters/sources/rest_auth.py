"""How a REST source shows who it is: a key in a header, a user and password, or a token for client credentials.

Rules:
- Secrets come from the environment when the source is opened; none stands in an error.
- A token is kept in memory only, until shortly before it ends; a 401 has it renewed once.

Source: RFC 6749 section 4.4, RFC 6750, RFC 7617.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, urlencode

from registry_adapters.errors import SourceError
from registry_adapters.sources.json_records import NotJsonError, parse
from registry_adapters.sources.rest_http import Auth, Channel, PassingError
from registry_adapters.sources.rest_settings import (
    BasicAuth,
    HeaderAuth,
    OAuthSettings,
    RestSettings,
    checked_url,
    secret,
)

_EARLY: Final = 30.0
_UNKNOWN_LIFE: Final = 300.0
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]{1,16384}=*")


class FixedAuth:
    """Headers that never change.

    Args:
        held: Names to values.
    """

    def __init__(self, held: Mapping[str, str]) -> None:
        self._held = dict(held)

    def headers(self) -> Mapping[str, str]:
        """The headers."""
        return self._held

    def renew(self) -> bool:
        """Nothing can be renewed."""
        return False


class TokenAuth:
    """A token for client credentials.

    Args:
        settings: `[source.auth]`.
        channel: Asks for it.
        clock: Seconds that only grow.
    """

    def __init__(
        self, settings: OAuthSettings, channel: Channel, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._channel = channel
        self._clock = clock
        self._url = checked_url(settings.token_url)
        self._secret = "" if settings.client_secret_env is None else secret(settings.client_secret_env)
        self._token = ""
        self._ends = 0.0

    def headers(self) -> Mapping[str, str]:
        """The header with a token that is still good."""
        if not self._token or self._clock() >= self._ends:
            self._fetch()
        return {"Authorization": f"Bearer {self._token}"}

    def renew(self) -> bool:
        """Forget the token."""
        self._token = ""
        return True

    def _fetch(self) -> None:
        settings = self._settings
        form = {"grant_type": "client_credentials"}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if self._secret and settings.send == "basic":
            pair = f"{quote(settings.client_id, safe='')}:{quote(self._secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form["client_id"] = settings.client_id
            if self._secret:
                form["client_secret"] = self._secret
        form |= {"scope": settings.scope} if settings.scope else {}
        form |= {"audience": settings.audience} if settings.audience else {}
        answer = self._channel.send("POST", self._url, headers, urlencode(form))
        if answer.status in (408, 429) or answer.status >= 500:
            raise PassingError(_refused(f"answers {answer.status}"))
        if answer.status != 200:
            raise _refused(f"answers {answer.status}")
        try:
            held = parse(answer.data)
        except NotJsonError:
            held = None
        token = held.get("access_token") if isinstance(held, dict) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise _refused("gives no token that can be used")
        if str(held.get("token_type", "bearer")).lower() != "bearer":
            raise _refused("gives a token of another type than Bearer")
        life = held.get("expires_in")
        if isinstance(life, str) and life.isascii() and life.isdigit():
            life = int(life[:12])
        seconds = float(life) if isinstance(life, int) and 0 < life < 10**9 else _UNKNOWN_LIFE
        self._token = token
        self._ends = self._clock() + max(seconds - _EARLY, seconds / 2)


def open_auth(settings: RestSettings, channel: Channel) -> Auth:
    """What `[source.auth]` asks for.

    Raises:
        MappingError: An environment variable is not set.
    """
    match settings.auth:
        case None:
            return FixedAuth({})
        case HeaderAuth() as auth:
            return FixedAuth({auth.name: auth.prefix + secret(auth.value_env)})
        case BasicAuth() as auth:
            pair = f"{auth.user}:{secret(auth.password_env)}"
            return FixedAuth({"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()})
        case OAuthSettings() as auth:
            return TokenAuth(auth, channel)


def _refused(words: str) -> SourceError:
    return SourceError(
        f"The server that gives out tokens {words}.",
        "Check [source.auth]: token_url, client_id, its secret and scope.",
        reason="TOKEN_REFUSED",
    )
