"""The bands of a ladder: RTP, RTCP, keys pressed and TLS, each of which can be left out."""

from __future__ import annotations

import pytest

from labkit.capture.capture import Capture
from labkit.capture.ladder_html import MOST_MESSAGES
from labkit.capture.write import TcpConversation, udp
from labkit.media.rtp import TelephoneEvent
from tests.capture.made import ALICE, BOB, NAMES, PBX, leg, pcapng, rtp, sip

MEDIA = (BOB, 40000), (ALICE, 40010)
HELLO, ALERT, DATA = b"\x16\x03\x01\x00\x01\x01", b"\x15\x03\x03\x00\x02\x02\x30", b"\x17\x03\x03\x00\x01\x00"


def keys(digits: str, at: float) -> list[tuple[float, bytes]]:
    """Six reports a key, 20 ms apart, keys a second apart."""
    found = []
    for place, digit in enumerate(digits):
        for n in range(6):
            event = TelephoneEvent("0123456789*#".index(digit), n > 3, 10, 160 * (n + 1)).build()
            packet = rtp(event, sequence=100 * place + n, timestamp=8000 * place, kind=101, marker=not n)
            found.append((at + place + 0.02 * n, udp(*MEDIA, packet)))
    return found


def tls(client: tuple[str, int], server: tuple[str, int], at: float) -> list[tuple[float, bytes]]:
    talk = TcpConversation(client, server, client_isn=1000, server_isn=2000)
    segments = [*talk.open(), *talk.data(client, HELLO), *talk.data(server, HELLO), *talk.data(client, DATA), *talk.data(server, ALERT)]
    return [(at + 0.01 * n, segment) for n, segment in enumerate(segments)]


@pytest.fixture
def capture() -> Capture:
    packets = tls((BOB, 50000), (PBX, 5061), 0.0) + tls((BOB, 50001), ("127.9.9.9", 443), 0.005)
    packets += leg("one", (BOB, 5060), (PBX, 5060), MEDIA, 1.0) + leg("two", (PBX, 5060), (ALICE, 5060), MEDIA, 1.02)
    packets += [*keys("5#", 2.5), (4.5, udp((BOB, 40001), (ALICE, 40011), bytes.fromhex("80c9000100000abc")))]
    return Capture.from_bytes(pcapng(sorted(packets), hosts=NAMES))


def test_every_kind_of_band(capture: Capture) -> None:
    ladder = capture.ladder(rtcp=True)
    names = [column.name for column in ladder.columns]
    assert [(names[band.source], names[band.target], band.label) for band in ladder.bands] == [
        ("BOB", "PBX", "TLS (Handshake, Application Data) 2 packets 0.04 s"),
        ("PBX", "BOB", "TLS (Handshake, Alert) 2 packets 0.04 s"),
        ("BOB", "ALICE", "RTP telephone-event 12 packets 1.10 s"),
        ("BOB", "ALICE", "DTMF 5 6 packets 0.10 s"),
        ("BOB", "ALICE", "DTMF # 6 packets 0.10 s"),
        ("BOB", "ALICE", "RTCP 1 packets 0.00 s"),
    ]
    assert names == ["BOB", "PBX", "ALICE"], "TLS of the web is not drawn"
    assert ladder.title == "Ladder of BOB, PBX, ALICE: 14 SIP messages, 1 RTP streams"
    for form in (ladder.text(), ladder.svg(), ladder.mermaid(), ladder.csv()):
        assert "DTMF #" in form and "Alert" in form


@pytest.mark.parametrize(("switch", "gone"), [("rtp", "RTP"), ("rtcp", "RTCP"), ("dtmf", "DTMF"), ("tls", "TLS")])
def test_each_can_be_left_out(capture: Capture, switch: str, gone: str) -> None:
    kinds = {band.codec.split()[0] for band in capture.ladder(**{"rtcp": True, switch: False}).bands}
    assert kinds == {"RTP", "RTCP", "DTMF", "TLS"} - {gone}


def test_calls_times_and_hosts_limit_the_bands(capture: Capture) -> None:
    assert {band.codec.split()[0] for band in capture.ladder(call=0).bands} == {"RTP", "DTMF"}
    assert [band.codec for band in capture.ladder(start=3.4, end=3.7, rtp=False).bands] == ["DTMF #"]
    assert {band.codec.split()[0] for band in capture.ladder(hosts="PBX").bands} == {"TLS"}


def test_each_message_opens_whole_by_a_click(capture: Capture) -> None:
    html = capture.ladder()._repr_html_()
    assert html.count("<details") == 1 + len(capture.messages) and "<svg" in html and "<script" not in html
    assert "BOB → PBX · INVITE SDP" in html and "<pre>BYE sip:101@127.1.0.10 SIP/2.0\nVia: " in html
    evil = sip("OPTIONS sip:x SIP/2.0", extra="Subject: <script>alert(1)</script></pre>\x1b[2J\r\n")
    shown = Capture.from_bytes(pcapng([(0.0, udp((BOB, 1), (PBX, 2), evil))])).ladder()._repr_html_()
    assert "<script" not in shown and shown.count("</pre>") == 1 and "\x1b" not in shown


def test_a_long_ladder_is_a_picture_alone() -> None:
    packets = [(0.01 * n, udp((BOB, 1), (PBX, 2), sip("OPTIONS sip:x SIP/2.0", f"{n} OPTIONS"))) for n in range(MOST_MESSAGES + 1)]
    assert "<details" not in Capture.from_bytes(pcapng(packets)).ladder()._repr_html_()
