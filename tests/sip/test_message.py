"""Messages: lazy reading, byte-exact relaying, datagram rules."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from labkit.errors import SipError
from labkit.sip.message import Headers, MalformedMessage, Request, Response, parse, validate

# The messages that the RFCs print with a fault: a header broken over the margin, "Content Length", no Via, no empty line before a body.
MISPRINTS = {
    "rfc3665": [("3.10", "F4")],
    "rfc5359": [
        *[("2.1", "F4"), ("2.1", "F5"), ("2.2", "F4"), ("2.2", "F5"), ("2.2", "F19"), ("2.2", "F20"), ("2.4", "F7")],
        *[("2.7", "F5"), ("2.7", "F6"), ("2.10", "F3"), ("2.10", "F6"), ("2.15", "F18")],
    ],
}
INVITE = (
    b"INVITE sip:101@127.0.0.1 SIP/2.0\r\n"
    b"v: SIP/2.0/UDP 127.0.0.2:5062;branch=z9hG4bK1;rport\r\n"
    b"VIA:SIP/2.0/UDP 127.0.0.3 ;branch=z9hG4bK0\r\n"
    b'f:  "BOB, the first" <sip:100@127.0.0.1>;tag=a\r\n'
    b"t: <sip:101@127.0.0.1>\r\n"
    b"i: c1\r\n"
    b"CSeq: 1\r\n  INVITE\r\n"
    b"X-Odd :   kept   as\r\n\tit   is  \r\n"
    b"m: <sip:100@127.0.0.2:5062>\r\n"
    b"l: 5\r\n"
    b"\r\n"
    b"hello"
)


def test_compact_folded_and_repeated_headers() -> None:
    message = parse(INVITE)
    assert isinstance(message, Request)
    assert message.headers.get("Call-ID") == "c1"
    assert message.headers.get("x-odd") == "kept   as it   is"
    assert message.headers.get_all("Via") == ["SIP/2.0/UDP 127.0.0.2:5062;branch=z9hG4bK1;rport", "SIP/2.0/UDP 127.0.0.3 ;branch=z9hG4bK0"]
    assert (message.cseq.number, message.cseq.method) == (1, "INVITE")
    assert message.from_.display_name == "BOB, the first"
    assert message.contacts[0].sip_uri.address == ("127.0.0.2", 5062)


def test_untouched_headers_are_byte_exact() -> None:
    assert bytes(parse(INVITE)) == INVITE
    message = parse(INVITE)
    message.headers.insert("Record-Route", "<sip:127.0.0.1;lr>")
    message.headers.set("Call-ID", "c2")
    expected = INVITE.replace(b"SIP/2.0\r\n", b"SIP/2.0\r\nRecord-Route: <sip:127.0.0.1;lr>\r\n", 1).replace(b"i: c1", b"Call-ID: c2")
    assert bytes(message) == expected


def test_parsed_forms_follow_a_change() -> None:
    message = parse(INVITE)
    assert message.via.branch == "z9hG4bK1"
    message.headers.replace_first("Via", "SIP/2.0/UDP 127.0.0.9;branch=z9hG4bK9")
    assert message.via.branch == "z9hG4bK9"
    assert len(message.headers.get_all("Via")) == 2
    message.headers.remove("v")
    assert "Via" not in message.headers


def test_content_length_rules_of_a_datagram() -> None:
    assert parse(INVITE + b"garbage").body == b"hello"
    with pytest.raises(MalformedMessage) as caught:
        parse(INVITE[:-1])
    assert caught.value.status == 400
    assert isinstance(caught.value.sip_message, Request)
    assert caught.value.sip_message.call_id == "c1"
    without = INVITE.replace(b"l: 5\r\n", b"")
    assert parse(without).body == b"hello"
    assert bytes(parse(without)).count(b"Content-Length: 5\r\n") == 1


def test_leading_empty_lines_are_skipped() -> None:
    assert parse(b"\r\n\r\n" + INVITE).body == b"hello"


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n\r\n", b"hello", b"SIP/2.0 99 x\r\n\r\n", b"SIP/2.0 2000 x\r\n\r\n", b"\0\0\0\0\r\n\r\n"],
)
def test_garbage_has_nobody_to_answer(data: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse(data)
    assert caught.value.sip_message is None


def test_without_the_empty_line_it_can_still_be_answered() -> None:
    with pytest.raises(MalformedMessage, match="no empty line") as caught:
        parse(INVITE.partition(b"\r\n\r\n")[0] + b"\r\n")
    assert caught.value.sip_message is not None
    assert caught.value.sip_message.call_id == "c1"


def test_a_value_cannot_smuggle_a_header() -> None:
    with pytest.raises(ValueError, match="line break"):
        Headers([("Subject", "a\r\nRoute: <sip:evil>")])


def test_response_copies_what_it_must() -> None:
    request = parse(INVITE)
    assert isinstance(request, Request)
    response = request.response(180, to_tag="b")
    assert response.start_line == "SIP/2.0 180 Ringing"
    assert response.to.tag == "b"
    assert response.headers.get_all("Via") == request.headers.get_all("Via")
    assert response.call_id == "c1"
    assert not request.response(100, to_tag="b").to.tag
    again = parse(bytes(response))
    assert isinstance(again, Response)
    assert again.status == 180
    validate(again)


def test_validate_names_the_fault() -> None:
    message = parse(INVITE.replace(b"i: c1\r\n", b""))
    with pytest.raises(SipError, match="Call-ID is missing"):
        validate(message)
    message = parse(INVITE.replace(b"INVITE\r\n", b"OPTIONS\r\n", 1))
    with pytest.raises(SipError, match="Both must name the same method"):
        validate(message)


@pytest.mark.parametrize("name", ["rfc3665", "rfc5359"])
def test_call_flows_of_the_rfcs_parse(corpus: Path, name: str) -> None:
    flows = json.loads((corpus / "rfc-flows" / f"{name}.json").read_text("utf-8"))
    printed = [item for flow in flows for item in flow["messages"] if item["message"] is not None]
    faults = []
    for item in printed:
        try:
            validate(parse(_without_length(item["message"])))
        except SipError as error:
            faults.append((item["section"], item["id"], str(error)))
    assert len(printed) > 50
    assert [(section.split()[0], number) for section, number, _ in faults] == MISPRINTS[name], faults


def _without_length(text: str) -> bytes:
    """The RFCs print lengths that do not always fit their bodies, so the length is taken out of play."""
    head, _, body = text.partition("\r\n\r\n")
    lines = [line for line in head.rstrip("\r\n").split("\r\n") if not line.startswith("Content-Length")]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@pytest.mark.parametrize("end", ["\n", "\r", "\n\r"])
def test_a_lone_line_end_starts_no_header(end: str) -> None:
    """Two programs that read it differently would see different headers: it is refused."""
    with pytest.raises(MalformedMessage) as caught:
        parse(f"OPTIONS sip:a@h SIP/2.0\r\nSubject: a{end}Contact: <sip:evil@h>\r\nVia: SIP/2.0/UDP h\r\n\r\n".encode())
    assert caught.value.status == 400
    assert caught.value.sip_message is not None
    assert "Contact" not in caught.value.sip_message.headers
    with pytest.raises(MalformedMessage) as caught:
        parse(f"SIP/2.0 200 OK{end}Contact: x\r\nVia: SIP/2.0/UDP h\r\n\r\n".encode())
    assert caught.value.status is None


@pytest.mark.parametrize(
    "extra", ["a: b\r\n" * 500, f"Contact: <sip:a@h>{',<sip:a@h>' * 1500}\r\n", f"Accept: a{';b' * 1500}\r\n", "v: x\r\n y\r\n" * 9999]
)
def test_a_head_of_too_many_fields_is_answered_by_its_first_lines(extra: str) -> None:
    head = "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n"
    with pytest.raises(MalformedMessage, match="500 header lines") as error:
        parse(f"{head}{extra}\r\n".encode())
    assert error.value.status == 513
    assert isinstance(error.value.sip_message, Request)
    answered = error.value.sip_message.response(513)
    assert answered.via.branch == "z9hG4bKx"
    assert len(answered.headers) <= 100


def test_as_many_proxies_as_max_forwards_allows() -> None:
    ways = "".join(
        f"Via: SIP/2.0/UDP h{n};branch=z9hG4bK{n};received=127.0.0.1;rport=5060\r\nRecord-Route: <sip:h{n};lr>\r\n" for n in range(70)
    )
    message = parse(f"OPTIONS sip:h SIP/2.0\r\n{ways}\r\n".encode())
    assert len(message.headers.get_list("Via")) == 70


def test_a_fold_among_many_spaces_costs_linear_time() -> None:
    start = time.process_time()
    message = parse(b"OPTIONS sip:h SIP/2.0\r\nX: a" + b" " * 60_000 + b"b \t\r\n \tc\r\n\r\n")
    assert message.headers.get("X") == "a" + " " * 60_000 + "b c"
    assert time.process_time() - start < 1


def test_a_version_is_ascii() -> None:
    with pytest.raises(MalformedMessage):
        parse("OPTIONS sip:h ſIP/2.0\r\n\r\n".encode())
