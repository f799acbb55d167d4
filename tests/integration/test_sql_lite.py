"""The ready mapping for LITE on a PostgreSQL of its tables: each trap of that database, by its number in the notes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from dief.v1.alert_pb2 import DiversionAlert

from registry_adapters import Cursor, Mapping, Row
from registry_adapters.check import check
from registry_adapters.mapping.rows import Mapped
from registry_adapters.sources.opening import open_source
from registry_adapters.sources.sql import SqlSource
from registry_adapters.sources.sql_settings import SqlSettings
from tests.support.dropped import CASES
from tests.support.registries import SAMPLES
from tests.support.sql_registries import SqlRegistry

FOLDER = SAMPLES / "licensing_lite"
CASE = "0c000000-0000-4000-8000-00000000000{}"


class Lite:
    """The sample database, its mapping, a clock, and a cursor that moves on with each run."""

    def __init__(self, registry: SqlRegistry, name: str) -> None:
        self.registry = registry
        self.mapping = Mapping.load(FOLDER / name)
        self.later = 0.0
        self.source = self.opened()
        self.cursor: Cursor | None = None

    def opened(self, **settings: str) -> SqlSource:
        """The mapping's source, with some settings changed."""
        given = self.mapping.file.source
        assert isinstance(given, SqlSettings)
        given = SqlSettings.model_validate(
            {**given.model_dump(exclude_none=True, exclude={"url_env"} if settings else None), **settings}
        )
        return SqlSource(
            given,
            given.address(FOLDER),
            lambda: time.time() + self.later,
            needed=self.mapping.columns(),
            lookups=self.mapping.file.lookup,
            memory=self.registry.folder / "keys.db",
        )

    def run(self, *statements: str) -> dict[str, Mapped | None]:
        """What rows became that a run reads after some statements: key to the record."""
        self.registry.do(*statements)
        found: dict[str, Mapped | None] = {}
        for part in self.source.read(self.cursor):
            self.cursor = Cursor.decode(part.cursor.encode(), "sql")
            if isinstance(part, Row):
                assert part.key is not None
                found[part.key] = self.mapping.map(part)
        return found


@pytest.fixture
def database(postgres_registry: SqlRegistry, monkeypatch: pytest.MonkeyPatch) -> SqlRegistry:
    with postgres_registry.engine.begin() as conn:
        for name in ("schema.sql", "seed.sql"):
            conn.exec_driver_sql((FOLDER / name).read_text(encoding="utf-8").replace("%", "%%"))
    monkeypatch.setenv("LITE_DATABASE_URL", postgres_registry.url)
    return postgres_registry


@pytest.fixture
def lite(database: SqlRegistry) -> Iterator[Lite]:
    made = Lite(database, "mapping.toml")
    yield made
    made.source.close()


def alert(mapped: Mapped | None) -> DiversionAlert:
    """What a row that must be a draft says."""
    assert mapped is not None
    assert mapped.draft is not None
    return mapped.draft[0].alert


def serials(mapped: Mapped | None) -> list[str]:
    return [serial.as_registered for item in alert(mapped).items for serial in item.serials]


def names(mapped: Mapped | None) -> list[str]:
    return [party.names[0].full for party in alert(mapped).parties]


def withdraws(mapped: Mapped | None) -> bool:
    return mapped is not None and mapped.draft is None and mapped.withdraw is not None


def watched(mapped: Mapped | None) -> set[str]:
    return set() if mapped is None or mapped.watch is None else {term.value for term in mapped.watch.terms}


def test_l1_late_serials_leave_a_trace_in_the_audit_table_only(lite: Lite) -> None:
    assert "RB-0001" not in watched(lite.run()[CASE.format(2)])
    late = lite.run(
        "UPDATE goods_firearmgooddetails SET serial_numbers = '{RB-0001,\"\",RB-0003}' WHERE id = 4",
        "INSERT INTO audit_trail_audit VALUES (gen_random_uuid(), now(), 'updated_serial_numbers',"
        f" '{CASE.format(2)}', '{{\"good_name\"\\: \"Rifle EX-7\"}}')",
    )
    assert {"RB-0001", "RB-0003"} <= watched(late[CASE.format(2)])


