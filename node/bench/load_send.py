"""The sending half of the limit of a first load: rows read with the bare driver, as messages, over mTLS.

Run as a process: `python -m node.bench.load_send ADDRESS PKI_FOLDER`, the registry's URL in the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import sqlalchemy as sa
from dief.v1 import codes_pb2, registry_pb2, registry_pb2_grpc, watch_pb2

from node.bench.load_registry import COLUMNS, STREAM, TABLE, URL_ENV
from node.bench.pair import BATCH, SEPARATE, credentials

SECONDS = 120.0
_FETCH = 2 * BATCH


def send(url: str, address: str, pki: Path) -> None:
    """Send all rows of a registry, one batch ahead of the answers.

    Args:
        url: The registry's database.
        address: Of the receiver.
        pki: Folder with the registry's certificate.
    """
    engine = sa.create_engine(url)
    shown = credentials(pki, "national-ca", "registry")
    with closing(engine.raw_connection()) as raw, grpc.secure_channel(address, shown, SEPARATE) as channel:
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        stub.GetCursor(registry_pb2.GetCursorRequest(stream=STREAM), timeout=SECONDS)
        before = None
        for request in _requests(raw):
            call = stub.SubmitRecords.future(request, timeout=SECONDS)
            if before is not None:
                before.result()
            before = call
        if before is not None:
            before.result()
    engine.dispose()


def _requests(raw: Any) -> Iterator[registry_pb2.SubmitRecordsRequest]:
    """Batches of the messages that the adapter makes of the rows."""
    cursor = raw.cursor("bench") if hasattr(raw.driver_connection, "pgconn") else raw.cursor()
    cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM {TABLE} ORDER BY changed_at, id")  # noqa: S608 - names are ours
    while rows := cursor.fetchmany(_FETCH):
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            request = registry_pb2.SubmitRecordsRequest(stream=STREAM, cursor=b"%d" % part[-1][0])
            for row in part:
                _add(request, *row)
            yield request
    cursor.close()


def _add(
    request: registry_pb2.SubmitRecordsRequest,
    number: int,
    serial: str,
    make: str,
    owner: str | None,
    owner_state: str | None,
    _status: str,
) -> None:
    watch = request.records.add(key=str(number)).watch
    watch.kind = watch_pb2.WATCH_RECORD_KIND_HOLDING
    watch.reference = f"ARM {number}"
    watch.terms.add(kind=codes_pb2.INDICATOR_KIND_SERIAL, value=serial, context=make, field="serial")
    if owner:
        watch.terms.add(
            kind=codes_pb2.INDICATOR_KIND_PARTY_NAME, value=owner, context=owner_state, field="owner"
        )


if __name__ == "__main__":
    send(os.environ[URL_ENV], sys.argv[1], Path(sys.argv[2]))
