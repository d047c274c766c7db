"""SIP statistics: counted by hand, and against Wireshark's own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.capture.capture import Capture
from labkit.capture.write import udp
from tests.capture.made import BOB, PBX, pcapng, sip
from tests.grading.scene import whole_part

ENDS = (BOB, 5060), (PBX, 5060)
BACK = ENDS[::-1]


def call() -> Capture:
    """An INVITE sent twice, challenged after 10 ms, sent again with credentials, answered after 250 ms and never ended."""
    invite = udp(*ENDS, sip("INVITE sip:b@x SIP/2.0", "1 INVITE"))
    return Capture.from_bytes(
        pcapng(
            [
                (0.0, invite),
                (0.005, invite),
                (0.008, udp(*BACK, sip("SIP/2.0 407 Proxy Authentication Required", "1 INVITE"))),
                (0.010, udp(*ENDS, sip("ACK sip:b@x SIP/2.0", "1 ACK"))),
                (0.100, udp(*ENDS, sip("INVITE sip:b@x SIP/2.0", "2 INVITE"))),
                (0.300, udp(*BACK, sip("SIP/2.0 200 OK", "2 INVITE"))),
                (0.350, udp(*ENDS, sip("ACK sip:b@x SIP/2.0", "2 ACK"))),
                (0.400, udp(*ENDS, sip("ACK sip:b@x SIP/2.0", "2 ACK"))),
            ]
        )
    )


def test_requests_responses_retransmissions_and_set_up_times() -> None:
    stats = call().sip_stats()
    assert stats[["Type", "Method or Status", "Packets", "Retransmissions"]].values.tolist() == [
        ["Request", "INVITE", 3, 1],
        ["Request", "ACK", 3, 1],
        ["Response", "200 OK", 1, 0],
        ["Response", "407 Proxy Authentication Required", 1, 0],
    ]
    invite = stats.iloc[0]
    assert invite["Set-ups"] == 2
    assert invite["Min Set-up(ms)":"Max Set-up(ms)"].tolist() == pytest.approx([10.0, 130.0, 250.0])
    assert stats.iloc[1:, 4:].isna().all(axis=None)


def test_a_capture_without_sip_has_no_rows() -> None:
    stats = Capture.from_bytes(pcapng([(0.0, udp(*ENDS, b"hello"))])).sip_stats()
    assert len(stats) == 0 and stats.columns[0] == "Type"


def test_malformed_messages_are_counted_too() -> None:
    odd = [b"ACK sip:x SIP/2.0\r\n\r\n", b"INVITE sip:x SIP/2.0\r\nCSeq: x\r\n\r\n", b"SIP/2.0 999 \r\n\r\n"]
    stats = Capture.from_bytes(pcapng([(0.1 * n, udp(*ENDS, data)) for n, data in enumerate(odd)])).sip_stats()
    assert sorted(stats["Method or Status"]) == ["999", "ACK", "INVITE"] and stats["Set-ups"].isna().all()


def test_wireshark_counts_the_same(tmp_path: Path, tool: Callable[[str], str]) -> None:
    path = whole_part().save(tmp_path / "part1.pcapng")
    command = [tool("tshark"), "-q", "-z", "sip,stat", "-r", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = {name.removeprefix("SIP "): int(count) for name, count in re.findall(r"^  (\S.*?)\s*:\s+(\d+) Packets", printed, re.MULTILINE)}
    stats = Capture.open(path).sip_stats()
    assert dict(zip(stats["Method or Status"], stats["Packets"], strict=True)) == theirs
    assert f"Number of SIP messages: {stats['Packets'].sum()}" in printed
    least, greatest = (int(re.search(rf"{word} (\d+) ms", printed)[1]) for word in ("Min", "Max"))  # type: ignore[index]
    [invite] = stats[stats["Method or Status"] == "INVITE"].to_dict("records")
    assert (invite["Min Set-up(ms)"], invite["Max Set-up(ms)"]) == pytest.approx((least, greatest), abs=1.0)
