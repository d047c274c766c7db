"""Correlation is high for the same sound, whatever its level and delay, and low for any other."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.media.correlation import aligned_correlation, correlation

RNG = np.random.default_rng(11)
VOICE = np.convolve(RNG.normal(size=30000), np.ones(8), "same") * 1000


def test_the_same_sound() -> None:
    assert correlation(VOICE, VOICE) == pytest.approx(1.0)
    assert correlation(VOICE, 0.1 * VOICE[4000:20000]) == pytest.approx(1.0, abs=1e-3)
    assert correlation(np.concatenate((np.zeros(5000), VOICE)), VOICE) == pytest.approx(1.0, abs=1e-3)


def test_noise_lowers_it_as_it_should() -> None:
    noise = RNG.normal(size=len(VOICE)) * VOICE.std()
    assert correlation(VOICE, VOICE + noise) == pytest.approx(1 / np.sqrt(2), abs=0.02)


def test_other_sounds_and_silence() -> None:
    assert correlation(VOICE, RNG.normal(size=30000)) < 0.1
    assert correlation(VOICE, np.zeros(30000)) == 0.0
    assert correlation(VOICE, []) == 0.0
    assert correlation(VOICE, -VOICE) < 0.2


def test_alignment_undoes_a_line_and_no_more() -> None:
    rng = np.random.default_rng(8)
    voice = np.convolve(rng.standard_normal(16000), np.ones(6) / 6)
    other = np.convolve(rng.standard_normal(16000), np.ones(6) / 6)
    spectrum = np.fft.rfft(voice) * np.exp(-2j * np.pi * np.fft.rfftfreq(len(voice)) * 100.5)
    delayed = 0.3 * np.fft.irfft(spectrum, len(voice))
    assert correlation(delayed, voice) < 0.98 < aligned_correlation(delayed, voice)
    filtered = np.convolve(voice, [1, -0.9])[50:]
    assert correlation(filtered, voice) < 0.6 and aligned_correlation(filtered, voice) > 0.99
    assert aligned_correlation(other, voice) < 0.1
    assert aligned_correlation(np.zeros(100), voice) == 0.0 == aligned_correlation([], voice)
    noise = rng.standard_normal(len(voice)) * np.std(voice)
    assert 0.6 < aligned_correlation(voice + noise, voice) < 0.8, "noise is not aligned away"
