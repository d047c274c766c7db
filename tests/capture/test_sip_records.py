"""SIP is found in UDP and TCP on any port, and a malformed message is kept with what could be read of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.capture.capture import Capture
from labkit.capture.write import TcpConversation, udp
from tests.capture.made import BOB, PBX, pcap, pcapng, sdp, sip

CLIENT, SERVER = (BOB, 40000), (PBX, 5061)
MESSAGES = [
    sip("REGISTER sip:x SIP/2.0", call_id="r"),
    sip("INVITE sip:101@x SIP/2.0", call_id="i", body=sdp(BOB, 4000) + b"a=x\r\n" * 900),
    sip("BYE sip:101@x SIP/2.0", call_id="i", to_tag="t"),
]


def captured(packets: list[bytes]) -> Capture:
    return Capture.from_bytes(pcapng([(0.01 * n, packet) for n, packet in enumerate(packets)]))


def test_what_a_record_says() -> None:
    message = sip("INVITE sip:101@x SIP/2.0", call_id="i", to_tag="t9", body=sdp(BOB, 4000))
    (record,) = captured([udp((BOB, 6000), (PBX, 7000), message)]).messages
    assert (record.number, record.time, record.source, record.destination) == (1, 0.0, (BOB, 6000), (PBX, 7000))
    assert (record.method, record.status, record.call_id, record.cseq_method) == ("INVITE", None, "i", "INVITE")
    assert (record.from_tag, record.to_tag, record.in_dialog, record.error) == ("fi", "t9", True, "")
    assert record.sdp is not None and record.sdp.address(record.sdp.media[0]) == (BOB, 4000)
    assert record.text.encode() == message and record.message.start_line == "INVITE sip:101@x SIP/2.0"


def test_retransmissions_are_marked() -> None:
    first = udp((BOB, 5060), (PBX, 5060), MESSAGES[0])
    back = udp((PBX, 5060), (BOB, 5060), MESSAGES[0])
    times = [0.0, 0.5, 0.6, 1.5, 40.0]
    cap = Capture.from_bytes(pcapng(list(zip(times, [first, first, back, first, first], strict=True))))
    assert [record.retransmission for record in cap.messages] == [False, True, False, True, False]
    assert cap.sip["Retransmission"].tolist() == [False, True, False, True, False]


def segments() -> list[bytes]:
    """One connection: the handshake, three messages in one stream of bytes cut at odd places, keep-alives between them."""
    talk = TcpConversation(CLIENT, SERVER, client_isn=2**32 - 300, server_isn=7)
    stream = b"\r\n\r\n".join(MESSAGES)
    found = talk.open()
    for at in range(0, len(stream), 777):
        found += talk.data(CLIENT, stream[at : at + 777])
    return [*found, *talk.data(SERVER, sip("SIP/2.0 200 OK", "1 BYE", call_id="i", to_tag="t")), *talk.close(CLIENT)]


def check_stream(packets: list[bytes]) -> None:
    records = captured(packets).messages
    assert sorted(record.raw for record in records if record.is_request) == sorted(MESSAGES)
    assert {record.transport for record in records} == {"TCP"}
    assert not any(record.retransmission for record in records)


def test_messages_over_tcp() -> None:
    check_stream(segments())


def test_tcp_segments_out_of_order_and_sent_twice() -> None:
    packets = segments()
    data = [n for n, packet in enumerate(packets) if len(packet) > 400]
    mixed = list(packets)
    mixed[data[1]], mixed[data[3]] = packets[data[3]], packets[data[1]]
    check_stream(mixed)
    check_stream([*packets[: data[2] + 1], packets[data[1]], *packets[data[2] + 1 :], packets[data[0]]])


def test_a_lost_tcp_segment_stops_that_stream_only() -> None:
    packets = segments()
    data = [n for n, packet in enumerate(packets) if len(packet) > 400]
    records = captured([packet for n, packet in enumerate(packets) if n != data[2]]).messages
    assert [record.message.start_line for record in records] == ["REGISTER sip:x SIP/2.0", "SIP/2.0 200 OK"]


def test_other_tcp_is_not_sip() -> None:
    talk = TcpConversation(CLIENT, (PBX, 80), client_isn=1, server_isn=1)
    web = [*talk.open(), *talk.data(CLIENT, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), *talk.data((PBX, 80), b"\x16\x03\x01" + bytes(500))]
    assert captured(web).messages == []


@pytest.mark.parametrize(
    ("data", "start", "error"),
    [
        (b"INVITE sip:b@x SIP/2.0\r\nCall-ID: 5\r\n", "INVITE sip:b@x SIP/2.0", "headers do not end with an empty line"),
        (
            sip("INVITE sip:b@x SIP/2.0").replace(b"Content-Length: 0", b"Content-Length: 9"),
            "INVITE sip:b@x SIP/2.0",
            "Content-Length promises 9 bytes of body, 0 came",
        ),
        (sip("SIP/2.0 999 Odd", "1 INVITE"), "SIP/2.0 999 Odd", "SIP/2.0 999 Odd"),
        (sip("INVITE sip:b@x SIP/2.0", extra="no colon here\r\n"), "INVITE sip:b@x SIP/2.0", "no colon here"),
    ],
)
def test_malformed_messages_are_shown(data: bytes, start: str, error: str) -> None:
    cap = captured([udp((BOB, 5060), (PBX, 5060), data)])
    (record,) = cap.messages
    assert record.message.start_line == start and error in record.error
    assert "malformed" in cap.ladder().arrows[0].label and cap.sip["Info"].tolist()[0].endswith(" | ")
    if b"Call-ID: c1" in data:
        assert record.call_id == "c1" and record.cseq_method == "INVITE"


def test_every_torture_message_is_read(corpus: Path) -> None:
    files = sorted((corpus / "rfc4475" / "dat").glob("*.dat"))
    cap = captured([udp((BOB, 5060), (PBX, 5060), file.read_bytes()) for file in files])
    assert len(cap.messages) == 44, "six start lines are broken so that neither Wireshark nor we take them for SIP"
    assert len(cap.sip) == len(cap.messages) and cap.ladder().svg() and cap.ladder().text() and cap.ladder().mermaid()


def test_a_reference_capture_over_tcp(corpus: Path) -> None:
    request, answer = Capture.open(corpus / "captures" / "sip-tcp-method.pcap").messages
    assert (request.number, request.method, request.status, request.transport) == (6, "REGISTER", None, "TCP")
    assert (answer.number, answer.method, answer.status) == (8, "REGISTER", 200)
    large = Capture.open(corpus / "captures" / "sip-body-large.pcap").messages[0]
    assert len(large.message.body) == int(large.message.headers.get("Content-Length") or 0) > 60000


def test_text_that_is_not_utf_8_is_shown_safely() -> None:
    cap = Capture.from_bytes(
        pcap([(0, udp((BOB, 5060), (PBX, 5060), sip("SIP/2.0 486 X", "1 INVITE").replace(b"486 X", b"486 \xe9\x01")))])
    )
    assert cap.packets["Info"].tolist() == ["Status: 486 \ufffd\\x01 | "]
    assert "\x01" not in cap.ladder().svg()
