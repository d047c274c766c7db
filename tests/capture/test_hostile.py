"""Whatever the bytes, a capture opens or is refused with one sentence, in bounded time, and everything it offers can be asked for."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.capture.capture import Capture
from labkit.capture.write import TcpConversation, udp
from labkit.errors import LabkitError
from tests.capture.made import ALICE, BOB, PBX, leg, pcap, pcapng, rtp, sdp, sip
from tests.capture.made_secure import SMTP, address, attribute, conversation, stun

MEDIA = ((BOB, 4000), (ALICE, 4002))


def scene() -> list[tuple[float, bytes]]:
    talk = TcpConversation((BOB, 40000), (PBX, 5060), client_isn=1, server_isn=1)
    packets = leg("one", (BOB, 5060), (PBX, 5060), MEDIA, 0.0)
    packets += [(2 + 0.02 * n, udp(*MEDIA, rtp(b"\x80" * 40, sequence=n, timestamp=160 * n, kind=n % 3 * 50 + 1))) for n in range(12)]
    packets += [(2.5, udp((BOB, 4001), (ALICE, 4003), bytes([0x81, 200, 0, 12]) + bytes(48)))]
    packets += [(3.0, packet) for packet in [*talk.open(), *talk.data((BOB, 40000), sip("REGISTER sip:x SIP/2.0"))]]
    packets += [(3.5, packet) for packet in conversation(25, SMTP[:12], client_port=40001)]
    secure = TcpConversation((BOB, 40002), (PBX, 5061), client_isn=1, server_isn=1)
    packets += [(3.8 + 0.01 * n, packet) for n, packet in enumerate([*secure.open(), *secure.data((BOB, 40002), HELLO)])]
    packets += [(4.0, udp((BOB, 4000), (PBX, 3478), stun(3, attribute(6, b"bob"), address(0x20, BOB, 5)))), (4.1, DTLS), (4.2, CHANNEL)]
    return sorted(packets)


HELLO = bytes.fromhex("160303002d010000290303") + bytes(32) + b"\0\0\2\x13\1\1\0"
DTLS = udp((BOB, 4010), (ALICE, 4012), b"\x16\xfe\xfd" + bytes(9) + b"\x0c\1\0\0\x20\0\0\0\0\0\0\0\0")
CHANNEL = udp((PBX, 3478), (BOB, 4000), b"\x40\0\0\4abcd")
FILES = [pcapng(scene(), hosts=((BOB, "BOB"),), comment="x"), pcap(scene()), pcap(scene(), link=1, head=bytes(12) + b"\x08\x00")]
LINKS = [0, 1, 12, 101, 108, 113, 147, 228, 229, 276]


def use(data: bytes) -> None:
    """Ask for everything."""
    try:
        cap = Capture.from_bytes(data)
    except LabkitError as error:
        assert str(error)
        return
    assert len(cap.packets) == len(cap)
    assert len(cap.sip) == len(cap.messages) and len(cap.calls) == len(cap.call_list)
    assert len(cap.rtp_streams) == len(cap.streams)
    for number in range(1, len(cap) + 1, max(len(cap) // 40, 1)):
        packet = cap.packet(number, decode=True)
        assert packet.text() and packet._repr_html_() and repr(packet)
    assert len(cap.find("sip or tls.handshake.type == 1 or stun or smtp.response.code > 1 or ip.addr == 127.1.0.100")) <= len(cap)
    ladder = cap.ladder(rtcp=True)
    assert ladder.text() and ladder.svg() and ladder.mermaid() and ladder.csv() and repr(cap) and cap._repr_html_()
    for stream in cap.streams:
        assert len(stream.statuses()) == len(stream) and np.isfinite(stream.figures.jitter).all()
        assert stream.digits is not None
        try:
            assert len(stream.samples()) >= 0
        except LabkitError as error:
            assert str(error)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=8)), max_size=12), st.integers(0, 7000)
)
def test_a_capture_with_wrong_bytes_anywhere(data: bytes, changes: list[tuple[int, bytes]], size: int) -> None:
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(data) : at % len(data) + len(value)] = value
    use(bytes(changed[: max(size, 100)]))


@settings(max_examples=120, deadline=None)
@given(st.lists(st.binary(max_size=90), max_size=8), st.sampled_from(LINKS))
def test_packets_of_any_bytes_on_any_link(packets: list[bytes], link: int) -> None:
    use(pcap(list(enumerate(packets)), link=link))


def within(seconds: float, data: bytes) -> Capture:
    begin = time.process_time()
    cap = Capture.from_bytes(data)
    assert len(cap.messages) >= 0 and len(cap.streams) >= 0
    assert time.process_time() - begin < seconds
    return cap


def test_a_message_in_tiny_segments_that_never_ends() -> None:
    talk = TcpConversation((BOB, 40000), (PBX, 5060), client_isn=1, server_isn=1)
    packets = talk.open() + talk.data((BOB, 40000), b"INVITE sip:x SIP/2.0\r\n")
    template = talk.data((BOB, 40000), b"a")[0]
    for n in range(40000):
        packets.append(template[:24] + struct.pack("!I", (24 + n) & 0xFFFFFFFF) + template[28:])
    within(5, pcap([(0, packet) for packet in packets]))


def test_overlapping_fragments() -> None:
    whole = udp((BOB, 5060), (PBX, 5060), bytes(60))
    packets = [
        (0.0, whole[:2] + struct.pack("!HHH", 20 + 16, 5, (0x2000 if n else 0) | (8100 - n)) + whole[8:20] + bytes(16)) for n in range(8000)
    ]
    within(5, pcap(packets))


def test_thousands_of_sections_interfaces_and_streams() -> None:
    empty = pcapng([])
    within(8, (empty + pcapng(scene()[:1])) * 1500)
    interface = struct.pack("<IIHHIHHQII", 1, 36, 228, 0, 0, 14, 8, 0, 0, 36)
    within(5, empty + interface * 20000 + pcapng(scene())[len(empty) :])
    within(8, pcap([(0, udp(*MEDIA, rtp(b"x", sequence=n, timestamp=n, ssrc=n))) for n in range(20000)]))


def test_sdp_that_announces_thousands_of_ports_and_absurd_clocks() -> None:
    body = sdp(BOB, 4000, "0 96", "a=rtpmap:96 L16/4000000000/0\r\na=rtpmap:0 PCMU/0\r\n") + b"m=audio 5000 RTP/AVP 0\r\n" * 2000
    offer = (0.0, udp((BOB, 5060), (PBX, 5060), sip("INVITE sip:x SIP/2.0", body=body)))
    voices = [(1.0 + n, udp(*MEDIA[::-1], rtp(b"x" * 160, sequence=n, timestamp=2**31 * n, kind=96 * (n % 2)))) for n in range(10)]
    use(pcap([offer, *voices]))


def test_arrival_times_a_century_apart() -> None:
    packets = [(10.0**9 * (n % 2), udp(*MEDIA, rtp(b"\x80" * 160, sequence=n, timestamp=160 * n))) for n in range(6)]
    use(pcap(packets))


@pytest.mark.parametrize("name", ["gsm", "g722"])
def test_real_calls_cut_anywhere(name: str) -> None:
    data = (Path(__file__).parent / "calls" / f"{name}.pcapng").read_bytes()
    for size in range(50, 6000, 611):
        use(data[:size])
