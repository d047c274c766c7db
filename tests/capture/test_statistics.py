"""Protocol hierarchy, conversations, endpoints and sockets: as counted by hand, and as Wireshark counts."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.capture.capture import Capture
from labkit.capture.write import TcpConversation, udp
from labkit.errors import CaptureError
from tests.capture.made import ALICE, BOB, NAMES, PBX, leg, pcap, pcapng, rtp, sip
from tests.grading.scene import whole_part

MEDIA = (BOB, 40000), (ALICE, 40010)
STUN = bytes.fromhex("000100002112a442") + bytes(12)


def packets() -> list[tuple[float, bytes]]:
    """A call of two legs, ten voice packets, a key, an RTCP report, a STUN request, and a datagram of something else."""
    found = leg("one", (BOB, 5060), (PBX, 5060), MEDIA, 0.0, session="a" * 32)
    found += leg("two", (PBX, 5060), (ALICE, 5060), MEDIA, 0.02, session="a" * 32, rings=0.15)
    found += [(1.2 + 0.02 * n, udp(*MEDIA, rtp(bytes(160), sequence=n, timestamp=160 * n))) for n in range(10)]
    found.append((1.5, udp(*MEDIA, rtp(b"\x05\x0a\x00\xa0", sequence=10, timestamp=1600, kind=101, marker=True))))
    report = bytes.fromhex("80c90001 00000abc".replace(" ", ""))
    found.append((1.6, udp((BOB, 40001), (ALICE, 40011), report)))
    found.append((1.7, udp((BOB, 3478), (PBX, 3478), STUN)))
    found.append((1.8, udp((BOB, 9), (PBX, 9), b"\x01\x02\x03\x04")))
    return sorted(found, key=lambda item: item[0])


@pytest.fixture
def capture() -> Capture:
    return Capture.from_bytes(pcapng(packets(), hosts=NAMES))


def test_hierarchy_counts_what_each_protocol_carries(capture: Capture) -> None:
    made = capture.protocol_hierarchy()
    counts = dict(zip(made["Path"], made["Packets"], strict=True))
    assert counts == {
        "ip": 28,
        "ip:udp": 28,
        "ip:udp:sip": 14,
        "ip:udp:rtp": 11,
        "ip:udp:rtp:rtpevent": 1,
        "ip:udp:rtcp": 1,
        "ip:udp:stun": 1,
        "ip:udp:data": 1,
    }
    assert made["Percent Packets"].iloc[0] == 100 and made["Bytes"].iloc[0] == sum(capture.records.length)
    assert "<caption>Protocol hierarchy" in made._repr_html_()


def test_sockets_really_used(capture: Capture) -> None:
    """The lab sheet's question: the phone was given 40000 to 40049, and used two of them, beside 5060 and STUN."""
    made = capture.sockets("bob")
    assert made[["Protocol", "Port", "Used for", "Packets Sent", "Packets Received"]].values.tolist() == [
        ["UDP", 9, "", 1, 0],
        ["UDP", 3478, "STUN", 1, 0],
        ["UDP", 5060, "SIP", 3, 4],
        ["UDP", 40000, "RTP PCMU", 11, 0],
        ["UDP", 40001, "RTCP", 1, 0],
    ]
    assert made["Host"].unique().tolist() == ["BOB"] and made["First"].iloc[3] == pytest.approx(1.2)
    assert len(capture.sockets()) == 11 and len(capture.sockets(ALICE)) == 3
    assert "Sockets really used (bob): 5;" in made._repr_html_()
    with pytest.raises(CaptureError, match="No host CAROL here. The hosts are: ALICE, BOB, PBX"):
        capture.sockets("CAROL")


