"""The tree of a packet: the same values as Wireshark's, in text, HTML and table; scapy on request."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.capture.capture import Capture
from labkit.capture.write import TcpConversation, udp
from labkit.errors import CaptureError
from labkit.media.rtp import TelephoneEvent
from tests.capture.made import ALICE, BOB, PBX, leg, pcap, pcapng, rtp, sdp, sip

Tool = Callable[[str], str]
MEDIA = ((BOB, 4000), (ALICE, 4002))
REPORT = bytes([0x81, 200, 0, 12]) + bytes(24) + bytes.fromhex("00000abc40000003") + bytes(16) + bytes([0x81, 202, 0, 2]) + bytes(8)


def scene() -> list[tuple[float, bytes]]:
    """A call with media, a key, a report, a registration over TCP and a datagram of something else."""
    talk = TcpConversation((BOB, 40000), (PBX, 5060), client_isn=1, server_isn=1)
    packets = leg("one", (BOB, 5060), (PBX, 5060), MEDIA, 0.0)
    packets += [(2 + 0.02 * n, udp(*MEDIA, rtp(b"\x80" * 40, sequence=n, timestamp=160 * n, marker=n == 0))) for n in range(4)]
    packets += [(3.0, udp(*MEDIA, rtp(TelephoneEvent(5, True, 10, 800).build(), sequence=4, timestamp=640, kind=101)))]
    packets += [(3.1, udp((BOB, 4001), (ALICE, 4003), REPORT))]
    over_tcp = [*talk.open(), *talk.data((BOB, 40000), sip("REGISTER sip:x SIP/2.0"))]
    packets += [(3.2 + 0.01 * n, packet) for n, packet in enumerate(over_tcp)]
    return [*sorted(packets), (9.0, udp((BOB, 9), (ALICE, 9), b"other"))]


@pytest.fixture
def cap() -> Capture:
    return Capture.from_bytes(pcapng(scene()))


FIELDS = """frame.number frame.len frame.cap_len frame.time_relative ip.src ip.dst ip.id ip.ttl ip.proto ip.len udp.srcport udp.dstport
udp.length tcp.srcport tcp.len tcp.seq_raw tcp.ack_raw tcp.window_size_value sip.Method sip.r-uri sip.Status-Code sip.Call-ID
sip.CSeq sip.CSeq.seq sip.CSeq.method sip.from.tag sip.to.tag sip.Max-Forwards sdp.media sdp.session_name rtp.p_type rtp.seq
rtp.timestamp rtp.marker rtpevent.event_id rtpevent.duration rtcp.sender.packetcount""".split()


def test_same_values_as_wireshark(tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "scene.pcapng"
    path.write_bytes(pcapng(scene()))
    words = [word for field in FIELDS for word in ("-e", field)]
    done = subprocess.run([tool("tshark"), "-n", "-r", str(path), "-T", "fields", *words], capture_output=True, text=True, timeout=60)
    cap = Capture.open(path)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == len(cap)
    for number, row in enumerate(rows, 1):
        for field, theirs in zip(FIELDS, row, strict=True):
            mine = cap.packet(number).get(field)
            assert _same(mine, theirs), (number, field, mine, theirs)


def _same(mine: object, theirs: str) -> bool:
    if mine is None or theirs == "":
        return mine is None and theirs == ""
    return float(mine) == float(int(theirs, 0) if theirs.startswith("0x") else float(theirs)) if _number(mine) else mine == theirs


def _number(value: object) -> bool:
    return isinstance(value, int | float)


def test_text_and_repr(cap: Capture) -> None:
    packet = cap.packet(1)
    lines = str(packet).splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert [head.split(",")[0].split(":")[0] for head in heads] == [
        "Frame 1",
        "Internet Protocol Version 4",
        "User Datagram Protocol",
        "Session Initiation Protocol (INVITE)",
    ]
    assert "            Media Description, name and address (m): audio 4000 RTP/AVP 0 8 101" in lines
    assert repr(packet) == "<Packet 1: Session Initiation Protocol (INVITE)>"


def test_rtp_event_report_and_data(cap: Capture) -> None:
    [event] = cap.find("rtpevent")["No."].tolist()
    assert "        Event ID: DTMF Five 5 (5)" in cap.packet(event).text()
    report = cap.packet(cap.find("rtcp")["No."].tolist()[0])
    assert report.get("rtcp.ssrc.identifier") == 0xABC and "        Fraction lost: 25.0%" in report.text().replace(
        "            ", "        "
    )
    assert cap.packet(len(cap)).nodes[-1].label == "Data (5 bytes): 6f74686572"


def test_html_is_escaped() -> None:
    message = sip("MESSAGE sip:b@x SIP/2.0", body=b"<script>alert(1)</script>", kind="text/plain", extra="Subject: <b>&\r\n")
    html = Capture.from_bytes(pcapng([(0, udp((BOB, 5060), (PBX, 5060), message))])).packet(1)._repr_html_()
    assert "<script>" not in html and "<b>" not in html and "Subject: &lt;b&gt;&amp;" in html
    assert html.count("<details") == html.count("</details>") >= 4 and html.count("<summary>") == html.count("<details")


def test_table(cap: Capture) -> None:
    table = cap.packet(1).table()
    assert list(table.columns) == ["Line", "Field", "Value"]
    assert table.loc[table["Field"] == "sip.Method", "Value"].tolist() == ["INVITE"]
    assert "Packet 1, line by line" in table._repr_html_()


@pytest.mark.parametrize(("link", "head"), [(228, b""), (1, bytes(12) + b"\x08\x00"), (0, b"\2\0\0\0"), (101, b"")])
def test_links(link: int, head: bytes) -> None:
    cap = Capture.from_bytes(pcap([(0, udp((BOB, 5060), (PBX, 5060), sip("OPTIONS sip:x SIP/2.0")))], link=link, head=head))
    packet = cap.packet(1)
    assert packet.get("ip.src") == BOB and packet.get("sip.Method") == "OPTIONS"
    assert len(packet.nodes) == (5 if head else 4)
    frame = packet.scapy()
    assert frame["IP"].src == BOB and frame["UDP"].dport == 5060 and b"OPTIONS" in bytes(frame["UDP"].payload)


def test_fragments_show_the_message_where_it_is_whole(corpus: Path) -> None:
    cap = Capture.open(corpus / "captures" / "sip-body-large.pcap")
    number = cap.find("sip and ip.frag_offset > 0")["No."].tolist()
    assert all(cap.packet(n).nodes[-1].field == "sip" for n in number)


def test_scapy_is_loaded_by_scapy_only() -> None:
    code = (
        "import sys; from labkit.capture.capture import Capture; from pathlib import Path;"
        "packet = Capture.from_bytes(Path(sys.argv[1]).read_bytes()).packet(1); packet.text(); packet._repr_html_();"
        "assert 'scapy' not in sys.modules; packet.scapy(); assert 'scapy' in sys.modules"
    )
    path = Path(__file__).parent / "calls" / "g722.pcapng"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)


def test_wrong_numbers_and_links(cap: Capture) -> None:
    for number in (0, -1, len(cap) + 1, "1", None):
        with pytest.raises(CaptureError, match=f"no packet {number}: this capture has {len(cap)}"):
            cap.packet(number)  # type: ignore[arg-type]
    strange = Capture.from_bytes(pcap([(0, b"abc")], link=147))
    assert strange.packet(1).text().startswith("Frame 1: 3 bytes")
    with pytest.raises(CaptureError, match="Link type 147"):
        strange.packet(1).scapy()


def test_a_session_without_sdp_that_can_be_read() -> None:
    body = sdp(BOB, 4000).replace(b"m=audio 4000", b"m=audio xx")
    cap = Capture.from_bytes(pcapng([(0, udp((BOB, 5060), (PBX, 5060), sip("INVITE sip:b@x SIP/2.0", body=body)))]))
    assert "m=audio xx" in cap.packet(1).text()
