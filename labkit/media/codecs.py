"""RTP payloads to 16-bit samples: PCMU, PCMA and L16 in numpy; GSM, G.722, iLBC, speex and Opus by FFmpeg's decoders (PyAV).

One :class:`Decoder` reads one stream in order of sequence numbers; codecs but G.711 remember what came before.  Nothing is encoded here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.errors import MediaError
from labkit.media import g711

if TYPE_CHECKING:
    from labkit.media.g711 import Samples


@dataclass(frozen=True)
class Codec:
    """How an encoding name of an rtpmap line is decoded."""

    ffmpeg: str
    """Name of FFmpeg's decoder; empty for what numpy does."""
    rate: int | None = None
    """Samples a second when that is not the RTP clock."""


CODECS = {
    "PCMU": Codec(""),
    "PCMA": Codec(""),
    "L16": Codec(""),
    "GSM": Codec("gsm"),
    "G722": Codec("g722", 16000),  # RFC 3551 §4.5.2: the RTP clock says 8000 by a historical error
    "ILBC": Codec("ilbc"),
    "SPEEX": Codec("speex"),
    "OPUS": Codec("opus", 48000),
}
"""By encoding name in upper case."""

ILBC_BIT_RATES = {50: 13333, 38: 15200}
"""Bytes of a frame: bit rate of 30 and 20 ms frames (RFC 3951).  FFmpeg decodes noise without the hint, and says nothing."""
GSM_FRAME = 33
_MOST_FRAMES = 64
"""Frames of a payload that are decoded; more is no voice packet."""


RATES = range(4000, 192_001)
"""Clock rates that a voice may have, in Hz."""


def supported(name: str, clock_rate: int = 8000) -> bool:
    """Whether :class:`Decoder` decodes this encoding at this clock rate in Hz."""
    return name.upper() in CODECS and clock_rate in RATES


class Decoder:
    """Decodes one stream.  ``rate`` is what comes out, in samples a second, mono."""

    def __init__(self, name: str, clock_rate: int, channels: int = 1) -> None:
        """``name``, ``clock_rate`` and ``channels`` as in rtpmap; :class:`MediaError` for a codec that is not decoded."""
        self.name = name.upper()
        if not supported(name, clock_rate):
            raise MediaError("media.unknown_codec", codec=f"{name}/{clock_rate}", known=", ".join(sorted(CODECS)))
        self.codec = CODECS[self.name]
        self.rate = self.codec.rate or clock_rate
        self._channels = max(channels, 1)
        self._context: Any = None

    def decode(self, payload: bytes) -> Samples:
        """The samples of one RTP payload; none for a payload that the codec refuses."""
        if not payload:
            return np.empty(0, np.int16)
        if self.name == "PCMU":
            return g711.decode_mu_law(payload)
        if self.name == "PCMA":
            return g711.decode_a_law(payload)
        if self.name == "L16":
            samples = np.frombuffer(payload[: len(payload) // 2 * 2], ">i2").astype(np.int16)
            return samples[: len(samples) // self._channels * self._channels].reshape(-1, self._channels)[:, 0]
        return self._by_ffmpeg(payload)

    def _by_ffmpeg(self, payload: bytes) -> Samples:
        import av

        if self._context is None:
            self._context = self._open(len(payload))
        parts = []
        for frame in self._frames(payload):
            try:
                decoded = self._context.decode(av.Packet(frame))
            except av.FFmpegError:
                continue
            parts += [_mono(sound.to_ndarray(), sound.format.is_planar, len(sound.layout.channels)) for sound in decoded]
        return np.concatenate(parts) if parts else np.empty(0, np.int16)

    def _open(self, size: int) -> Any:
        import av

        context: Any = av.CodecContext.create(self.codec.ffmpeg, "r")
        context.sample_rate = self.rate
        context.layout = "mono"
        if self.name == "ILBC":
            frame = next((length for length in ILBC_BIT_RATES if size % length == 0), 50)
            context.bit_rate = ILBC_BIT_RATES[frame]
        return context

    def _frames(self, payload: bytes) -> list[bytes]:
        """GSM and iLBC frames of fixed size may share a payload; the others are one piece."""
        size = len(payload)
        if self.name == "GSM":
            size = GSM_FRAME
        elif self.name == "ILBC":
            size = next((length for length in ILBC_BIT_RATES if ILBC_BIT_RATES[length] == self._context.bit_rate), 50)
        return [payload[at : at + size] for at in range(0, min(len(payload), size * _MOST_FRAMES), size)]


def _mono(samples: Any, planar: bool, channels: int) -> Samples:
    """The first channel as 16-bit samples, whatever FFmpeg decodes to."""
    first = samples[0] if planar else samples.reshape(-1, channels)[:, 0]
    if first.dtype.kind == "f":
        first = np.clip(np.round(first * 32767.0), -32768, 32767)
    return first.astype(np.int16)  # type: ignore[no-any-return]
