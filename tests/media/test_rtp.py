"""RTP headers and telephone-events survive parse and build; what is cut or lies is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import MediaError
from labkit.media.rtp import RtpHeader, TelephoneEvent

U32 = st.integers(0, 2**32 - 1)
headers = st.builds(
    RtpHeader,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 65535),
    timestamp=U32,
    ssrc=U32,
    marker=st.booleans(),
    csrc=st.lists(U32, max_size=15).map(tuple),
    extension=st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 9).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))),
    padding=st.integers(0, 255),
)


@given(headers, st.binary(max_size=300))
def test_round_trip(header: RtpHeader, payload: bytes) -> None:
    assert RtpHeader.parse(header.build(payload)) == (header, payload)


def test_a_packet_by_hand() -> None:
    packet = bytes.fromhex("b1e5 3039 0000 00a0 deadbeef 00000007 bede0001 aabbccdd 0102 000002".replace(" ", "") + "03")
    header, payload = RtpHeader.parse(packet)
    assert header == RtpHeader(101, 12345, 160, 0xDEADBEEF, True, (7,), (0xBEDE, b"\xaa\xbb\xcc\xdd"), 3)
    assert payload == b"\x01\x02\x00"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_packet_or_an_error(data: bytes) -> None:
    try:
        header, payload = RtpHeader.parse(data)
    except MediaError as error:
        assert "RTP packet" in str(error)
    else:
        assert len(payload) + header.padding <= len(data) - 12


def test_what_rtp_cannot_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="whole 32-bit words"):
        RtpHeader(0, 0, 0, 0, extension=(1, b"abc")).build(b"")
    with pytest.raises(ValueError, match="payload type"):
        RtpHeader(128, 0, 0, 0).build(b"")


def test_telephone_events() -> None:
    event = TelephoneEvent.parse(bytes.fromhex("0b8a 0320".replace(" ", "")))
    assert event == TelephoneEvent(11, True, 10, 800) and event.digit == "#"
    assert event.build().hex() == "0b8a0320"
    assert [TelephoneEvent(n, False, 0, 0).digit for n in (0, 9, 10, 12, 15, 16)] == ["0", "9", "*", "A", "D", ""]
    with pytest.raises(MediaError, match="this one has 3"):
        TelephoneEvent.parse(b"\x01\x00\x00")
