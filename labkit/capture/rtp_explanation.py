"""Why a jitter is absurd: a timestamp that goes back before the first one, subtracted unsigned.

Wireshark before 4.0 did so, and the lab sheet's figure comes from it.  The numbers are worked out from the stream itself; a stream without
such a step is told to have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.texts import text

if TYPE_CHECKING:
    from labkit.capture.rtp_stream import RtpStream

ABSURD_MS = 1e6
"""A jitter of a quarter of an hour is no jitter."""


@dataclass(frozen=True)
class JitterExplanation:
    """Sentences, each with the arithmetic of one step."""

    stream: RtpStream
    absurd: bool
    _parts: tuple[tuple[str, dict[str, Any]], ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """In the current language."""
        return tuple(text(message_id, **values) for message_id, values in self._parts)

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def __repr__(self) -> str:
        return f"<JitterExplanation: {' '.join(self.sentences)}>"

    def _repr_html_(self) -> str:
        return "<ol>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in self.sentences) + "</ol>"


def explain_jitter(stream: RtpStream) -> JitterExplanation:
    """The story of the largest jitter of ``stream`` under Wireshark's older rule."""
    older = stream.analyse(older=True)
    largest = float(older.jitter.max())
    ticks = (stream.timestamp - stream.timestamp[0]) & 0xFFFFFFFF
    clocks = np.array([stream.payload_types.clock(int(number)) for number in stream.payload_type])
    back = np.flatnonzero((ticks >= 1 << 31) & (clocks > 0))
    if largest < ABSURD_MS or not len(back):
        return JitterExplanation(stream, False, (("stream.jitter_sane", {"jitter": f"{largest:.2f}"}),))
    at = int(back[0])
    khz = int(clocks[at]) // 1000
    clocked = np.flatnonzero(clocks[:at] > 0)
    before = int(clocked[-1]) if len(clocked) else 0
    delta = float(older.delta[at])
    nominal = float(int(ticks[at]) - int(ticks[before])) / khz
    peak = int(older.jitter.argmax())
    own = stream.without_foreign()
    parts: list[tuple[str, dict[str, Any]]] = []
    foreign = np.flatnonzero(np.isin(stream.payload_type, stream.foreign_types))
    if len(foreign):
        types = ", ".join(map(str, stream.foreign_types))
        empty = bool((stream.size[foreign] <= 12).all())
        message = "stream.jitter_empty" if empty else "stream.jitter_foreign"
        first, last = int(stream.frame[foreign[0]]) + 1, int(stream.frame[foreign[-1]]) + 1
        parts.append((message, {"count": len(foreign), "types": types, "first": first, "last": last}))
    forward, packet = int(ticks[at]), int(stream.frame[at]) + 1
    step = {"packet": packet, "back": (1 << 32) - forward, "ticks": forward, "ms": f"{forward / khz:.3f}", "khz": khz}
    parts.append(("stream.jitter_back", step))
    parts.append(("stream.jitter_skew", {"elapsed": _ms(stream, at), "skew": f"{float(older.skew[at]):.2f}"}))
    parts.append(
        ("stream.jitter_first", {"delta": f"{delta:.3f}", "difference": f"{abs(delta - nominal):.3f}", "jitter": f"{older.jitter[at]:.2f}"})
    )
    if peak > at:
        parts.append(("stream.jitter_peak", {"packet": int(stream.frame[peak]) + 1, "jitter": f"{largest:.2f}"}))
    if len(foreign):
        parts.append(("stream.jitter_without", {"jitter": f"{float(own.figures.jitter.max()):.2f}"}))
    parts.append(("stream.jitter_moral", {}))
    return JitterExplanation(stream, True, tuple(parts))


def _ms(stream: RtpStream, place: int) -> str:
    return f"{float(stream.time[place] - stream.time[0]) * 1000:.3f}"
