"""What this machine could do at best on the way of a registry's rows into the watch, with the same parts.

One process reads the rows with the bare driver, makes the same messages and sends them over mTLS, a batch ahead;
another takes them and writes records and keys to the same tables with the bare driver, a commit a batch, FULL.
Nothing is cleaned, mapped, checked, normalised, matched, or told apart from what was there before; a key is a hash.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
from dief.v1 import registry_pb2
from google.protobuf.message import Message

from node.bench import limit
from node.bench.load_registry import URL_ENV, Registry
from node.bench.pair import LOOPBACK, BenchError, BenchNode, Progress, environment

_SERVER = "national-server"
_LARGEST = [("grpc.max_receive_message_length", 16 << 20)]


def limit_per_s(node: BenchNode, registry: Registry, folder: Path, progress: Progress) -> float:
    """Rows a second from the registry to the disk of a receiver.

    Args:
        node: Its certificates are used; it need not run.
        registry: What is read.
        folder: For the receiver's database.
        progress: Told of rows.

    Raises:
        BenchError: Not every row arrived.
    """
    path = folder / "load-limit.db"
    limit.make_tables(path, "WAL")
    pki = node.home / "pki"
    with closing(limit.opened(path)) as database, ThreadPoolExecutor(2) as threads:
        receiver = _Receiver(database, progress)
        server = grpc.server(threads, options=_LARGEST)
        server.add_generic_rpc_handlers((receiver.handlers(),))
        port = server.add_secure_port(f"{LOOPBACK}:0", _credentials(pki))
        server.start()
        try:
            sent = subprocess.run(
                [sys.executable, "-m", "node.bench.load_send", f"{LOOPBACK}:{port}", str(pki)],
                env=environment() | {URL_ENV: registry.url},
                capture_output=True,
                check=False,
            )
        finally:
            server.stop(None).wait()
    if sent.returncode or receiver.rows != registry.rows:
        said = sent.stderr.decode(errors="replace").strip()
        raise BenchError(f"Not every row arrived where the limit is measured. {said[-300:]}".rstrip())
    return receiver.rows / (receiver.last - receiver.first)


class _Receiver:
    """Writes what comes, and notes when the sender began and when the last row was on disk."""

    def __init__(self, database: Any, progress: Progress) -> None:
        self._database = database
        self._progress = progress
        self._lock = threading.Lock()
        self.rows = 0
        self.first = 0.0
        self.last = 0.0

    def handlers(self) -> grpc.GenericRpcHandler:
        """The two methods of RegistryService that the sender calls."""
        methods: dict[str, tuple[Any, Any]] = {
            "GetCursor": (self._begin, registry_pb2.GetCursorRequest),
            "SubmitRecords": (self._take, registry_pb2.SubmitRecordsRequest),
        }
        return grpc.method_handlers_generic_handler(
            registry_pb2.DESCRIPTOR.services_by_name["RegistryService"].full_name,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    take,
                    request_deserializer=asked.FromString,
                    response_serializer=_serialised,
                )
                for name, (take, asked) in methods.items()
            },
        )

    def _begin(self, request: Any, context: Any) -> registry_pb2.GetCursorResponse:
        self.first = time.perf_counter()
        return registry_pb2.GetCursorResponse()

    def _take(self, request: Any, context: Any) -> registry_pb2.SubmitRecordsResponse:
        with self._lock:
            limit.write(self._database, _rows(request.records, self.rows))
            self.rows += len(request.records)
            self.last = time.perf_counter()
        self._progress(len(request.records))
        accepted = registry_pb2.RECORD_RESULT_ACCEPTED
        return registry_pb2.SubmitRecordsResponse(
            outcomes=[registry_pb2.RecordOutcome(key=one.key, result=accepted) for one in request.records]
        )


def _serialised(answer: Message) -> bytes:
    return answer.SerializeToString()


def _rows(records: Sequence[registry_pb2.RegistryRecord], before: int) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of the watch's tables in the order of their columns."""
    stored: list[tuple[Any, ...]] = []
    keys: list[tuple[Any, ...]] = []
    for number, one in enumerate(records, before + 1):
        stored.append((number, 1, one.key, one.watch.SerializeToString(), 1, 0))
        for term in one.watch.terms:
            digest = hashlib.sha256(term.value.encode()).digest()
            keys.append((term.kind, int.from_bytes(digest[:8], signed=True), number))
    return {"watch_record": stored, "watch_key": sorted(keys)}


def _credentials(pki: Path) -> grpc.ServerCredentials:
    own = ((pki / f"{_SERVER}.key").read_bytes(), (pki / f"{_SERVER}.pem").read_bytes())
    return grpc.ssl_server_credentials(
        [own], (pki / "national-ca.pem").read_bytes(), require_client_auth=True
    )
