"""Normal forms: the one way in which a fact is written in the index and in a search, so that equal facts meet.

Rules:
- The same functions work on both sides; two values meet where they share a form.
- A form is for searching only; alerts keep what was written.
- Forms are versioned: an index row made by another NORMAL_FORM_VERSION is made again (node.alerts.project.reindex).
- No form means that the value can not be searched exactly: it has wildcards (? *), or nothing in it tells things apart.

Source: domain.md 7.1 (serial numbers), 7.4 (names), 7.5 (identifiers); ISO 6346; IMO resolution A.1117(30).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable

from dief.v1 import codes_pb2 as c

from node.alerts.scripts import LOOK, SOUND, ascii_digits, by_sound, spelt_marks, without_marks

NORMAL_FORM_VERSION = 1

Forms = tuple[str, ...]

_WILDCARDS = re.compile(r"[?*\uff1f\uff0a]")
_SIGNS = str.maketrans("", "", string.punctuation + string.whitespace)
_NUMBER_SIGNS = str.maketrans("", "", "№#º°")
_APOSTROPHES = {ord(c): None for c in "'`´‘’ʼʻʿʾ"}
_NAME_SIGNS = {ord(c): " " for c in string.punctuation} | _APOSTROPHES
_IMO = re.compile(r"(?:IMO)?0*([0-9]{1,7})")
_CONTAINER = re.compile(r"([A-Z]{4}[0-9]{6})[0-9]?")
_PHONE = re.compile(r"(?:tel:)?\+?[\d\s().\-/]{5,}(?:(?:ext|x)\.?\s*\d+)?")
_SITE = re.compile(r"(?:[a-z][a-z0-9+.\-]*://)?(?:www\.)?(.*?)/*")
_VESSEL_PREFIXES = frozenset({"mv", "mt", "ms", "ss", "mts", "my", "fv", "mvs"})

_LEGAL_TEXT = (
    "ltd limited llc llp lp inc incorporated corp corporation co company plc pllc gmbh mbh ag kg ohg gbr ug ev "
    "sa sas sarl sasu snc eurl srl spa sapa bv nv vof cv oy oyj ab as asa aps fze fzc fzco fzllc dmcc est "
    "establishment pty pte sdn bhd jsc ojsc cjsc pjsc ooo oao zao pao ao tov tzov ltda eireli sl slu kft zrt nyrt "
    "doo dooel dd ood eood ad ead sro zoo spzoo sia uab ou as anonim sirketi tic san "
    "ооо оао зао пао ао тов тзов пп ип ад оод еоод доо ε.π.ε αε επε شركة ذمم مؤسسة"
)
_GENERIC_TEXT = (
    "the and of for de la le les des du et el los del y e di da do dos al und der die das van von "
    "general gen trading trade trdg traders group grp international intl global world national united import imports "
    "export exports impex importer exporter services service srvces svcs industries industrial industry enterprises "
    "enterprise holding holdings logistics shipping transport transports freight cargo commercial commerce business "
    "ministry defence defense interior police army military government republic state department agency authority "
    "office bureau customs bank "
    "comercial comercio servicios servicos importacao exportacao societe generale commerce ministerio ministere "
    "торговая компания торговый дом группа министерство обороны التجارة العامة"
)
LEGAL_FORMS = frozenset(_LEGAL_TEXT.split())
"""Words that tell what kind of company it is, folded; not part of a name's form."""

_GENERIC = frozenset(_GENERIC_TEXT.split())
_HAN_LEGAL = ("股份有限公司", "有限责任公司", "有限責任公司", "有限公司", "公司")


def number(value: str) -> Forms:
    """Serial, lot, document, contract and register numbers, plates and tails.

    NFKC, capitals, no blanks and signs, digits of every script as 0-9, Cyrillic and Greek letters as the Latin ones
    that look like them; a second form has them as they sound.
    """
    if value.isascii():
        if value.isalnum():
            return (value.upper(),)
        if "?" in value or "*" in value:
            return ()
        form = value.upper().translate(_SIGNS)
        return (form,) if form else ()
    if _WILDCARDS.search(value):
        return ()
    text = unicodedata.normalize("NFKC", value.translate(_NUMBER_SIGNS)).upper()
    text = ascii_digits(unicodedata.normalize("NFKC", text))
    look, sound = (_only_letters(without_marks(text.translate(table)).upper()) for table in (LOOK, SOUND))
    if not look:
        return ()
    return (look,) if sound in ("", look) else (look, sound)


def _only_letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def identifier(value: str) -> Forms:
    """Numbers of registers; an IMO company number without its letters, with its leading zeros."""
    return tuple(
        form[3:].zfill(7) if form.startswith("IMO") and form[3:].isdigit() else form for form in number(value)
    )


