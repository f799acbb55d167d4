"""`dief adapter run` as a process beside a real node: rows of State XB's registers become alerts at State XA."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from dief.v1 import codes_pb2, desk_pb2, registry_pb2

from node.identity.pem import certificates_pem
from node.identity.pki import Credential
from tests.support.live_adapter import PATIENCE, AdapterProcess, CsvRegister, Register, SqlRegister, settled
from tests.support.nodes import Federation, NodeProcess, desk, registry
from tests.support.registries import arm
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(600)

KINDS = ["csv", "postgresql by watermark"]
if os.environ.get("DIEF_E2E") == "1":
    KINDS += ["sqlite", "sqlite by watermark", "postgresql"]
"""What differs between these stands in the sources, which are tested by themselves; `make e2e` runs every kind."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with Federation(tmp_path_factory.mktemp("pair"), ["XA", "XB"]) as federation:
        federation.start()
        yield federation


@pytest.fixture
def stream(request: pytest.FixtureRequest) -> str:
    """A stream of the test's own: the node knows streams by name."""
    words = request.node.name.replace("[", "-").replace("]", "").replace("_", "-").replace(" ", "-")
    return f"t-{str(words)[-60:].lower()}"


@pytest.fixture(params=KINDS)
def register(request: pytest.FixtureRequest, tmp_path: Path, stream: str) -> Iterator[Register]:
    """The register of seizures, of each kind in turn."""
    if request.param == "csv":
        yield CsvRegister(tmp_path / "register", stream)
        return
    url = f"sqlite:///{tmp_path / 'register.sqlite'}"
    if request.param.startswith("postgresql"):
        url = request.getfixturevalue("postgres_cluster").database(migrated=False)
        url = url.replace("postgresql:", "postgresql+psycopg:")
    made = SqlRegister(tmp_path / "register", stream, url, watermark=request.param.endswith("watermark"))
    yield made
    made.engine.dispose()


def adapter_of(
    pair: Federation, register: Register, credential: Credential | None = None, ca: str = "XB"
) -> AdapterProcess:
    """An adapter for XB's node, by default with the certificate that it should have."""
    national = certificates_pem([pair.pki[ca].national_ca.certificate])
    return AdapterProcess(register, pair["XB"], national, credential or pair.pki["XB"].national("registry"))


def alerts_with(node: NodeProcess, *serials: str) -> list[set[str]]:
    """Names of the alerts that an officer of that node finds by each serial."""
    found: list[set[str]] = [set() for _ in serials]
    for begin in range(0, len(serials), 50):
        page = serials[begin : begin + 50]
        terms = [desk_pb2.ScreenTerm(kind=codes_pb2.INDICATOR_KIND_SERIAL, value=serial) for serial in page]
        with node.national("officer") as channel:
            answer = desk(channel).Screen(desk_pb2.ScreenRequest(terms=terms), timeout=60)
        for hit in answer.hits:
            found[begin + hit.term].add(hit.alert.name)
    return found


def arrived(node: NodeProcess, adapter: AdapterProcess, *serials: str) -> list[str]:
    """Name of the one alert of each serial, once a node has them all."""

    def look() -> list[set[str]]:
        found = alerts_with(node, *serials)
        return found if all(found) else []

    found = until(
        look, f"alerts at {node.state}; the adapter said {adapter.output()[-2000:]}", seconds=2 * PATIENCE
    )
    names = [name for each in found for name in each]
    assert len(names) == len(set(names)) == len(serials), (
        "one alert for each serial, one serial in each alert"
    )
    return names


def cursor_of(node: NodeProcess, stream: str, credential: Credential) -> bytes:
    with node.national("registry", credential) as channel:
        request = registry_pb2.GetCursorRequest(stream=stream)
        return registry(channel).GetCursor(request, timeout=30).cursor


def test_rows_become_alerts_at_the_other_state_also_those_that_come_while_it_runs(
    pair: Federation, register: Register, stream: str
) -> None:
    key = abs(hash(stream)) % 10**6
    first, later = f"LIVE {key}1", f"LIVE {key}2"
    register.put(arm("1", serial=first), arm("2", serial=f"LIVE {key}9", situation="REGULAR"))
    with adapter_of(pair, register) as adapter:
        adapter.start()
        arrived(pair["XA"], adapter, first)
        register.put(arm("3", serial=later))
        arrived(pair["XA"], adapter, later)
        assert adapter.stop() == 0, "SIGTERM ends it in order"
    assert alerts_with(pair["XA"], f"LIVE {key}9") == [set()]


