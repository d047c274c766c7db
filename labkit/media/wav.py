"""WAV files (RIFF, Microsoft's WAVE format 1): read and write 16-bit mono, and say in one sentence what is wrong with one.

Phones play 16-bit PCM, mono, 8 or 16 kHz; :func:`load_wav` brings any PCM or G.711 WAV to that form.
"""

from __future__ import annotations

import io
import os
import struct
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labkit.errors import MediaError
from labkit.media import g711

if TYPE_CHECKING:
    from labkit.media.g711 import Samples

PCM, A_LAW, MU_LAW, EXTENSIBLE = 1, 6, 7, 0xFFFE
LARGEST = 1 << 28
"""Bytes: an hour of 16-bit mono at 32 kHz."""


@dataclass(frozen=True)
class Sound:
    """16-bit mono samples and their rate."""

    samples: Samples
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz

    def at(self, rate_hz: int) -> Sound:
        """The same sound at another rate; beyond half of the new rate nothing is left."""
        if rate_hz == self.rate_hz or not len(self.samples):
            return Sound(self.samples, rate_hz)
        return Sound(_resample(self.samples, self.rate_hz, rate_hz), rate_hz)

    def wav(self) -> bytes:
        """The sound as a WAV file."""
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.rate_hz)
            file.writeframes(self.samples.astype("<i2").tobytes())
        return buffer.getvalue()

    def __repr__(self) -> str:
        return f"<Sound {self.seconds:.2f} s at {self.rate_hz} Hz>"


def file_path(given: object) -> Path:
    """``given`` as a path; :class:`MediaError` for what can name no file."""
    named = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(named, str) or not named.strip() or "\0" in named:
        raise MediaError("media.not_a_path", given=given)
    return Path(named)


def load_wav(path: str | Path) -> Sound:
    """The sound of a WAV file as 16-bit mono at its own rate; :class:`MediaError` when it is not there or not one."""
    path = file_path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise MediaError("media.wav_too_large", path=str(path), limit=LARGEST >> 20)
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise MediaError("media.wav_unreadable", path=str(path), reason=getattr(error, "strerror", None) or str(error)) from error
    return parse_wav(data, str(path))


def parse_wav(data: bytes, name: str = "WAV") -> Sound:
    """The sound of the bytes of a WAV file; ``name`` is what an error calls it."""
    if not data:
        raise MediaError("media.wav_empty", path=name)
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise MediaError("media.not_wav", path=name)
    chunks = _chunks(data)
    form = chunks.get(b"fmt ", b"")
    if len(form) < 16 or b"data" not in chunks:
        raise MediaError("media.not_wav", path=name)
    code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if code == EXTENSIBLE and len(form) >= 26:
        (code,) = struct.unpack_from("<H", form, 24)
    readable = (code == PCM and bits in (8, 16, 24, 32)) or (code in (A_LAW, MU_LAW) and bits == 8)
    if not readable or not 1 <= channels <= 32 or not 1000 <= rate <= 400_000:
        raise MediaError("media.wav_format", path=name, format=code, bits=bits, channels=channels, rate=rate)
    samples = _samples(chunks[b"data"], code, bits)
    samples = samples[: len(samples) // channels * channels]
    if not len(samples):
        raise MediaError("media.wav_silent", path=name)
    if channels > 1:
        samples = samples.reshape(-1, channels).mean(axis=1).round().astype(np.int16)
    return Sound(samples, rate)


def save_wav(path: str | Path, samples: Samples, rate_hz: int) -> Path:
    """Write 16-bit mono samples; :class:`MediaError` when the place cannot be written."""
    return write_wav(path, Sound(samples, rate_hz).wav())


def write_wav(path: str | Path, data: bytes) -> Path:
    """Write a WAV file that is made already; :class:`MediaError` when the place cannot be written."""
    path = file_path(path)
    try:
        path.write_bytes(data)
    except (OSError, ValueError) as error:
        raise MediaError("media.wav_unwritable", path=str(path), reason=getattr(error, "strerror", None) or str(error)) from error
    return path


def check_playable(path: str | Path) -> Path:
    """``path``, when a phone can play it as it is: 16-bit PCM, mono, 8 or 16 kHz; else :class:`MediaError` says what it is instead."""
    path = file_path(path)
    load_wav(path)
    form = _chunks(path.read_bytes())[b"fmt "]
    code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if code == EXTENSIBLE and len(form) >= 26:
        (code,) = struct.unpack_from("<H", form, 24)
    if (code, bits, channels) != (PCM, 16, 1) or rate not in (8000, 16000):
        raise MediaError("media.wav_not_playable", path=str(path), format=code, bits=bits, channels=channels, rate=rate)
    return path


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The first chunk of each name; one that claims more than the file holds is cut (recordings are, when a phone dies)."""
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        found.setdefault(name, data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return found


def _samples(data: bytes, code: int, bits: int) -> Samples:
    if code == MU_LAW:
        return g711.decode_mu_law(data)
    if code == A_LAW:
        return g711.decode_a_law(data)
    width = bits // 8
    data = data[: len(data) // width * width]
    if bits == 8:
        return ((np.frombuffer(data, np.uint8).astype(np.int16) - 128) << 8).astype(np.int16)
    # The two upper bytes of a little-endian sample are its 16-bit value.
    upper = np.frombuffer(data, np.uint8).reshape(-1, width)[:, width - 2 :]
    return np.ascontiguousarray(upper).view("<i2")[:, 0].astype(np.int16)


def _resample(samples: Samples, old: int, new: int) -> Samples:
    """Band-limited by FFT: the spectrum is cut or filled with zeros."""
    count = max(round(len(samples) * new / old), 1)
    spectrum = np.fft.rfft(samples.astype(np.float64))
    kept = np.zeros(count // 2 + 1, np.complex128)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    sound = np.fft.irfft(kept, count) * (count / len(samples))
    return np.clip(np.round(sound), -32768, 32767).astype(np.int16)
