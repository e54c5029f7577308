"""What a voice promises, shown on a tiny voice with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechvae import Voice, list_voices
from speechvae.errors import SpeechVAEError
from speechvae.takes import Take

TEXT = "Hello there, my friend. How are you today?"


def test_same_seed_same_samples_other_seed_other_prosody(voice: Any) -> None:
    a, b, c = (voice.say(TEXT, seed=s) for s in (1, 1, 2))
    assert np.array_equal(a.wav, b.wav)
    assert len(a.wav) != len(c.wav) or not np.array_equal(a.wav, c.wav)
    assert not np.array_equal(a.take.readings[0].z_p, c.take.readings[0].z_p)
    assert a.seed == 1


def test_no_seed_is_a_new_reading_whose_seed_is_reported(voice: Any) -> None:
    a, b = voice.say("Hello."), voice.say("Hello.")
    assert a.seed != b.seed
    assert np.array_equal(a.wav, voice.say("Hello.", seed=a.seed).wav)


def test_temperature_zero_is_the_same_for_every_seed(voice: Any) -> None:
    a, b = (voice.say(TEXT, seed=s, temperature=0, style_temperature=0) for s in (1, 2))
    assert np.array_equal(a.wav, b.wav)


def test_what_comes_back(voice: Any) -> None:
    audio = voice.say(TEXT, seed=1)
    assert audio.wav.dtype == np.float32 and audio.wav.ndim == 1
    assert np.abs(audio.wav).max() <= 1
    assert audio.sample_rate == 24000
    assert audio.duration == pytest.approx(len(audio.wav) / 24000)
    assert [w.text for w in audio.words] == ["Hello", "there", "my", "friend", "How", "are", "you", "today"]
    times = [t for w in audio.words for t in (w.start, w.end)]
    assert times == sorted(times) and times[-1] <= audio.duration
    ends = [p.end for p in audio.phonemes]
    assert ends == sorted(ends) and ends[-1] == pytest.approx(audio.duration, abs=1e-3)
    assert audio.mel.shape == (100, len(audio.f0)) and len(audio.wav) == len(audio.f0) * 256
    assert audio.rtf > 0
    assert "<audio" in audio._repr_html_() and "Hello there" in audio._repr_html_()


def test_the_stream_is_the_whole_in_pieces(voice: Any) -> None:
    whole = voice.say(TEXT, seed=4)
    chunks = list(voice.stream(TEXT, seed=4))
    assert len(chunks) == 2 and [c.index for c in chunks] == [0, 1]
    assert np.array_equal(np.concatenate([c.wav for c in chunks]), whole.wav)
    assert chunks[1].start == pytest.approx(len(chunks[0].wav) / 24000)


def test_the_ends_are_silent(voice: Any) -> None:
    wav = voice.say("Hello.", seed=1).wav
    assert abs(wav[0]) < 1e-4 and abs(wav[-1]) < 1e-4


@pytest.mark.parametrize("text", ["", "   \n", "...!?", "🙂🎉", "—", "\u200b"])
def test_nothing_to_say_is_silence(voice: Any, text: str) -> None:
    audio = voice.say(text, seed=1)
    assert 0.1 < audio.duration < 0.5 and not audio.wav.any() and audio.words == []


def test_length_scale_stretches(voice: Any) -> None:
    normal = voice.say(TEXT, seed=1, temperature=0, style_temperature=0)
    slow = voice.say(TEXT, seed=1, temperature=0, style_temperature=0, length_scale=1.5)
    spoken = [sum(p.end - p.start for p in a.phonemes if p.symbol not in "^$ ,.?") for a in (normal, slow)]
    assert spoken[1] / spoken[0] == pytest.approx(1.5, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature must lie between"),
        ({"temperature": float("nan")}, "temperature must lie between"),
        ({"style_temperature": 99.0}, "style_temperature must lie between"),
        ({"length_scale": 0.0}, "length_scale must lie between"),
        ({"seed": -3}, "seed must be a whole number"),
        ({"speaker": "nobody"}, "no speaker 'nobody'; it has one, two"),
    ],
)
def test_wrong_options_are_explained(voice: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpeechVAEError, match=message):
        voice.say("Hello.", **options)
    with pytest.raises(SpeechVAEError, match="text must be a string"):
        voice.say(None)


def test_speakers_differ(voice: Any) -> None:
    one, two = (voice.say("Hello.", seed=1, speaker=s) for s in ("one", "two"))
    assert not np.array_equal(one.wav, two.wav)


def test_ssml_breaks_rate_and_pitch_are_heard(voice: Any) -> None:
    expected = {"seed": 1, "temperature": 0, "style_temperature": 0, "ssml": True}
    plain = voice.say("<speak>one two three</speak>", **expected)
    broken = voice.say('<speak>one <break time="800ms"/> two three</speak>', **expected)
    gap = broken.words[1].start - broken.words[0].end
    assert gap == pytest.approx(0.8, abs=0.05) and gap > plain.words[1].start - plain.words[0].end + 0.5
    slow = voice.say('<speak>one <prosody rate="50%">two</prosody> three</speak>', **expected)
    length = [a.words[1].end - a.words[1].start for a in (plain, slow)]
    assert length[1] / length[0] == pytest.approx(2.0, rel=0.15)
    high = voice.say('<speak>one <prosody pitch="+12st">two</prosody> three</speak>', **expected)
    pairs = [(a.f0, b.f0) for a, b in zip(plain.phonemes, high.phonemes, strict=True) if a.f0 > 0 and a.f0 != b.f0]
    assert all(b / a == pytest.approx(2.0, rel=1e-3) for a, b in pairs)


def test_a_take_replays_exactly_from_its_file(voice: Any, tmp_path: Path) -> None:
    audio = voice.say(TEXT, seed=9)
    path = audio.take.save(tmp_path / "a.take.json")
    assert path.stat().st_size < 50_000
    assert np.array_equal(voice.perform(Take.load(path)).wav, audio.wav)


def test_a_take_that_does_not_fit_is_refused(voice: Any, tmp_path: Path) -> None:
    take = voice.say(TEXT, seed=9).take
    take.text = "Something else entirely. And more."
    with pytest.raises(SpeechVAEError, match="do not belong to"):
        voice.perform(take)
    take.voice = "another"
    with pytest.raises(SpeechVAEError, match="made with the voice 'another'"):
        voice.perform(take)
    for content in ("{}", "[]", "no json", '{"format": 99}'):
        bad = tmp_path / "bad.take.json"
        bad.write_text(content)
        with pytest.raises(SpeechVAEError, match="bad.take.json"):
            Take.load(bad)


def test_a_very_long_word_is_spoken_in_pieces(voice: Any) -> None:
    seconds = 0.0
    for i, chunk in enumerate(voice.stream("a" * 100_000, seed=1)):
        seconds += len(chunk.wav) / chunk.sample_rate
        assert len(chunk.wav) / chunk.sample_rate < 120
        if i == 2:
            break
    assert seconds > 1


def test_copy_synthesis_interface(voice: Any) -> None:
    wav = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    mel = voice.log_mel(wav, 16000)
    assert mel.shape == (100, 24000 // 256)
    assert voice.vocode(mel).shape == (24000 // 256 * 256,)


def test_info(voice: Any) -> None:
    info = voice.info()
    assert info["speakers"] == ["one", "two"] and info["parameters"]["acoustic"] > 1000


def test_shipped_voices_load_and_speak() -> None:
    voices = list_voices()
    assert "kathleen" in [v.name for v in voices]
    shipped = sum(f.stat().st_size for v in voices for f in v.path.rglob("*") if f.is_file())
    assert shipped < 60e6
    audio = Voice.load("kathleen").say("The birch canoe slid on the smooth planks.", seed=1)
    level = float(np.sqrt(np.mean(audio.wav**2)))
    assert 1.5 < audio.duration < 5.0 and level > 0.01 and np.abs(audio.wav).max() < 1.0
    voiced = audio.f0[audio.f0 > 0]
    assert 110 < np.median(voiced) < 260 and voiced.std() > 5
