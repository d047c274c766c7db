"""The ladder: hosts in the order a student expects, every message once, and each form whole, accessible and safe."""

from __future__ import annotations

import itertools
import math
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.capture.capture import Capture
from labkit.capture.ladder import Ladder
from labkit.capture.ladder_svg import COLOURS, DASHES
from labkit.capture.write import udp
from labkit.errors import CaptureError
from labkit.texts import language
from tests.capture.made import ALICE, BOB, NAMES, PBX, block_comment, leg, pcapng, rtp, sip

PAUL = "127.1.0.102"
MEDIA = ((BOB, 4000), (ALICE, 4002))
Packets = list[tuple[float, bytes]]


def registration(address: str, at: float, call_id: str) -> Packets:
    ends = (address, 5060), (PBX, 5060)
    request = udp(*ends, sip("REGISTER sip:127.1.0.10 SIP/2.0", call_id=call_id))
    return [
        (at, request),
        (at + 0.001, request),
        (at + 0.01, udp(*ends[::-1], sip("SIP/2.0 407 Proxy Authentication Required", "1 REGISTER", call_id=call_id))),
        (at + 0.02, udp(*ends, sip("REGISTER sip:127.1.0.10 SIP/2.0", "2 REGISTER", call_id=call_id))),
        (at + 0.03, udp(*ends[::-1], sip("SIP/2.0 200 OK", "2 REGISTER", call_id=call_id))),
    ]


def voice(source: tuple[str, int], destination: tuple[str, int], at: float, ssrc: int, count: int = 51) -> Packets:
    return [(at + 0.02 * n, udp(source, destination, rtp(b"\x80" * 160, sequence=n, timestamp=160 * n, ssrc=ssrc))) for n in range(count)]


def scene() -> Packets:
    """BOB and ALICE register, BOB calls ALICE through the PBX, they talk for a second each way, RTCP at the end, BYE."""
    packets = registration(ALICE, 0.0, "ra") + registration(BOB, 0.1, "rb")
    packets += leg("one", (BOB, 5060), (PBX, 5060), MEDIA, 1.0) + leg("two", (PBX, 5060), (ALICE, 5060), MEDIA, 1.02)
    packets += voice(*MEDIA, 2.1, 1) + voice(*MEDIA[::-1], 2.11, 2)
    packets.append((3.5, udp((BOB, 4001), (ALICE, 4003), bytes([0x80, 200, 0, 6]) + bytes(24))))
    return sorted(packets)


def capture(packets: Packets, hosts: tuple[tuple[str, str], ...] = (*NAMES, (PAUL, "PAUL")), comment: str = "") -> Capture:
    return Capture.from_bytes(pcapng(sorted(packets), hosts=hosts, comment=comment))


def names(ladder: Ladder) -> list[str]:
    return [column.name for column in ladder.columns]


def said(ladder: Ladder) -> list[str]:
    columns = names(ladder)
    return [f"{columns[row.source]}>{columns[row.target]} {row.label}" for row in ladder.rows]


def test_the_messages_of_a_call_in_the_right_columns() -> None:
    ladder = capture(scene()).ladder()
    assert names(ladder) == ["BOB", "PBX", "ALICE"]
    offer = "SDP (PCMU PCMA telephone-event)"
    assert said(ladder) == [
        "ALICE>PBX REGISTER",
        "ALICE>PBX REGISTER (retransmission)",
        "PBX>ALICE 407 Proxy Authentication Required",
        "ALICE>PBX REGISTER",
        "PBX>ALICE 200 OK",
        "BOB>PBX REGISTER",
        "BOB>PBX REGISTER (retransmission)",
        "PBX>BOB 407 Proxy Authentication Required",
        "BOB>PBX REGISTER",
        "PBX>BOB 200 OK",
        f"BOB>PBX INVITE {offer}",
        "PBX>BOB 100 Trying",
        f"PBX>ALICE INVITE {offer}",
        "ALICE>PBX 100 Trying",
        "PBX>BOB 180 Ringing",
        "ALICE>PBX 180 Ringing",
        f"PBX>BOB 200 OK {offer}",
        f"ALICE>PBX 200 OK {offer}",
        "BOB>PBX ACK",
        "PBX>ALICE ACK",
        "BOB>ALICE RTP PCMU 51 packets 1.00 s",
        "ALICE>BOB RTP PCMU 51 packets 1.00 s",
        "BOB>PBX BYE",
        "PBX>ALICE BYE",
        "PBX>BOB 200 OK",
        "ALICE>PBX 200 OK",
    ]
    assert [(band.source_port, band.target_port, band.packets, band.codec) for band in ladder.bands] == [
        (4000, 4002, 51, "RTP PCMU"),
        (4002, 4000, 51, "RTP PCMU"),
    ]
    assert ladder.dialogs == ("ra", "rb", "one", "two")


