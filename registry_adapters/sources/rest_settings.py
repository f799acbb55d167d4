"""`[source] kind = "rest"`: a registry that answers in JSON over HTTPS.

Rules:
- No secret stands in the mapping: keys, passwords and addresses that hold one come from the environment (`*_env`).
- TLS is always verified; plain http is for a registry on the same machine only.
- Every limit has a name here, and the error that it leads to names it.

Source: RFC 9110 (HTTP), RFC 8288 (Link), RFC 6749 section 4.4 (client credentials), RFC 8705 (mutual TLS).
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from registry_adapters.errors import MappingError
from registry_adapters.mapping.part import Part, Seconds

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
_SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$", max_length=4096)]


class PagingSettings(Part):
    """`[source.paging]`: how a long list comes in pages.

    Attributes:
        style: "page" (a page number), "offset" (rows to pass over), "cursor" (a token, from the answer or from the last
            record), "link" (header `Link` with rel=next), "next_url" (an address in the answer), "none".
        parameter: Query parameter for the page number, the offset or the token.
        size_parameter: Query parameter for the number of rows of a page.
        size: That number.
        first: Number of the first page.
        next: Path in the answer where the token or the address of the next page stands.
        last: Column of the last record whose value is the token.
        more: Path in the answer of what is true, or filled, while there are more pages.
        total: Path in the answer of the number of all rows.
        past_end_404: A page behind the last one is answered with 404; needs `total`, since else a 404 that comes for
            another reason would look like the end.
        stable: A row that appears or vanishes never moves the others from page to page: the token says where to go on,
            not how many rows to pass over. Default: yes for "cursor", no for "link" and "next_url". Page numbers and
            offsets are always checked.
    """

    style: Literal["none", "page", "offset", "cursor", "link", "next_url"] = "none"
    parameter: str | None = None
    size_parameter: str | None = None
    size: Annotated[int | None, Field(ge=2, le=100_000)] = None
    first: Annotated[int, Field(ge=0, le=1)] = 1
    next: str | None = None
    last: str | None = None
    more: str | None = None
    total: str | None = None
    past_end_404: bool = False
    stable: bool | None = None

    @model_validator(mode="after")
    def _fits(self) -> PagingSettings:
        if self.style in ("page", "offset", "cursor") and self.parameter is None:
            raise ValueError(f'style "{self.style}" needs `parameter`')
        if self.style == "cursor" and (self.next is None) == (self.last is None):
            raise ValueError('style "cursor" needs one of `next`, `last`')
        if self.style == "next_url" and self.next is None:
            raise ValueError('style "next_url" needs `next`')
        if self.style == "offset" and self.size is None:
            raise ValueError('style "offset" needs `size`')
        if self.past_end_404 and self.total is None:
            raise ValueError("past_end_404 needs `total`")
        if self.size is not None and self.size_parameter is None:
            raise ValueError("`size` needs `size_parameter`")
        return self


class HeaderAuth(Part):
    """`[source.auth] kind = "header"`: a key in a header.

    Attributes:
        name: Name of the header.
        value_env: Environment variable that holds the key.
        prefix: What stands in front of it, for example "Bearer ".
    """

    kind: Literal["header"]
    name: HeaderName = "Authorization"
    value_env: str
    prefix: HeaderValue = ""


class BasicAuth(Part):
    """`[source.auth] kind = "basic"`: a user and a password."""

    kind: Literal["basic"]
    user: Annotated[str, Field(pattern=r"^[^:\x00-\x1f]{1,200}$")]
    password_env: str


class OAuthSettings(Part):
    """`[source.auth] kind = "oauth2"`: client credentials, exchanged for a token that is renewed when it ends.

    Attributes:
        token_url: Where tokens are given out.
        client_id: Name of the client.
        client_secret_env: Environment variable that holds its secret; not set where the client certificate is enough.
        scope: What the token is for.
        audience: For whom, where the server asks.
        send: The secret goes into the header ("basic") or the form ("form").
    """

    kind: Literal["oauth2"]
    token_url: str
    client_id: Annotated[str, Field(min_length=1, max_length=500)]
    client_secret_env: str | None = None
    scope: str | None = None
    audience: str | None = None
    send: Literal["basic", "form"] = "basic"

    @field_validator("token_url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        checked_url(url)
        return url


AuthSettings = Annotated[HeaderAuth | BasicAuth | OAuthSettings, Field(discriminator="kind")]


class TlsSettings(Part):
    """`[source.tls]`: files, relative to the mapping.

    Attributes:
        ca: Authorities that may have signed the registry's certificate; those of the system where it is not set.
        certificate: The adapter's own certificate, where the registry asks for one.
        key: Its key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _both(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("needs certificate and key, or neither")
        return self


class RestSettings(Part):
    """`[source] kind = "rest"`; see the module's rules.

    Attributes:
        url: Where the list is; or
        url_env: the environment variable that holds its address.
        query: Query parameters of every request.
        headers: Headers of every request; none of them a secret.
        records: Path of the list in the answer, names joined by "."; "" where the answer is the list itself.
        key: Columns that tell rows apart, for ever. The member b of a is the column `a.b`.
        watermark: Column that moves on with every change of a row.
        since_parameter: Query parameter that asks for rows from a watermark on.
        watermark_unit: "time" (ISO 8601), "s" or "ms" since the epoch, or "number".
        overlap_seconds: How late a row may appear behind its watermark; for "number", how many numbers back.
        complete_every: How often all rows are read although there is a watermark: finds what is gone, or came late.
        soft_delete: Column that is filled, or true, where a row counts as deleted.
        unused: Columns that are known and not wanted, although they are named much like a column that is missing.
        paging: How the list comes in pages.
        auth: How the adapter shows who it is.
        tls: Authorities and the adapter's certificate.
        connect_seconds: How long connecting may take.
        read_seconds: How long the registry may be silent.
        answer_seconds: How long a whole answer may take.
        max_answer_bytes: Bytes that an answer may have, unpacked.
        max_pages: Requests of one pass.
        max_depth: How deep objects and lists of a record may lie in each other.
        max_retries: How often a request is repeated that failed for a reason that passes.
        max_wait_seconds: How long a registry may have the adapter wait (Retry-After).
    """

    kind: Literal["rest"]
    url: str | None = None
    url_env: str | None = None
    query: dict[str, str] = Field(default_factory=dict)
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    records: str = ""
    key: Annotated[tuple[str, ...], Field(min_length=1)]
    watermark: str | None = None
    since_parameter: str | None = None
    watermark_unit: Literal["time", "s", "ms", "number"] = "time"
    overlap_seconds: Annotated[Seconds, Field(ge=1)] = 60
    complete_every: Annotated[Seconds | None, Field(gt=0)] = None
    soft_delete: str | None = None
    unused: tuple[str, ...] = ()
    paging: PagingSettings = PagingSettings()
    auth: AuthSettings | None = None
    tls: TlsSettings = TlsSettings()
    connect_seconds: Annotated[Seconds, Field(gt=0, le=600)] = 10
    read_seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 30
    answer_seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 300
    max_answer_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 16 << 20
    max_pages: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    max_depth: Annotated[int, Field(ge=1, le=200)] = 32
    max_retries: Annotated[int, Field(ge=0, le=20)] = 5
    max_wait_seconds: Annotated[Seconds, Field(ge=0, le=86_400)] = 300

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str | None) -> str | None:
        if url is not None:
            checked_url(url)
        return url

    @field_validator("headers")
    @classmethod
    def _is_no_secret(cls, headers: dict[str, str]) -> dict[str, str]:
        if {name.lower() for name in headers} & _SECRET_HEADERS:
            raise ValueError("a secret never stands in a mapping: use [source.auth]")
        return headers

    @model_validator(mode="after")
    def _one_of_each(self) -> RestSettings:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("needs one of url, url_env")
        if (self.watermark is None) != (self.since_parameter is None):
            raise ValueError("needs watermark and since_parameter, or neither")
        if self.complete_every is not None and self.watermark is None:
            raise ValueError("complete_every needs watermark: without it every run reads all rows")
        return self

    def address(self) -> Url:
        """Where the list is.

        Raises:
            MappingError: The environment variable is not set, or holds no address that may be used.
        """
        if self.url is not None:
            return checked_url(self.url)
        try:
            return checked_url(secret(self.url_env or ""))
        except ValueError as error:
            raise MappingError(
                f"The address in {self.url_env} cannot be used: {error}.", "Set another."
            ) from None


