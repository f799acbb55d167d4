"""Words that registers hold where a number should stand: they would match each other across the world."""

from __future__ import annotations

import re
import unicodedata

_TEXT = (
    "UNKNOWN UNK UNKN NA NONE NIL NULL NO NOTAVAILABLE NOTAPPLICABLE NOTKNOWN NOSERIAL NOSERIALNUMBER "
    "NONUMBER NSN SN WITHOUT MISSING ILLEGIBLE UNREADABLE ERASED REMOVED DEFACED OBLITERATED GROUNDOFF "
    "FILED TBD TBA TBC PENDING SEEREMARKS VARIOUS MULTIPLE TEST XXX RASPADA RASPADO SUPRIMIDA SUPRIMIDO "
    "ILEGIVEL SEMNUMERO DESCONHECIDA DESCONHECIDO NAOCONSTA BORRADA BORRADO ILEGIBLE DESCONOCIDA "
    "DESCONOCIDO SINNUMERO NINGUNO NINGUNA LIMADA LIMADO EFFACE EFFACEE ILLISIBLE INCONNU INCONNUE "
    "SANSNUMERO AUCUN AUCUNE LIME LIMEE MEULE MEULEE UNBEKANNT UNLESERLICH ENTFERNT KEINE OHNE "
    "OHNENUMMER AUSGESCHLIFFEN НЕИЗВЕСТНО НЕИЗВЕСТЕН НЕТ СПИЛЕНО СПИЛЕН ОТСУТСТВУЕТ НЕЧИТАЕМО БН "
    "БЕЗНОМЕРА 未知 不明 无 磨损 锉掉 غيرمعروف مجهول ممحو بدونرقم"
)
_WORDS = frozenset(_TEXT.split())
_NO_LETTER_OR_DIGIT = re.compile(r"[\W_]+")
_ASCII_SIGNS = {ord(sign): None for sign in map(chr, range(128)) if not sign.isalnum()}
_REPEATED = re.compile(r"(?:0+|X{3,}|9{6,}|#+)")


def is_placeholder(value: str) -> bool:
    """Whether a value says that there is no number instead of giving one.

    Rules:
    - words for unknown, none, erased in the languages that registers use, however written ("N/A", "Não consta");
    - only zeros, only X (three or more), six or more nines, or nothing but punctuation.

    Args:
        value: A serial, lot or document number as entered.
    """
    if value.isascii():
        text = (value if value.isalnum() else value.translate(_ASCII_SIGNS)).upper()
    else:
        text = unicodedata.normalize("NFKD", value).upper()
        text = "".join(c for c in text if not unicodedata.combining(c))
        text = _NO_LETTER_OR_DIGIT.sub("", text)
    return not text or text in _WORDS or _REPEATED.fullmatch(text) is not None
