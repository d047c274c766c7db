"""How alike two sounds are, whatever their level and however one lags behind the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def correlation(first: ArrayLike, second: ArrayLike) -> float:
    """The best normalised cross-correlation over all lags: 1 for the same sound (louder, softer, shifted), near 0 for unrelated or silent
    ones.

    At each lag the overlap is normalised by its own energy; overlaps shorter than half of the shorter sound are not considered.  By FFT.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    a, b = a - a.mean() if len(a) else a, b - b.mean() if len(b) else b
    if not a.any() or not b.any():
        return 0.0
    size = 1 << (len(a) + len(b) - 1).bit_length()

    def cross(x: Floats, y: Floats) -> Floats:
        return np.fft.irfft(np.fft.rfft(x, size) * np.conj(np.fft.rfft(y, size)), size)

    products = cross(a, b)
    energy_a, energy_b = cross(a * a, np.ones(len(b))), cross(np.ones(len(a)), b * b)
    overlap = np.round(cross(np.ones(len(a)), np.ones(len(b))))
    enough = overlap >= min(len(a), len(b)) / 2
    energy = np.sqrt(np.maximum(energy_a, 0) * np.maximum(energy_b, 0))
    floor = 1e-6 * np.sqrt((a @ a) * (b @ b))
    scores = np.where(enough & (energy > floor), products / np.maximum(energy, floor), 0.0)
    return float(np.clip(scores.max(), 0.0, 1.0))
