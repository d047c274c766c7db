"""The lab sheet's RTP stream as a capture: PAUL's phone keeps the path open with twelve empty packets, then speaks.

The frames, times, sequence and types are those that the sheet prints or that follow from its figures: 363 packets from frame 14 at
5.818215 s, twelve of 54 bytes within 0.33 ms, eight speech packets at once 574.575 ms later, a gap of 179.02 ms before frame 463.
"""

from __future__ import annotations

from labkit.capture.write import udp
from tests.capture.made import pcap, rtp

PAUL, SERVER = ("192.168.137.78", 54408), ("192.168.137.101", 40018)
ETHERNET = bytes.fromhex("0050b60102030050b60405060800")
SSRC = 0xEAAFD04A
START = 5.818215
SPEECH, EMPTY, BURST, PRINTED = 351, 12, 8, 30
FIRST_TIMESTAMP = 160_000
GAP_FRAME, GAP_MS = 463, 179.02


def sheet_packets() -> list[tuple[float, bytes]]:
    """(seconds, IPv4 packet) of the whole capture, frame by frame."""
    frames: dict[int, tuple[float, bytes]] = {}

    def put(number: int, at_ms: float, sequence: int, timestamp: int, kind: int, *, marker: bool = False) -> None:
        payload = b"" if kind == 126 else b"\xd5" * 160
        packet = rtp(payload, sequence=sequence, timestamp=timestamp, kind=kind, marker=marker, ssrc=SSRC)
        frames[number] = (START + at_ms / 1000, udp(PAUL, SERVER, packet))

    for number in range(EMPTY):
        put(14 + number, 0.329 * number / 11, 500 + number, FIRST_TIMESTAMP, 126)
    # After the rows that the sheet prints, other traffic lies between the speech packets, so that the packet after the gap is frame 463.
    gap_at = 200
    at = 574.904
    for number in range(SPEECH):
        if number >= BURST:
            due = 574.904 + 20.0 * (number - BURST + 1)
            at = at + GAP_MS if number == gap_at else max(at + 0.03, due)
        elif number:
            at += 0.03
        frame = 36 + number if number < PRINTED else GAP_FRAME + 2 * (number - gap_at)
        put(frame, at, 512 + number, FIRST_TIMESTAMP - 1 + 160 * number, 8, marker=number == 0)
    return _filled(frames)


def _filled(frames: dict[int, tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Frames that are no RTP where the sheet does not print any."""
    packets, at = [], -1e-6
    for number in range(1, max(frames) + 1):
        at, packet = frames.get(number, (at + 1e-6, udp(("192.168.137.174", 50000), ("192.168.137.101", 5482), b"noise")))
        packets.append((at, packet))
    return packets


def sheet_capture() -> bytes:
    return pcap(sheet_packets(), link=1, head=ETHERNET, nanoseconds=True)
