"""RTCP reports stand beside what the capture shows itself at that moment."""

from __future__ import annotations

import struct

import pytest

from labkit.capture.capture import Capture
from labkit.capture.write import udp
from tests.capture.made import ALICE, BOB, pcapng, rtp, sdp, sip

OFFER = (0.0, udp((BOB, 5060), (ALICE, 5060), sip("INVITE sip:b@x SIP/2.0", body=sdp(BOB, 4000))))
NTP = 3_900_000_000


def sender_report(ssrc: int, seconds: float, packets: int) -> bytes:
    high, low = divmod(round((NTP + seconds) * 65536), 65536)
    return struct.pack("!BBH6I", 0x80, 200, 6, ssrc, high, low << 16, 160, packets, 160 * packets)


def receiver_report(ssrc: int, lost: int, fraction: float, jitter: int, answers: float, after: float) -> bytes:
    last = round((NTP + answers) * 65536) & 0xFFFFFFFF
    return struct.pack("!BBHI6I", 0x81, 201, 7, 0xB0B, ssrc, round(fraction * 256) << 24 | lost, 149, jitter, last, round(after * 65536))


def test_reports_beside_the_figures() -> None:
    voice = [
        (1 + 0.02 * n, udp((ALICE, 4002), (BOB, 4000), rtp(bytes(160), sequence=100 + n, timestamp=160 * n))) for n in range(50) if n != 7
    ]
    reports = [
        (1.505, udp((ALICE, 4003), (BOB, 4001), sender_report(0xABC, 1.5, 25))),
        (1.735, udp((BOB, 4001), (ALICE, 4003), receiver_report(0xABC, 1, 0.0625, 16, 1.5, 0.2))),
        (1.74, udp((BOB, 4001), (ALICE, 4003), receiver_report(0xDEF, 9, 0.5, 800, 1.5, 0.2))),
        (1.75, udp((BOB, 4001), (ALICE, 4003), b"\x81\xc9\x00\x07cut")),
    ]
    stream = Capture.from_bytes(pcapng(sorted([OFFER, *voice, *reports]))).rtp_stream(0)
    table = stream.reports
    assert list(table["Report"]) == ["SR", "RR"]
    sent, received = table.iloc[0], table.iloc[1]
    assert (sent["Source"], sent["Packets"], sent["Packets in capture"]) == (f"{ALICE}:4003", 25, 25)
    assert (received["Lost"], received["Lost in capture"], received["Fraction lost (%)"]) == (1, 1, 6.25)
    assert received["Jitter (ms)"] == pytest.approx(2.0) and received["Jitter in capture (ms)"] == pytest.approx(0.0, abs=0.01)
    assert received["Round trip (ms)"] == pytest.approx(30.0, abs=0.1)
    assert "<caption>RTCP reports about the RTP stream" in table._repr_html_()


def test_a_stream_without_reports() -> None:
    voice = [(0.02 * n, udp((ALICE, 4002), (BOB, 4000), rtp(bytes(160), sequence=n, timestamp=160 * n))) for n in range(9)]
    assert len(Capture.from_bytes(pcapng(voice)).rtp_stream(0).reports) == 0
