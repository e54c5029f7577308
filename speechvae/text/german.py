"""German: what gruut would misread, rewritten into what it reads well."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .pieces import affixes, word_list

InLexicon = Callable[[str], bool]

_ABBREVIATIONS = {
    "z.b.": "zum beispiel", "d.h.": "das heißt", "u.a.": "unter anderem", "usw.": "und so weiter",
    "usf.": "und so fort", "bzw.": "beziehungsweise", "dr.": "doktor", "prof.": "professor", "hr.": "herr",
    "fr.": "frau", "nr.": "nummer", "ca.": "circa", "etc.": "et cetera", "st.": "sankt", "str.": "straße",
    "evtl.": "eventuell", "ggf.": "gegebenenfalls", "vgl.": "vergleiche", "mio.": "millionen", "mrd.": "milliarden",
    "sog.": "sogenannte", "inkl.": "inklusive", "zzgl.": "zuzüglich", "bspw.": "beispielsweise", "jh.": "jahrhundert",
    "abs.": "absatz", "art.": "artikel", "v.chr.": "vor christus", "n.chr.": "nach christus",
    "jan.": "januar", "feb.": "februar", "aug.": "august", "sept.": "september", "okt.": "oktober",
    "nov.": "november", "dez.": "dezember",
}  # fmt: skip
LETTERS: dict[str, tuple[str, ...]] = {
    letter: tuple(name.split())
    for letter, name in {
        "a": "ˈɑː", "b": "b ˈeː", "c": "t s ˈeː", "d": "d ˈeː", "e": "ˈeː", "f": "ˈɛ f", "g": "ɡ ˈeː", "h": "h ˈɑː",
        "i": "ˈiː", "j": "j ˈɔ t", "k": "k ˈɑː", "l": "ˈɛ l", "m": "ˈɛ m", "n": "ˈɛ n", "o": "ˈoː", "p": "p ˈeː",
        "q": "k ˈuː", "r": "ˈɛ ɾ", "s": "ˈɛ s", "t": "t ˈeː", "u": "ˈuː", "v": "f ˈa ʊ", "w": "v ˈeː", "x": "ˈɪ k s",
        "y": "ˈʏ p s iː l ˌɔ n", "z": "t s ˈɛ t", "ä": "ˈɛː", "ö": "ˈøː", "ü": "ˈyː",
    }.items()  # fmt: skip
}
_UNITS = {
    "km": "kilometer", "m": "meter", "cm": "zentimeter", "mm": "millimeter", "kg": "kilogramm", "g": "gramm",
    "%": "prozent", "€": "euro", "$": "dollar", "°": "grad", "°c": "grad celsius", "h": "stunden", "l": "liter",
    "ml": "milliliter", "kw": "kilowatt", "mb": "megabyte", "gb": "gigabyte", "hz": "hertz",
}  # fmt: skip
_SYMBOLS = {"&": "und", "+": "plus", "=": "gleich", "@": "ät", "#": "nummer", "%": "prozent", "°": "grad",
            "€": "euro", "$": "dollar", "£": "pfund", "§": "paragraf"}  # fmt: skip
_DIGITS = word_list("null eins zwei drei vier fünf sechs sieben acht neun")
_DATIVE = frozenset(word_list("am dem den vom zum beim im der zur des seit bis"))
_NUMBER = r"\d[\d.]*(?:,\d+)?"


def speakable(tokens: Sequence[str], in_lexicon: InLexicon) -> list[str]:
    """For each token what gruut is to read: nothing, one word, or several with spaces between them."""
    result: list[str] = []
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else ""
        after = tokens[index + 1] if index + 1 < len(tokens) else ""
        result.append(_token(token, before, after, in_lexicon))
    return result


def _token(token: str, before: str, after: str, in_lexicon: InLexicon) -> str:
    head, core, tail = affixes(token.lstrip("»›").rstrip("«‹“"))
    lower = core.lower()
    bare = core.removesuffix(".")
    if not bare or bare in _SYMBOLS:
        if bare == "€" and re.search(r"\d,\d\d$", before):
            return ""
        return _SYMBOLS.get(bare or token, token) + core[len(bare) :] + tail
    if lower in _ABBREVIATIONS:
        return _ABBREVIATIONS[lower] + tail
    if lower == "uhr" and re.fullmatch(r"\d{1,2}:\d\d", before):
        return ""
    if any(c.isdecimal() for c in core):
        return _number(core, tail, before, after)
    if len(bare) > 1 and bare.lower() in _UNITS and re.fullmatch(_NUMBER, before):
        return _UNITS[bare.lower()] + core[len(bare) :] + tail
    letters = core.rstrip(".")
    if letters.isalpha() and letters.isupper():
        stop = core[len(letters) :] + tail
        if len(letters) == 1 or (len(letters) < 5 and not in_lexicon(letters.lower())):
            return " ".join(letters) + stop
        return letters.lower() + stop
    if "ß" in core and in_lexicon(lower):
        # gruut would look for "ss" first, because it does not find the word with its capital.
        return head + lower + tail
    parts = re.split(r"([&+=@])", core)
    if len(parts) > 1:
        return head + " ".join(_SYMBOLS.get(part, part) for part in parts if part) + tail
    return head + core + tail


def _number(core: str, tail: str, before: str, after: str) -> str:
    match = re.fullmatch(r"(\d{1,2}):(\d\d)", core)
    if match:
        minutes = "" if match[2] == "00" else f" {int(match[2])}"
        return f"{int(match[1])} uhr{minutes}{tail}"
    match = re.fullmatch(r"(\d{1,2})\.", core)
    if match and after[:1].isalpha():
        return _ordinal(int(match[1]), before) + tail
    match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4})?", core)
    if match and 1 <= int(match[2]) <= 12 and 1 <= int(match[1]) <= 31:
        year = "" if match[3] is None else f" {match[3]}"
        return f"{_ordinal(int(match[1]), before)} {_MONTHS[int(match[2]) - 1]}{year}{tail}"
    stop = "." if core.endswith(".") else ""
    bare = core.removesuffix(".")
    match = re.fullmatch(r"(\d[\d.]*),(\d\d)(€?)", bare)
    if match and (match[3] or affixes(after)[1] == "€"):
        return f"{match[1]} euro {int(match[2])}{stop}{tail}"
    match = re.fullmatch(rf"({_NUMBER})[–-]({_NUMBER})", bare)
    if match:
        return f"{match[1]} bis {match[2]}{stop}{tail}"
    match = re.fullmatch(rf"({_NUMBER})([€$%°]?[a-zA-Z]*)", bare)
    if match and match[2].lower() in _UNITS:
        return f"{match[1]} {_UNITS[match[2].lower()]}{stop}{tail}"
    match = re.fullmatch(r"([1-9]\d)er(?:-?(\w.*))?", bare)
    if match:
        rest = "" if match[2] is None else f" {match[2]}"
        return f"{_cardinal(int(match[1]))}er{rest}{stop}{tail}"
    if re.fullmatch(r"0\d+|\d{16,}|(?:\d+-){2,}\d+", bare):
        return " ".join(_DIGITS[int(c)] for c in bare if c.isdecimal()) + stop + tail
    spaced = re.sub(r"(?<=\d)-?(?=[^\W\d_])|(?<=[^\W\d_])-?(?=\d)", " ", bare)
    spaced = re.sub(r"\d{16,}", lambda m: " ".join(_DIGITS[int(c)] for c in m[0] if c.isdecimal()), spaced)
    return spaced.replace("/", " ") + stop + tail


_MONTHS = word_list("januar februar märz april mai juni juli august september oktober november dezember")
_ORDINALS = {1: "erste", 3: "dritte", 7: "siebte", 8: "achte"}
_SMALL = word_list(
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
    "achtzehn neunzehn"
)
_TENS = word_list("zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")


def _ordinal(number: int, before: str) -> str:
    """"3." as "dritte", or "dritten" after an article or preposition that asks for it."""
    word = _ORDINALS.get(number, _cardinal(number) + ("te" if number < 20 else "ste"))
    return word + ("n" if before.lower() in _DATIVE else "")


def _cardinal(number: int) -> str:
    """Numbers below 100."""
    if number < 20:
        return _SMALL[number]
    tens, ones = _TENS[number // 10 - 2], number % 10
    return f"{'ein' if ones == 1 else _SMALL[ones]}und{tens}" if ones else tens