def test_conversations_and_endpoints(capture: Capture) -> None:
    made = capture.conversations()
    first = made.iloc[0]
    assert first[["Address A", "Port A", "Address B", "Port B"]].tolist() == [BOB, 40000, ALICE, 40010]
    assert first["Packets A → B"] == 11 and first["Packets B → A"] == 0
    assert capture.conversations("ip").columns.tolist()[:3] == ["Address A", "Address B", "Packets"]
    assert len(capture.conversations("tcp")) == len(capture.endpoints("ipv6")) == 0
    ends = capture.endpoints("ip").set_index("Host")
    assert ends.loc["BOB", ["Tx Packets", "Rx Packets"]].tolist() == [3 + 11 + 3, 4]
    with pytest.raises(CaptureError, match="kind 'sctp'. Ask for one of: ip, ipv6, udp, tcp"):
        capture.conversations("sctp")


def test_setup_times_of_each_leg(capture: Capture) -> None:
    made = capture.setup_times()
    assert made[["Call", "Leg", "From", "To"]].values.tolist() == [[0, 0, "BOB", "PBX"], [0, 1, "PBX", "ALICE"]]
    assert made.loc[0, "Post-Dial Delay":"Talk"].tolist() == pytest.approx([0.2, 0.8, 1.0, 5.0])
    unanswered = Capture.from_bytes(pcapng([(0.0, udp((BOB, 5060), (PBX, 5060), sip("INVITE sip:b@x SIP/2.0")))])).setup_times()
    assert unanswered.loc[0, "Post-Dial Delay":"Talk"].isna().all()


def test_tls_and_mail_are_counted() -> None:
    talk = TcpConversation((BOB, 50000), (PBX, 5061), client_isn=1, server_isn=2)
    mail = TcpConversation((BOB, 50001), (PBX, 2525), client_isn=1, server_isn=2)
    segments = [*talk.open(), *talk.data((BOB, 50000), b"\x15\x03\x03\x00\x02\x02\x30")]
    segments += [*mail.open(), *mail.data((PBX, 2525), b"220 PBX ESMTP ready\r\n")]
    cap = Capture.from_bytes(pcapng([(0.01 * n, segment) for n, segment in enumerate(segments)], hosts=NAMES))
    made = cap.protocol_hierarchy()
    assert dict(zip(made["Path"], made["Packets"], strict=True)) == {"ip": 10, "ip:tcp": 10, "ip:tcp:tls": 1, "ip:tcp:smtp": 1}
    assert cap.sockets("PBX")[["Protocol", "Port", "Used for"]].values.tolist() == [["TCP", 2525, "SMTP"], ["TCP", 5061, "TLS"]]


FILES = [pcapng(packets(), hosts=NAMES), pcap(packets(), link=1, head=bytes(12) + b"\x08\x00")]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(100, 6000), st.binary(min_size=1, max_size=8)), max_size=12))
def test_wrong_bytes_never_break_statistics_nor_differences(data: bytes, changes: list[tuple[int, bytes]]) -> None:
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(data) : at % len(data) + len(value)] = value
    try:
        cap = Capture.from_bytes(bytes(changed))
    except CaptureError:
        return
    assert len(cap.sockets()) >= 0 and len(cap.setup_times()) >= 0 and cap.ladder().text()
    made = cap.protocol_hierarchy()
    assert made["Packets"][made["Level"] == 1].sum() == len(cap)
    for kind in ("ip", "udp", "tcp"):
        assert cap.conversations(kind)["Packets"].sum() * 2 == cap.endpoints(kind)["Packets"].sum()
    numbers = [record.number for record in cap.messages]
    for first, second in itertools.pairwise(numbers):
        found = cap.diff(first, second)
        assert found.text() and "\x00" not in found._repr_html_()


def test_a_capture_without_packets_has_empty_statistics() -> None:
    cap = Capture.from_bytes(pcap([]))
    for made in (cap.protocol_hierarchy(), cap.conversations(), cap.endpoints("ip"), cap.sockets(), cap.setup_times()):
        assert len(made) == 0 and len(made.columns) > 4


# --- against Wireshark -------------------------------------------------------------------------------------------------