def test_l1_l7_what_sets_no_time_and_leaves_no_trace_is_found_by_the_comparison(lite: Lite) -> None:
    lite.run()
    lite.later = 90_000
    lite.run()
    unseen = lite.run("UPDATE goods_firearmgooddetails SET serial_numbers = '{RB-0009}' WHERE id = 4")
    assert CASE.format(2) not in unseen
    lite.later = 180_000
    found = lite.run("UPDATE parties_party SET name = 'Renamed in bulk' WHERE type = 'end_user'")
    assert "RB-0009" in watched(found[CASE.format(2)])
    assert "Renamed in bulk" in names(found[CASE.format(1)])


def test_l2_blank_places_are_no_serials_and_the_old_column_may_hold_the_only_one(lite: Lite) -> None:
    found = lite.run()
    assert serials(found[CASE.format(1)]) == ["EA000101", "EA000102", "EA000103"]
    assert "OLD-77" in watched(found[CASE.format(3)])
    for mapped in found.values():
        assert "" not in watched(mapped)


def test_l3_serials_are_those_of_the_application_not_of_the_product(lite: Lite) -> None:
    found = lite.run("UPDATE goods_firearmgooddetails SET serial_numbers = '{PRODUCT-1}' WHERE id = 1")
    assert "PRODUCT-1" not in serials(found[CASE.format(1)])


def test_l4_keys_are_uuids_and_32_bit_numbers_beside_each_other(lite: Lite) -> None:
    number = "ALTER SEQUENCE applications_partyonapplication_id_seq RESTART WITH 2147483647"
    party = f"'{CASE.format(1)}', '0b000000-0000-4000-8000-000000000003'"
    columns = "(updated_at, application_id, party_id)"
    found = lite.run(number, f"INSERT INTO applications_partyonapplication {columns} VALUES (now(), {party})")
    assert names(found[CASE.format(1)])[-1] == "Withdrawn Trading"
    assert all(len(key) == 36 for key in found)


def test_l5_clones_of_a_party_are_watched_by_name_in_each_case(lite: Lite) -> None:
    found = lite.run()
    for case in (1, 7):
        assert "Al Noor Gen. Trading LLC" in watched(found[CASE.format(case)])


def test_l6_party_that_was_replaced_is_left_out_and_a_late_replacement_revises(lite: Lite) -> None:
    found = lite.run()
    assert "Withdrawn Trading" not in names(found[CASE.format(1)])
    assert "Withdrawn Trading" not in watched(found[CASE.format(1)])
    gone = lite.run(
        "UPDATE applications_partyonapplication SET deleted_at = now(), updated_at = now() WHERE id = 1"
    )
    assert "Al Noor Gen. Trading LLC" not in names(gone[CASE.format(1)])


def test_l8_reissue_is_the_same_case_and_revocation_and_return_follow(lite: Lite) -> None:
    found = lite.run()
    assert withdraws(found[CASE.format(3)])
    revoked = lite.run(
        "UPDATE licences_licence SET status = 'revoked', updated_at = now()"
        " WHERE reference_code = 'GBSIEL/2026/0000003/P/A'"
    )[CASE.format(3)]
    assert alert(revoked).documents[0].number_as_read == "GBSIEL/2026/0000003/P/A"
    back = lite.run(
        "UPDATE licences_licence SET status = 'cancelled', updated_at = now()"
        " WHERE reference_code = 'GBSIEL/2026/0000003/P/A'",
        "INSERT INTO licences_licence VALUES (gen_random_uuid(), now(), now(), 'GBSIEL/2026/0000003/P/B',"
        f" '{CASE.format(3)}', 'reinstated', '2026-03-01', '2028-02-28')",
    )[CASE.format(3)]
    assert withdraws(back)


def test_l9_quantity_of_the_licence_goes_before_that_of_the_application(lite: Lite) -> None:
    mapped = lite.run()[CASE.format(1)]
    assert alert(mapped).items[0].quantity.value == "3", "licensed, of 4 applied for"


def test_l10_territories_lose_their_suffix_and_what_is_no_country_stays_out(lite: Lite) -> None:
    mapped = lite.run()[CASE.format(1)]
    assert [party.country for party in alert(mapped).parties] == ["XB", "XD", ""]


