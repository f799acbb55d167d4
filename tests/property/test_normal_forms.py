"""Normal forms: a form is its own form, and what people and registers change in writing changes no form."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.alerts.normal import (
    NORMAL_FORMS,
    contact,
    container,
    distinctive_words,
    identifier,
    imo,
    legal_forms,
    name_tokens,
    number,
    party_name,
    vessel_name,
)
from node.alerts.placeholders import is_placeholder

SERIALS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=20)
NOISE = st.text(" .-/_№#", max_size=3)
WORDS = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=8).filter(lambda w: not legal_forms(w)),
    min_size=1,
    max_size=5,
)
LOOK_ALIKES = dict(zip("ABEKMHOPCTYX", "АВЕКМНОРСТУХ", strict=True))
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
DIGITS = ["٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "०१२३४५६७८९", "０１２３４５６７８９"]


@given(st.sampled_from(sorted(NORMAL_FORMS)), st.text(max_size=40))
def test_any_text_has_forms_without_an_error_and_none_is_empty(kind: int, value: str) -> None:
    assert all(NORMAL_FORMS[kind](value))


@given(st.text(max_size=40))
def test_the_form_of_a_number_is_its_own_form(value: str) -> None:
    for form in number(value):
        assert form in number(form)


@given(st.text(max_size=40))
def test_the_words_of_a_name_are_their_own_words(value: str) -> None:
    words = name_tokens(value)
    assert name_tokens(" ".join(words)) == words


@given(SERIALS, st.data())
def test_blanks_and_signs_do_not_tell_numbers_apart(serial: str, data: st.DataObject) -> None:
    noisy = "".join(data.draw(NOISE) + character for character in serial) + data.draw(NOISE)
    assert number(noisy) == number(serial)


@given(SERIALS)
def test_case_and_full_width_do_not_tell_numbers_apart(serial: str) -> None:
    wide = "".join(chr(ord(character) + 0xFEE0) for character in serial)
    assert number(serial.lower()) == number(serial.upper()) == number(wide)


@given(st.text("ABEKMHOPCTYX" + string.digits, min_size=1, max_size=12))
def test_cyrillic_letters_that_look_alike_are_the_same(serial: str) -> None:
    cyrillic = "".join(LOOK_ALIKES.get(character, character) for character in serial)
    assert serial in number(cyrillic)


@given(st.text(string.digits, min_size=1, max_size=12), st.sampled_from(DIGITS))
def test_digits_of_every_script_are_the_same(serial: str, digits: str) -> None:
    assert number(serial.translate(str.maketrans(string.digits, digits))) == (serial,)


def test_a_cyrillic_prefix_is_found_by_look_and_by_sound() -> None:
    assert number("ХК 386012") == ("XK386012", "KHK386012")
    assert number("№ 12-34") == ("1234",)


@pytest.mark.parametrize("value", ["AB?2", "AB*", "？１"])
def test_what_could_not_be_read_has_no_exact_form(value: str) -> None:
    assert number(value) == ()


@given(WORDS, st.randoms(use_true_random=False))
def test_order_of_words_and_signs_do_not_tell_names_apart(words: list[str], random: object) -> None:
    shuffled = list(words)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert party_name(", ".join(shuffled).upper()) == party_name(" ".join(words))


@given(
    WORDS, st.sampled_from(["LLC", "L.L.C.", "Ltd.", "GmbH", "S.A.", "(Pty) Ltd", "FZE", "Co., Ltd", "ООО"])
)
def test_the_legal_form_does_not_tell_names_apart(words: list[str], form: str) -> None:
    name = " ".join(words)
    assert party_name(f"{name} {form}") == party_name(name)
    assert legal_forms(f"{name} {form}")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("A.B.C. Co. Ltd", "ABC"),
        ("Müller & Söhne GmbH", "Muller Sohne"),
        ("Müller & Söhne GmbH", "MUELLER SOEHNE"),
        ("Ørsted", "Oersted"),
        ("ООО «Щербаков»", "Shcherbakov"),
        ("O’Brien", "OBRIEN"),
        ("中国北方工业有限公司", "中国北方工业"),
        ("Łódź Trading", "Lodz Trading"),
    ],
)
def test_names_meet_across_spellings(left: str, right: str) -> None:
    assert set(party_name(left)) & set(party_name(right))


@pytest.mark.parametrize(
    "value", ["General Trading Company", "Co. Ltd", "The Import Export Group", "L.L.C.", "X"]
)
def test_a_name_of_common_words_has_no_distinctive_word(value: str) -> None:
    assert distinctive_words(value) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("A.B.C. Co. Ltd", ["abc"]),
        ("X Y Z Trading", ["xyz"]),
        ("SPS OOO", ["sps"]),
        ("Al Noor Gen. Trading", ["noor"]),
    ],
)
def test_joined_initials_and_rare_words_are_distinctive(value: str, words: list[str]) -> None:
    assert [word for word in distinctive_words(value) if word != "al"] == words


@pytest.mark.parametrize("value", ["IMO 0000012", "0000012", "imo12", "IMO No. 0000012".replace("No. ", "")])
def test_imo_numbers_have_seven_digits(value: str) -> None:
    assert imo(value) == ("0000012",)


def test_what_is_no_imo_number_has_no_form() -> None:
    assert imo("12345678") == imo("EXAMPLE") == imo("00000?2") == ()


def test_an_imo_company_number_is_found_with_and_without_its_letters() -> None:
    assert identifier("IMO 14") == identifier("0000014") == ("0000014",)
    assert identifier("IMOTEP-1") == ("IMOTEP1",)


@pytest.mark.parametrize("value", ["ZZZU1234564", "zzzu 123456-4", "ZZZU123456", "ZZZU 123456 9"])
def test_containers_meet_whatever_their_check_digit(value: str) -> None:
    assert container(value) == ("ZZZU123456",)


@pytest.mark.parametrize(
    "value", ["+999 12 34567", "00999-12-34567", "+999 (0) 1234567", "tel:+999.12.345.67", "+9991234567"]
)
def test_telephone_numbers_are_digits(value: str) -> None:
    assert contact(value) == ("9991234567",)


def test_mail_addresses_and_sites_are_small_and_bare() -> None:
    assert contact(" Sales@Example.ORG ") == contact("mailto:sales@example.org") == ("sales@example.org",)
    assert contact("https://www.Example.org/Shop/") == contact("example.org/shop") == ("example.org/shop",)
    assert contact("12") == contact("harbour office") == ()


@pytest.mark.parametrize(
    "value", ["M/V Example Everest", "MV EXAMPLE EVEREST", "m.v. example-everest", "Example Everest"]
)
def test_vessels_are_known_without_their_prefix(value: str) -> None:
    assert vessel_name(value) == ("example everest",)


@given(
    st.one_of(
        st.text(string.printable, max_size=12), st.sampled_from(["N/A", "n. a.", "0-0", "xXx", "999 999"])
    )
)
def test_full_width_does_not_tell_placeholders_apart(value: str) -> None:
    assert is_placeholder(value.translate(FULL_WIDTH)) == is_placeholder(value)
