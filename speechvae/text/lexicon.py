"""Pronunciations by word: the lexicon that comes with gruut, and the user's own."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import SpeechVAEError
from .ipa import is_vowel, parse_phonemes

Roles = dict[str, tuple[str, ...]]  # part of speech ("" = any) -> phonemes
_NON_WORD = re.compile(r"\W")


def spellings(word: str) -> list[str]:
    """The forms under which gruut looks a word up, in its order."""
    bare = _NON_WORD.sub("", word)
    return [form for form in dict.fromkeys((word, word.lower(), bare, bare.lower())) if form]


class GruutLexicon:
    """gruut's SQLite lexicon, read only, with a bounded cache.

    The table has no index, so every question costs a scan of all rows (10 to 50 ms). The first questions
    are therefore asked for a whole sentence at once; when more come, the rows are copied once into an
    indexed table in memory (0.2 to 0.4 s, 12 to 30 MB).

    Args:
        path: ``lexicon.db`` of a gruut language package.
        scans: how many scans to make before copying.
        cache_size: how many words to keep.
    """

    def __init__(self, path: Path, scans: int = 2, cache_size: int = 50_000) -> None:
        self._path = path
        self._scans_left = scans
        self._cache_size = cache_size
        self._cache: dict[str, Roles | None] = {}
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        self._indexed = False

    def __contains__(self, word: str) -> bool:
        return self.roles(word) is not None

    def roles(self, form: str) -> Roles | None:
        """All pronunciations of exactly this form by part of speech, or None."""
        with self._lock:
            if form not in self._cache:
                self.prefetch([form])
            return self._cache.get(form)

    def find(self, word: str) -> Roles | None:
        """The pronunciations of the first of the word's spellings that the lexicon has, or None."""
        for form in spellings(word):
            roles = self.roles(form)
            if roles is not None:
                return roles
        return None

    def prefetch(self, forms: Iterable[str]) -> None:
        """Read many forms with as few scans as possible."""
        with self._lock:
            missing = [form for form in dict.fromkeys(forms) if form not in self._cache]
            if not missing:
                return
            if len(self._cache) + len(missing) > self._cache_size:
                self._cache.clear()
            database = self._connect()
            if not self._indexed:
                if self._scans_left <= 0:
                    database = self._copy()
                self._scans_left -= 1
            self._cache.update(dict.fromkeys(missing))
            for at in range(0, len(missing), 500):
                part = missing[at : at + 500]
                query = (
                    f"SELECT word, role, phonemes FROM word_phonemes WHERE word IN ({','.join('?' * len(part))}) "
                    "ORDER BY word, pron_order, id"
                )
                for word, role, phonemes in database.execute(query, part):
                    roles = self._cache.get(word)
                    if roles is None:
                        roles = self._cache[word] = {}
                    roles.setdefault(role, tuple(phonemes.split()))

    def _connect(self) -> sqlite3.Connection:
        if self._database is None:
            if not self._path.is_file():
                raise SpeechVAEError(f"the lexicon {self._path} is missing; install the gruut language package again")
            self._database = sqlite3.connect(
                f"{self._path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False
            )
        return self._database

    def _copy(self) -> sqlite3.Connection:
        memory = sqlite3.connect(":memory:", check_same_thread=False)
        memory.execute("ATTACH ? AS source", (str(self._path),))
        memory.execute(
            "CREATE TABLE word_phonemes (word TEXT, pron_order INTEGER, id INTEGER, role TEXT, phonemes TEXT, "
            "PRIMARY KEY (word, pron_order, id)) WITHOUT ROWID"
        )
        memory.execute(
            "INSERT INTO word_phonemes SELECT word, pron_order, id, role, phonemes FROM source.word_phonemes "
            "ORDER BY word, pron_order, id"
        )
        memory.commit()
        memory.execute("DETACH source")
        self._connect().close()
        self._database, self._indexed = memory, True
        return memory


class UserLexicon:
    """The user's own pronunciations; they win over everything but phonemes given in the text itself.

    Args:
        entries: word -> IPA (a string, with or without spaces between the phonemes, or a sequence of
            symbols), or a UTF-8 file with lines ``word<TAB>phonemes``; ``#`` begins a comment line.
        language: for the symbols of that language's frontend.

    A word is found as written or else in lower case; an entry in lower case serves every capitalisation.
    In English an entry serves the possessive as well.

    Raises:
        SpeechVAEError: a missing file, a line without tab, a word with white space, phonemes that are none.
    """

    def __init__(self, entries: Mapping[str, str | Sequence[str]] | str | Path | None, language: str) -> None:
        self._language = language
        self._words: dict[str, tuple[str, ...]] = {}
        if entries is None:
            return
        if isinstance(entries, Mapping):
            for word, phonemes in entries.items():
                text = phonemes if isinstance(phonemes, str) else " ".join(phonemes)
                self._add(word, text, f"lexicon entry {word!r}")
        else:
            self._read(Path(entries))

    def __len__(self) -> int:
        return len(self._words)

    def find(self, word: str) -> tuple[str, ...] | None:
        """The phonemes of a word, or None."""
        found = self._words.get(word)
        if found is None:
            found = self._words.get(word.lower())
        if found is None and self._language.startswith("en") and word[-2:].lower() == "'s":
            stem = self.find(word[:-2])
            found = None if stem is None else stem + _possessive(stem[-1])
        return found

    def _read(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SpeechVAEError(f"the lexicon {path} cannot be read: {error}") from error
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            word, tab, phonemes = line.partition("\t")
            if not tab:
                raise SpeechVAEError(f"{path}, line {number}: expected 'word<TAB>phonemes', got {line.strip()!r}")
            self._add(word, phonemes, f"{path}, line {number}")

    def _add(self, word: str, phonemes: str, where: str) -> None:
        word = word.strip().replace("’", "'")
        if not word or len(word.split()) != 1:
            raise SpeechVAEError(f"{where}: expected one word without spaces, got {word!r}")
        try:
            self._words[word] = parse_phonemes(phonemes, self._language)
        except SpeechVAEError as error:
            raise SpeechVAEError(f"{where}: {error}") from None


def _possessive(last: str) -> tuple[str, ...]:
    if last in ("s", "z", "ʃ", "ʒ", "t͡ʃ", "d͡ʒ"):
        return ("ɪ", "z")
    return ("z",) if is_vowel(last) or last not in ("p", "t", "k", "f", "θ") else ("s",)
