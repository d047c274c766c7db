"""Numbers that come from the network: ASCII digits, as many zeros as anyone likes, and never an exception of Python's own."""

from __future__ import annotations

import pytest

from labkit.errors import SipError
from labkit.sip.headers import CSeq, NameAddr, Via
from labkit.sip.message import MalformedMessage, Request, parse, validate
from labkit.sip.number import decimal
from labkit.sip.sdp import Sdp
from labkit.sip.uri import SipUri

SESSION = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
FOREIGN = ["²", "٣", "1²", "+1", "-1", " 1", "1_0", "1.0", "9" * 21, "9" * 5000]


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("0" * 5000 + "7", 7), ("0" * 5000, 0), ("9" * 20, 10**20 - 1)])
def test_ascii_digits_are_a_number(text: str, number: int) -> None:
    assert decimal(text) == number


@pytest.mark.parametrize("text", [None, "", *FOREIGN])
def test_everything_else_is_none(text: str | None) -> None:
    assert decimal(text) is None


@pytest.mark.parametrize("text", FOREIGN)
def test_header_fields(text: str) -> None:
    assert NameAddr.parse(f"<sip:a@h>;expires={text.replace(' ', 'x')}").expires is None
    assert NameAddr.parse("<sip:a@h>;q=0.٣").q == 1.0
    assert Via("UDP", "h", 5070, (("rport", text),)).reply_address == ("h", 5070)
    with pytest.raises(SipError):
        CSeq.parse(f"{text}٣ INVITE")
    for uri in ("sip:a@h:٣", "ſip:a@h"):
        with pytest.raises(SipError):
            SipUri.parse(uri)
    with pytest.raises(SipError):
        Via.parse("SIP/2.0/UDP h:٣")


@pytest.mark.parametrize(("hops", "fits"), [("0" * 5000 + "7", True), ("255", True), ("256", False), ("٣", False), ("9" * 5000, False)])
def test_max_forwards(hops: str, fits: bool) -> None:
    request = Request("OPTIONS", "sip:h", [("Via", "SIP/2.0/UDP h"), ("From", "<sip:a@h>;tag=1"), ("To", "<sip:b@h>"), ("Call-ID", "1")])
    request.headers.append("CSeq", "1 OPTIONS")
    request.headers.append("Max-Forwards", hops)
    if fits:
        validate(request)
    else:
        with pytest.raises(SipError, match="Max-Forwards"):
            validate(request)


@pytest.mark.parametrize("length", [*FOREIGN[:5], "9" * 5000])
def test_content_length(length: str) -> None:
    with pytest.raises(MalformedMessage):
        parse(f"OPTIONS sip:h SIP/2.0\r\nContent-Length:{length}\r\n\r\n".encode())


@pytest.mark.parametrize("text", [*FOREIGN, "0" * 5000])
def test_session_descriptions(text: str) -> None:
    """A port or a count that is no number is refused; a rate or a payload type that is none names no codec."""
    for port in (text.replace(" ", "x"), f"4000/{text.replace(' ', 'x')}"):
        if decimal(text) is None:
            with pytest.raises(SipError):
                Sdp.parse(f"{SESSION}m=audio {port} RTP/AVP 0\r\n")
        else:
            assert Sdp.parse(f"{SESSION}m=audio {port} RTP/AVP 0\r\n").media[0].codecs
    for lines in (f"m=audio 4000 RTP/AVP {text}²\r\n", f"m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 x/²{text}\r\n"):
        assert Sdp.parse(SESSION + lines).media[0].codecs == []
    assert Sdp.parse(f"{SESSION}m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 x/8000/{text}\r\n").media[0].codecs[0].channels == 1
    assert Sdp.parse(f"{SESSION}m=audio 4000 RTP/AVP 128 960 00\r\n").media[0].codecs[0].payload_type == 0


def test_a_description_has_a_bounded_number_of_sections() -> None:
    assert len(Sdp.parse(SESSION + "m=audio 4000 RTP/AVP 0\r\n" * 64).media) == 64
    with pytest.raises(SipError):
        Sdp.parse(SESSION + "m=audio 4000 RTP/AVP 0\r\n" * 65)
