"""A whole call as one sound: on the left what the caller says, on the right what the caller hears, each packet at its time.

Which streams belong to the caller is read from the SDP that the caller's phone sent.  Only one stream speaks at a time on each side; where
two overlap (a hold tone over a voice) they are added.
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labkit.capture.jitter_buffer import check_size
from labkit.capture.ladder_filter import is_row
from labkit.errors import CaptureError, MediaError
from labkit.media.wav import Sound, write_wav
from labkit.texts import text

if TYPE_CHECKING:
    from labkit.capture.calls import Call
    from labkit.capture.capture import Capture
    from labkit.capture.rtp_stream import RtpStream
    from labkit.capture.waveform import Waveform
    from labkit.media.g711 import Samples


@dataclass(frozen=True, eq=False)
class Recording:
    """Both directions of a call, 16-bit, at one rate and of one length.  ``start`` is seconds since the first packet of the capture."""

    caller: str
    called: str
    left: Samples
    right: Samples
    rate_hz: int
    start: float
    streams: tuple[RtpStream, ...]
    digits: str
    """Keys that the caller pressed."""

    @property
    def seconds(self) -> float:
        return len(self.left) / self.rate_hz

    @property
    def label(self) -> str:
        """Who speaks on which side, and for how long."""
        return text("stream.recording", caller=self.caller, called=self.called, seconds=f"{self.seconds:.1f}")

    def wav(self) -> bytes:
        """A stereo WAV file."""
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(self.rate_hz)
            file.writeframes(np.stack((self.left, self.right), axis=1).astype("<i2").tobytes())
        return buffer.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the stereo WAV file; :class:`MediaError` when it cannot be written there."""
        return write_wav(path, self.wav())

    def waveform(self) -> Waveform:
        """Both voices drawn, with a player whose cursor follows the packets."""
        from labkit.capture.waveform import Waveform

        packets = np.concatenate([stream.frame for stream in self.streams]) + 1
        times = np.concatenate([stream.time for stream in self.streams]) - self.start
        order = np.argsort(times, kind="stable")
        voices = (text("stream.says", name=self.caller), self.left), (text("stream.hears", name=self.caller), self.right)
        return Waveform(self.label, self.wav(), voices, self.rate_hz, packets[order], times[order])

    def __repr__(self) -> str:
        return f"<Recording: {self.label}>"

    def _repr_html_(self) -> str:
        return self.waveform()._repr_html_()


def call_audio(capture: Capture, number: int, *, buffer_ms: float | None = None, conceal: bool = False) -> Recording:
    """The voices of a call by its row; :class:`CaptureError` when there is no such call, :class:`MediaError` when it has no voice.

    The options are those of :meth:`RtpStream.decoded`.
    """
    calls = capture.call_list
    if not is_row(number) or not -len(calls) <= number < len(calls):
        raise CaptureError("capture.no_call", number=number, count=len(calls))
    if buffer_ms is not None:
        check_size(buffer_ms)
    call = calls[number]
    ends = _media_ends(call)
    during = [stream for stream in capture.streams if stream.end >= call.start and stream.start <= call.stop + 1]
    said = [stream for stream in during if stream.source in ends]
    heard = [stream for stream in during if stream.destination in ends and stream.source not in ends]
    voices = [_decoded(streams, buffer_ms, conceal) for streams in (said, heard)]
    found = [voice for side in voices for voice in side]
    if not found:
        raise MediaError("stream.no_call_voice", call=number)
    rate, start = max(sound.rate_hz for _, sound in found), min(stream.start for stream, _ in found)
    length = max(round((stream.start - start + sound.seconds) * rate) + 1 for stream, sound in found)
    left, right = (_side(side, start, rate, length) for side in voices)
    digits = "".join(stream.digits for stream in said)
    source, destination = call.initial_speaker, call.legs[-1].invite.destination
    streams = tuple(stream for stream, _ in found)
    return Recording(capture.host_of(*source), capture.host_of(*destination), left, right, rate, start, streams, digits)


def _media_ends(call: Call) -> set[tuple[str, int]]:
    """Where the caller's phone wants its media: every address and port of the SDP that it sent."""
    ends = set()
    for record in call.messages:
        sdp = record.sdp if record.source == call.initial_speaker else None
        for media in sdp.media if sdp else ():
            where = sdp.address(media) if sdp else None
            if where:
                ends.add(where)
    return ends


def _decoded(streams: list[RtpStream], buffer_ms: float | None, conceal: bool) -> list[tuple[RtpStream, Sound]]:
    found = []
    for stream in streams:
        try:
            found.append((stream, stream.decoded(buffer_ms=buffer_ms, conceal=conceal)))
        except MediaError:
            continue  # pictures, keys, an unknown codec
    return found


def _side(voices: list[tuple[RtpStream, Sound]], start: float, rate: int, length: int) -> Samples:
    mixed = np.zeros(length, np.int32)
    for stream, sound in voices:
        samples, at = sound.at(rate).samples, round((stream.start - start) * rate)
        mixed[at : at + len(samples)] += samples[: length - at]
    return np.clip(mixed, -32768, 32767).astype(np.int16)
