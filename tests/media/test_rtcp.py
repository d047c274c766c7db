"""The parts of compound RTCP packets, field by field."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import MediaError
from labkit.media.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, SourceDescription, parse

BLOCK = struct.pack("!IB3sIIII", 9, 64, b"\xff\xff\xfe", 70000, 80, 0x12345678, 98304)
SENDER = struct.pack("!BBH6I", 0x81, 200, 12, 5, 3_900_000_000, 1 << 31, 160, 7, 1120) + BLOCK
RECEIVER = struct.pack("!BBHI", 0x81, 201, 7, 6) + BLOCK
BYE = struct.pack("!BBHI", 0x81, 203, 2, 5) + b"\x03end"
REPORT = ReportBlock(9, 0.25, -2, 70000, 80, 0x12345678, 1.5)


def test_sender_and_receiver_reports() -> None:
    assert parse(SENDER + RECEIVER) == [SenderReport(5, 3_900_000_000.5, 160, 7, 1120, (REPORT,)), ReceiverReport(6, (REPORT,))]


def test_descriptions_of_two_sources() -> None:
    chunks = struct.pack("!I", 5) + b"\x01\x05a@b.c\x00" + struct.pack("!I", 6) + b"\x06\x04tool\x00\x00"
    packet = struct.pack("!BBH", 0x82, 202, len(chunks) // 4) + chunks
    assert parse(packet) == [SourceDescription({5: {"CNAME": "a@b.c"}, 6: {"TOOL": "tool"}})]


def test_goodbye_with_its_reason_and_types_that_are_stepped_over() -> None:
    application = struct.pack("!BBHI", 0x80, 204, 2, 5) + b"name"
    assert parse(application + BYE) == [Goodbye((5,), "end")]


def test_a_cut_packet_says_where() -> None:
    with pytest.raises(MediaError, match="at byte 52"):
        parse(SENDER + RECEIVER[:20])
    with pytest.raises(MediaError, match="at byte 0"):
        parse(struct.pack("!BBHI", 0x82, 203, 1, 5))


@given(st.binary(max_size=120))
def test_any_bytes_are_reports_or_an_error(data: bytes) -> None:
    try:
        parse(data)
        parse(SENDER + data)
    except MediaError as error:
        assert "RTCP" in str(error)