def test_in_dialog_requests_and_notifies_are_told() -> None:
    ends = (BOB, 5060), (PBX, 5060)
    packets = [
        (0.0, udp(*ends, sip("INVITE sip:b@x SIP/2.0", to_tag="t"))),
        (0.1, udp(*ends, sip("REFER sip:b@x SIP/2.0", to_tag="t"))),
        (0.2, udp(*ends[::-1], sip("NOTIFY sip:b@x SIP/2.0", to_tag="t", body=b"SIP/2.0 100 Trying\r\n", kind="message/sipfrag"))),
    ]
    assert [arrow.label for arrow in capture(packets).ladder().arrows] == [
        "INVITE, in-dialog",
        "REFER, in-dialog",
        "NOTIFY sipfrag (SIP/2.0 100 Trying)",
    ]


def test_filters() -> None:
    cap = capture(scene() + registration(PAUL, 8.0, "rp"))
    assert names(cap.ladder()) == ["BOB", "PBX", "ALICE", "PAUL"]
    assert names(cap.ladder(hosts=["PAUL"])) == ["PAUL", "PBX"]
    assert said(cap.ladder(hosts=[PAUL])) == said(cap.ladder(hosts=["PAUL"]))
    assert {arrow.label.split()[0] for arrow in cap.ladder(methods=["bye"]).arrows} == {"BYE", "200"}
    assert said(cap.ladder(methods=["REGISTER"], hosts=["BOB"], rtp=False))[0] == "BOB>PBX REGISTER"
    assert [arrow.label for arrow in cap.ladder(methods=["ACK"], rtp=False).arrows] == ["ACK", "ACK"]
    assert len(cap.ladder(methods=["INVITE"]).arrows) == 10
    call = cap.ladder(call=0)
    assert len(call.arrows) == 14 and len(call.bands) == 2 and call.dialogs == ("one", "two")
    early = cap.ladder(start=0.1, end=0.14)
    assert {row.time < 0.15 for row in early.rows} == {True} and len(early.rows) == 5
    assert [band.label for band in cap.ladder(rtp=False, rtcp=True).bands] == ["RTCP 1 packets 0.00 s"]
    with pytest.raises(CaptureError, match="No host CAROL here. The hosts are: ALICE, BOB, PAUL, PBX"):
        cap.ladder(hosts=["CAROL"])


def test_hosts_that_share_an_address_are_told_apart_by_port() -> None:
    local = "127.0.0.1"
    blocks = block_comment(("PBX", local, 5060, 5060), ("BOB", local, 40000, 40099), ("ALICE", local, 40100, 40199))
    media = ((local, 40010), (local, 40110))
    packets = leg("one", (local, 40000), (local, 5060), media, 0.0) + leg("two", (local, 5060), (local, 40100), media, 0.02)
    cap = capture(packets + voice(*media, 1.5, 1), hosts=(), comment=blocks)
    assert names(cap.ladder()) == ["BOB", "PBX", "ALICE"]
    assert cap.host_of(local, 40010) == "BOB" and cap.host_of(local, 40110) == "ALICE" and cap.host_of(local, 9) == local
    assert cap.hosts == {f"{local}:5060-5060": "PBX", f"{local}:40000-40099": "BOB", f"{local}:40100-40199": "ALICE"}
    assert cap.calls["Initial Speaker"].tolist() == ["BOB"]
    assert cap.ladder().bands[0].source == 0 and cap.ladder().bands[0].target == 2


@pytest.mark.parametrize(
    "comment", ["{", "[1]", '{"labkit": 1, "hosts": 5}', '{"labkit": 1, "hosts": [{"ports": [1]}]}', '{"labkit": 2}', "just words"]
)
def test_a_comment_that_is_not_ours_names_nobody(comment: str) -> None:
    cap = capture(scene(), comment=comment)
    assert cap.hosts == {**dict(NAMES), PAUL: "PAUL"}


def test_without_names_the_address_is_the_name() -> None:
    cap = capture(scene(), hosts=())
    assert names(cap.ladder()) == [BOB, PBX, ALICE]
    assert cap.ladder().text().splitlines()[0].split() == [BOB, PBX, ALICE]


def test_text_fits_and_shows_everything() -> None:
    ladder = capture(scene() + registration(PAUL, 8.0, "rp")).ladder()
    drawn = ladder.text()
    assert max(len(line) for line in drawn.splitlines()) <= 100
    assert drawn.splitlines()[0].split() == ["BOB", "PBX", "ALICE", "PAUL"]
    assert drawn.count("▶") + drawn.count("◀") == len(ladder.rows)
    assert drawn.count("(retransmission)") == 3 and drawn.count("RTP PCMU 51 packets 1.00 s") == 2
    assert "4000 ═" in drawn and "═▶ 4002" in drawn and "4000 ◀═" in drawn
    assert repr(ladder) == drawn
    assert ladder.text(ascii=True).isascii()