def imo(value: str) -> Forms:
    """IMO ship numbers: seven digits."""
    forms = number(value)
    match = _IMO.fullmatch(forms[0]) if forms else None
    return (match[1].zfill(7),) if match else ()


def container(value: str) -> Forms:
    """Containers: owner code and serial without the check digit, which is often missing or wrong."""
    forms = number(value)
    match = _CONTAINER.fullmatch(forms[0]) if forms else None
    return (match[1],) if match else forms


def contact(value: str) -> Forms:
    """Telephone numbers as digits, e-mail addresses and sites in small letters."""
    if value[:1] == "+" and len(value) > 5 and value.isascii() and value[1:].isdigit():
        return (value[1:],)
    text = ascii_digits(unicodedata.normalize("NFKC", value)).casefold().strip()
    if "@" in text and "/" not in text:
        return (text.removeprefix("mailto:"),)
    if _PHONE.fullmatch(text):
        digits = "".join(c for c in re.split(r"ext|x", text.replace("(0)", ""))[0] if c.isdigit())
        digits = digits.removeprefix("00")
        return (digits,) if len(digits) >= 5 else ()
    match = _SITE.fullmatch(text)
    return (match[1],) if match and "." in match[1] else ()


def name_tokens(value: str) -> list[str]:
    """Words of a name in their order: small, without signs, single letters in a row joined ("A.B.C." is abc)."""
    if value.isascii():
        words = value.lower().translate(_NAME_SIGNS).split()
    else:
        text = unicodedata.normalize("NFKC", value.translate(_APOSTROPHES)).casefold()
        text = unicodedata.normalize("NFKC", text).translate(_NAME_SIGNS)
        words = "".join(c if c.isalnum() or unicodedata.combining(c) else " " for c in text).split()
        words = [_without_han_form(word) for word in words]
    if not words or min(map(len, words)) > 1:
        return words
    joined: list[str] = []
    run = False
    for word in words:
        single = len(word) == 1 and word.isalpha()
        if single and run:
            joined[-1] += word
        else:
            joined.append(word)
        run = single
    return joined


def _without_han_form(word: str) -> str:
    for form in _HAN_LEGAL:
        if word.endswith(form) and len(word) > len(form):
            return word[: -len(form)]
    return word


def party_name(value: str) -> Forms:
    """Names of parties: the words without legal forms, whatever their order.

    Letters with marks stand without them and, as a second form, spelt out; Cyrillic and Greek also as they sound.
    """
    own = [word for word in name_tokens(value) if word not in LEGAL_FORMS]
    if not own:
        return ()
    own.sort()
    form = " ".join(own)
    if form.isascii():
        return (form,)
    variants = (without_marks(form), without_marks(spelt_marks(form)), without_marks(by_sound(form)))
    return tuple(dict.fromkeys(" ".join(sorted(variant.split())) for variant in variants))


def distinctive_words(value: str) -> list[str]:
    """Words of a name that tell its bearer from others: no legal form, no trade or office word, not a single letter."""
    words = (word for word in name_tokens(value) if word not in LEGAL_FORMS and word not in _GENERIC)
    return [word for word in words if len(word) > 1 or not word.isascii()]


def legal_forms(value: str) -> frozenset[str]:
    """Legal forms that a name bears."""
    return frozenset(name_tokens(value)) & LEGAL_FORMS


def vessel_name(value: str) -> Forms:
    """Names of vessels: the words in their order, without M/V and the like."""
    words = name_tokens(value)
    if len(words) > 1 and words[0] in _VESSEL_PREFIXES:
        words = words[1:]
    form = without_marks(" ".join(words))
    sound = without_marks(by_sound(form))
    return tuple(dict.fromkeys(filter(None, (form, sound))))


NORMAL_FORMS: dict[int, Callable[[str], Forms]] = {
    c.INDICATOR_KIND_SERIAL: number,
    c.INDICATOR_KIND_LOT: number,
    c.INDICATOR_KIND_PARTY_NAME: party_name,
    c.INDICATOR_KIND_PARTY_IDENTIFIER: identifier,
    c.INDICATOR_KIND_DOCUMENT: number,
    c.INDICATOR_KIND_IMO: imo,
    c.INDICATOR_KIND_VESSEL_NAME: vessel_name,
    c.INDICATOR_KIND_AIRCRAFT: number,
    c.INDICATOR_KIND_CONTAINER: container,
    c.INDICATOR_KIND_CONTACT: contact,
    c.INDICATOR_KIND_VEHICLE: number,
    c.INDICATOR_KIND_CONTRACT: number,
}
"""How the values of each kind are written, by IndicatorKind."""
