"""Directing takes: diverse readings, other texts and speakers, words anew, blends."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechvae import Edits, SpeechVAEError, Take, Voice, blend
from speechvae.directing.drawing import LARGEST_SEED, Shift, latents_of, whiten
from speechvae.directing.retakes import retake, style_noise
from speechvae.directing.variety import IMPLAUSIBLE, describe_pool, farthest, standardised
from speechvae.models.speech_vae import SpeechVAE
from speechvae.voice_files import Axis

TEXT = "Hello there, my friend. How are you today?"
OTHER = "The birch canoe slid. Nobody saw it. It rained."


@pytest.fixture(scope="module", params=["gaussian", "flow"])
def any_voice(request: pytest.FixtureRequest) -> Voice:
    """A tiny voice with an axis; its prior of z_p with and without a flow that does something."""
    plain = Voice.silent_test_voice(seed=3)
    axis = Axis(z_u=[0.5, -0.2, 0.1, 0.0], z_p=[0.3, -0.4], sd=1.0, unit="semitones")
    settings = plain.settings.model_copy(update={"axes": {"pitch": axis}})
    if request.param == "gaussian":
        return Voice(settings, plain.model, plain.vocoder)
    vae = settings.vae.model_copy(update={"flow_layers": 2})
    settings = settings.model_copy(update={"vae": vae})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = SpeechVAE(settings.audio, vae, len(settings.symbols), 2)
        for name, p in model.named_parameters():
            if "flow" in name and "proj_out" in name:
                torch.nn.init.normal_(p, std=0.2)
    return Voice(settings, model, plain.vocoder)


def frames(audio: Any) -> list[int]:
    return [round((p.end - p.start) * 93.75) for p in audio.phonemes]


def heard(audio: Any) -> list[tuple[str, int, float, float]]:
    """What is kept or changed, a phoneme: symbol, frames, f0, energy."""
    return [(p.symbol, n, p.f0, p.energy) for p, n in zip(audio.phonemes, frames(audio), strict=True)]


def places(voice: Voice, text: str, words: set[int]) -> list[bool]:
    """For each symbol of a text: does it belong to one of these words?"""
    inside, first = [], 1
    for sentence in voice.frontend(text):
        inside += [o >= 0 and first + o in words for o in sentence.symbols()[1]]
        first += len(sentence.words)
    return inside


def reload(take: Take, folder: Path) -> Take:
    return Take.load(take.save(folder / "x.take.json"))


# -- exact replay ----------------------------------------------------------------------------------------------------

FEATURES: dict[str, Callable[[Voice, Take], Take]] = {
    "as drawn": lambda v, a: a,
    "edits": lambda v, a: replace(a, edits=Edits(2.5, 1.3, 3.0, ((2, 1.0),), ((5, 0.7),))),
    "reroll": lambda v, a: v.reroll(a, [2, 6], seed=5),
    "reroll of a directed take": lambda v, a: v.reroll(replace(a, edits=Edits(1.0, 1.7)), [2, 6], seed=5),
    "another speaker": lambda v, a: retake(v, a, speaker="two"),
    "another text": lambda v, a: retake(v, a, text=OTHER),
    "blend": lambda v, a: blend(v, a, v.draw(TEXT, seed=2, axes={"pitch": 1.0}), 0.3),
    "blend of words": lambda v, a: blend(v, a, v.draw(TEXT, seed=2, length_scale=1.3), 0.7, [1, 7]),
    "blend of manners": lambda v, a: blend(v, a, v.draw(OTHER, seed=2), 0.7),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_everything_replays_from_its_file(any_voice: Voice, feature: str, tmp_path: Path) -> None:
    drawn = any_voice.draw(TEXT, seed=1, axes={"pitch": 1.5}, length_scale=1.1, steadiness=0.5)
    take = FEATURES[feature](any_voice, drawn)
    audio = any_voice.perform(take)
    assert np.array_equal(any_voice.perform(reload(take, tmp_path)).wav, audio.wav)
    assert np.array_equal(any_voice.perform(reload(audio.take, tmp_path)).wav, audio.wav)
    if feature != "as drawn":
        assert not np.array_equal(audio.wav, any_voice.perform(drawn).wav)


def test_draw_is_say_without_sound(any_voice: Voice) -> None:
    options: Any = {"seed": 8, "axes": {"pitch": -2.0}, "edits": Edits(pitch=1.0), "steadiness": 0.2}
    assert np.array_equal(any_voice.perform(any_voice.draw(TEXT, **options)).wav, any_voice.say(TEXT, **options).wav)


def test_perform_leaves_the_take_alone(any_voice: Voice) -> None:
    take = any_voice.draw(TEXT, seed=1)
    before = any_voice.perform(take).wav
    changed = any_voice.perform(take, speaker="two", length_scale=1.4, edits=Edits(pitch=3))
    assert changed.take.speaker == "two" and changed.take.edits.pitch == 3 and changed.take.length_scale == 1.4
    assert np.array_equal(any_voice.perform(take).wav, before)


def test_prosody_of_is_what_is_heard(any_voice: Voice) -> None:
    take = any_voice.draw(TEXT, seed=1, length_scale=1.2, edits=Edits(pitch=2, breaks=((2, 0.9),)))
    found = any_voice.prosody_of(take)
    audio = any_voice.perform(take)
    assert [p.shape for p in found] == [(4, r.z_p.shape[1]) for r in take.readings]
    joined = np.concatenate(found, 1)
    assert np.allclose(joined[3], [p.energy for p in audio.phonemes], atol=1e-6)
    pauses = [i for i, p in enumerate(audio.phonemes) if p.symbol in "^$ ,.?"]
    assert np.array_equal(np.maximum(1, np.exp(joined[0]).round())[pauses], np.array(frames(audio))[pauses])
    again = any_voice.prosody_of(replace(take, readings=[]))
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


# -- diverse takes ---------------------------------------------------------------------------------------------------


def test_takes_are_farther_apart_than_random_ones() -> None:
    voice = Voice.load("kathleen")
    text, n, pool, seed = "The birch canoe slid on the smooth planks.", 5, 40, 100
    chosen = voice.takes(text, n, pool=pool, seed=seed)
    features, nats = describe_pool(voice, chosen[0], [seed + i for i in range(pool)])
    points = standardised(features)

    def spread(rows: Any) -> tuple[float, float]:
        d = [float(np.linalg.norm(points[a] - points[b])) for a, b in itertools.combinations(rows, 2)]
        return min(d), float(np.mean(d))

    rows = [take.seed - seed for take in chosen]
    assert len(set(rows)) == n
    rng = np.random.default_rng(0)
    random = np.array([spread(rng.choice(pool, n, replace=False)) for _ in range(100)])
    nearest, mean = spread(rows)
    assert nearest > np.percentile(random[:, 0], 90) and mean > 1.05 * random[:, 1].mean()
    assert not set(rows) & set(np.argsort(nats)[: int(IMPLAUSIBLE * pool)].tolist())


def test_takes_repeat_and_are_those_of_say(any_voice: Voice) -> None:
    options: Any = {"seed": LARGEST_SEED - 3, "temperature": 0.8, "steadiness": 0.4, "edits": Edits(pitch=1)}
    a, b = (any_voice.takes(TEXT, 3, pool=8, **options) for _ in range(2))
    assert [t.seed for t in a] == [t.seed for t in b]
    for take in a:
        said = any_voice.say(TEXT, **{**options, "seed": take.seed})
        assert np.array_equal(any_voice.perform(take).wav, said.wav)


def test_the_pool_is_read_as_say_reads(any_voice: Voice) -> None:
    """The batch of the pool and a single draw agree, so that the choice is made among the readings that are heard."""
    base = any_voice.draw(TEXT, seed=7, axes={"pitch": 1.0}, steadiness=0.5)
    features, nats = describe_pool(any_voice, base, [7, 8])
    alone, own = describe_pool(any_voice, base, [7])
    assert np.allclose(features[0], alone[0], atol=1e-4) and nats[0] == pytest.approx(own[0], abs=1e-3)
    heads, words = any_voice.prosody_of(base)[0], 4
    logw = heads[0][[o == 0 for o in any_voice.frontend(TEXT)[0].symbols()[1]]]
    assert features[0, 2 * words] == pytest.approx(np.log(np.exp(logw).sum()), abs=1e-4)


def test_farthest_points_of_a_line() -> None:
    line = np.array([[0.0], [1.0], [5.0], [5.2], [10.0]])
    assert farthest(line, 3) == [2, 0, 4]
    assert farthest(np.zeros((3, 2)), 3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"n": 0}, "0 takes from a pool of 32"),
        ({"n": 9, "pool": 10, "seed": 1}, None),
        ({"n": 10, "pool": 10}, "10 takes from a pool of 10"),
        ({"n": 2, "pool": 1001}, "at most 1000"),
        ({"n": 2, "temperature": 0, "style_temperature": 0}, "both temperatures are 0"),
        ({"n": 2, "edits": Edits(emphasis=((9, 1.0),))}, "there is no word 9: the text has 8 words"),
    ],
)
def test_impossible_numbers_of_takes(any_voice: Voice, args: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert len(any_voice.takes(TEXT, **args)) == args["n"]
        return
    with pytest.raises(SpeechVAEError, match=message):
        any_voice.takes(TEXT, **args)
    with pytest.raises(SpeechVAEError, match="no words"):
        any_voice.takes("...", 2)


# -- other speakers and texts ----------------------------------------------------------------------------------------


def noises(voice: Voice, take: Take) -> list[Any]:
    shift = Shift.along(voice.settings, take.axes)
    found = []
    for _, sentence, reading in voice.parts(take):
        e = voice.encode(sentence, take.speaker)
        with torch.inference_mode():
            found.append(whiten(voice.model, e, latents_of(voice.settings, e, reading), shift))
    return found


def test_another_speaker_keeps_the_noise(any_voice: Voice) -> None:
    take = any_voice.draw(TEXT, seed=4, axes={"pitch": 2.0}, temperature=1.0)
    other = retake(any_voice, take, speaker="two")
    for a, b in zip(noises(any_voice, take), noises(any_voice, other), strict=True):
        assert torch.allclose(a.z_u, b.z_u, atol=1e-4) and torch.allclose(a.z_p, b.z_p, atol=1e-3)
    assert not np.allclose(take.readings[0].z_p, other.readings[0].z_p, atol=1e-3)
    assert not np.array_equal(any_voice.perform(take).wav, any_voice.perform(take, speaker="two").wav)
    expected = any_voice.draw(TEXT, seed=4, axes={"pitch": 2.0}, temperature=1.0, speaker="two")
    assert np.allclose(other.readings[1].z_p, expected.readings[1].z_p, atol=1e-3)


def test_pinned_prosody_goes_to_another_speaker(any_voice: Voice) -> None:
    take = any_voice.reroll(any_voice.draw(TEXT, seed=4), [1, 6], seed=1)
    one, two = any_voice.perform(take), any_voice.perform(take, speaker="two")
    assert frames(one) == frames(two)
    assert [p.energy for p in one.phonemes] == [p.energy for p in two.phonemes]


def test_another_text_in_the_manner_of_a_take(any_voice: Voice) -> None:
    take = any_voice.draw(TEXT, seed=4, steadiness=0.0, axes={"pitch": 1.0}, temperature=0.7)
    other = retake(any_voice, take, text=OTHER)
    styles, carried = style_noise(any_voice, take), style_noise(any_voice, other)
    assert len(styles) == 2 and len(carried) == 3
    for a, b in zip([*styles, styles[-1]], carried, strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    assert not torch.allclose(styles[0], styles[1], atol=0.1)
    fine = [n.z_p.std().item() for n in noises(any_voice, other)]
    assert np.mean(fine) == pytest.approx(0.7, rel=0.25)
    both = retake(any_voice, take, text=OTHER, speaker="two")
    assert both.speaker == "two" and torch.allclose(style_noise(any_voice, both)[0], styles[0], atol=1e-4)
    assert [w.text for w in any_voice.perform(take, text=OTHER).words][:2] == ["The", "birch"]


def test_edits_of_words_stay_with_their_text(any_voice: Voice, caplog: pytest.LogCaptureFixture) -> None:
    take = any_voice.draw(TEXT, seed=4, edits=Edits(pitch=2, emphasis=((8, 1.0),)))
    assert any_voice.perform(take, text="Short.").take.edits == Edits(pitch=2)
    assert "edits of single words" in caplog.text


def test_the_same_text_is_no_other_text(any_voice: Voice) -> None:
    take = any_voice.draw(TEXT, seed=4)
    assert retake(any_voice, take, text=TEXT, speaker="one") is take


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speaker": "nobody"}, "no speaker 'nobody'"),
        ({"text": 5}, "text must be a string"),
        ({"length_scale": 9.0}, "length_scale must lie"),
        ({"edits": Edits(breaks=((9, 1.0),))}, "there is no word 9: the text has 8 words"),
    ],
)
def test_impossible_performances(any_voice: Voice, options: dict[str, Any], message: str) -> None:
    take = any_voice.draw(TEXT, seed=4)
    with pytest.raises(SpeechVAEError, match=message):
        any_voice.perform(take, **options)


def test_damaged_takes(any_voice: Voice) -> None:
    take = any_voice.draw(TEXT, seed=4)
    with pytest.raises(SpeechVAEError, match="fewer sentences"):
        any_voice.perform(replace(take, readings=take.readings[:1]))
    with pytest.raises(SpeechVAEError, match="more sentences"):
        any_voice.perform(replace(take, readings=take.readings * 2))
    wide = replace(take.readings[0], z_u=np.zeros(9, np.float32))
    with pytest.raises(SpeechVAEError, match=r"\(9, 2\) latent dimensions, the voice test has \(4, 2\)"):
        any_voice.perform(replace(take, readings=[wide, take.readings[1]]))


# -- words anew ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edits", [Edits(), Edits(2.0, 1.5, 3.0, ((3, 1.0),), ((3, 0.6),))])
def test_reroll_changes_its_words_and_nothing_else(any_voice: Voice, edits: Edits, tmp_path: Path) -> None:
    take = any_voice.draw(TEXT, seed=1, temperature=1.0, length_scale=1.13, edits=edits, axes={"pitch": 1.0})
    new = reload(any_voice.reroll(take, [2, 3], seed=6), tmp_path)
    a, b = any_voice.perform(take), any_voice.perform(new)
    inside = places(any_voice, TEXT, {2, 3})
    pairs = list(zip(heard(a), heard(b), inside, strict=True))
    assert all(x == y for x, y, redrawn in pairs if not redrawn)
    energies = [(x[3], y[3]) for x, y, redrawn in pairs if redrawn]
    assert all(abs(x - y) > 1e-6 for x, y in energies)
    for old, fresh, sentence in zip(take.readings, new.readings, any_voice.frontend(TEXT), strict=True):
        n = len(sentence.symbols()[0])
        kept = ~np.array(inside[:n])
        inside = inside[n:]
        assert np.array_equal(old.z_p[:, kept], fresh.z_p[:, kept]) and np.array_equal(old.z_u, fresh.z_u)
    left, right = (list(any_voice._chunks(t, replay=True))[1].wav for t in (take, new))
    assert np.array_equal(left, right)


def test_reroll_again_and_elsewhere(any_voice: Voice) -> None:
    take = any_voice.draw(TEXT, seed=1, edits=Edits(range=1.4))
    once = any_voice.reroll(take, [2], seed=6)
    twice = any_voice.reroll(once, [7], seed=6)
    a, c = heard(any_voice.perform(take)), heard(any_voice.perform(twice))
    inside = places(any_voice, TEXT, {2, 7})
    assert all((x == y) != redrawn for x, y, redrawn in zip(a, c, inside, strict=True))
    same, other = any_voice.reroll(take, [2], seed=6), any_voice.reroll(take, [2], seed=7)
    assert np.array_equal(same.readings[0].z_p, once.readings[0].z_p)
    assert not np.array_equal(other.readings[0].z_p, once.readings[0].z_p)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"words": [9]}, "there is no word 9: the text has 8 words"),
        ({"words": [0]}, "words are numbered 1"),
        ({"words": []}, "at least one word"),
        ({"words": [1], "seed": -1}, "seed must be a whole number"),
        ({"words": [1], "temperature": 9.0}, "temperature must lie"),
    ],
)
def test_impossible_rerolls(any_voice: Voice, args: dict[str, Any], message: str) -> None:
    with pytest.raises(SpeechVAEError, match=message):
        any_voice.reroll(any_voice.draw(TEXT, seed=1), **args)


# -- blends ----------------------------------------------------------------------------------------------------------


def test_the_ends_of_a_blend_are_the_takes(any_voice: Voice) -> None:
    a = any_voice.draw(TEXT, seed=1, length_scale=0.9, edits=Edits(pitch=-2, emphasis=((1, 1.0),)))
    b = any_voice.reroll(any_voice.draw(TEXT, seed=2, axes={"pitch": 2.0}, edits=Edits(range=1.5)), [3], seed=1)
    for t, end in ((0, a), (1, b)):
        mixed = blend(any_voice, a, b, t)
        assert np.array_equal(any_voice.perform(mixed).wav, any_voice.perform(end).wav)
        assert replace(mixed, readings=[]) == replace(end, readings=[])


def test_a_blend_is_linear(any_voice: Voice) -> None:
    a = any_voice.draw(TEXT, seed=1, length_scale=1.0, edits=Edits(pitch=-2, emphasis=((1, 1.0),)), temperature=0.4)
    b = any_voice.draw(TEXT, seed=2, length_scale=1.4, edits=Edits(range=1.5, breaks=((2, 1.0),)), axes={"pitch": 2.0},
                       temperature=0.6)  # fmt: skip
    for t in (-0.5, 0.25, 1.5):
        m = blend(any_voice, a, b, t)
        for x, y, z in zip(a.readings, b.readings, m.readings, strict=True):
            assert np.allclose(z.z_u, x.z_u + t * (y.z_u - x.z_u), atol=1e-5)
            assert np.allclose(z.z_p, x.z_p + t * (y.z_p - x.z_p), atol=1e-5)
        assert m.length_scale == pytest.approx(1 + 0.4 * t) and m.axes["pitch"] == pytest.approx(2 * t)
        assert m.edits.pitch == pytest.approx(-2 + 2 * t) and m.edits.range == pytest.approx(1 + 0.5 * t)
        assert dict(m.edits.emphasis)[1] == pytest.approx(1 - t)
        assert m.temperature == pytest.approx(0.4 + 0.2 * t)
        assert dict(m.edits.breaks)[2] == pytest.approx(max(t, 0))
        assert len(any_voice.perform(m).wav) > 0


def test_a_blend_with_pinned_prosody_runs_evenly(any_voice: Voice) -> None:
    a = any_voice.draw(TEXT, seed=1)
    b = any_voice.reroll(any_voice.draw(TEXT, seed=2), [3], seed=1)
    start, middle, end = (any_voice.prosody_of(blend(any_voice, a, b, t))[0] for t in (0, 0.5, 1))
    assert np.allclose(middle[1:], (start + end)[1:] / 2, atol=1e-5)
    seconds = [np.exp(p[0, 1:-1]) for p in (start, middle, end)]
    assert np.allclose(seconds[1], (seconds[0] + seconds[2]) / 2, rtol=1e-3)


def test_word_by_word(any_voice: Voice) -> None:
    a, b = (any_voice.draw(TEXT, seed=s, length_scale=1.0 + 0.2 * s, temperature=1.0) for s in (1, 2))
    inside = places(any_voice, TEXT, {3, 7})
    x, y, both = (heard(any_voice.perform(t)) for t in (a, b, blend(any_voice, a, b, 1, [3, 7])))
    for left, right, mixed, chosen in zip(x, y, both, inside, strict=True):
        expected = right if chosen else left
        assert mixed[:2] == expected[:2] and mixed[2:] == pytest.approx(expected[2:], abs=1e-4)
    half = heard(any_voice.perform(blend(any_voice, a, b, 0.5, [3, 7])))
    assert all(m == left for left, m, chosen in zip(x, half, inside, strict=True) if not chosen)
    assert all(m != left for left, m, chosen in zip(x, half, inside, strict=True) if chosen)
    still = any_voice.perform(blend(any_voice, a, b, 0, [3, 7])).wav
    assert np.array_equal(still, any_voice.perform(a).wav)


def test_word_by_word_with_other_edits(any_voice: Voice) -> None:
    a = any_voice.draw(TEXT, seed=1, edits=Edits(pitch=1, range=1.3, energy=-2, emphasis=((3, 1.0),)))
    b = any_voice.draw(TEXT, seed=2, edits=Edits(pitch=-3, range=0.8, energy=4, emphasis=((7, 0.5),)))
    inside = places(any_voice, TEXT, {3, 7})
    x, y, both = (heard(any_voice.perform(t)) for t in (a, b, blend(any_voice, a, b, 1, [3, 7])))
    for left, right, mixed, chosen in zip(x, y, both, inside, strict=True):
        expected = right if chosen else left
        assert mixed[:2] == expected[:2]
        assert mixed[2:] == pytest.approx(expected[2:], rel=1e-4, abs=1e-4)


def test_a_blend_of_texts_carries_the_manner(any_voice: Voice) -> None:
    a, b = any_voice.draw(TEXT, seed=1), any_voice.draw(OTHER, seed=2, steadiness=0.0)
    from_a, from_b = style_noise(any_voice, a), style_noise(any_voice, b)
    assert blend(any_voice, a, b, 0).readings[0].z_p is a.readings[0].z_p
    for t in (0.5, 1.0):
        mixed = blend(any_voice, a, b, t)
        assert mixed.text == TEXT
        for k, noise in enumerate(style_noise(any_voice, mixed)):
            assert torch.allclose(noise, from_a[k] + t * (from_b[k] - from_a[k]), atol=1e-4)
        fine = [n.z_p for n in noises(any_voice, mixed)]
        assert all(torch.allclose(x, y.z_p, atol=1e-3) for x, y in zip(fine, noises(any_voice, a), strict=True))
    pinned = any_voice.reroll(a, [1], seed=3)
    moved = blend(any_voice, pinned, b, 0.5)
    before, after = pinned.readings[0].prosody, moved.readings[0].prosody
    assert before is not None and after is not None and not np.allclose(before, after, atol=1e-5)


def test_a_blend_of_speakers_keeps_the_first(any_voice: Voice) -> None:
    a, b = any_voice.draw(TEXT, seed=1), any_voice.draw(TEXT, seed=2, speaker="two")
    end = any_voice.perform(blend(any_voice, a, b, 1))
    assert end.take.speaker == "one"
    assert np.array_equal(end.wav, any_voice.perform(b, speaker="one").wav)


def test_impossible_blends(any_voice: Voice) -> None:
    a, b = any_voice.draw(TEXT, seed=1), any_voice.draw(OTHER, seed=2)
    for t in (-1.1, 2.1, float("nan")):
        with pytest.raises(SpeechVAEError, match="t must lie between -1 and 2"):
            blend(any_voice, a, b, t)
    with pytest.raises(SpeechVAEError, match="word by word"):
        blend(any_voice, a, b, 0.5, [1])
    with pytest.raises(SpeechVAEError, match="no word 9"):
        blend(any_voice, a, a, 0.5, [9])
    with pytest.raises(SpeechVAEError, match="made with the voice 'else'"):
        blend(any_voice, a, replace(b, voice="else"), 0.5)


def test_a_voice_widens_the_pitch_of_what_it_draws(any_voice: Voice) -> None:
    settings = any_voice.settings
    take = any_voice.draw(TEXT, seed=3)
    assert take.expansion == settings.expansion
    level, wide = (any_voice.prosody_of(replace(take, expansion=e))[0] for e in (1.0, 1.4))
    np.testing.assert_allclose(wide[[0, 2, 3]], level[[0, 2, 3]])
    np.testing.assert_allclose(np.ptp(wide[1]), 1.4 * np.ptp(level[1]), rtol=1e-4)
    ranged = any_voice.prosody_of(replace(take, expansion=1.4, edits=Edits(range=0.5)))[0]
    np.testing.assert_allclose(np.ptp(ranged[1]), 0.7 * np.ptp(level[1]), rtol=1e-4)
    # on the way between two takes, and on other texts, it goes along
    other = replace(any_voice.draw(TEXT, seed=4), expansion=1.4)
    assert blend(any_voice, replace(take, expansion=1.0), other, 0.5).expansion == pytest.approx(1.2)
    assert retake(any_voice, other, text=OTHER).expansion == 1.4
