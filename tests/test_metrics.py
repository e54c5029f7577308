"""Measures against signals whose answer is known."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from speechvae import metrics as m
from speechvae.errors import SpeechVAEError
from speechvae.metrics import _common
from speechvae.metrics.spectral import BANDS, ORDER

RATE = 24000


def tone(hz: float, seconds: float = 1.0, rms: float = 0.07, rate: int = RATE) -> np.ndarray:
    """A harmonic tone like a vowel: ten harmonics, falling."""
    t = np.arange(round(seconds * rate)) / rate
    wav = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 11))
    return (wav / np.sqrt(np.mean(np.square(wav))) * rms).astype(np.float32)


def reading(pieces: list[tuple[float, float]], gap: float = 0.08) -> np.ndarray:
    """Tones of (hz, seconds) parted by gaps."""
    quiet = np.zeros(round(gap * RATE), np.float32)
    return np.concatenate([part for hz, s in pieces for part in (tone(hz, s), quiet)][:-1])


def noise(seconds: float, rms: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, rms, round(seconds * RATE)).astype(np.float32)


# -- text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Well, I'll be GOSH-darned!", "well i'll be gosh darned"),
        ("On the 3rd, Mr. O’Neil paid $1,200.50", "on the third mr o'neil paid one thousand two hundred dollars fifty"),
        ("Mister Smith & Doctor Who", "mr smith and dr who"),
        ("in 1984 it was 3.5%", "in nineteen eighty four it was three point five percent"),
        ("'quoted' — and… done", "quoted and done"),
        ("305 days", "three hundred five days"),
        ("?! — 🎉", ""),
    ],
)
def test_normalise_brings_writing_to_speech(written: str, spoken: str) -> None:
    assert m.normalise(written) == spoken


def test_numbers_are_spelt_in_the_language_asked_for() -> None:
    assert m.normalise("Es kostet 21 €", "de-de") == "es kostet einundzwanzig"


def test_word_errors_of_known_strings() -> None:
    pytest.importorskip("jiwer")
    e = m.word_errors("The birch canoe slid on the smooth planks.", "a birch canoe on the smooth old grey planks")
    assert (e.substitutions, e.deletions, e.insertions, e.length) == (1, 1, 2, 8)
    assert e.rate == pytest.approx(4 / 8)
    assert m.word_errors("", "two words").insertions == 2
    assert m.word_errors("two words", "").rate == 1.0


def test_corpus_rates_weigh_by_length_not_by_clip() -> None:
    pytest.importorskip("jiwer")
    ten = "one two three four five six seven eight nine ten"
    references, heard = [ten, "no"], [ten, "yes"]
    assert m.wer(references, heard) == pytest.approx(1 / 11)
    assert m.cer(["abcd"], ["abxd"]) == pytest.approx(0.25)
    with pytest.raises(SpeechVAEError, match="2 references but 1"):
        m.wer(references, heard[:1])


def test_bootstrap_interval_holds_the_rate_and_narrows_with_data() -> None:
    rng = np.random.default_rng(1)
    errors = [m.Errors(substitutions=int(rng.random() < 0.2) * 5, length=10) for _ in range(400)]
    rate = sum(errors, m.Errors()).rate
    low, high = m.bootstrap_interval(errors)
    few_low, few_high = m.bootstrap_interval(errors[:40])
    assert low < rate < high
    assert high - low < 0.6 * (few_high - few_low)
    assert m.bootstrap_interval(errors) == (low, high)


def test_the_difference_of_two_systems_is_known_better_in_pairs() -> None:
    rng = np.random.default_rng(1)
    hard = rng.integers(0, 6, 300)  # both make the same errors, and the second one more in every fourth sentence
    ours = [m.Errors(substitutions=int(n), length=10) for n in hard]
    theirs = [m.Errors(substitutions=int(n) + (i % 4 == 0), length=10) for i, n in enumerate(hard)]
    low, high = m.paired_interval(ours, theirs)
    assert low < -0.025 < high < 0
    own_low, own_high = m.bootstrap_interval(ours)
    assert high - low < 0.5 * (own_high - own_low)
    with pytest.raises(SpeechVAEError, match="same texts"):
        m.paired_interval(ours, theirs[:-1])


# -- the waveform --------------------------------------------------------------------------------------------------


def test_level_is_that_of_the_sound_without_its_pauses() -> None:
    wav = tone(200, 1.0, rms=0.1)
    paused = np.concatenate([wav, np.zeros(RATE, np.float32), wav])
    assert m.active_level(wav, RATE) == pytest.approx(-20, abs=0.2)
    assert m.active_level(paused, RATE) == pytest.approx(-20, abs=0.4)
    assert m.active_level(np.zeros(RATE), RATE) == -math.inf


def test_level_to_reaches_the_level_but_not_full_scale() -> None:
    quiet = tone(200, rms=0.004)
    assert m.active_level(m.level_to(quiet, RATE), RATE) == pytest.approx(-23, abs=0.05)
    assert np.abs(m.level_to(quiet, RATE, level=0.0)).max() == pytest.approx(0.99, abs=1e-3)
    assert not m.level_to(np.zeros(100, np.float32), RATE).any()


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (0.31, 0.0), (0.1, 0.55)])
@pytest.mark.parametrize("background", [0.0, 2e-4])
def test_silence_at_the_ends_is_measured(before: float, after: float, background: float) -> None:
    wav = np.concatenate([np.zeros(round(before * RATE)), tone(200, 1.0), np.zeros(round(after * RATE))])
    wav = wav + noise(len(wav) / RATE, background)
    found = m.edge_silence(wav, RATE)
    assert found == pytest.approx((before, after), abs=0.04)
    assert len(m.trim(wav, RATE, keep=0.05)) / RATE == pytest.approx(
        1.0 + min(before, 0.05) + min(after, 0.05), abs=0.07
    )


def test_silence_of_a_silent_clip_is_its_length() -> None:
    assert m.edge_silence(np.zeros(RATE), RATE) == (1.0, 0.0)
    assert len(m.trim(np.zeros(RATE), RATE)) == RATE


def test_checks_find_clipping_and_clicks() -> None:
    wav = tone(200, 0.5)
    wav *= np.minimum(1, np.minimum(np.arange(len(wav)), np.arange(len(wav))[::-1]) / 240)
    clean = m.signal_checks(wav, RATE)
    assert clean["edge_jump"] < m.CLICK
    assert clean["clipped"] == 0
    assert clean["duration"] == pytest.approx(0.5)
    cut = wav[: np.argmax(wav) + 1]  # ends at its highest sample
    assert m.edge_jump(cut) == pytest.approx(float(wav.max())) and m.edge_jump(cut) > m.CLICK
    assert m.edge_jump(cut[::-1]) == m.edge_jump(cut)
    loud = np.clip(wav * 100, -1, 1)
    assert m.clipped_share(loud) > 0.3


@pytest.mark.parametrize(
    ("wav", "message"),
    [(np.zeros((2, 5)), "mono"), (np.zeros(0), "empty"), (np.array([0.0, np.nan]), "not finite")],
)
def test_bad_samples_are_refused(wav: np.ndarray, message: str) -> None:
    with pytest.raises(SpeechVAEError, match=message):
        m.signal_checks(wav, RATE)


# -- spectra -------------------------------------------------------------------------------------------------------


def test_mcd_of_a_clip_with_itself_is_zero_even_at_another_level() -> None:
    wav = reading([(180, 0.3), (240, 0.2), (150, 0.4)], gap=0.0) + noise(0.9, 1e-3)
    assert m.mel_cepstral_distortion(wav, wav, RATE) == 0
    assert m.mel_cepstral_distortion(wav, wav * 0.5, RATE) < 0.05


def test_mcd_is_in_decibels() -> None:
    """A ripple of a·cos(π m (k + ½) / K) on the log bands moves only c_m, by a: MCD = 10/ln 10 · sqrt(2) · a."""
    from scipy.fft import dct

    bands = np.arange(BANDS)
    ripple = 0.3 * np.cos(np.pi * 5 * (bands + 0.5) / BANDS)
    cepstra = dct(ripple, type=2)[1 : ORDER + 1] / BANDS
    assert cepstra[4] == pytest.approx(0.3) and np.abs(np.delete(cepstra, 4)).max() < 1e-9
    got = m.distortion(np.zeros((7, ORDER)), np.tile(cepstra, (7, 1)))
    assert got == pytest.approx(10 / math.log(10) * math.sqrt(2) * 0.3)
    # the same as 20 log10 of the root mean square ripple would say
    assert got == pytest.approx(20 / math.log(10) * np.sqrt(np.mean(ripple**2)), rel=1e-6)


def test_mcd_forgives_timing_but_not_timbre() -> None:
    slow = np.concatenate([tone(150, 0.4), noise(0.3, 0.05), tone(150, 0.3)])
    fast = np.concatenate([tone(150, 0.25), noise(0.2, 0.05), tone(150, 0.2)])
    other = np.concatenate([noise(0.25, 0.05, 1), tone(150, 0.2), noise(0.2, 0.05, 2)])
    near, far = (m.mel_cepstral_distortion(slow, x, RATE) for x in (fast, other))
    assert near < 0.5 * far


def test_dtw_path_follows_a_repeated_frame() -> None:
    a = np.array([[0.0], [1.0], [2.0]])
    path = m.dtw_path(a, np.array([[0.0], [1.0], [1.0], [2.0]]))
    assert path.tolist() == [[0, 0], [1, 1], [1, 2], [2, 3]]
    with pytest.raises(SpeechVAEError, match="at least one frame"):
        m.dtw_path(a, np.zeros((0, 1)))


def test_stft_distance_is_zero_for_a_copy_and_grows_with_noise() -> None:
    wav = tone(200)
    assert m.stft_distance(wav, wav, RATE) == {"convergence": 0.0, "log_magnitude": 0.0}
    little, much = (m.stft_distance(wav, wav + noise(1.0, s), RATE) for s in (0.001, 0.02))
    assert 0 < little["convergence"] < much["convergence"]
    assert 0 < little["log_magnitude"] < much["log_magnitude"]
    with pytest.raises(SpeechVAEError, match="not time-aligned"):
        m.stft_distance(wav, wav[: RATE // 2], RATE)


# -- prosody -------------------------------------------------------------------------------------------------------


def test_f0_of_tones_and_their_known_distance() -> None:
    low, high = tone(200), tone(200 * 2 ** (3 / 12))  # three semitones
    a, b = m.f0_track(low, RATE), m.f0_track(high, RATE)
    assert len(a) == 101
    assert np.median(a[a > 0]) == pytest.approx(200, rel=0.005)
    found = m.f0_errors(a, b)
    assert found["f0_rmse_semitones"] == pytest.approx(3, abs=0.1)
    assert found["log_f0_rmse"] == pytest.approx(3 * math.log(2) / 12, abs=0.006)
    assert found["vuv_error"] < 0.06


def test_f0_track_knows_silence_and_noise() -> None:
    wav = np.concatenate([np.zeros(RATE // 2), tone(180, 0.5), noise(0.5, 0.03)])
    track = m.f0_track(wav, RATE)
    assert (track[5:45] == 0).all()
    assert (track[57:93] > 0).all()
    assert (track[107:145] > 0).mean() < 0.2
    assert not m.f0_track(np.zeros(RATE), RATE).any()
    assert len(m.f0_track(tone(200, 0.01), RATE)) == 2


def test_f0_track_works_without_praat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    track = m.f0_track(tone(220, 0.6), RATE)
    assert len(track) == 61
    assert np.median(track[track > 0]) == pytest.approx(220, rel=0.02)


def test_f0_errors_by_hand() -> None:
    a = np.array([0, 100, 110, 120, 0, 0])
    b = np.array([0, 200, 220, 240, 130, 0])
    found = m.f0_errors(a, b)
    assert found["f0_rmse_semitones"] == pytest.approx(12)
    assert found["f0_correlation"] == pytest.approx(1)
    assert found["vuv_error"] == pytest.approx(1 / 6)
    along = m.f0_errors(a, b[[0, 1, 1, 2, 3, 5]], np.array([[0, 0], [1, 1], [1, 2], [2, 3], [3, 4], [5, 5]]))
    assert along["vuv_error"] == 0 and along["f0_rmse_semitones"] == pytest.approx(12)
    assert math.isnan(m.f0_errors(a, np.zeros(6))["log_f0_rmse"])
    with pytest.raises(SpeechVAEError, match="path"):
        m.f0_errors(a, np.zeros(60))


def test_duration_counts_the_spoken_part_only() -> None:
    a = np.concatenate([np.zeros(RATE // 2), tone(200, 1.0), np.zeros(RATE // 4)])
    assert m.spoken_duration(a, RATE) == pytest.approx(1.0, abs=0.06)
    assert m.duration_error(1.0, 1.2) == pytest.approx({"duration_ratio": 1.2, "duration_error": 0.2})


def test_spread_of_known_distributions() -> None:
    rng = np.random.default_rng(0)
    # every prompt has its own mean, which must not count
    groups = [rng.normal(100 * i, 2.0, 8) for i in range(500)]
    assert m.spread(groups) == pytest.approx(2.0, rel=0.03)
    assert m.spread([[1.0, 3.0], [5.0], [math.nan, 2.0]]) == pytest.approx(math.sqrt(2))
    assert math.isnan(m.spread([[1.0], []]))


def test_diversity_is_the_ratio_of_spreads() -> None:
    rng = np.random.default_rng(0)
    human = {str(i): [{"log_f0_mean": v} for v in rng.normal(5, 0.10, 5)] for i in range(300)}
    drawn = {str(i): [{"log_f0_mean": v} for v in rng.normal(5, 0.05, 9)] for i in range(300)}
    found = m.diversity(human, drawn)["log_f0_mean"]
    assert found["ratio"] == pytest.approx(0.5, rel=0.06)
    assert found["human"] == pytest.approx(0.1, rel=0.06)
    with pytest.raises(SpeechVAEError, match="several recordings"):
        m.diversity({"a": [{"log_f0_mean": 1.0}]}, drawn)


def test_reading_statistics_tell_what_was_changed() -> None:
    base = reading([(200, 0.3), (240, 0.3), (180, 0.3)])
    high = reading([(220, 0.3), (264, 0.3), (198, 0.3)])
    slow = reading([(200, 0.6), (240, 0.6), (180, 0.6)], gap=0.16)
    flat = reading([(205, 0.3), (205, 0.3), (205, 0.3)])
    a, b, c, d = (m.reading_statistics(x, RATE) for x in (base, high, slow, flat))
    assert b["log_f0_mean"] - a["log_f0_mean"] == pytest.approx(math.log(1.1), abs=0.01)
    assert c["log_duration"] - a["log_duration"] == pytest.approx(math.log(2), abs=0.03)
    assert d["log_f0_std"] < 0.2 * a["log_f0_std"]
    louder = m.reading_statistics(base * 2, RATE)
    assert louder["log_rms"] - a["log_rms"] == pytest.approx(math.log(2), abs=0.01)


def test_pairwise_distances_of_readings_whose_differences_are_known() -> None:
    same = m.mel_cepstra(tone(200, 0.3), RATE)
    other = m.mel_cepstra(noise(0.3, 0.05), RATE)
    bend = 200 * 2 ** (np.sin(np.linspace(0, 6, len(same))) / 12)  # a semitone of movement
    assert m.pairwise_distances([[(same, bend), (same, bend), (same, bend)]])["pairwise_mcd"] == 0
    far = m.distortion(same, other, m.dtw_path(same, other))
    found = m.pairwise_distances([[(same, bend), (other, bend)], [(same, bend)]])
    assert far > 1 and found["pairwise_mcd"] == pytest.approx(far)
    # three semitones higher: far apart, but of the same shape
    higher = m.pairwise_distances([[(same, bend), (same, bend * 2 ** (3 / 12))]])
    assert higher["pairwise_f0"] == pytest.approx(3) and higher["pairwise_f0_shape"] == pytest.approx(0, abs=1e-9)
    upside_down = m.pairwise_distances([[(same, bend), (same, 200**2 / bend)]])
    assert upside_down["pairwise_f0_shape"] == pytest.approx(np.std(24 * np.log2(bend / 200)), rel=1e-6)


def test_creak_does_not_widen_the_range() -> None:
    # half a second of creak an octave and more below the voice, as at the ends of sentences
    wav = reading([(180, 0.5), (200, 0.5), (190, 0.5), (85, 0.3)])
    track = m.f0_track(wav, RATE)
    voiced = track[track > 0]
    assert voiced.min() > 0.62 * 180 and np.log(voiced).std() < 0.1
    assert (track[:165] > 0).mean() > 0.8  # the rest is still there


def test_intervals_hold_the_ratio_and_narrow_with_prompts() -> None:
    rng = np.random.default_rng(1)

    def measured(prompts: int) -> dict[str, float]:
        human = {str(i): [{"log_f0_mean": v} for v in rng.normal(5, 0.1, 3)] for i in range(prompts)}
        drawn = {str(i): [{"log_f0_mean": v} for v in rng.normal(5, 0.1, 16)] for i in range(prompts)}
        return m.diversity(human, drawn)["log_f0_mean"]

    few, many = measured(20), measured(400)
    # three takes against sixteen: without n - 1 the ratio would be 1.19
    assert many["ratio"] == pytest.approx(1, abs=0.06)
    assert many["low"] < many["ratio"] < many["high"]
    assert many["high"] - many["low"] < 0.5 * (few["high"] - few["low"])


# -- cost and latents ----------------------------------------------------------------------------------------------


def test_latent_statistics_are_read_from_wherever_a_voice_keeps_them() -> None:
    class WithStats:
        stats = {"kl": {"u": 12.5, "p": 30}, "active_u": 9, "note": "no figure"}

    class WithInfo:
        def info(self) -> dict[str, Any]:
            return {"stats": {"kl_u": 2.0}}

    assert m.latent_statistics(WithStats()) == {"kl/u": 12.5, "kl/p": 30.0, "active_u": 9.0}
    assert m.latent_statistics(WithInfo()) == {"kl_u": 2.0}
    assert m.latent_statistics(object()) == {}


def test_peak_memory_sees_what_is_allocated() -> None:
    code = (
        "from speechvae.metrics import peak_memory, resident_memory; a = peak_memory(); "
        "block = bytearray(b'x') * 2**27; b = peak_memory(); high = resident_memory(); del block; "
        "print(b - a, high - resident_memory(), peak_memory() - b)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown, freed, fallen = map(int, done.stdout.split())  # of a child, so that our own peak does not count
    assert 2**26 < grown <= 1.1 * 2**27  # less by what was freed after the imports
    assert freed == pytest.approx(2**27, rel=0.1)
    assert abs(fallen) < 2**20  # the kernel counts in batches


def test_noise_has_the_spectrum_and_the_level_of_speech() -> None:
    dull = np.cumsum(noise(2.0, 0.05))  # a random walk falls by 6 dB an octave
    dull -= np.convolve(dull, np.ones(401) / 401, "same")
    masker = m.speech_shaped_noise([dull.astype(np.float32)], RATE, 3.0)
    assert len(masker) == 3 * RATE
    assert m.active_level(masker, RATE) == pytest.approx(-23, abs=0.3)
    power = np.abs(np.fft.rfft(masker)) ** 2
    hz = np.fft.rfftfreq(len(masker), 1 / RATE)
    bands = [10 * np.log10(power[(hz > f / 1.1) & (hz < f * 1.1)].mean()) for f in (500, 1000, 2000)]
    assert np.diff(bands) == pytest.approx([-6, -6], abs=1.0)


def test_a_sound_in_noise_has_the_ratio_that_was_asked_for() -> None:
    masker = m.speech_shaped_noise([noise(1.0, 0.1)], RATE, 1.0)
    mixed = m.in_noise(tone(300, 2.5, rms=0.01), RATE, masker, 6.0, start=1000)
    speech = m.level_to(tone(300, 2.5, rms=0.01), RATE)
    added = mixed - speech
    assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(6, abs=0.2)
    np.testing.assert_allclose(added[:RATE], added[RATE : 2 * RATE], atol=1e-6)
    assert np.corrcoef(added[: RATE - 1000], masker[1000:])[0, 1] > 0.999


# -- packages of the extra -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "call"),
    [
        ("moonshine_voice", lambda: m.Recogniser()),
        ("jiwer", lambda: m.wer(["a"], ["a"])),
        ("speechmos.dnsmos", lambda: m.Dnsmos()),
        ("resemblyzer", lambda: m.SpeakerEncoder()),
        ("pesq", lambda: m.pesq_wb(tone(200), tone(200), RATE)),
        ("pystoi", lambda: m.stoi(tone(200), tone(200), RATE)),
    ],
)
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, missing: str, call: Any) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SpeechVAEError, match=r"pip install 'speechvae\[evaluate\]'"):
        call()


def test_importing_metrics_loads_none_of_those_packages() -> None:
    heavy = {"torch", "librosa", "moonshine_voice", "resemblyzer", "onnxruntime", "matplotlib", "jiwer", "rich"}
    code = f"import sys, speechvae.metrics, speechvae.evaluate; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def recording(shared_dir: Any) -> tuple[np.ndarray, int, str]:
    """A short recording of the corpus, and its text."""
    from speechvae.audio import load

    folder = shared_dir / "corpora" / "kathleen"
    name, _, text = (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()[0].split("|", 2)
    wav, rate = load(folder / "audio" / f"{name}.opus")
    return wav, rate, text


def test_recogniser_hears_the_recording_the_same_way_twice(recording: tuple[np.ndarray, int, str]) -> None:
    pytest.importorskip("moonshine_voice")
    pytest.importorskip("jiwer")
    wav, rate, text = recording
    recogniser = m.Recogniser()
    first = recogniser.transcribe(wav, rate)
    assert m.word_errors(text, first).rate < 0.2
    recogniser.transcribe(noise(0.5, 0.05), RATE)
    assert recogniser.transcribe(wav, rate) == first
    # more than the model can attend to at once
    times = round(60 * rate / len(wav))
    assert m.word_errors(" ".join([text] * times), recogniser.transcribe(np.tile(wav, times), rate)).rate < 0.4


def test_a_recogniser_without_its_model_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = ModuleType("moonshine_voice")
    package.__file__ = str(tmp_path / "__init__.py")
    monkeypatch.setitem(sys.modules, "moonshine_voice", package)
    with pytest.raises(SpeechVAEError, match="without its model"):
        m.Recogniser()


def test_dnsmos_prefers_the_recording_to_noise_over_it(recording: tuple[np.ndarray, int, str]) -> None:
    pytest.importorskip("speechmos")
    wav, rate, _ = recording
    wav = wav[: 2 * rate]
    score = m.Dnsmos()
    clean, dirty = score(wav, rate), score(wav + noise(2.0, 0.02)[: len(wav)], rate)
    assert set(clean) == {"ovrl", "sig", "bak", "p808"}
    assert 1 <= dirty["ovrl"] < clean["ovrl"] - 0.5 and clean["ovrl"] <= 5


def test_speaker_similarity_of_a_voice_with_itself(recording: tuple[np.ndarray, int, str]) -> None:
    pytest.importorskip("resemblyzer")
    wav, rate, _ = recording
    encoder = m.SpeakerEncoder()
    centroid = encoder.centroid([(wav[: len(wav) // 2], rate)])
    assert np.linalg.norm(centroid) == pytest.approx(1, abs=1e-4)
    itself = encoder.similarity(wav[len(wav) // 2 :], rate, centroid)
    # played faster it is another, smaller speaker
    assert encoder.similarity(wav, round(rate * 1.5), centroid) < itself - 0.1
    with pytest.raises(SpeechVAEError, match="no recordings"):
        encoder.centroid([])


def test_pesq_and_stoi_know_a_copy(recording: tuple[np.ndarray, int, str]) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    wav, rate, _ = recording
    dirty = wav + noise(len(wav) / rate + 1, 0.02)[: len(wav)]
    assert m.pesq_wb(wav, wav, rate) == pytest.approx(4.64, abs=0.02)
    assert m.pesq_wb(wav, dirty, rate) < 3
    assert m.stoi(wav, wav, rate) == pytest.approx(1, abs=1e-3)
    assert m.stoi(wav, dirty, rate) < 0.98
    with pytest.raises(SpeechVAEError, match="time-aligned"):
        m.pesq_wb(wav, wav[: len(wav) // 2], rate)


def test_require_says_why() -> None:
    with pytest.raises(SpeechVAEError, match="Flying needs the package 'no_such_package'"):
        _common.require("no_such_package", "Flying")