def test_i5_an_adapter_killed_in_mid_run_loses_and_doubles_nothing(
    pair: Federation, register: Register, stream: str
) -> None:
    """I5: SIGKILL wherever the run happens to be, five times over; every row is one alert at XA in the end."""
    key = abs(hash(stream)) % 10**6
    serials = [f"KILL {key}{number:04}" for number in range(400)]
    register.put(*(arm(str(number), serial=serial) for number, serial in enumerate(serials)))
    credential = pair.pki["XB"].national("registry")
    with adapter_of(pair, register) as adapter:
        for _ in range(5):
            held, told = cursor_of(pair["XB"], stream, credential), len(adapter.reports())
            adapter.start()

            def moved(held: bytes = held, told: int = told) -> bool:
                return cursor_of(pair["XB"], stream, credential) != held or len(adapter.reports()) > told

            until(moved, f"the run being on its way; {adapter.output()[-2000:]}", seconds=PATIENCE)
            assert adapter.running, adapter.output()
            adapter.kill()
        told = len(adapter.reports())
        adapter.start()
        arrived(pair["XA"], adapter, *serials)
        until(lambda: len(adapter.reports()) > told, "the last run's report", seconds=PATIENCE)
        assert adapter.stop() == 0
        assert adapter.quarantine() == {}
    arrived(pair["XB"], adapter, *serials)


def test_i5_an_adapter_waits_for_a_node_that_is_down_and_goes_on(
    pair: Federation, register: Register, stream: str
) -> None:
    key = abs(hash(stream)) % 10**6
    before, during = f"AWAY {key}1", f"AWAY {key}2"
    register.put(arm("1", serial=before))
    with adapter_of(pair, register) as adapter:
        adapter.start()
        arrived(pair["XB"], adapter, before)
        pair["XB"].kill()
        try:
            register.put(arm("2", serial=during))
        finally:
            pair["XB"].start()
        assert adapter.running, adapter.output()
        arrived(pair["XA"], adapter, before, during)
        assert adapter.stop() == 0


def bad_rows(key: int) -> dict[str, str]:
    """Rows that are wrong in every database alike, by their key."""
    return {
        "code": arm("code", serial=f"BAD {key}1", situation="VENDIDA"),
        "kind": arm("kind", serial=f"BAD {key}2", kind="GUARDA-CHUVA"),
        "day": arm("day", serial=f"BAD {key}3", day="29/02/2025"),
        "no day": arm("no day", serial=f"BAD {key}4", day=""),
        "large": arm("large", serial=f"BAD {key}5", make="X" * 10_000_000),
    }


REASONS = {
    "code": ("situacao", "NOT_SELECTED"),
    "kind": ("especie", "CODE_NOT_MAPPED"),
    "day": ("data_situacao", "DATE_IMPOSSIBLE"),
    "no day": ("data_situacao", "MISSING"),
}


def test_i10_bad_rows_go_into_quarantine_with_reasons_while_good_ones_flow(
    pair: Federation, register: Register, stream: str
) -> None:
    key = abs(hash(stream)) % 10**6
    good = [f"GOOD {key}{number}" for number in range(3)]
    bad = bad_rows(key)
    register.put(arm("g0", serial=good[0]), *bad.values(), arm("g1", serial=good[1]), arm("none", serial=""))
    wanted = dict(REASONS)
    large = "large"
    if isinstance(register, CsvRegister):
        spoiled = arm("bytes", serial=f"BAD {key}6").encode("cp1252").replace(b"EXEMPLAR", b"EX\x81MPLAR")
        register.put_bytes(spoiled, arm("g2", serial=good[2]).encode("cp1252"), b"torn;row")
        wanted |= {"0002.csv:4": ("", "FIELD_COUNT"), "bytes": ("marca", "ENCODING")}
        large = next(f"0001.csv:{line}" for line, row in enumerate(["", "", *bad], 1) if row == "large")
    else:
        register.put(arm("g2", serial=good[2]))
        if register.engine.dialect.name == "sqlite":
            register.put(arm("bytes", serial=f"BAD {key}6"))
            register.execute("UPDATE arm SET marca = CAST(x'455881' AS TEXT) WHERE num_cadastro = 'bytes'")
            wanted |= {"bytes": ("marca", "ENCODING")}
    wanted[large] = ("", "RECORD_TOO_LARGE") if isinstance(register, CsvRegister) else ("", "string.max_len")
    with adapter_of(pair, register) as adapter:
        adapter.start()
        arrived(pair["XA"], adapter, *good)
        settled(adapter, "quarantined", len(wanted))
        assert adapter.stop() == 0
        assert adapter.quarantine() == wanted
        assert "X" * 100 not in adapter.output(), "no value of a row in what an adapter says"
    assert alerts_with(pair["XB"], *(f"BAD {key}{number}" for number in range(1, 7))) == [set()] * 6


