"""The sound of an RTP stream, each packet at its place on the stream's clock.

Late packets are put where they belong and doubles dropped, as a jitter buffer of any length would; a buffer of a given length leaves out
what comes too late for it.  What is missing stays silent, or is concealed: the packet before is repeated while it fades, as G.711
Appendix I fades (nothing is left after 60 ms).  Pitch is not matched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labkit.capture.jitter_buffer import simulate
from labkit.capture.rtp_analysis import COMFORT_NOISE, extended_sequence
from labkit.errors import MediaError
from labkit.media.codecs import Decoder, supported
from labkit.media.wav import Sound

if TYPE_CHECKING:
    from labkit.capture.rtp_stream import RtpStream
    from labkit.media.g711 import Samples

JUMP = 2.0
"""Seconds by which the RTP clock may run ahead of the arrival times; beyond it the clock was set anew and arrival times count."""
LONGEST = 2 * 3600.0
"""Seconds of one sound."""
FADE = 0.06
"""Seconds after which a repeated packet has faded away."""


def decode_stream(stream: RtpStream, *, buffer_ms: float | None = None, conceal: bool = False) -> Sound:
    """The voice in ``stream``; :class:`MediaError` when no payload type is one that labkit decodes, or it is longer than two hours.

    ``buffer_ms``: the size of a fixed jitter buffer, any length when ``None``; ``conceal``: fill losses instead of leaving them silent.
    """
    types = stream.payload_types
    decoders = {
        number: Decoder(*types.encoding(number))
        for number in np.unique(stream.payload_type).tolist()
        if number not in COMFORT_NOISE and supported(*types.encoding(number)[:2])
    }
    voices = [number for number in stream.payload_type.tolist() if number in decoders]
    if not voices:
        raise MediaError("media.no_voice", payload=stream.payload)
    rate = decoders[int(np.bincount(voices).argmax())].rate

    extended = extended_sequence(stream.sequence)
    packets = stream.packets()
    pieces: list[tuple[float, Samples]] = []
    late = simulate(stream, buffer_ms).late if buffer_ms is not None else np.zeros(len(stream), np.bool_)
    position, previous, voiced = 0.0, -1, -1
    _, order = np.unique(extended, return_index=True)
    for place in order.tolist():
        number, packet = int(stream.payload_type[place]), packets[place]
        if number not in decoders or packet is None:
            continue
        if previous >= 0:
            position += _step(stream, previous, place)
        previous = place
        if late[place]:
            continue
        if conceal and voiced >= 0 and extended[place] != extended[voiced] + 1:
            pieces.append(_concealment(*pieces[-1], position, rate))
        voiced = place
        decoder = decoders[number]
        samples = decoder.decode(packet[1])
        pieces.append((position, samples if decoder.rate == rate else Sound(samples, decoder.rate).at(rate).samples))
    return Sound(_placed(pieces, rate), rate)


def _concealment(start: float, samples: Samples, until: float, rate: int) -> tuple[float, Samples]:
    """The samples that began at ``start``, repeated from their end up to ``until`` while they fade."""
    begin = start + len(samples) / rate
    count = min(max(round((until - begin) * rate), 0), round(FADE * rate))
    if not len(samples) or not count:
        return begin, samples[:0]
    fading = 1.0 - np.arange(count) / (FADE * rate)
    repeated: Samples = np.round(np.resize(samples, count) * fading).astype(np.int16)
    return begin, repeated


def _step(stream: RtpStream, previous: int, place: int) -> float:
    """Seconds from one packet to the next."""
    arrived = max(float(stream.time[place] - stream.time[previous]), 0.0)
    clock = stream.payload_types.clock(int(stream.payload_type[place]))
    if not clock or clock != stream.payload_types.clock(int(stream.payload_type[previous])):
        return arrived
    ticks = int(stream.timestamp[place] - stream.timestamp[previous]) & 0xFFFFFFFF
    step = ticks / clock
    return step if step <= arrived + JUMP else arrived


def _placed(pieces: list[tuple[float, Samples]], rate: int) -> Samples:
    ends = [position + len(samples) / rate for position, samples in pieces]
    seconds = max(ends, default=0.0)
    if seconds > LONGEST:
        raise MediaError("media.sound_too_long", hours=int(LONGEST // 3600))
    sound = np.zeros(round(seconds * rate) + 1, np.int16)
    last = 0
    for position, samples in pieces:
        at = round(position * rate)
        sound[at : at + len(samples)] = samples[: len(sound) - at]
        last = max(last, at + len(samples))
    return sound[:last]
