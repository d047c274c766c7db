"""Video as RTP, made by FFmpeg's encoders and its RTP muxer, which writes one packet a call."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np

from labkit.capture.write import udp
from tests.capture.made import ALICE, BOB, pcapng, sip

KINDS = {
    # name: (encoder, width, height, payload type, rtpmap, options of the encoder, rtpflags)
    "H263": ("h263", 176, 144, 34, "H263/90000", {"ps": "300"}, "skip_rtcp+rfc2190"),
    "H263-1998": ("h263", 176, 144, 98, "H263-1998/90000", {}, "skip_rtcp"),
    "H264": ("libx264", 320, 240, 98, "H264/90000", {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}, "skip_rtcp"),
    "VP8": ("libvpx", 320, 240, 98, "VP8/90000", {"deadline": "realtime", "lag-in-frames": "0"}, "skip_rtcp"),
}
FRAMES = 40


class _Packets(io.RawIOBase):
    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.packets.append(bytes(data))
        return len(data)


def picture(number: int, width: int, height: int) -> np.ndarray:
    """A gradient with a square that moves."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack((x * 255 // width, y * 255 // height, np.full_like(x, 60)), axis=2).astype(np.uint8)
    at = 3 * number % (width - 32)
    image[40:72, at : at + 32] = (255, 255, 0)
    return image


def rtp_packets(kind: str) -> list[bytes]:
    import av

    encoder, width, height, payload_type, _, options, flags = KINDS[kind]
    sink = _Packets()
    output: Any = av.open(sink, "w", format="rtp", options={"payload_type": str(payload_type), "rtpflags": flags, "packetsize": "700"})
    track = output.add_stream(encoder, rate=25, options=options)
    track.width, track.height, track.pix_fmt, track.bit_rate, track.time_base = width, height, "yuv420p", 300_000, Fraction(1, 25)
    for number in range(FRAMES):
        frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
        frame.pts = number
        for packet in track.encode(frame):
            output.mux(packet)
    for packet in track.encode():
        output.mux(packet)
    output.close()
    return [packet for packet in sink.packets if packet[0] >> 6 == 2 and not 192 <= packet[1] <= 223]


def capture_of(kind: str, packets: list[bytes]) -> bytes:
    """The packets of a film, announced by an INVITE, a picture every 40 ms."""
    _, _, _, payload_type, mapped, _, _ = KINDS[kind]
    body = (
        f"v=0\r\no=- 1 1 IN IP4 {BOB}\r\ns=-\r\nc=IN IP4 {BOB}\r\nt=0 0\r\n"
        f"m=video 4000 RTP/AVP {payload_type}\r\na=rtpmap:{payload_type} {mapped}\r\n"
    ).encode()
    found = [(0.0, udp((BOB, 5060), (ALICE, 5060), sip("INVITE sip:b@x SIP/2.0", body=body)))]
    first = int.from_bytes(packets[0][4:8], "big")
    for number, packet in enumerate(packets):
        ticks = (int.from_bytes(packet[4:8], "big") - first) & 0xFFFFFFFF
        found.append((1.0 + ticks / 90000 + 1e-5 * number, udp((ALICE, 4002), (BOB, 4000), packet)))
    return pcapng(found)