def test_a_row_without_a_serial_is_an_alert_without_one(
    pair: Federation, tmp_path: Path, stream: str
) -> None:
    register = CsvRegister(tmp_path / "register", stream)
    register.put(arm("1", serial=""), arm("2", serial="S/N"), arm("3", serial="RASPADA"))
    done = adapter_of(pair, register).once()
    assert done.returncode == 0, done.stderr
    with pair["XB"].national("registry") as channel:
        request = registry_pb2.ListOutcomesRequest(stream=stream)
        names = {
            record.key: record.alert for record in registry(channel).ListOutcomes(request, timeout=30).records
        }
    assert set(names) == {"1", "2", "3"}
    with pair["XB"].national("officer") as channel:
        for key, name in names.items():
            alert = (
                desk(channel).GetAlertView(desk_pb2.GetAlertViewRequest(name=name), timeout=30).alert.alert
            )
            marks = [serial.as_read for serial in alert.items[0].serials]
            assert not any(marks), f"{key}: a mark for none is never a serial"
            conditions = [serial.condition for serial in alert.items[0].serials]
            assert (codes_pb2.SERIAL_CONDITION_ERASED in conditions) == (key == "3")


WRONG: list[tuple[str, str, Callable[[Federation], Credential], str, str, grpc.StatusCode]] = [
    (
        "of kind officer",
        "XB",
        lambda fed: fed.pki["XB"].national("officer"),
        "is not of kind registry",
        "spiffe://xb.dief/officer/",
        grpc.StatusCode.PERMISSION_DENIED,
    ),
    (
        "of another State",
        "XB",
        lambda fed: fed.pki["XA"].national("registry"),
        "is not signed by the CA that vouches for the node",
        "spiffe://xa.dief/registry/",
        grpc.StatusCode.UNAVAILABLE,
    ),
    (
        "of the federation CA",
        "XB",
        lambda fed: fed.pki["XB"].node,
        "is not signed by the CA that vouches for the node",
        "spiffe://xb.dief/node/",
        grpc.StatusCode.UNAVAILABLE,
    ),
]


@pytest.mark.parametrize(
    ("what", "ca", "make", "words", "identity", "status"), WRONG, ids=[case[0] for case in WRONG]
)
def test_i9_a_certificate_of_the_wrong_kind_is_refused_by_both_sides_with_the_reason(
    pair: Federation,
    tmp_path: Path,
    stream: str,
    what: str,
    ca: str,
    make: Callable[[Federation], Credential],
    words: str,
    identity: str,
    status: grpc.StatusCode,
) -> None:
    """I9: the adapter says what is wrong with its certificate; the node takes it from nobody, said or not."""
    register = CsvRegister(tmp_path / "register", stream)
    register.put(arm("1", serial="WRONG 1"))
    done = adapter_of(pair, register, make(pair), ca).once()
    assert done.returncode == 1
    assert words in done.stderr
    assert identity in done.stderr
    request = registry_pb2.SubmitRecordsRequest(stream=stream, cursor=b"x")
    with pair["XB"].national("registry", make(pair)) as channel, pytest.raises(grpc.RpcError) as refusal:
        registry(channel).SubmitRecords(request, timeout=30)
    assert refusal.value.code() == status
    assert cursor_of(pair["XB"], stream, pair.pki["XB"].national("registry")) == b""


def test_i9_an_adapter_hands_its_rows_to_no_other_states_node(
    pair: Federation, tmp_path: Path, stream: str
) -> None:
    """I9: XA's adapter, pointed at XB's node, sees that whoever answers is not its State's."""
    register = CsvRegister(tmp_path / "register", stream)
    register.put(arm("1", serial="ASTRAY 1"))
    done = adapter_of(pair, register, pair.pki["XA"].national("registry"), "XA").once()
    assert done.returncode == 1
    assert "has no certificate that the CA in --ca vouches for" in done.stderr
