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


def aligned_correlation(heard: ArrayLike, played: ArrayLike, reach: int = 8) -> float:
    """The same after ``heard`` has been aligned with ``played``: by its lag, and by the short linear filter that brings one closest to the
    other.

    The filter reaches ``reach`` samples to either side (1 ms at 8 kHz).  It undoes what a line does to a voice and an ear forgives: a delay
    of half a sample, a level, a weaker bass.  So small a filter cannot make one voice of another.  P.862 aligns alike before it compares.
    """
    a, b = np.asarray(heard, np.float64), np.asarray(played, np.float64)
    a, b = a - a.mean() if len(a) else a, b - b.mean() if len(b) else b
    if not a.any() or not b.any():
        return 0.0
    size = 1 << (len(a) + len(b)).bit_length()
    products = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    lag = int(np.argmax(products))
    lag -= size if lag > size // 2 else 0
    shifted = np.zeros((len(a), 2 * reach + 1))
    for column in range(2 * reach + 1):
        delay = lag + column - reach
        source = np.arange(len(a)) - delay
        inside = (source >= 0) & (source < len(b))
        shifted[inside, column] = b[source[inside]]
    weights = np.linalg.lstsq(shifted, a, rcond=None)[0]
    fitted = shifted @ weights
    energy = float(np.sqrt((fitted @ fitted) * (a @ a)))
    return float(np.clip((fitted @ a) / energy, 0.0, 1.0)) if energy else 0.0
