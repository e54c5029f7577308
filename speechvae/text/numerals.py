"""Plain numbers in words, as gruut says them but without importing it (half a second)."""

from __future__ import annotations

import re

from .pieces import affixes

_ENGLISH = re.compile(r"(\d{1,3}(?:,\d{3})+|\d{1,15})(\.\d{1,6})?(st|nd|rd|th)?")
_GERMAN = re.compile(r"\d{1,3}(?:\.\d{3})+|\d{1,15}")


def plain_number(token: str, language: str) -> str:
    """The words for a number, with the marks after it; "" where `token` is no plain number.

    English: integers ("21", "1,000"), decimals ("3.14"), ordinals ("3rd") and years ("1999", from 1001 to 2999).
    German: integers ("21", "1.000"), and years.
    """
    _, core, tail = affixes(token)
    bare = core.rstrip(".")
    stop = core[len(bare) :]
    if len(stop) > 1:
        return ""
    english = language.startswith("en")
    match = (_ENGLISH if english else _GERMAN).fullmatch(bare)
    if match is None:
        return ""
    from num2words import num2words

    name = "en" if english else "de"
    value = int(re.sub(r"[,.]", "", match[1] if english else bare))
    if english and match[3]:
        words = "" if match[2] else num2words(value, to="ordinal", lang=name)
    elif english and match[2]:
        decimal = float(f"{value}{match[2]}")
        words = num2words(int(decimal) if decimal.is_integer() else decimal, lang=name)
    elif 1000 < value < 3000 and bare.isdecimal():
        words = num2words(value, to="year", lang=name)
    else:
        words = num2words(value, lang=name)
    # gruut's German lexicon and guesses are used with "ss" throughout.
    return words.replace("ß", "ss") + stop + tail if words else ""