def test_l11_drafts_and_void_decisions_are_nothing_and_finalised_says_nothing(lite: Lite) -> None:
    found = lite.run()
    assert CASE.format(5) not in found
    void = found[CASE.format(6)]
    assert alert(found[CASE.format(4)]).measures
    assert void is None or void.draft is None
    freed = lite.run(
        "UPDATE cases_licencedecision SET excluded_from_statistics_reason = 'mistake', updated_at = now()"
        f" WHERE case_id = '{CASE.format(4)}'"
    )[CASE.format(4)]
    assert freed is None or freed.draft is None
    withdrawn = lite.run(
        "UPDATE cases_case SET status_id = '00000000-0000-0000-0000-000000000009', updated_at = now()"
        f" WHERE id = '{CASE.format(7)}'"
    )[CASE.format(7)]
    assert withdrawn is None or withdrawn.watch is None


def test_l12_denials_of_others_are_watched_unescaped_with_their_wrong_twins(database: SqlRegistry) -> None:
    denials = Lite(database, "denials.toml")
    found = denials.run()
    assert all(mapped is None or mapped.draft is None for mapped in found.values())
    told = {
        value for mapped in found.values() if mapped is not None and mapped.watch for value in watched(mapped)
    }
    assert told == {"Alnuor & Sons", "Alnour & Sons"}
    freed = denials.run("UPDATE external_data_denial SET is_revoked = true, updated_at = now()")
    assert len(freed) == 4
    assert all(mapped is None or mapped.watch is None for mapped in freed.values())
    denials.source.close()


def test_l13_text_that_was_escaped_twice_is_read_as_it_was_meant(lite: Lite) -> None:
    assert "Ministry of Interior & Police" in names(lite.run()[CASE.format(1)])


def test_l14_pages_do_not_shift_when_rows_appear_and_vanish_while_reading(database: SqlRegistry) -> None:
    page = database.source(table="applications_partyonapplication", fetch_size=2).read(None)
    found = [next(page) for _ in range(3)]
    database.do("DELETE FROM applications_partyonapplication WHERE id <= 2")
    found.extend(page)
    assert [row.key for row in found if isinstance(row, Row)] == [str(i) for i in range(1, 11)]


def test_l15_old_units_are_read_as_the_new_ones(lite: Lite) -> None:
    mapped = lite.run()[CASE.format(4)]
    quantity = alert(mapped).items[0].quantity
    assert (quantity.value, quantity.unit) == ("15", "MGM")


def test_serial_and_licence_can_be_looked_up(lite: Lite) -> None:
    [found] = lite.source.lookup("serial", "EA000102")
    assert found["reference"] == "GBSIEL/2026/0000001/P"
    assert lite.source.lookup("serial", "EA0001") == []
    [licence] = lite.source.lookup("licence", "GBSIEL/2026/0000003/P/A")
    assert licence["status"] == "reinstated"


def test_values_staff_and_reasons_are_never_read(lite: Lite) -> None:
    text = (FOLDER / "mapping.toml").read_text(encoding="utf-8")
    for column in ("value numeric", "foi_reason", "submitted_by", "case_officer"):
        assert column not in text
    account = "CREATE ROLE reader LOGIN"
    granted = (
        "organisation, statuses_casestatus, cases_case, parties_party, applications_partyonapplication,"
        " goods_firearmgooddetails, control_list_entry, good, good_control_list_entries,"
        " applications_goodonapplication, licences_licence, licences_goodonlicence, cases_licencedecision,"
        " cases_licencedecision_denial_reasons, audit_trail_audit"
    )
    lite.registry.do("DROP ROLE IF EXISTS reader", account, f"GRANT SELECT ON {granted} TO reader")
    url = sa.make_url(lite.registry.url).update_query_dict({"user": "reader"})
    source = lite.opened(url=url.render_as_string(hide_password=False))
    assert sum(isinstance(part, Row) for part in source.read(None)) >= 6
    source.close()
    lite.registry.do("DROP OWNED BY reader", "DROP ROLE reader")


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
@pytest.mark.parametrize("name", ["mapping.toml", "denials.toml"])
def test_mapping_fits_the_real_schema(
    postgres_registry: SqlRegistry, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    script = (CASES / "schemas" / "lite_licensing.sql").read_text(encoding="utf-8")
    with postgres_registry.engine.begin() as conn:
        conn.exec_driver_sql(script.replace("%", "%%"))
    monkeypatch.setenv("LITE_DATABASE_URL", postgres_registry.url)
    mapping = Mapping.load(FOLDER / name)
    source = open_source(mapping, postgres_registry.folder)
    assert check(mapping, source).read == 0
    assert isinstance(source, SqlSource)
    for kind in mapping.file.lookup:
        assert source.lookup(kind, "x") == []
    source.close()
