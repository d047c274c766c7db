"""The figures of an RTP stream under names that programs read (``labkit rtp --json``).

Delta, jitter and skew are milliseconds by Wireshark's definitions (:mod:`labkit.capture.rtp_analysis`), ``lost`` is Wireshark's count and
``lost_rfc`` that of RFC 3550 A.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.errors import CaptureError

if TYPE_CHECKING:
    from labkit.capture.rtp_stream import RtpStream

BUFFER_MS = 60.0
"""Of the jitter buffer behind which the score is taken."""


def record(stream: RtpStream) -> dict[str, Any]:
    """One stream; ``mos`` and ``r`` are ``None`` for a codec that the E-model does not know."""
    f = stream.figures
    try:
        rating = stream.mos(buffer_ms=BUFFER_MS)
    except CaptureError:
        rating = None
    return {
        "src": stream.source[0],
        "src_port": stream.source[1],
        "dst": stream.destination[0],
        "dst_port": stream.destination[1],
        "ssrc": f"0x{stream.ssrc:08X}",
        "payload": stream.payload,
        "codec": stream.codec,
        "start_s": stream.start,
        "end_s": stream.end,
        "packets": len(stream),
        "expected": f.expected,
        "lost": f.lost,
        "lost_rfc": f.lost_rfc,
        "duplicates": f.duplicates,
        "sequence_errors": f.sequence_errors,
        "min_delta_ms": f.deltas.minimum,
        "mean_delta_ms": f.deltas.mean,
        "max_delta_ms": f.deltas.maximum,
        "min_jitter_ms": f.jitters.minimum,
        "mean_jitter_ms": f.jitters.mean,
        "max_jitter_ms": f.jitters.maximum,
        "max_skew_ms": f.max_skew,
        "problem": f.problem,
        "r": round(rating.R, 2) if rating else None,
        "mos": round(rating.MOS, 3) if rating else None,
        "digits": stream.digits,
    }
