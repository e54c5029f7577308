"""Blur and long-term spectra against log-mels and tones whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from speechvae import metrics as m
from speechvae.metrics.blur import against, spectrum_frequencies, variation

RATE = 24000


def test_variation_of_log_mels_blurred_by_a_known_amount() -> None:
    sharp = np.random.default_rng(0).normal(0, 1, (80, 4000))
    use = np.ones(4000, bool)
    a = variation(sharp, use)
    assert a["mel_std"] == pytest.approx(20 / np.log(10), rel=0.02)
    assert a["mel_step"] == pytest.approx(20 / np.log(10) * np.sqrt(2), rel=0.02)
    assert a["mel_ripple"] == pytest.approx(20 / np.log(10) * np.sqrt(6), rel=0.02)
    # a moving average of four frames halves the deviation and quarters the steps
    soft = np.stack([np.convolve(row, np.full(4, 0.25), "same") for row in sharp])
    b = variation(soft, use)
    assert b["mel_std"] / a["mel_std"] == pytest.approx(0.5, rel=0.02)
    assert b["mel_step"] / a["mel_step"] == pytest.approx(0.25, rel=0.03)
    louder = variation(sharp + 1.3, use)
    assert louder == pytest.approx(a)
    assert all(math.isnan(v) for v in variation(sharp, np.zeros(4000, bool)).values())


def test_levels_of_bands_where_the_sound_lies() -> None:
    t = np.arange(RATE) / RATE
    low, high = np.sin(2 * np.pi * 500 * t), np.sin(2 * np.pi * 5000 * t)
    track = np.full(101, 200.0)
    both = m.sharpness(low + 0.1 * high, RATE, track)
    assert both["level_0_1"] == pytest.approx(-23, abs=0.3)
    assert both["level_4_8"] == pytest.approx(-43, abs=0.4)
    dull = m.sharpness(low + 0.05 * high, RATE, track)
    found = against(dull, both)
    assert found["level_4_8"] == pytest.approx(-6, abs=0.2) and found["level_0_1"] == pytest.approx(0, abs=0.1)
    assert found["mel_std"] == pytest.approx(1, abs=0.1)
    peak = spectrum_frequencies()[int(np.argmax(both["spectrum"]))]
    assert len(both["spectrum"]) == 64 and abs(peak - 500) < 80
