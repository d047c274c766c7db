"""The packet list is Wireshark's: every column of every packet is compared with what tshark 4.0 prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.capture.capture import Capture
from labkit.capture.write import TcpConversation, udp
from labkit.media.rtp import TelephoneEvent
from tests.capture.made import ALICE, BOB, PBX, leg, pcapng, rtp, sdp, sip, tshark_list
from tests.capture.made_secure import stun

Tool = Callable[[str], str]
TAG = "9"


def battery() -> list[bytes]:
    """One message of every kind that has an Info string of its own."""
    methods = "INVITE ACK BYE CANCEL OPTIONS REFER NOTIFY SUBSCRIBE INFO MESSAGE PRACK UPDATE PUBLISH REGISTER FOO".split()
    found = [sip(f"{method} sip:b@x SIP/2.0", to_tag=tag) for method in methods for tag in ("", TAG)]
    statuses = "100 Trying,180 Ringing,183 Session Progress,200 OK,202 Accepted,204 No Notification,302 Moved,401 Unauthorized,"
    statuses += "407 Proxy Authentication Required,487 Request Terminated,489 Event Package Not Supported,603 Decline,486 Occupé ici"
    found += [sip(f"SIP/2.0 {status}", f"1 {method}", to_tag=TAG) for status in statuses.split(",") for method in ("INVITE", "REGISTER")]
    found.append(sip("SIP/2.0 200 ", "1 OPTIONS"))
    contacts = [
        "",
        "Contact: <sip:a@1>\r\n",
        "Contact: *\r\nExpires: 0\r\n",
        "Contact: <sip:a@1>\r\nExpires: 0\r\n",
        "Contact: <sip:a@1>;expires=0, <sip:a@2>\r\n",
        "Contact: <sip:a@1>;expires=0, <sip:a@2>;expires=0\r\n",
        'm: "a,b" <sip:a@1,c>;q=0.1;expires=120\r\nContact: <sip:a@2>\r\n',
    ]
    for extra in contacts:
        found.append(sip("REGISTER sip:x SIP/2.0", extra=extra))
        found.append(sip("SIP/2.0 200 OK", "1 REGISTER", extra=extra.replace("*", "<sip:a@1>")))
    bodies = [
        (b"SIP/2.0 100 Trying\r\n", "message/sipfrag;version=2.0"),
        (b"hello", "text/plain"),
        (b"<x/>", "application/pidf+xml"),
        (b"Messages-Waiting: no\r\n", "application/simple-message-summary"),
        (sdp(BOB, 4000), "application/SDP; x=y"),
    ]
    found += [sip("MESSAGE sip:b@x SIP/2.0", body=body, kind=kind) for body, kind in bodies]
    part = b"--b\r\nContent-Type: application/sdp\r\n\r\n" + sdp(BOB, 4000) + b"\r\n--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b--\r\n"
    found.append(sip("INVITE sip:b@x SIP/2.0", body=part, kind="multipart/mixed;boundary=b"))
    found += [
        b"INVITE sip:b@x SIP/2.0\r\nFrom: x\r\n\r\n",
        b"INVITE  sip:b@x  SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n",
        b"\r\n\r\n",
        b"hello\r\n\r\n",
    ]
    return found


def media() -> list[bytes]:
    """RTP of several types, every kind of telephone-event, RTCP of every type."""
    a, b = (BOB, 4000), (ALICE, 4000)
    maps = "a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 iLBC/8000\r\na=rtpmap:98 speex/16000\r\na=rtpmap:101 telephone-event/8000\r\n"
    offer = sdp(BOB, 4000, "0 8 96 97 98 101", maps)
    found = [udp((BOB, 5060), (ALICE, 5060), sip("INVITE sip:b@x SIP/2.0", body=offer))]
    kinds = [0, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14, 15, 18, 19, 35, 72, 95, 96, 97, 98, 102, 127]
    found += [udp(a, b, rtp(b"\1" * 30, sequence=n, timestamp=160 * n, kind=kind, marker=n == 0)) for n, kind in enumerate(kinds)]
    keys = [*range(17), 32, 33, 34, 35, 36]
    found += [udp(b, a, rtp(TelephoneEvent(key, key % 2 == 1, 10, 160).build(), sequence=key, timestamp=0, kind=101)) for key in keys]
    head = lambda count, kind, words: bytes([0x80 | count, kind, 0, words])  # noqa: E731
    sender, receiver = head(0, 200, 6) + bytes(24), head(1, 201, 7) + bytes(28)
    items = head(1, 202, 3) + b"\0\0\0\1\1\2ab\0\0\0\0"
    for rtcp in (sender + items, receiver + items, receiver + items + head(1, 203, 1) + bytes(4), head(0, 204, 2) + bytes(4) + b"abcd"):
        found.append(udp((BOB, 4001), (ALICE, 4001), rtcp))
    found.append(udp((BOB, 4001), (ALICE, 4001), sender + head(1, 206, 2) + bytes(8)))
    found.append(udp((BOB, 4000), (ALICE, 4000), sender + items))  # RFC 5761: multiplexed
    return [*found, udp((BOB, 9), (ALICE, 9), b"other")]


def tcp() -> list[bytes]:
    """A REGISTER over TCP: the handshake, one segment, its answer, the end."""
    talk = TcpConversation((BOB, 40000), (PBX, 5060), client_isn=1000, server_isn=5000)
    register, answer = sip("REGISTER sip:x;transport=tcp SIP/2.0"), sip("SIP/2.0 407 Proxy Authentication Required", "1 REGISTER")
    return [*talk.open(), *talk.data((BOB, 40000), register), *talk.data((PBX, 5060), answer), *talk.close((BOB, 40000))]


@pytest.mark.parametrize("packets", [[udp((BOB, 5060), (PBX, 5060), m) for m in battery()], media(), tcp()], ids=["sip", "media", "tcp"])
def test_same_list_as_wireshark(packets: list[bytes], tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "made.pcapng"
    path.write_bytes(pcapng([(0.001 * n, packet) for n, packet in enumerate(packets)]))
    table = Capture.open(path).packets
    assert list(table.columns) == ["No.", "Time", "Source", "Destination", "Protocol", "Length", "Info"]
    mine = [[str(n), f"{time:.9f}", *map(str, rest)] for n, time, *rest in table.itertuples(index=False)]
    assert mine == tshark_list(tool("tshark"), path)


def test_same_list_for_a_call(tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "call.pcapng"
    path.write_bytes(pcapng(leg("c1", (BOB, 5060), (PBX, 5060), ((BOB, 4000), (ALICE, 4000)), 0.0)))
    infos = Capture.open(path).packets["Info"].tolist()
    assert infos == [row[6] for row in tshark_list(tool("tshark"), path)]
    assert infos[0] == "Request: INVITE sip:101@127.1.0.10 | " and infos[3] == "Status: 200 OK (INVITE) | "


@pytest.mark.parametrize(
    "name", ["sip-method", "sip-compact-form", "sip-header-multi-value", "sip-options-method", "sip-tcp-method", "sip-body-large"]
)
def test_same_sip_in_reference_captures(name: str, tool: Tool, corpus: Path) -> None:
    path = corpus / "captures" / f"{name}.pcap"
    table = Capture.open(path).packets
    mine = {str(n): [protocol, info] for n, _, _, _, protocol, _, info in table.itertuples(index=False) if protocol.startswith("SIP")}
    theirs = {row[0]: [row[4], row[6]] for row in tshark_list(tool("tshark"), path) if row[4].startswith("SIP")}
    assert mine and mine == theirs


def test_segments_of_a_message_are_marked(tool: Tool, corpus: Path) -> None:
    path = corpus / "captures" / "sip-tcp-method.pcap"
    mine = Capture.open(path).packets[["Protocol", "Info"]].values.tolist()
    assert mine == [[row[4], row[6]] for row in tshark_list(tool("tshark"), path)]
    assert sum(info.endswith("[TCP segment of a reassembled PDU]") for _, info in mine) == 1


def test_stun_and_dtls_on_a_port_that_carries_voice(tool: Tool, tmp_path: Path) -> None:
    a, b = (ALICE, 4002), (BOB, 4000)
    hello = Capture.open(Path(__file__).parent / "recorded" / "dtls.pcapng").layers.bytes_of(0)
    packets = [udp((BOB, 5060), (ALICE, 5060), sip("INVITE sip:b@x SIP/2.0", body=sdp(BOB, 4000)))]
    packets += [udp(a, b, stun(1)), udp(b, a, stun(0x101)), udp(a, b, hello)]
    path = tmp_path / "ice.pcapng"
    path.write_bytes(pcapng([(0.001 * n, packet) for n, packet in enumerate(packets)]))
    mine = Capture.open(path).packets[["Protocol", "Info"]].values.tolist()
    assert mine == [[row[4], row[6]] for row in tshark_list(tool("tshark"), path)]
    assert [protocol for protocol, _ in mine] == ["SIP/SDP", "STUN", "STUN", "DTLS"]


TORTURE_DIFFERS = {
    "intmeth": "Wireshark stops before its closing bar at the strangest method",
    "ncl": "Wireshark reads no body after a Content-Length below zero",
    "wsinv": "Wireshark misses a tag with blanks around its equals sign",
}


def test_same_list_for_the_torture_messages(tool: Tool, corpus: Path, tmp_path: Path) -> None:
    files = sorted((corpus / "rfc4475" / "dat").glob("*.dat"))
    path = tmp_path / "torture.pcapng"
    path.write_bytes(pcapng([(n, udp((BOB, 5060), (PBX, 5060), file.read_bytes())) for n, file in enumerate(files)]))
    mine = Capture.open(path).packets[["Protocol", "Info"]].values.tolist()
    theirs = [[row[4], row[6]] for row in tshark_list(tool("tshark"), path)]
    assert len(files) == len(mine) == 50
    different = {file.stem: (a, b) for file, a, b in zip(files, mine, theirs, strict=True) if a != b}
    assert set(different) <= set(TORTURE_DIFFERS), different
