"""Framing on a byte stream."""

from __future__ import annotations

import pytest

from labkit.sip.message import MalformedMessage
from labkit.sip.stream import StreamParser

ONE = b"OPTIONS sip:a@h SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 3\r\n\r\nabc"
TWO = b"SIP/2.0 200 OK\r\nCall-ID: 2\r\nl: 0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_any_segmentation(size: int) -> None:
    stream = b"\r\n\r\n" + ONE + b"\r\n" + TWO + b"\r\n\r\n" + ONE
    parser = StreamParser()
    found = [m for i in range(0, len(stream), size) for m in parser.receive(stream[i : i + size])]
    assert [(m.call_id, m.body) for m in found] == [("1", b"abc"), ("2", b""), ("1", b"abc")]
    assert parser.pings == 2


def test_a_ping_alone_is_seen_at_once() -> None:
    parser = StreamParser()
    assert list(parser.receive(b"\r\n\r\n")) == []
    assert parser.pings == 1


@pytest.mark.parametrize(
    "head", [b"OPTIONS sip:a@h SIP/2.0\r\nCall-ID: 1\r\n\r\n", b"x" * 70_000, b"A sip:a SIP/2.0\r\nl: 999999999\r\n\r\n"]
)
def test_what_cannot_be_cut_raises(head: bytes) -> None:
    with pytest.raises(MalformedMessage):
        list(StreamParser().receive(head))


def test_a_head_that_is_too_long_can_still_be_answered() -> None:
    with pytest.raises(MalformedMessage) as error:
        list(StreamParser().receive(b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKx\r\nX: " + b"y" * (1 << 20)))
    assert error.value.status == 513
    assert error.value.sip_message is not None
    assert error.value.sip_message.via.branch == "z9hG4bKx"
