"""Any pcap and pcapng file gives the same packets; a damaged one gives those before the damage and says where it is."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.capture.capture import Capture
from labkit.capture.records import read_records
from labkit.capture.write import udp
from labkit.errors import CaptureError
from tests.capture.made import BOB, NAMES, PBX, START_NS, pcap, pcapng

PACKETS = [(0.25 * n, udp((BOB, 5060), (PBX, 5060), b"x" * (20 + n % 3))) for n in range(40)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_pcap_of_both_orders_and_units(order: str, nanoseconds: bool) -> None:
    records = read_records(pcap(PACKETS, order=order, nanoseconds=nanoseconds))
    assert len(records) == 40 and records.damage is None
    assert records.time_ns[0] == (START_NS if nanoseconds else START_NS // 1000 * 1000)
    assert np.all(np.diff(records.time_ns) == 250_000_000)
    assert records.captured.tolist() == [len(packet) for _, packet in PACKETS]


def test_pcapng_gives_times_names_and_comments() -> None:
    records = read_records(pcapng(PACKETS, hosts=NAMES, comment="made for a test"))
    assert records.time_ns.tolist() == [START_NS + 250_000_000 * n for n in range(40)]
    assert records.names == {"127.1.0.100": "BOB", "127.1.0.101": "ALICE", "127.1.0.10": "PBX"}
    assert records.section_comments == ("made for a test",)
    assert bytes(records.data[records.start[7] : records.start[7] + records.captured[7]]) == PACKETS[7][1]


def big_endian_section() -> bytes:
    """A section of the other byte order: milliseconds, one simple, one enhanced (with a comment), one obsolete packet block."""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack(">II", kind, len(body) + 12) + body + struct.pack(">I", len(body) + 12)

    packet = PACKETS[0][1]
    ticks = struct.pack(">II", 1_700_000_000_500 >> 32, 1_700_000_000_500 & 0xFFFFFFFF)
    sizes = struct.pack(">II", len(packet), len(packet))
    options = struct.pack(">HH", 1, 5) + b"hello\0\0\0" + bytes(4)
    return (
        block(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))
        + block(1, struct.pack(">HHI", 228, 0, 0) + struct.pack(">HHB3x", 9, 1, 3) + bytes(4))
        + block(3, struct.pack(">I", len(packet)) + packet)
        + block(6, struct.pack(">I", 0) + ticks + sizes + packet + bytes(-len(packet) % 4) + options)
        + block(2, struct.pack(">HH", 0, 0) + ticks + sizes + packet)
    )


def test_sections_of_both_orders_in_one_file() -> None:
    records = read_records(pcapng(PACKETS) + big_endian_section())
    assert len(records) == 43 and records.damage is None
    assert records.time_ns[40:].tolist() == [0, 1_700_000_000_500_000_000, 1_700_000_000_500_000_000]
    assert records.captured[40:].tolist() == [len(PACKETS[0][1])] * 3
    assert records.comments == {41: "hello"}


@pytest.mark.parametrize("write", [pcap, pcapng])
def test_a_file_cut_anywhere_keeps_whole_packets(write) -> None:  # type: ignore[no-untyped-def]
    data = write(PACKETS)
    whole = len(read_records(data))
    for size in range(len(write([])), len(data), 7):
        records = read_records(data[:size])
        assert len(records) <= whole
        assert all(records.start + records.captured <= size)
    assert len(read_records(data[:-1])) == whole - 1
    assert "39 packets were read" in str(read_records(data[:-1]).damage)


def test_damage_is_told_in_both_languages() -> None:
    data = bytearray(pcap(PACKETS))
    data[24 + 10 * 0 + 8 : 24 + 12] = b"\xff\xff\xff\xff"
    cap = Capture.from_bytes(bytes(data))
    assert cap.damage == "The file is damaged at byte 24: the 0 packets before it were read, what follows was left out."
    from labkit.texts import language

    language("fr")
    assert cap.damage is not None and cap.damage.startswith("Le fichier est abîmé à l'octet 24")


def test_what_is_no_capture_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot be opened"):
        Capture.open(tmp_path / "nothing.pcap")
    empty, other = tmp_path / "empty.pcap", tmp_path / "letter.txt"
    empty.write_bytes(b"")
    other.write_bytes(b"Dear Sir,")
    with pytest.raises(CaptureError, match=r"empty\.pcap is empty"):
        Capture.open(empty)
    with pytest.raises(CaptureError, match=r"letter\.txt is not a capture"):
        Capture.open(other)
    with pytest.raises(CaptureError, match="ends inside its own header"):
        Capture.from_bytes(pcap([])[:20])


@pytest.mark.parametrize("data", [pcap([]), pcapng([])])
def test_a_capture_without_packets_is_fine(data: bytes) -> None:
    cap = Capture.from_bytes(data)
    assert len(cap) == 0 and cap.damage is None
    assert cap.packets.empty and cap.sip.empty and cap.calls.empty and cap.rtp_streams.empty
    assert "0 packets" in repr(cap)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 600), st.sampled_from([pcap, pcapng]))
def test_hostile_bytes_never_crash(noise: bytes, at: int, write) -> None:  # type: ignore[no-untyped-def]
    data = bytearray(write(PACKETS))
    data[at : at + len(noise)] = noise
    try:
        cap = Capture.from_bytes(bytes(data))
    except CaptureError:
        return
    assert len(cap.packets) == len(cap) and len(cap.sip) == len(cap.messages)
    assert repr(cap)
