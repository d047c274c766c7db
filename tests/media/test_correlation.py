"""Correlation is high for the same sound, whatever its level and delay, and low for any other."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.media.correlation import correlation

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
