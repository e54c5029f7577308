"""Reading phonemes that people typed: IPA with or without spaces, stress anywhere before the vowel."""

from __future__ import annotations

import unicodedata

from ..errors import SpeechVAEError

VOWELS = frozenset("aeiouyæɑɒɐəɚɛɜɝɞɪɨɔɵøœɶʊʉʌɤɯʏ")
_STRESS = {"ˈ": "ˈ", "'": "ˈ", "ˌ": "ˌ"}
_SILENT = frozenset(".‿-‖/")  # syllable and phrase marks, and the slashes around a transcription
_TIES = frozenset("͜͡")
_TYPED = {"g": "ɡ", ":": "ː"}
# Two letters that are one symbol for the frontend of a language.
_UNITS = {
    "en": {"tʃ": "t͡ʃ", "dʒ": "d͡ʒ", "aɪ": "aɪ", "aʊ": "aʊ", "eɪ": "eɪ", "oʊ": "oʊ", "ɔɪ": "ɔɪ", "əʊ": "oʊ"},
}
_LETTERS = {"en": {"r": "ɹ", "ɝ": "ɚ"}}


def is_vowel(symbol: str) -> bool:
    """Whether a phoneme symbol (with or without stress) is a vowel."""
    return any(c in VOWELS for c in symbol)


def parse_words(text: str, language: str) -> tuple[tuple[str, ...], ...]:
    """Phonemes of one or, separated by ``|``, several words; see `parse_phonemes`."""
    return tuple(parse_phonemes(part, language) for part in text.split("|"))


def parse_phonemes(text: str, language: str) -> tuple[str, ...]:
    """Split IPA into the symbols of a language's frontend.

    ``"həlˈoʊ"``, ``"həˈloʊ"`` and ``"h ə l ˈoʊ"`` all give ``("h", "ə", "l", "ˈoʊ")``: the stress mark goes
    to the vowel, diphthongs and affricates of the language become one symbol.

    Raises:
        SpeechVAEError: nothing to pronounce, or a character that is no IPA letter.
    """
    base = language.split("-")[0]
    found: list[str] = []
    stress = ""
    for token in unicodedata.normalize("NFD", text).split():
        for unit in _units(token, base, text):
            if unit in _STRESS:
                stress = _STRESS[unit]
            elif stress and is_vowel(unit):
                found.append(stress + unit)
                stress = ""
            else:
                found.append(unit)
    if stress and found:
        found[-1] = stress + found[-1]
    if not found:
        raise SpeechVAEError(f"no phonemes in {text!r}; write IPA such as 'həlˈoʊ' or 'h ə l ˈoʊ'")
    return tuple(unicodedata.normalize("NFC", unit) for unit in found)


def _units(token: str, base: str, text: str) -> list[str]:
    """Letters with their modifiers, joined where the language has one symbol for two."""
    units: list[str] = []
    tied = False
    for char in token:
        char = _TYPED.get(char, char)
        if char in _STRESS:
            units.append(char)
        elif char in _SILENT:
            units.append("")  # no joining across a syllable mark
        elif char in _TIES:
            if not units or not units[-1]:
                raise SpeechVAEError(f"a tie bar without a letter before it in the phonemes {text!r}")
            units[-1] += "͡"
            tied = True
        elif unicodedata.category(char) in ("Mn", "Lm", "Sk"):
            if not units or not units[-1] or units[-1] in _STRESS:
                raise SpeechVAEError(f"the modifier {char!r} has no letter before it in the phonemes {text!r}")
            units[-1] += char
        elif unicodedata.category(char) in ("Ll", "Lo"):
            char = _LETTERS.get(base, {}).get(char, char)
            if tied:
                units[-1] += char
                tied = False
            else:
                units.append(char)
        else:
            raise SpeechVAEError(
                f"{char!r} in the phonemes {text!r} is no IPA letter; write IPA such as 'həlˈoʊ' or 'h ə l ˈoʊ'"
            )
    joined: list[str] = []
    for unit in units:
        pair = _UNITS.get(base, {}).get(joined[-1] + unit) if joined else None
        if pair is not None:
            joined[-1] = pair
        else:
            joined.append(unit)
    return [unit for unit in joined if unit]
