"""English: what gruut would misread, rewritten into what it reads well."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .pieces import affixes, word_list

InLexicon = Callable[[str], bool]

_ABBREVIATIONS = {
    "prof.": "professor", "gen.": "general", "col.": "colonel", "capt.": "captain", "lt.": "lieutenant",
    "sgt.": "sergeant", "rev.": "reverend", "hon.": "honorable", "gov.": "governor", "sen.": "senator",
    "messrs.": "messrs", "ms.": "ms", "inc.": "incorporated", "corp.": "corporation", "dept.": "department",
    "approx.": "approximately", "vol.": "volume", "vols.": "volumes", "fig.": "figure", "jan.": "january",
    "feb.": "february", "aug.": "august", "sept.": "september", "oct.": "october", "nov.": "november",
    "dec.": "december", "ph.d.": "p.h.d.", "ave.": "avenue", "blvd.": "boulevard", "viz.": "namely", "cf.": "compare",
}  # fmt: skip
# Short words that people write in capitals for emphasis; other short capitals are spelt (IT, US, BBC).
_SHOUTED = frozenset(word_list(
    "no not yes you the and but all oh ah hey why how who now so my we me he her him his she was are has had can did "
    "one two get out off new old big bad go up is if of to in on by for be do an as ok ow too let put say see way day "
    "end far few got any ask own try use wow yet hi ha god red run sit six ten top war win wet stop"
))
_ROMAN = {
    "II": "two", "III": "three", "IV": "four", "VI": "six", "VII": "seven", "VIII": "eight", "IX": "nine",
    "XI": "eleven", "XII": "twelve", "XIII": "thirteen", "XIV": "fourteen", "XV": "fifteen", "XVI": "sixteen",
    "XVII": "seventeen", "XVIII": "eighteen", "XIX": "nineteen", "XX": "twenty",
}  # fmt: skip
_UNITS = {
    "%": "percent", "km": "kilometers", "m": "meters", "cm": "centimeters", "mm": "millimeters", "kg": "kilograms",
    "g": "grams", "mg": "milligrams", "lb": "pounds", "lbs": "pounds", "oz": "ounces", "ft": "feet",
    "mph": "miles per hour", "kb": "kilobytes", "mb": "megabytes", "gb": "gigabytes", "tb": "terabytes",
    "hz": "hertz", "khz": "kilohertz",
    "mhz": "megahertz", "ghz": "gigahertz", "ms": "milliseconds", "°": "degrees", "°c": "degrees celsius",
    "°f": "degrees fahrenheit", "k": "thousand", "bn": "billion", "kw": "kilowatts", "l": "liters", "ml": "milliliters",
}  # fmt: skip
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
_MONEY = {"$": "dollars", "£": "pounds", "€": "euros"}
_SYMBOLS = {"&": "and", "+": "plus", "=": "equals", "@": "at", "#": "number", "%": "percent", "°": "degrees",
            "$": "dollars", "£": "pounds", "€": "euros", "§": "section"}  # fmt: skip
_FRACTIONS = {"1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter", "3/4": "three quarters",
              "24/7": "twenty four seven"}  # fmt: skip
_CHARACTERS = {"½": "one half", "⅓": "one third", "⅔": "two thirds", "¼": "one quarter", "¾": "three quarters",
               "²": "squared", "³": "cubed", "×": "times", "÷": "divided by"}  # fmt: skip
_DIGITS = word_list("zero one two three four five six seven eight nine")
_TENS = {"20": "twenties", "30": "thirties", "40": "forties", "50": "fifties", "60": "sixties", "70": "seventies",
         "80": "eighties", "90": "nineties"}  # fmt: skip

_NUMBER = r"\d[\d,]*(?:\.\d+)?"
_ADDRESS = re.compile(r"^(?:https?://|www\.)\S+$|^[\w.+-]+@[\w-]+\.[\w.]+$|^[\w-]+\.(?:com|org|net|edu|gov|io|uk)(?:/\S*)?$")
_CLOCK = re.compile(r"^\d{1,2}(?::\d\d)?$")
_HALF_DAY = {"am": "A.M.", "pm": "P.M.", "a.m": "A.M.", "p.m": "P.M.", "a.m.": "A.M.", "p.m.": "P.M."}


def speakable(tokens: Sequence[str], in_lexicon: InLexicon) -> list[str]:
    """For each token what gruut is to read: nothing, one word, or several with spaces between them."""
    text = " ".join(tokens)
    if text.isupper() and _is_shouted(tokens, in_lexicon):
        tokens = [_unshout(token, in_lexicon) for token in tokens]
    result: list[str] = []
    skip = False
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else ""
        after = tokens[index + 1] if index + 1 < len(tokens) else ""
        if skip:
            result.append("")
            skip = False
            continue
        amount = _scaled_money(token, after)
        if amount is not None:
            result.append(amount)
            skip = True
            continue
        result.append(_token(token, before, after, in_lexicon))
    return result


def _token(token: str, before: str, after: str, in_lexicon: InLexicon) -> str:
    head, core, tail = affixes(token)
    if not core:
        return _SYMBOLS.get(token, token)
    lower = core.lower()
    if lower in _ABBREVIATIONS:
        return head + _ABBREVIATIONS[lower] + tail
    if lower == "st." and not tail and after[:1].isupper():
        return head + "saint" + tail
    if lower == "no." and after[:1].isdigit():
        return head + "number" + tail
    if lower in _HALF_DAY and _CLOCK.match(before):
        return head + _HALF_DAY[lower] + tail
    unit = lower.removesuffix(".")
    if len(unit) > 1 and unit in _UNITS and re.fullmatch(_NUMBER, before):
        return _UNITS[unit] + core[len(unit) :] + tail
    if core == "A" and (tail or not after):
        return head + "A." + tail  # the letter, not the article
    if core in _ROMAN:
        return head + _ROMAN[core] + tail
    if _ADDRESS.match(core.rstrip(".")):
        return _address(core.rstrip("."))
    letters = core.rstrip(".")
    if len(letters) > 1 and letters.replace("'", "").isalpha() and letters.isupper():
        low = letters.lower()
        if low in _SHOUTED or (len(letters) > 3 and in_lexicon(low)):
            return head + low + core[len(letters) :] + tail
        return token
    if core.isascii() and core.isalpha():
        return token
    return _unusual(head, core, tail)


def _unusual(head: str, core: str, tail: str) -> str:
    """Digits, symbols and accents."""
    if any(c in _CHARACTERS for c in core):
        spaced = re.sub("|".join(_CHARACTERS), lambda m: f" {_CHARACTERS[m[0]]} ", core).strip()
        return " ".join(part if part.isalpha() else _unusual("", part, "") for part in spaced.split()) + tail
    if any(c.isdecimal() for c in core):
        return _number(head, core, tail)
    stop = "." if core.endswith(".") else ""
    bare = core.removesuffix(".")
    if bare in _SYMBOLS:
        return _SYMBOLS[bare] + stop + tail
    bare = re.sub(r"^#(?=\w)", "hashtag ", re.sub(r"(?<=[a-zA-Z])#$", " sharp", bare))
    parts = [part for part in re.split(r"([&+=@ ])", bare) if part.strip()]
    if len(parts) > 1:
        return head + " ".join(_SYMBOLS.get(part, _letter(part)) for part in parts) + stop + tail
    return head + core + tail


def _letter(part: str) -> str:
    """A letter by itself in a form that gruut spells."""
    return part.upper() + "." if len(part) == 1 and part.isalpha() else part


def _number(head: str, core: str, tail: str) -> str:
    """Tokens with digits."""
    stop = "." if core.endswith(".") else ""
    bare = core.removesuffix(".")
    match = re.fullmatch(r"(\d{1,3}0)'?s", bare)
    if match:
        return head + _decade(match[1]) + stop + tail
    if bare in _FRACTIONS:
        return head + _FRACTIONS[bare] + stop + tail
    match = re.fullmatch(rf"({_NUMBER})[–-]({_NUMBER})(%?)", bare)
    if match and ("–" in bare or match[3]):
        return f"{match[1]} to {match[2]}{match[3]}{stop}{tail}"
    match = re.fullmatch(rf"#({_NUMBER})", bare)
    if match:
        return f"number {match[1]}{stop}{tail}"
    match = re.fullmatch(rf"({_NUMBER})([$£€])", bare)
    if match:
        return f"{match[2]}{match[1]}{stop}{tail}"
    match = re.fullmatch(rf"([$£€])({_NUMBER})([a-zA-Z]+)", bare)
    if match and match[3].lower() in _SCALES:
        return f"{match[2]} {_SCALES[match[3].lower()]} {_MONEY[match[1]]}{stop}{tail}"
    match = re.fullmatch(rf"({_NUMBER})(%|°?[a-zA-Z]*)", bare)
    if match and match[2].lower() in _UNITS:
        return f"{match[1]} {_UNITS[match[2].lower()]}{stop}{tail}"
    if re.fullmatch(r"\d{3}-\d{4}|0\d+|\d{16,}|(?:\d+-){2,}\d+", bare) and not re.fullmatch(r"\d{4}-\d\d-\d\d", bare):
        return _digit_by_digit(bare) + stop + tail
    if not re.search(r"[^\W\d_]", bare) or re.fullmatch(
        r"\d+(?:st|nd|rd|th)(?:'s)?|\d{1,2}(?::\d\d)?(?:am|pm|a\.m|p\.m)", bare.lower()
    ):
        return head + _spaced(core) + tail
    parts = re.sub(r"(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)", " ", bare).split()
    return head + _spaced(" ".join(_letter(part) for part in parts)) + stop + tail


def _spaced(text: str) -> str:
    """No run of digits longer than a number can have."""
    if re.search(r"\d{16,}", text):
        return re.sub(r"\d{16,}", lambda m: f" {_digit_by_digit(m[0])} ", text).strip()
    if re.search(r"\d/\d", text) and not re.fullmatch(r"\d{1,4}/\d{1,2}/\d{1,4}\.?", text):
        return text.replace("/", " over ")
    return re.sub(r"(?<=\d)([+=×])(?=\d)", lambda m: f" {_SYMBOLS.get(m[1], m[1])} ", text)


def _digit_by_digit(text: str) -> str:
    return " ".join(_DIGITS[int(c)] for c in text if c.isdecimal())


def _decade(digits: str) -> str:
    tens = _TENS.get(digits[-2:])
    if tens is not None:
        return tens if len(digits) < 3 else f"{int(digits[:-2])} {tens}"
    if digits.endswith("000"):
        return f"{_DIGITS[int(digits[0])]} thousands"
    if digits.endswith("00"):
        return f"{int(digits[:-2])} hundreds"
    if len(digits) == 4 and digits.endswith("10"):
        return f"{int(digits[:-2])} tens"
    return f"{digits} s"


def _scaled_money(token: str, after: str) -> str | None:
    """"$1.5 million" is said "1.5 million dollars"."""
    match = re.fullmatch(rf"([$£€])({_NUMBER})", token)
    if match is None:
        return None
    _, core, tail = affixes(after)
    stop = "." if core.endswith(".") else ""
    if core.removesuffix(".").lower() not in ("thousand", "million", "billion", "trillion"):
        return None
    return f"{match[2]} {core.removesuffix('.')} {_MONEY[match[1]]}{stop}{tail}"


def _address(text: str) -> str:
    text = re.sub(r"^https?://", "", text)
    text = re.sub(r"\bwww\b", "W.W.W.", text, count=1)
    spoken = {".": "dot", "/": "slash", "@": "at", "-": "dash", "_": "underscore", "?": "", "=": "equals", "&": "and"}
    words = re.findall(r"W\.W\.W\.|[^\W_]+|[./@_=&-]", text)
    return " ".join(w for w in (spoken.get(word, word) for word in words) if w)


def _is_shouted(tokens: Sequence[str], in_lexicon: InLexicon) -> bool:
    """Whether a text in capitals is ordinary words rather than a row of initialisms."""
    words = [re.sub(r"^\W+|\W+$", "", token).lower() for token in tokens]
    plain = sum(1 for w in words if len(w) == 1 or w in _SHOUTED or (len(w) > 3 and in_lexicon(w)))
    return len(words) > 1 and 2 * plain >= len(words)


def _unshout(token: str, in_lexicon: InLexicon) -> str:
    """Lower a word of a text in capitals, unless it can only be an initialism."""
    stem = re.sub(r"^\W+|\W+$", "", token).lower().removesuffix("'s")
    known = in_lexicon(stem)
    if stem in ("tv", "pm", "uk", "usa") or (not known and (len(stem) < 4 or not set(stem) & set("aeiouy"))):
        return token
    return token.lower()
