"""Display filters: the same packets as Wireshark's, and one sentence with a caret for a wrong filter."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.capture.capture import Capture
from labkit.errors import CaptureError
from labkit.texts import language
from tests.capture.made import pcapng
from tests.capture.made_secure import SMTP, contexts, conversation, tls
from tests.capture.test_tls_records import RECORDED, V12, V13
from tests.capture.test_tree import scene

Tool = Callable[[str], str]

GENERAL = [
    "sip",
    'sip.Method == "INVITE"',
    'sip.Method == "INVITE" and ip.addr == 127.1.0.100',
    "rtp.p_type == 0 or sip.Status-Code >= 180",
    "not sip and udp",
    "!(sip || rtp)",
    "udp.port == 5060",
    "udp.port != 5060",
    "ip.addr != 127.1.0.101",
    "ip.addr == 127.1.0.0/24 && tcp",
    "ip.src == 127.1.0.101 or ip.dst == 127.1.0.101",
    'sip.From contains "100"',
    'sip.Call-ID matches "^ONE$"',
    'sip.Call-ID matches "^two$"',
    "frame.number in {1,2,3}",
    "frame.number in {1, 2, 3} and not udp.srcport == 5060",
    'frame.number <= 5 && !(sip.CSeq.method == "ACK")',
    'sip.CSeq.method != "INVITE"',
    "sdp",
    "sip.To",
    "sip.to.tag",
    "rtp.ssrc == 0xabc",
    "rtp.marker == 1",
    "rtp.seq > 1 and rtp.seq <= 3",
    "rtp.timestamp",
    "rtpevent",
    "rtcp",
    "rtcp.pt == 200",
    "frame.time_relative < 0.5",
    "frame.len >= 500",
    "tcp.flags.syn == 1",
    "tcp.len > 0",
    "ip.ttl == 64",
    "ip.proto == 6",
    'sdp.media contains "audio"',
    'sip.Request-Line contains "REGISTER"',
    "stun or tls or smtp or pop or imap or dtls",
    "sip.Status-Code == 200 and sip.CSeq.method == BYE",
]
SECURE = [
    "tls",
    "tls.handshake",
    "tls.handshake.type == 1",
    "tls.handshake.type == 2 or tls.handshake.type == 11",
    'tls.handshake.extensions_server_name == "pbx.lab"',
    "tls.alert_message",
    "tls.record.content_type == 23",
    "tls.record.opaque_type == 23",
    "tls.handshake.ciphersuite == 0x1301",
    "tls.record.version == 0x0303",
    "tcp.port == 40001 and tls",
    "tls.handshake.certificate",
]
DATAGRAMS = ["dtls", "dtls.handshake.type == 3", "dtls.handshake.type == 11", "dtls.handshake.extensions_server_name"]
MAIL = ["smtp", 'smtp.req.command == "EHLO"', "smtp.response.code >= 500", "smtp.auth.username", "smtp.auth.password", "imf.subject"]
CASES = [*(("scene", f) for f in GENERAL), *(("tls", f) for f in SECURE), *(("dtls", f) for f in DATAGRAMS), *(("mail", f) for f in MAIL)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("filters")
    found = {"dtls": RECORDED}
    secure = [*tls(*contexts(V12), port=40000), *tls(*contexts(V13), port=40001)]
    mail = conversation(25, SMTP)
    for name, packets in (("tls", secure), ("mail", mail)):
        found[name] = folder / f"{name}.pcapng"
        found[name].write_bytes(pcapng([(0.001 * n, packet) for n, packet in enumerate(packets)]))
    found["scene"] = folder / "scene.pcapng"
    found["scene"].write_bytes(pcapng(scene()))
    return found


@pytest.mark.parametrize(("name", "expression"), CASES, ids=[expression for _, expression in CASES])
def test_same_packets_as_wireshark(name: str, expression: str, files: dict[str, Path], tool: Tool) -> None:
    theirs = expression.replace("== BYE", '== "BYE"')  # labkit takes a word without quotes, too
    command = [tool("tshark"), "-n", "-r", str(files[name]), "-Y", theirs, "-T", "fields", "-e", "frame.number"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert Capture.open(files[name]).find(expression)["No."].tolist() == [int(number) for number in done.stdout.split()]


def test_the_table_is_the_packet_list(files: dict[str, Path]) -> None:
    cap = Capture.open(files["scene"])
    found = cap.find("sip.method == INVITE AND NOT rtp")
    assert list(found.columns) == list(cap.packets.columns) and found["Info"].tolist() == ["Request: INVITE sip:101@127.1.0.10 | "]
    assert "<caption>" in found._repr_html_()


WRONG = {
    'sip.Methd == "INVITE"': ("no field sip.Methd (position 1). Near to it: sip.Method", 0),
    'sip.Method = "INVITE"': ("has no = (position 12)", 11),
    "(sip": ("parenthesis at position 1 is never closed", 0),
    "sip.Method ==": ("should follow ==, at position 14", 13),
    'sip.Method == "INV': ("quote at position 15 is never closed", 14),
    "udp.port == abc": ("udp.port is a number, and abc (position 13) is none", 12),
    "ip.addr == five": ("ip.addr is compared with an IP address, and five (position 12) is none", 11),
    "sip sip": ("position 5 should have and, or, or the end, not sip", 4),
    "sip and": ("should stand at position 8", 7),
    'sip.Method matches "("': ("expression at position 20 cannot be read", 19),
    "frame.number in 5": ("After in, position 17 wants a set such as {5060, 5061}", 16),
    "frame.number in {5": ("set that begins at position 17 is never closed: add a }", 16),
    "(" * 60: ("More than 50 parentheses", 50),
    "sip; rtp": ("no field sip;", 0),
    "sip)": ("should have and, or, or the end, not )", 3),
}


@pytest.mark.parametrize("expression", WRONG)
def test_wrong_filters_are_pointed_at(expression: str) -> None:
    cap = Capture.from_bytes(pcapng(scene()))
    with pytest.raises(CaptureError) as caught:
        cap.find(expression)
    sentence, shown, caret = str(caught.value).split("\n")
    expected, at = WRONG[expression]
    assert expected in sentence and shown == f"  {expression}" and caret == f"  {' ' * at}^"


def test_an_empty_filter_and_french() -> None:
    cap = Capture.from_bytes(pcapng(scene()))
    for nothing in ("", "  ", None):
        with pytest.raises(CaptureError, match="names at least one field"):
            cap.find(nothing)  # type: ignore[arg-type]
    language("fr")
    with pytest.raises(CaptureError, match=r"Il n'y a pas de champ rpt \(position 1\)"):
        cap.find("rpt")


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([*'sip rtp ip.addr == != < contains matches in ( ) { } and or not ! 5060 "x" " 127.0.0.1'.split(), "\n", "é"]))
)
def test_any_words(words: list[str]) -> None:
    cap = _SCENE
    try:
        assert len(cap.find(" ".join(words))) <= len(cap)
    except CaptureError as error:
        assert str(error)


_SCENE = Capture.from_bytes(pcapng(scene()))
