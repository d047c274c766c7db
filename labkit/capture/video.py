"""The pictures of an RTP stream as a film: put together from packets, muxed by PyAV as they were coded, at the times of the RTP clock.

A picture that lacks a packet is left out, and so is everything before the first key picture; what follows a loss shows the traces that
a phone would show.  Nothing is coded anew, so no quality is lost, and an H.263 film needs a player that knows it: VLC does, browsers do
not.
"""

from __future__ import annotations

import base64
import io
import re
import struct
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.capture.records import file_path, write_file
from labkit.capture.rtp_analysis import extended_sequence
from labkit.errors import MediaError
from labkit.media.video_payloads import DEPACKETIZERS, KEY_PICTURES, START_CODE

if TYPE_CHECKING:
    from labkit.capture.rtp_stream import RtpStream

CLOCK = 90_000
"""Hz, of every video payload here (RFC 3551 §5)."""


@dataclass(frozen=True)
class Film:
    """How FFmpeg calls the bare form of a codec, and which files can hold it."""

    bare: str
    suffixes: tuple[str, ...]


FILMS = {
    "H263": Film("h263", (".3gp", ".avi")),
    "H263-1998": Film("h263", (".3gp", ".avi")),
    "H263-2000": Film("h263", (".3gp", ".avi")),
    "H264": Film("h264", (".mp4", ".mkv")),
    "VP8": Film("ivf", (".webm", ".mkv")),
}
FORMATS = {".3gp": "3gp", ".mkv": "matroska", ".avi": "avi", ".mp4": "mp4", ".webm": "webm"}


@dataclass(frozen=True)
class Picture:
    """One coded picture; ``ticks`` of 90 kHz since the first one."""

    ticks: int
    data: bytes
    key: bool


def pictures(stream: RtpStream) -> list[Picture]:
    """The whole pictures from the first key picture on; :class:`MediaError` when the stream holds none."""
    codec = stream.codec.upper()
    if codec not in DEPACKETIZERS:
        raise MediaError("stream.no_video", payload=stream.payload, known=", ".join(DEPACKETIZERS))
    join, is_key = DEPACKETIZERS[codec], KEY_PICTURES[codec]
    kind = int(np.bincount(stream.payload_type).argmax())
    extended, packets = extended_sequence(stream.sequence), stream.packets()
    _, order = np.unique(extended, return_index=True)
    groups: list[tuple[int, list[int]]] = []
    for place in order.tolist():
        if stream.payload_type[place] != kind:
            continue
        timestamp = int(stream.timestamp[place])
        if not groups or groups[-1][0] != timestamp:
            groups.append((timestamp, []))
        groups[-1][1].append(place)

    found: list[Picture] = []
    begin, before = 0, int(extended.min()) - 1
    for timestamp, places in groups:
        numbers = extended[places]
        # Whole when it begins right after the picture before, has no gap, and ends with the marker.
        whole = int(numbers[0]) == before + 1 and len(places) == int(numbers[-1] - numbers[0]) + 1 and bool(stream.marker[places[-1]])
        before = int(numbers[-1])
        payloads = [packet[1] for packet in (packets[place] for place in places) if packet is not None]
        if not whole or len(payloads) != len(places):
            continue
        try:
            data = join(payloads)
        except MediaError:
            continue
        if not found:
            if not is_key(data):
                continue
            begin = timestamp
        ticks = (timestamp - begin) & 0xFFFFFFFF
        if ticks < 1 << 31:
            found.append(Picture(ticks, data, is_key(data)))
    if not found:
        raise MediaError("stream.no_picture", payload=stream.payload)
    return found


def save_video(stream: RtpStream, path: str | Path) -> Path:
    """Write the film; :class:`MediaError` for a stream without pictures, or a suffix that cannot hold its codec."""
    path = file_path(path)
    shown, codec, suffix = pictures(stream), stream.codec.upper(), path.suffix.lower()
    film = FILMS[codec]
    if suffix not in film.suffixes:
        raise MediaError("stream.video_suffix", path=str(path), codec=codec, known=", ".join(film.suffixes))
    if codec == "H264":
        shown[0] = replace(shown[0], data=_parameter_sets(stream, shown[0].data) + shown[0].data)
    import av

    try:
        data = mux(shown, film.bare, FORMATS[suffix])
    except (av.FFmpegError, ValueError, IndexError) as error:  # not the codec that the SDP promised
        raise MediaError("stream.no_picture", payload=stream.payload) from error
    return write_file(path, data)


def _parameter_sets(stream: RtpStream, first: bytes) -> bytes:
    """SPS and PPS that the SDP announces (RFC 6184 §8.1, sprop-parameter-sets), when the stream itself does not carry them."""
    if any(unit[:1] and unit[0] & 31 == 7 for unit in first.split(b"\0\0\1")[1:]):
        return b""
    codec = stream.payload_types.mapped.get(int(np.bincount(stream.payload_type).argmax()))
    found = re.search(r"sprop-parameter-sets=([A-Za-z0-9+/=,]+)", codec.fmtp if codec else "")
    units = found[1].split(",") if found else []
    try:
        return b"".join(START_CODE + base64.b64decode(unit, validate=True) for unit in units)
    except ValueError:
        return b""


def mux(shown: list[Picture], bare: str, container: str) -> bytes:
    """The pictures in a container, as they were coded."""
    import av

    data = _ivf(shown) if bare == "ivf" else b"".join(picture.data for picture in shown)
    output: Any
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data), format=bare) as source, av.open(buffer, "w", format=container) as output:
        track = output.add_stream_from_template(source.streams.video[0])
        track.time_base = Fraction(1, CLOCK)
        last = -1
        for picture in shown:
            packet = av.Packet(picture.data)
            last = max(picture.ticks, last + 1)
            packet.pts = packet.dts = last
            packet.time_base = Fraction(1, CLOCK)
            packet.is_keyframe = picture.key
            packet.stream = track
            output.mux(packet)
    return buffer.getvalue()


def _ivf(shown: list[Picture]) -> bytes:
    """VP8 in its bare container: a file header, then a header of twelve bytes a frame; its size is in the key frame (RFC 6386 §9.1)."""
    width, height = struct.unpack_from("<HH", shown[0].data.ljust(10, b"\0"), 6)
    head = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, b"VP80", width & 0x3FFF, height & 0x3FFF, CLOCK, 1, len(shown), 0)
    return head + b"".join(struct.pack("<IQ", len(picture.data), picture.ticks) + picture.data for picture in shown)
