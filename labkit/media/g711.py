"""ITU-T G.711: mu-law and A-law, as tables that numpy looks things up in.

A code's value comes from the formulas of the recommendation (tables 1 and 2), scaled to 16 bits; a sample is given the code of the
interval that it lies in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]


def _mu_law_values() -> Samples:
    code = ~np.arange(256) & 0xFF  # §3: mu-law inverts all bits on the line
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = ((mantissa << 3) + 0x84 << exponent) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _a_law_values() -> Samples:
    code = np.arange(256) ^ 0x55  # A-law inverts the even bits
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _mu_law_codes() -> NDArray[np.uint8]:
    sample = np.arange(-32768, 32768)
    magnitude = np.minimum(np.where(sample < 0, -sample - 1, sample), 32635) + 0x84
    exponent = np.floor(np.log2(magnitude)).astype(np.int64) - 7
    mantissa = magnitude >> (exponent + 3) & 15
    return np.asarray(~(np.where(sample < 0, 0x80, 0) | exponent << 4 | mantissa) & 0xFF, np.uint8)


def _a_law_codes() -> NDArray[np.uint8]:
    sample = np.arange(-32768, 32768)
    magnitude = np.where(sample < 0, -sample - 1, sample) >> 4  # the recommendation's 12 bits and sign
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int64) - 3, 0)
    mantissa = magnitude >> np.maximum(exponent - 1, 0) & 15
    return np.asarray((np.where(sample < 0, 0, 0x80) | exponent << 4 | mantissa) ^ 0x55, np.uint8)


MU_LAW_VALUES, A_LAW_VALUES = _mu_law_values(), _a_law_values()
"""16-bit sample of each code."""
MU_LAW_CODES, A_LAW_CODES = _mu_law_codes(), _a_law_codes()
"""Code of each sample, at index sample + 32768."""


def _lookup(table: NDArray[np.uint8], samples: Samples) -> bytes:
    return table[samples.astype(np.int64) + 32768].tobytes()


def decode_mu_law(payload: bytes) -> Samples:
    """PCMU: one sample a byte, 8 kHz in RTP."""
    return MU_LAW_VALUES[np.frombuffer(payload, np.uint8)]


def decode_a_law(payload: bytes) -> Samples:
    """PCMA."""
    return A_LAW_VALUES[np.frombuffer(payload, np.uint8)]


def encode_mu_law(samples: Samples) -> bytes:
    return _lookup(MU_LAW_CODES, samples)


def encode_a_law(samples: Samples) -> bytes:
    return _lookup(A_LAW_CODES, samples)
