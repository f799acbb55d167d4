"""protos/README.md says what the code does, where a machine can compare the two."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from dief.v1 import error_pb2
from google.rpc import code_pb2

from node.alerts import queries
from node.identity import dsse, roster, view
from node.identity.certificates import MAX_CHAIN, MAX_CHAIN_BYTES
from node.ledger import header, reading
from node.ledger.state import MAX_BODY_SIZE, MAX_SEQ
from node.ops.errors import DiefError
from node.services import errors, limits
from node.services.federation import MAX_PAGE_BYTES
from tests.support.make_vectors import FOLDER

PAGE = FOLDER.parent / "README.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_reason_stands_in_the_table_with_its_status() -> None:
    told = dict(re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \|", TEXT, flags=re.MULTILINE))
    reasons = [name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()]
    codes = {
        reason: code_pb2.Code.Name(errors.status_of(DiefError("Why.", reason=reason)).code)
        for reason in reasons
        if reason != "UNSPECIFIED"
    }
    assert told == codes


def test_the_checkpoint_shown_is_that_of_the_vectors() -> None:
    content = json.loads((FOLDER / "checkpoint.json").read_text(encoding="utf-8"))
    for line in content["text"].splitlines():
        assert re.search(rf"^{re.escape(line)} {{2,}}\S", TEXT, flags=re.MULTILINE), line


def test_the_bytes_before_the_payload_of_a_roster_are_those_signed() -> None:
    start = dsse.pae(dsse.wrap(b"x")).removesuffix(b"1 x").decode()
    version, length, payload_type = start.split()
    assert f'"{version}" SP "{length}" SP "{payload_type}" SP' in TEXT


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (
            "| body, header, `erases` | 512 KiB, 128 KiB, 4096 |",
            (MAX_BODY_SIZE >> 10, header.MAX_HEADER_SIZE >> 10),
        ),
        ("| entries in a log | 2^40 - 1 |", ((MAX_SEQ + 2).bit_length() - 1,)),
        ("| batch | 1000 entries;", (reading.MAX_BATCH_ENTRIES,)),
        (
            "| prelude | 500 headers or about 1 MiB",
            (reading.PRELUDE_HEADERS, reading.MAX_PRELUDE_BYTES >> 20),
        ),
        ("answer of `GetAlert` | about 2 MiB, or one entry |", (MAX_PAGE_BYTES >> 20,)),
        (
            "at a time; others of that State wait | 2, and 1 |",
            (limits.READS_PER_CALLER, limits.WRITES_PER_CALLER),
        ),
        ("(the first 25)", (errors.MAX_VIOLATIONS,)),
        ("| page of `QueryAlerts` | 500, by default 100 |", (queries.MAX_PAGE, queries.DEFAULT_PAGE)),
        ("| certificates in a chain, its PEM | 8, 64 KiB |", (MAX_CHAIN, MAX_CHAIN_BYTES >> 10)),
    ],
)
def test_limits_are_those_of_the_code(line: str, values: tuple[int, ...]) -> None:
    assert line in TEXT
    for value in values:
        assert re.search(rf"\b{value}\b", line), value


def test_files_that_the_page_names_are_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (PAGE.parent / target).exists(), target
    for name in re.findall(r"`([a-z_]+\.json)`", TEXT):
        assert (FOLDER / name).is_file(), name
    for path in FOLDER.glob("*.json"):
        assert f"`{path.name}`" in TEXT, path.name
    for name in re.findall(r"`([a-z_]+\.proto)`", TEXT):
        assert Path(PAGE.parent / "dief" / "v1" / name).is_file(), name


def test_trust_digests_of_the_vectors_are_made_as_the_page_says() -> None:
    content = json.loads((FOLDER / "roster_dsse.json").read_text(encoding="utf-8"))
    envelope = dsse.from_json(json.dumps(content["valid"][1]["envelope"]).encode())
    listed = {one.state: one for one in roster.parse(envelope).participants}
    assert set(listed) == set(content["trust_digests"])
    for state, digest in content["trust_digests"].items():
        assert view.TrustParts.of(listed[state]).digest(state).hex() == digest
