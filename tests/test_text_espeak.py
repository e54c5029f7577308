"""Other languages by espeak-ng: an optional extra."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from speechvae.errors import SpeechVAEError
from speechvae.text import espeak, get_frontend


def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak, "find_spec", lambda name: None)
    with pytest.raises(SpeechVAEError, match=r"de-de, en.*speechvae\[espeak\]"):
        get_frontend("fr-fr")


def test_broken_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak, "find_spec", lambda name: object())
    for name in ("espeakng_loader", "phonemizer", "phonemizer.backend"):
        monkeypatch.setitem(sys.modules, name, None)
    espeak.languages.cache_clear()
    espeak._backend_class.cache_clear()
    with pytest.raises(SpeechVAEError, match="not installed"):
        get_frontend("fr-fr")


@pytest.fixture(scope="module")
def french() -> Any:
    pytest.importorskip("phonemizer", reason="the extra speechvae[espeak] is not installed")
    pytest.importorskip("espeakng_loader", reason="the extra speechvae[espeak] is not installed")
    return get_frontend("fr-fr", lexicon={"Voltaire": "vɔltɛʁ"})


def test_french(french: Any) -> None:
    text = "Bonjour, le monde ! Voltaire a 21 ans."
    first, second = french(text)
    assert [w.text for w in first.words] == ["Bonjour", "le", "monde"]
    assert first.boundaries == (",", " ", "!")
    assert "".join(first.words[0].phonemes).replace("ˈ", "").startswith("bɔ̃ʒ")
    assert second.words[0].phonemes == ("v", "ɔ", "l", "t", "ɛ", "ʁ")
    assert all(text[w.start : w.end] == w.text and w.phonemes for s in (first, second) for w in s.words)


def test_unknown_to_espeak_too(french: Any) -> None:
    with pytest.raises(SpeechVAEError, match="fr-fr"):
        get_frontend("xx-yy")
