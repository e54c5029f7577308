"""SSML, the part of it that a voice can follow, read into the same form as plain text.

Speech Synthesis Markup Language 1.1 (W3C 2010): ``speak``, ``p``, ``s``, ``break``, ``prosody rate pitch``,
``say-as``, ``sub``, ``phoneme``, ``emphasis``. Read with expat, the parser below ``xml.etree``, because it tells
the position of every event: words keep their place in the source, and errors can say where. Documents
with a DOCTYPE are refused, so there are no entities to expand.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

from ..errors import SpeechVAEError
from .document import Document, Override, Style
from .ipa import parse_words

ELEMENTS = ("speak", "p", "s", "break", "prosody", "say-as", "sub", "phoneme", "emphasis")
SAY_AS = ("characters", "spell-out", "digits", "telephone", "cardinal", "number", "ordinal", "date", "time", "currency")
MAX_BREAK = 60.0  # seconds
_MAX_DEPTH = 100
_BREAKS = {"none": 0.0, "x-weak": 0.1, "weak": 0.2, "medium": 0.4, "strong": 0.75, "x-strong": 1.25}
_RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.3, "x-fast": 1.7}
_PITCHES = {"x-low": -4.0, "low": -2.0, "medium": 0.0, "default": 0.0, "high": 2.0, "x-high": 4.0}
_EMPHASIS = {"strong": 1.0, "moderate": 0.5, "none": 0.0, "reduced": -0.5}
_SKIPPED = ("metadata", "meta", "desc", "mark")
_KNOWN_ATTRIBUTES = {
    "speak": ("version", "lang", "schemaLocation"), "p": ("lang",), "s": ("lang",), "break": ("time", "strength"),
    "prosody": ("rate", "pitch"), "say-as": ("interpret-as", "format", "detail"), "sub": ("alias",),
    "phoneme": ("ph", "alphabet"), "emphasis": ("level",),
}  # fmt: skip


def parse_ssml(source: str, language: str) -> Document:
    """Read SSML; the ``<speak>`` around it may be left out.

    Args:
        language: the frontend's language, for the symbols of ``<phoneme>``.

    Raises:
        SpeechVAEError: malformed XML, a DOCTYPE, an unknown element or a bad value, each with line and column.
    """
    return _Reader(source, language).read()


class _Reader:
    def __init__(self, source: str, language: str) -> None:
        self.source = source
        self.language = language
        bare = re.match(r"\s*<(\?xml|speak\b|!DOCTYPE)", source) is None
        self.prefix = "<speak>" if bare else ""
        self.markup = f"<speak>{source}</speak>" if bare else source.lstrip()
        self.shift = len(source) - len(source.lstrip()) if not bare else -len(self.prefix)
        self.parts: list[str] = []
        self.length = 0
        self.document = Document("")
        self.stack: list[tuple[str, int, Style, Mapping[str, str], int]] = []
        self.phonemes: tuple[tuple[str, ...], ...] = ()
        self.skipping = 0
        self.bytes_seen = 0
        self.chars_seen = 0

    def read(self) -> Document:
        try:
            self.data = self.markup.encode("utf-8")
        except UnicodeEncodeError as error:
            raise SpeechVAEError(f"SSML: invalid character at {error.start}: {error.reason}") from None
        parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        parser.buffer_text = False
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        self.parser = parser
        try:
            parser.Parse(self.data, True)
        except expat.ExpatError as error:
            hint = {
                "undefined entity": "; write & as &amp;",
                "not well-formed (invalid token)": "; write & as &amp; and < as &lt;",
                "mismatched tag": "; an element is closed by another's end tag",
                "no element found": "; an element is not closed",
            }
            message = expat.errors.messages[error.code]
            raise SpeechVAEError(f"SSML, {self._where()}: {message}{hint.get(message, '')}") from None
        document = self.document
        document.text = "".join(self.parts)
        document.cuts = sorted({c for c in document.cuts if 0 < c < self.length})
        return document

    def _where(self) -> str:
        line = self.parser.ErrorLineNumber if self.parser.ErrorCode else self.parser.CurrentLineNumber
        column = self.parser.ErrorColumnNumber if self.parser.ErrorCode else self.parser.CurrentColumnNumber
        if line == 1:
            column = max(column - len(self.prefix), 0)
        line += self.source[: max(self.shift, 0)].count("\n")
        return f"line {line}, column {column + 1}"

    def _fail(self, message: str) -> SpeechVAEError:
        return SpeechVAEError(f"SSML, {self._where()}: {message}")

    def _position(self) -> int:
        """Position in the source of the event being handled."""
        at = self.parser.CurrentByteIndex
        self.chars_seen += len(self.data[self.bytes_seen : at].decode("utf-8"))
        self.bytes_seen = at
        return self.chars_seen + self.shift

    def _doctype(self, *_: Any) -> None:
        raise self._fail("a DOCTYPE is not allowed; remove it")

    def _text(self, text: str) -> None:
        if self.skipping:
            return
        at = self._position()
        same = self.source.startswith(text, max(at, 0)) and text != "&"
        length = None
        if not same:
            stop = self.source.find(";", at)
            length = max(stop + 1 - at, 1) if self.source.startswith("&", at) else len(text)
        self.document.origins.append((self.length, at, length))
        self.parts.append(text)
        self.length += len(text)

    def _start(self, name: str, raw: Mapping[str, str]) -> None:
        tag = name.split(" ")[-1]
        attributes = {key.split(" ")[-1]: value for key, value in raw.items()}
        if self.skipping or tag in _SKIPPED:
            self.skipping += 1
            return
        if tag not in ELEMENTS:
            raise self._fail(f"<{tag}> is not supported; supported are {', '.join(ELEMENTS)}")
        if len(self.stack) >= _MAX_DEPTH:
            raise self._fail(f"elements are nested more than {_MAX_DEPTH} deep")
        if (tag == "speak") != (not self.stack):
            raise self._fail("<speak> must be the outermost element, and only that")
        inside = next((s[0] for s in self.stack if s[0] in ("sub", "phoneme", "say-as")), None)
        if inside is not None:
            raise self._fail(f"<{tag}> inside <{inside}>, which may hold text only")
        for key in sorted(set(attributes) - set(_KNOWN_ATTRIBUTES[tag])):
            logging.getLogger(__name__).warning("SSML, %s: <%s %s> is ignored", self._where(), tag, key)
        style = self.stack[-1][2] if self.stack else Style()
        if tag == "prosody":
            style = Style(
                style.rate * self._rate(attributes.get("rate", "medium")),
                style.pitch + self._semitones(attributes.get("pitch", "medium")),
                style.emphasis,
            )
            if not 0.2 <= style.rate <= 5 or not -24 <= style.pitch <= 24:
                asked = f"rate {style.rate:g} and pitch {style.pitch:+g} semitones"
                raise self._fail(f"{asked}: a rate of 0.2 to 5 and a pitch of -24 to +24 semitones work")
        elif tag == "emphasis":
            level = self._choice(attributes.get("level", "moderate"), _EMPHASIS, "level")
            style = Style(style.rate, style.pitch, level)
        elif tag == "break":
            self.document.breaks.append((self.length, self._seconds(attributes)))
        elif tag in ("p", "s"):
            self.document.cuts.append(self.length)
        self._check(tag, attributes)
        self.stack.append((tag, self.length, style, attributes, len(self.parts)))
        self._set_style(style)

    def _check(self, tag: str, attributes: Mapping[str, str]) -> None:
        needed = {"sub": "alias", "phoneme": "ph", "say-as": "interpret-as"}.get(tag)
        if needed is not None and needed not in attributes:
            raise self._fail(f'<{tag}> needs {needed}="..."')
        if tag == "phoneme" and attributes.get("alphabet", "ipa") != "ipa":
            raise self._fail(f'the alphabet {attributes["alphabet"]!r} is not supported; write alphabet="ipa"')
        if tag == "say-as" and attributes["interpret-as"] not in SAY_AS:
            raise self._fail(f"interpret-as={attributes['interpret-as']!r} is unknown; known are {', '.join(SAY_AS)}")
        if tag == "phoneme":
            try:
                self.phonemes = parse_words(attributes["ph"], self.language)
            except SpeechVAEError as error:
                raise self._fail(str(error)) from None

    def _set_style(self, style: Style) -> None:
        styles = self.document.styles
        if styles and styles[-1][0] == self.length:
            styles.pop()
        if not styles or styles[-1][1] != style:
            styles.append((self.length, style))

    def _end(self, name: str) -> None:
        if self.skipping:
            self.skipping -= 1
            return
        tag, start, _, attributes, parts = self.stack.pop()
        if tag in ("p", "s"):
            self.document.cuts.append(self.length)
            if tag == "s":
                self.document.whole.append((start, self.length))
        if tag in ("sub", "phoneme", "say-as"):
            self._override(tag, start, attributes, "".join(self.parts[parts:]))
        if self.stack:
            self._set_style(self.stack[-1][2])

    def _override(self, tag: str, start: int, attributes: Mapping[str, str], written: str) -> None:
        if not written.strip():
            # Nothing is written, yet something is to be said: a space is where it can stand.
            self.document.origins.append((self.length, self._position(), 0))
            self.parts.append(" ")
            self.length += 1
            written = " "
        phonemes: tuple[tuple[str, ...], ...] = ()
        spoken, kind, form = written.strip(), "", ""
        if tag == "phoneme":
            phonemes = self.phonemes
        elif tag == "sub":
            spoken = attributes["alias"]
        else:
            kind, form = attributes["interpret-as"], attributes.get("format", "")
        self.document.overrides.append(Override(start, self.length, spoken, phonemes, kind, form))

    def _choice(self, value: str, table: Mapping[str, float], what: str) -> float:
        if value not in table:
            raise self._fail(f"{what}={value!r} is unknown; known are {', '.join(table)}")
        return table[value]

    def _seconds(self, attributes: Mapping[str, str]) -> float:
        if "time" not in attributes:
            return self._choice(attributes.get("strength", "medium"), _BREAKS, "strength")
        match = re.fullmatch(r"\s*\+?(\d{1,9}(?:\.\d+)?|\.\d+)\s*(ms|s)\s*", attributes["time"])
        if match is None:
            raise self._fail(f"time={attributes['time']!r} is no duration; write '500ms' or '1.5s'")
        seconds = float(match[1]) / (1000 if match[2] == "ms" else 1)
        if seconds > MAX_BREAK:
            raise self._fail(f"a break of {seconds:g} s is too long; at most {MAX_BREAK:g} s")
        return seconds

    def _rate(self, value: str) -> float:
        if value in _RATES:
            return _RATES[value]
        match = re.fullmatch(r"\s*([+-]?)(\d{1,4}(?:\.\d+)?)(%?)\s*", value)
        if match is None or (match[1] and not match[3]):
            raise self._fail(f"rate={value!r}; write '80%', '+10%', '1.2' or one of {', '.join(_RATES)}")
        number = float(match[2]) / (100 if match[3] else 1)
        return {"": number, "+": 1 + number, "-": 1 - number}[match[1]]

    def _semitones(self, value: str) -> float:
        if value in _PITCHES:
            return _PITCHES[value]
        match = re.fullmatch(r"\s*([+-])(\d{1,3}(?:\.\d+)?)(st|%)\s*", value)
        if match is None:
            raise self._fail(f"pitch={value!r}; write '+2st', '-10%' or one of {', '.join(_PITCHES)}")
        number = float(match[1] + match[2])
        if match[3] == "st":
            return number
        if number <= -100:
            raise self._fail(f"pitch={value!r} leaves no pitch")
        return 12 * math.log2(1 + number / 100)
