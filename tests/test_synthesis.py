"""What a voice promises, shown on a tiny voice with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechvae import Edits, Voice, list_voices
from speechvae.directing.drawing import Mood, Shift, latents_of, whiten
from speechvae.directing.prosody_edits import find_words, whole_frames
from speechvae.errors import SpeechVAEError
from speechvae.takes import Take
from speechvae.voice_files import Axis

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
        ({"seed": True}, "seed must be a whole number"),
        ({"speaker": "nobody"}, "no speaker 'nobody'; it has one, two"),
        ({"steadiness": 1.5}, "steadiness must lie between 0 and 1, not 1.5"),
        ({"axes": {"pitch": 1.0}}, "the voice test has no axis 'pitch'; it has none"),
        ({"edits": Edits(emphasis=((2, 1.0),))}, "there is no word 2: the text has 1 words"),
        ({"edits": Edits(breaks=((7, 1.0),))}, "there is no word 7"),
    ],
)
def test_wrong_options_are_explained(voice: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpeechVAEError, match=message):
        voice.say("Hello.", **options)
    with pytest.raises(SpeechVAEError, match=message):
        voice.stream("Hello.", **options)  # before the first chunk is asked for
    with pytest.raises(TypeError, match="loudness"):
        voice.say("Hello.", loudness=1)
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


# -- steadiness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 1.0])
def test_the_mood_is_a_stationary_process(rho: float) -> None:
    chains = [Mood(seed, rho, 64) for seed in range(60)]
    e = torch.stack([torch.cat([chain.step() for _ in range(6)]) for chain in chains], 1)  # [6, 60, 64]
    assert torch.allclose(e.square().mean((1, 2)), torch.ones(6), atol=0.08)
    for lag in (1, 3):
        found = (e[lag:] * e[:-lag]).mean((1, 2))
        assert torch.allclose(found, torch.full_like(found, rho**lag), atol=0.06)


def test_steadiness_of_a_text(voice: Any) -> None:
    text = "One more. " * 4
    steady, drifting, restless = (
        [r.z_u for r in voice.say(text, seed=3, steadiness=s).take.readings] for s in (1.0, 0.9, 0.0)
    )
    assert all(np.array_equal(z, steady[0]) for z in steady)
    for other in (drifting, restless):
        assert np.array_equal(other[0], steady[0])
        assert all(not np.allclose(a, b, atol=1e-4) for a, b in zip(other, other[1:], strict=False))
    step = [np.mean([np.abs(a - b).mean() for a, b in zip(z, z[1:], strict=False)]) for z in (drifting, restless)]
    assert step[0] < 0.75 * step[1]
    assert voice.say("Hello.", seed=1).take.steadiness == 0.9


# -- axes ------------------------------------------------------------------------------------------------------------


def test_an_axis_moves_the_latents_by_itself_and_nothing_else(voice: Any) -> None:
    axes = {
        "pitch": Axis(z_u=[1.0, 0.0, -2.0, 0.5], z_p=[0.25, -1.0], sd=2.0, unit="semitones"),
        "rate": Axis(z_u=[0.0, 3.0, 0.0, 0.0], z_p=[0.0, 0.0], sd=0.1, unit="log"),
    }
    own = Voice(voice.settings.model_copy(update={"axes": axes}), voice.model, voice.vocoder)
    plain, moved = own.say(TEXT, seed=2), own.say(TEXT, seed=2, axes={"pitch": 1.5, "rate": -1.0})
    still, shift = Shift.along(own.settings, {}), Shift.along(own.settings, {"pitch": 1.5, "rate": -1.0})
    assert np.allclose(shift.z_p[0], np.array([[0.375], [-1.5]]))
    for (_, sentence, a), b in zip(own.parts(plain.take), moved.take.readings, strict=True):
        assert np.allclose(b.z_u - a.z_u, [1.5, -3.0, -3.0, 0.75], atol=1e-5)
        e = own.encode(sentence)
        with torch.inference_mode():
            before = whiten(own.model, e, latents_of(own.settings, e, a), still)
            after = whiten(own.model, e, latents_of(own.settings, e, b), shift)
        assert np.allclose(before.z_p, after.z_p, atol=1e-4)  # the same draw, of a manner that was moved
    assert moved.take.axes == {"pitch": 1.5, "rate": -1.0}
    assert np.array_equal(own.perform(moved.take).wav, moved.wav) and not np.array_equal(plain.wav, moved.wav)
    with pytest.raises(SpeechVAEError, match="no axis 'mood'; it has pitch, rate"):
        own.say(TEXT, axes={"mood": 1.0})
    with pytest.raises(SpeechVAEError, match="axis pitch must lie between -5 and 5"):
        own.say(TEXT, axes={"pitch": 6.0})


# -- edits -----------------------------------------------------------------------------------------------------------


def of_words(voice: Any, audio: Any, words: set[int]) -> list[bool]:
    """For each phoneme of a reading of TEXT: does it belong to one of these words?"""
    inside, first = [], 1
    for sentence in voice.frontend(TEXT):
        inside += [o >= 0 and first + o in words for o in sentence.symbols()[1]]
        first += len(sentence.words)
    assert len(inside) == len(audio.phonemes)
    return inside


def test_pitch_moves_every_voiced_phoneme_by_exactly_that(voice: Any) -> None:
    plain, high = voice.say(TEXT, seed=1), voice.say(TEXT, seed=1, edits=Edits(pitch=2.0))
    pairs = [(a.f0, b.f0) for a, b in zip(plain.phonemes, high.phonemes, strict=True) if a.f0 > 0]
    assert len(pairs) > 3
    assert all(12 * np.log2(b / a) == pytest.approx(2.0, abs=1e-4) for a, b in pairs)
    assert [p.end for p in plain.phonemes] == [p.end for p in high.phonemes]


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.5])
def test_range_scales_around_the_mean(voice: Any, factor: float) -> None:
    takes = [voice.draw("Hello there, my friend.", seed=1, edits=Edits(range=f)) for f in (1.0, factor)]
    (plain,), (scaled,) = (voice.prosody_of(t) for t in takes)
    weight = np.exp(plain[0]) * plain[2]
    raw = np.exp(voice.prosody_of(replace(takes[0], length_scale=1.0))[0][0])
    assert np.allclose(raw, np.exp(plain[0]))
    mean = [float((p[1] * weight).sum() / weight.sum()) for p in (plain, scaled)]
    assert plain[1].std() > 0.01 and scaled[1].std() == pytest.approx(factor * plain[1].std(), abs=1e-5)
    # The edges are shortened after the mean is taken, and are as good as unvoiced in a real voice.
    assert mean[1] == pytest.approx(mean[0], abs=0.05 * abs(1 - factor))
    assert np.array_equal(plain[[0, 2, 3]], scaled[[0, 2, 3]])


def test_energy_is_in_decibels(voice: Any) -> None:
    plain, loud = voice.say(TEXT, seed=1), voice.say(TEXT, seed=1, edits=Edits(energy=6.0))
    moved = [b.energy - a.energy for a, b in zip(plain.phonemes, loud.phonemes, strict=True)]
    assert moved == pytest.approx([np.log(10 ** (6 / 20))] * len(moved), abs=1e-5)


def test_emphasis_is_longer_higher_and_louder_on_its_word_only(voice: Any) -> None:
    plain, stressed = voice.say(TEXT, seed=1), voice.say(TEXT, seed=1, edits=Edits(emphasis=((4, 1.0), (6, -0.5))))
    lengths = [w.end - w.start for a in (plain, stressed) for w in a.words]
    assert lengths[8 + 3] > lengths[3] * 1.1 and lengths[8 + 5] <= lengths[5]
    fourth, others = of_words(voice, plain, {4}), of_words(voice, plain, {4, 6})
    for a, b, four, edited in zip(plain.phonemes, stressed.phonemes, fourth, others, strict=True):
        if four:
            assert b.energy - a.energy == pytest.approx(np.log(10 ** (3 / 20)), abs=1e-5)
            assert a.f0 == 0 or 12 * np.log2(b.f0 / a.f0) == pytest.approx(2.0, abs=1e-3)
        elif not edited:
            assert (a.f0, a.energy) == (b.f0, b.energy)
            assert b.end - b.start == pytest.approx(a.end - a.start, abs=1e-6)


def test_emphasis_by_ssml_and_by_hand_agree(voice: Any) -> None:
    marked = voice.say("<speak>one <emphasis level='strong'>two</emphasis> three</speak>", seed=1, ssml=True)
    by_hand = voice.say("<speak>one two three</speak>", seed=1, ssml=True, edits=Edits(emphasis=((2, 1.0),)))
    assert np.array_equal(marked.wav, by_hand.wav)


def test_breaks_only_lengthen(voice: Any) -> None:
    plain = voice.say(TEXT, seed=1)
    long, short = (voice.say(TEXT, seed=1, edits=Edits(breaks=((1, s), (6, s)))) for s in (1.0, 0.001))
    assert np.array_equal(short.wav, plain.wav)
    for word in (0, 5):
        gap = long.words[word + 1].start - long.words[word].end
        assert gap == pytest.approx(1.0, abs=0.011)
        assert gap > plain.words[word + 1].start - plain.words[word].end + 0.2
    for a, b in zip(plain.words, long.words, strict=True):
        assert b.end - b.start == pytest.approx(a.end - a.start, abs=1e-6)
    assert np.array_equal(short.wav, voice.say(TEXT, seed=1, edits=Edits(breaks=((8, 0.0),))).wav)


def test_edits_in_a_stream(voice: Any) -> None:
    options: Any = {"seed": 4, "edits": Edits(1.0, 1.2, 2.0, ((2, 1.0), (7, 1.0)), ((6, 0.5),))}
    chunks = list(voice.stream(TEXT, **options))
    assert np.array_equal(np.concatenate([c.wav for c in chunks]), voice.say(TEXT, **options).wav)
    assert len(chunks) == 2 and chunks[1].take.edits == options["edits"]


def test_whole_frames_of_a_word_do_not_depend_on_other_words() -> None:
    owners = [-1, 0, 0, 0, -1, 1, 1, -1]
    w = torch.tensor([3.4, 1.4, 1.4, 1.4, 0.2, 7.5, 2.2, 1.0])
    frames = whole_frames(w, owners)[0].tolist()
    assert frames == [3, 1, 2, 1, 1, 8, 2, 1]
    w[1:4] *= 10
    assert whole_frames(w, owners)[0].tolist()[4:] == frames[4:]


def test_words_and_their_numbers(voice: Any) -> None:
    words = list(voice.words("It cost $42, my friend. Friend? My FRIEND!"))
    assert find_words(words, "friend") == [n for n, w in enumerate(words, 1) if w.text.lower() == "friend"]
    assert len(find_words(words, "Friend.")) == 3 and find_words(words, "forty") and find_words(words, "foe") == []
    assert find_words(words, "?") == []


def test_a_long_pause_is_quiet() -> None:
    voice = Voice.load("kathleen")
    audio = voice.say(
        "The birch canoe slid on the smooth planks.", seed=1, edits=Edits(breaks=((5, 2.0),), pitch=1.0)
    )
    start, end = audio.words[4].end, audio.words[5].start
    assert end - start == pytest.approx(2.0, abs=0.02)
    pause = audio.wav[round((start + 0.2) * 24000) : round((end - 0.1) * 24000)]
    level, rest = (20 * np.log10(np.sqrt(np.mean(x**2))) for x in (pause, audio.wav[: round(start * 24000)]))
    assert level < rest - 20


# -- takes -----------------------------------------------------------------------------------------------------------


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