def secret(name: str) -> str:
    """What an environment variable holds.

    Args:
        name: Its name.

    Raises:
        MappingError: It is not set, or holds what no header can.
    """
    value = os.environ.get(name, "")
    if not value or not value.isascii() or not value.isprintable():
        words = "is not set" if not value else "holds more than printable ASCII characters"
        raise MappingError(f"The environment variable {name} {words}.", "Set it for the adapter.")
    return value


def checked_url(text: str) -> Url:
    """An address that may be asked: https, or http on this machine, without a user in it.

    Args:
        text: The address.

    Raises:
        ValueError: It may not; the text says why, without the address.
    """
    try:
        url = parse_url(text)
    except LocationParseError:
        raise ValueError("must be an address such as https://registry.example/api") from None
    if url.scheme not in ("https", "http") or not url.host:
        raise ValueError("must be an address such as https://registry.example/api")
    if url.auth is not None:
        raise ValueError("must hold no user or password: use [source.auth]")
    if url.scheme == "http" and not is_loopback(url.host):
        raise ValueError("must begin with https: plain http is for this machine only")
    return url._replace(fragment=None)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def origin_of(url: Url) -> tuple[str, str, int]:
    """Scheme, host and port: what a redirect or the address of a next page must keep."""
    scheme = url.scheme or ""
    return scheme, url.host or "", url.port or {"https": 443, "http": 80}.get(scheme, 0)


PARTS: Final = (PagingSettings, HeaderAuth, BasicAuth, OAuthSettings, TlsSettings)
"""Tables inside `[source]`."""
