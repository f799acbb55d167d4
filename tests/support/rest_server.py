"""A registry with a REST interface, on loopback: lists in every family of pages, and whatever a test wants to go wrong.

with RestRegistry(rows) as registry:
    registry.before(3, lambda: registry.rows.pop(0))       # before the third request is answered
    registry.answer(2, Reply(503, headers={"Retry-After": "1"}))
    RestSource(settings(registry, "/offset"), ...)
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit


@dataclass(frozen=True)
class Reply:
    """An answer as it goes over the wire.

    Attributes:
        status: HTTP status.
        body: Bytes, or what is written as JSON.
        headers: Besides Content-Type and Content-Length.
        declared: Content-Length where it is not that of the body.
        drip: Called before each byte of the body; the test decides how long that takes.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    declared: int | None = None
    drip: Callable[[], object] | None = None


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    peer: str


class RestRegistry(AbstractContextManager["RestRegistry"]):
    """The server.

    Args:
        rows: The registry; a test may change it at any time.
        certificate: File with the server's chain; plain http without it.
        key: Its key.
        client_ca: File with the CA that signs clients; then every client needs a certificate.
    """

    def __init__(
        self,
        rows: list[Any] | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        client_ca: Path | None = None,
    ) -> None:
        self.rows: list[Any] = [] if rows is None else rows
        self.asked: list[Asked] = []
        self.cap = 10**9
        self.secret = ""
        self.tokens: list[str] = []
        self._before: dict[int, Callable[[], object]] = {}
        self._answers: dict[int, Reply] = {}
        self._always: Callable[[Asked], Reply | None] = lambda asked: None
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                registry._serve(self)

            def do_POST(self) -> None:
                registry._serve(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
                """Nothing: a test reads `asked`."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Nothing: a client that breaks off is what tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            if client_ca is not None:
                context.load_verify_locations(client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self.scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> RestRegistry:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self.scheme}://localhost:{self.port}"

    def before(self, request: int, act: Callable[[], object]) -> None:
        """Do something before the n-th request, from 1, is answered."""
        self._before[request] = act

    def answer(self, request: int, reply: Reply) -> None:
        """Answer the n-th request with this."""
        self._answers[request] = reply

    def always(self, reply: Callable[[Asked], Reply | None]) -> None:
        """Answer every request with this, where it gives something."""
        self._always = reply

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = {name: held[-1] for name, held in parse_qs(parts.query, keep_blank_values=True).items()}
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): text for name, text in handler.headers.items()}
        peer = ""
        if isinstance(handler.connection, ssl.SSLSocket):
            subject: Any = (handler.connection.getpeercert() or {}).get("subject", ())
            peer = next((held for names in subject for name, held in names if name == "commonName"), "")
        asked = Asked(handler.command, parts.path, query, headers, body, peer)
        self.asked.append(asked)
        number = len(self.asked)
        if act := self._before.pop(number, None):
            act()
        reply = self._answers.pop(number, None) or self._always(asked) or self._reply(asked)
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        for name, text in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, text)
        length = len(data) if reply.declared is None else reply.declared
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        if reply.drip is None:
            handler.wfile.write(data)
        else:
            for byte in data:
                reply.drip()
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
        if length != len(data):
            handler.close_connection = True

    def _reply(self, asked: Asked) -> Reply:
        if asked.path == "/token":
            return self._token(asked)
        if self.secret and asked.headers.get("authorization") not in [
            f"Bearer {t}" for t in self.tokens[-1:]
        ]:
            return Reply(401, {"error": "no"})
        rows = [row for row in self.rows if str(row.get("updated", "")) >= asked.query.get("since", "")]
        serve = getattr(self, "_" + asked.path.strip("/").replace("-", "_"), None)
        return Reply(404, {"detail": "Invalid page."}) if serve is None else serve(asked, rows)

    def _token(self, asked: Asked) -> Reply:
        form = {name: held[0] for name, held in parse_qs(asked.body.decode()).items()}
        pair = base64.b64encode(f"adapter:{self.secret}".encode()).decode()
        shown = (
            asked.headers.get("authorization") == f"Basic {pair}" or form.get("client_secret") == self.secret
        )
        if form.get("grant_type") != "client_credentials" or not shown:
            return Reply(401, {"error": "invalid_client"})
        self.tokens.append(f"token{len(self.tokens)}")
        return Reply(200, {"access_token": self.tokens[-1], "token_type": "Bearer", "expires_in": 3600})

    def _plain(self, asked: Asked, rows: list[Any]) -> Reply:
        tag = '"' + sha256(json.dumps(rows).encode()).hexdigest() + '"'
        if asked.headers.get("if-none-match") == tag:
            return Reply(304)
        return Reply(200, {"data": {"items": rows}}, {"ETag": tag})

    def _offset(self, asked: Asked, rows: list[Any]) -> Reply:
        begin = int(asked.query.get("offset", "0"))
        size = min(int(asked.query.get("limit", "3")), self.cap)
        return Reply(200, {"total": len(rows), "results": rows[begin : begin + size]})

    def _page(self, asked: Asked, rows: list[Any]) -> Reply:
        number, size = int(asked.query.get("page", "1")), int(asked.query.get("size", "3"))
        begin = (number - 1) * size
        found = rows[begin : begin + size]
        return Reply(200, {"total": len(rows), "results": found, "more": begin + size < len(rows)})

    def _page_404(self, asked: Asked, rows: list[Any]) -> Reply:
        reply = self._page(asked, rows)
        return (
            reply
            if reply.body["results"] or asked.query.get("page") == "1"
            else Reply(404, {"detail": "Invalid page."})
        )

    def _page_clamped(self, asked: Asked, rows: list[Any]) -> Reply:
        last = max(1, -(-len(rows) // 3))
        query = {**asked.query, "page": str(min(int(asked.query.get("page", "1")), last))}
        return self._page(Asked(asked.method, asked.path, query, asked.headers, b"", ""), rows)

    def _keyset(self, asked: Asked, rows: list[Any]) -> Reply:
        """Pages of a keyset: what comes behind an id."""
        after = asked.query.get("after", "")
        left = [row for row in sorted(rows, key=lambda row: str(row["id"])) if str(row["id"]) > after]
        token = left[2]["id"] if len(left) > 3 else None
        return Reply(200, {"results": left[:3], "meta": {"next": token}, "has_more": len(left) > 3})

    def _link(self, asked: Asked, rows: list[Any]) -> Reply:
        begin = int(asked.query.get("begin", "0"))
        following = f"{self.url}/link?{urlencode({'begin': begin + 3})}"
        links = [f'<{self.url}/link?begin=0>; rel="first"', f'<{following}>; title="a, b"; rel="last next"']
        shown = ", ".join(links if begin + 3 < len(rows) else links[:1])
        return Reply(200, rows[begin : begin + 3], {"Link": shown})

    def _next_url(self, asked: Asked, rows: list[Any]) -> Reply:
        begin = int(asked.query.get("begin", "0"))
        following = f"next-url?begin={begin + 3}" if begin + 3 < len(rows) else None
        return Reply(200, {"next": following, "results": rows[begin : begin + 3]})