def test_svg_is_accessible_and_whole() -> None:
    cap = capture(scene())
    ladder = cap.ladder()
    tree = ET.fromstring(ladder.svg())
    name = "{http://www.w3.org/2000/svg}"
    assert tree.get("role") == "img"
    first, second = tree[0], tree[1]
    assert (first.tag, second.tag) == (f"{name}title", f"{name}desc")
    assert tree.get("aria-labelledby") == f"{first.get('id')} {second.get('id')}"
    assert first.text == "Ladder of BOB, PBX, ALICE: 24 SIP messages, 2 RTP streams"
    groups = tree.findall(f"{name}g")
    assert len(groups) == len(ladder.rows)
    assert [group[0].text for group in groups if "Call-ID" in (group[0].text or "")] == [m.text.replace("\r", "") for m in cap.messages]
    dashes = {line.get("stroke-dasharray") for group in groups for line in group.findall(f"{name}line")}
    assert len(dashes) == len(ladder.dialogs), "every dialog has dashes of its own"
    assert ladder._repr_html_().count("<svg") == 1


def luminance(colour: str) -> float:
    """Relative luminance of sRGB (WCAG 2.1)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_dialog_can_be_seen_on_white_and_told_apart() -> None:
    assert all(1.05 / (luminance(each) + 0.05) >= 3 for each in COLOURS), "WCAG 2.1, 1.4.11"
    assert len(set(COLOURS)) == len(set(DASHES)) == len(COLOURS) == len(DASHES)
    rgb = [tuple(int(each[place : place + 2], 16) for place in (1, 3, 5)) for each in COLOURS]
    assert min(math.dist(one, other) for one, other in itertools.combinations(rgb, 2)) > 50


def hostile() -> Capture:
    ends = (BOB, 5060), (PBX, 5060)
    wicked = '</title><script>alert("x")</script>;#&`${}'
    message = sip(f"INVITE sip:{wicked.replace(' ', '')}@x SIP/2.0", call_id=f"<img src=x onerror=1>{wicked}", body=b"v=0\x00\x1b[31m<b>")
    answer = sip(f"SIP/2.0 486 {wicked}", "1 INVITE", call_id="<i>")
    return capture([(0, udp(*ends, message)), (1, udp(*ends[::-1], answer))], hosts=((BOB, "<b>BOB</b>\x07"), (PBX, "P;B#X")))


def test_network_text_is_never_markup() -> None:
    cap = hostile()
    svg = cap.ladder().svg()
    tree = ET.fromstring(svg)
    assert not [element for element in tree.iter() if element.tag.rpartition("}")[2] in ("script", "img", "b", "i")]
    assert "<script" not in svg and "onerror=1>" not in svg and "\x1b" not in svg
    mermaid = cap.ladder().mermaid()
    assert "<" not in mermaid and "`" not in mermaid
    assert "\x1b" not in cap.ladder().text()
    assert cap.ladder().png().startswith(b"\x89PNG")


def test_mermaid() -> None:
    lines = capture(scene()).ladder().mermaid().splitlines()
    assert lines[0] == "sequenceDiagram"
    assert "    participant h0 as BOB 127.1.0.100" in lines
    assert "    h1-->>h0: 407 Proxy Authentication Required" in lines
    assert "    Note over h0,h2: BOB → ALICE RTP PCMU 51 packets 1.00 s" in lines


def test_save(tmp_path: Path) -> None:
    ladder = capture(scene()).ladder()
    starts = {"x.svg": b"<svg", "x.png": b"\x89PNG", "x.mmd": b"sequenceDiagram", "x.txt": b" ", "x.csv": b"No.,Time,From,To"}
    for name, start in starts.items():
        assert ladder.save(tmp_path / name).read_bytes().startswith(start)
    table = ladder.table()
    assert table["Message"].tolist() == [row.label for row in ladder.rows]
    assert len((tmp_path / "x.csv").read_text().splitlines()) == len(table) + 1
    with pytest.raises(
        CaptureError, match=r"x\.gif: the end of the name says the format, and it must be one of \.svg, \.png, \.mmd, \.txt, \.csv"
    ):
        ladder.save(tmp_path / "x.gif")
    with pytest.raises(CaptureError, match="cannot be written"):
        ladder.save(tmp_path / "no" / "x.svg")


def test_french() -> None:
    cap = capture(scene())
    language("fr")
    assert "REGISTER (retransmission)" in cap.ladder().text() and "51 paquets" in cap.ladder().text()
    assert cap.ladder().title.startswith("Diagramme des échanges entre BOB, PBX, ALICE")


def test_nothing_to_draw() -> None:
    ladder = capture([]).ladder()
    assert ladder.text() == "No SIP message and no RTP stream to draw."
    assert [ET.fromstring(ladder.svg())[place].text for place in (0, 1)] == [ladder.text()] * 2
    assert ladder.png() and ladder.mermaid() and ladder.table().empty


def test_five_hundred_messages_are_drawn_quickly(figure: Callable[[str], None]) -> None:
    packets = [packet for n in range(72) for packet in leg(f"c{n}", (BOB, 5060), (PBX, 5060), MEDIA, 10.0 * n)]
    ladder = capture(packets).ladder()
    begin = time.perf_counter()
    svg = ladder.svg()
    figure(f"ladder of {len(ladder.rows)} messages as SVG: {1000 * (time.perf_counter() - begin):.0f} ms, {len(svg) >> 10} KiB")
    assert svg.count("<g>") == 504