def statistic(tshark: str, path: Path, *names: str) -> str:
    arguments = [word for name in names for word in ("-z", name)]
    done = subprocess.run([tshark, "-n", "-q", "-r", str(path), *arguments], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def hierarchy_of(printed: str) -> dict[str, tuple[int, int]]:
    found, path = {}, []
    for indent, name, frames, size in re.findall(r"^( *)(\S+) +frames:(\d+) bytes:(\d+)", printed, re.MULTILINE):
        path = [*path[: len(indent) // 2], name]
        found[":".join(path)] = int(frames), int(size)
    return found


def captures(folder: Path) -> list[Path]:
    own = folder / "own.pcapng"
    own.write_bytes(pcapng(packets()))
    ethernet = folder / "ethernet.pcap"
    ethernet.write_bytes(pcap(packets(), link=1, head=bytes(12) + b"\x08\x00"))
    return [own, ethernet, whole_part().save(folder / "part1.pcapng")]


def test_wireshark_shows_the_same_hierarchy(tmp_path: Path, tool: Callable[[str], str]) -> None:
    for path in captures(tmp_path):
        made = Capture.open(path).protocol_hierarchy()
        ours = dict(zip(made["Path"], zip(made["Packets"], made["Bytes"], strict=True), strict=True))
        assert ours == hierarchy_of(statistic(tool("tshark"), path, "io,phs")), path.name


def test_wireshark_agrees_on_captures_by_others(tool: Callable[[str], str], corpus: Path) -> None:
    """Of protocols that are not telephony, and of what lies inside TLS or mail, only Wireshark knows more."""
    for path in sorted((corpus / "captures").glob("*.pcap")):
        made = Capture.open(path).protocol_hierarchy()
        ours = dict(zip(made["Path"], zip(made["Packets"], made["Bytes"], strict=True), strict=True))
        theirs = hierarchy_of(statistic(tool("tshark"), path, "io,phs"))
        different = {name for name, counts in ours.items() if theirs.get(name) != counts}
        assert {name.rpartition(":")[2] for name in different} <= {"data", "imap"}, path.name


def test_wireshark_counts_the_same_conversations_and_endpoints(tmp_path: Path, tool: Callable[[str], str], corpus: Path) -> None:
    paths = [*captures(tmp_path), corpus / "captures" / "sip-tcp-method.pcap", corpus / "captures" / "smtp-startssl.pcap"]
    for path in paths:
        capture = Capture.open(path)
        printed = statistic(tool("tshark"), path, *(f"{what},{kind}" for what in ("conv", "endpoints") for kind in ("ip", "udp", "tcp")))
        section = dict(re.findall(r"^(\w+ (?:Conversations|Endpoints))\n(.*?)^====", printed, re.MULTILINE | re.DOTALL))
        for kind, title in (("ip", "IPv4"), ("udp", "UDP"), ("tcp", "TCP")):
            theirs: dict[frozenset[str], int] = defaultdict(int)
            row = r"^(\S+) +<-> (\S+) +\d+ \d+ \w+ +\d+ \d+ \w+ +(\d+) "
            for a, b, frames in re.findall(row, section[f"{title} Conversations"], re.MULTILINE):
                theirs[frozenset((a, b))] += int(frames)
            made = capture.conversations(kind)
            ends = [
                made[f"Address {side}"] + (":" + made[f"Port {side}"].astype(str) if kind != "ip" and len(made) else "") for side in "AB"
            ]
            assert {frozenset(pair): n for *pair, n in zip(*ends, made["Packets"], strict=True)} == theirs, (path.name, kind)
            numbers = re.findall(r"^(\d\S+)((?: +\d+)+) *$", section[f"{title} Endpoints"], re.MULTILINE)
            rows = {(address, *map(int, figures.split())) for address, figures in numbers}
            assert {tuple(row) for row in capture.endpoints(kind).drop(columns="Host").values.tolist()} == rows, (path.name, kind)
