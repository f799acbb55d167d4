"""Letters of other scripts as Latin ones: by look, by sound, and without their marks.

Source: domain.md 7.1 (look-alikes on arms), BGN/PCGN romanisation (sound), DIN 91379 and ICAO 9303 (marks).
"""

from __future__ import annotations

import unicodedata


def _pairs(text: str) -> dict[int, str]:
    return {ord(pair[0]): pair[1:] for pair in text.split()}


_SOUND_TEXT = (
    "АA БB ВV ГG ҐG ДD ЕE ЁE ЄYE ЖZH ЗZ ИI ІI ЇYI ЙY ЈJ КK ЛL ЉLJ МM НN ЊNJ ОO ПP РR СS ТT УU ЎU ФF ХKH ЦTS ЧCH "
    "ЏDZH ШSH ЩSHCH Ъ ЫY Ь ЭE ЮYU ЯYA ЂDJ ЋC ЅDZ "
    "ΑA ΒV ΓG ΔD ΕE ΖZ ΗI ΘTH ΙI ΚK ΛL ΜM ΝN ΞX ΟO ΠP ΡR ΣS ΤT ΥY ΦF ΧCH ΨPS ΩO"
)
_LOOK_TEXT = "АA ВB ЕE ЁE КK МM НH ОO РP СC ТT УY ХX ІI ЇI ЈJ ЅS ΑA ΒB ΕE ΖZ ΗH ΙI ΚK ΜM ΝN ΟO ΡP ΤT ΥY ΧX"

SOUND = _pairs(_SOUND_TEXT)
"""Capital letters, Cyrillic and Greek, as they sound."""

LOOK = {**SOUND, **_pairs(_LOOK_TEXT)}
"""Capital letters, Cyrillic and Greek, as they look; as they sound where nothing looks like them."""

_PLAIN_TEXT = "ØO ÆAE ŒOE ŁL ĐD ÐD ÞTH ħH ıI ßSS ẞSS"
_SPELT_TEXT = "ÄAE ÖOE ÜUE ÅAA ØOE"
_PLAIN = _pairs(_PLAIN_TEXT)
_SPELT = _pairs(_SPELT_TEXT)
_LOWER_SOUND = {ord(chr(k).lower()): v.lower() for k, v in SOUND.items()} | {ord("ς"): "s"}
_LOWER_PLAIN = {ord(chr(k).lower()): v.lower() for k, v in _PLAIN.items()}
_LOWER_SPELT = {ord(chr(k).lower()): v.lower() for k, v in _SPELT.items()}


def without_marks(text: str) -> str:
    """Latin letters without accents, ligatures opened; other scripts as they are."""
    text = unicodedata.normalize("NFKD", text.translate(_PLAIN).translate(_LOWER_PLAIN))
    kept = "".join(c for c in text if not unicodedata.combining(c))
    return unicodedata.normalize("NFKC", kept)


def spelt_marks(text: str) -> str:
    """Small letters with an umlaut spelt out: ae, oe, ue, aa (the search form of DIN 91379)."""
    return unicodedata.normalize("NFC", text).translate(_LOWER_SPELT)


def by_sound(text: str) -> str:
    """Small letters of Cyrillic and Greek as they sound."""
    return unicodedata.normalize("NFC", text).translate(_LOWER_SOUND)


def ascii_digits(text: str) -> str:
    """Digits of every script as 0-9."""
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
