"""Tones that clients speak, and which of them a recording holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labkit.media.wav import load_wav, save_wav

TONES_HZ = {"alice": 440, "bob": 880, "carol": 660, "phone": 1100}
RATE_HZ = 8000


def write_tone(path: Path, who: str, seconds: float = 30.0) -> Path:
    """A sine of that user's frequency at half of full scale."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return save_wav(path, (16000 * np.sin(2 * np.pi * TONES_HZ[who] * time)).astype(np.int16), RATE_HZ)


def heard(path: Path) -> set[str]:
    """Whose tones half a second of the recording holds: those with at least a fifth of the strongest second's energy."""
    sound = load_wav(path)
    samples = sound.samples.astype(float)
    window = sound.rate_hz // 2
    found = set()
    for start in range(0, len(samples) - window, window):
        part = samples[start : start + window]
        time = np.arange(window) / sound.rate_hz
        power = np.mean(part**2)
        if power < 100.0:
            continue
        for who, frequency in TONES_HZ.items():
            amplitude = 2 * abs(np.mean(part * np.exp(-2j * np.pi * frequency * time)))
            if amplitude**2 / 2 > 0.5 * power:
                found.add(who)
    return found
