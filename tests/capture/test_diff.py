"""The difference of two messages: the digest lesson, headers that come and go, bodies line by line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labkit.capture.capture import Capture
from labkit.capture.diff import LONGEST_BODY, Difference, Line
from labkit.capture.write import udp
from labkit.errors import CaptureError
from labkit.texts import language
from tests.capture.made import BOB, PBX, pcapng, sdp, sip
from tests.grading.scene import whole_part

ENDS = (BOB, 5060), (PBX, 5060)


def of(*messages: bytes) -> Capture:
    return Capture.from_bytes(pcapng([(0.1 * number, udp(*ENDS, data)) for number, data in enumerate(messages)]))


def fields(difference: Difference, state: str) -> list[str]:
    return [line.field for line in difference.lines if line.state == state]


@pytest.fixture
def registration(tmp_path: Path) -> Capture:
    """REGISTER, 407, REGISTER with credentials, 200, and more."""
    return Capture.open(whole_part().save(tmp_path / "part1.pcapng"))


def test_the_second_register_adds_the_digest_parameter_by_parameter(registration: Capture) -> None:
    found = registration.diff(1, 3)
    assert fields(found, "same") == ["Start line", "From", "To", "Call-ID", "Contact", "Content-Length"]
    assert fields(found, "changed") == ["Via", "CSeq"] and fields(found, "removed") == []
    parameters = "username realm nonce uri response algorithm".split()
    assert fields(found, "added") == ["Proxy-Authorization", *(f"Proxy-Authorization {name}" for name in parameters)]
    assert Line("CSeq", "1 REGISTER", "2 REGISTER") in found.changes
    assert Line("Proxy-Authorization username", None, "100") in found.changes
    assert "≠ CSeq: 1 REGISTER\n      → 2 REGISTER" in found.text() and repr(found) == found.text()
    assert found.text().startswith("1 REGISTER and 3 REGISTER: 6 lines the same (=), 2 changed (≠), 7 added (+), 0 removed (-)")


def test_a_challenge_stands_beside_the_credentials_that_answer_it(registration: Capture) -> None:
    lines = {line.field: line.state for line in registration.diff(2, 3).lines}
    name = "Proxy-Authenticate → Proxy-Authorization"
    assert lines[f"{name} realm"] == lines[f"{name} nonce"] == "same"
    assert lines[f"{name} response"] == lines[f"{name} username"] == "added"


def test_digest_parameters_are_explained_beside_them(registration: Capture) -> None:
    notes = {line.field: line.note for line in registration.diff(1, 3).lines}
    assert "the password itself never travels" in notes["Proxy-Authorization response"]
    assert notes["CSeq"] == notes["Proxy-Authorization"] == ""
    assert "the password itself never travels" in registration.diff(1, 3)._repr_html_()


def test_a_message_compares_itself_and_prints_whole(registration: Capture) -> None:
    first, second = registration.messages[0], registration.messages[2]
    assert first.diff(second) == registration.diff(1, 3)
    assert not first.diff(first).changes
    assert str(registration.message(1)).replace("\n", "\r\n") == first.text
    with pytest.raises(CaptureError, match=r"Packet 9999 holds no SIP message. SIP messages are in the packets 1, 2, 3,.*, …:"):
        registration.diff(1, 9999)


def test_bodies_are_compared_line_by_line() -> None:
    offer = sdp("127.1.0.100", 40000)
    hold = offer.replace(b"a=sendrecv", b"a=sendonly").replace(b"m=audio 40000 RTP/AVP 0 8 101", b"m=audio 40000 RTP/AVP 0\r\nb=AS:64")
    found = of(sip("INVITE sip:b@x SIP/2.0", body=offer), sip("INVITE sip:b@x SIP/2.0", "2 INVITE", body=hold)).diff(1, 2)
    body = [line for line in found.changes if line.field == "Body"]
    assert Line("Body", "a=sendrecv", "a=sendonly") in body
    assert Line("Body", "m=audio 40000 RTP/AVP 0 8 101", "m=audio 40000 RTP/AVP 0") in body
    assert Line("Body", None, "b=AS:64") in body and len(body) == 3


def test_repeated_compact_and_new_headers_find_their_places() -> None:
    plain = b"OPTIONS sip:x SIP/2.0\r\nv: SIP/2.0/UDP a\r\nVia: SIP/2.0/UDP b\r\nCall-ID: c\r\n\r\n"
    other = b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nSubject: new\r\nCall-ID: c\r\n\r\n"
    assert [(line.field, line.state) for line in of(plain, other).diff(1, 2).lines] == [
        ("Start line", "same"),
        ("v", "same"),
        ("Subject", "added"),
        ("Via", "removed"),
        ("Call-ID", "same"),
    ]


def test_html_is_escaped_and_says_each_state_in_words() -> None:
    evil = sip("OPTIONS sip:x SIP/2.0", extra="Subject: <script>alert(1)</script>\x1b[2J\r\n")
    html = of(evil, sip("OPTIONS sip:x SIP/2.0", extra="X-New: 1\r\n")).diff(1, 2)._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html and "\x1b" not in html
    assert "- removed</td>" in html and "+ added</td>" in html and "<del>" in html and "<ins>1</ins>" in html
    assert re.search(r"<caption>1 OPTIONS and 2 OPTIONS: ", html) and '<th scope="row">Subject</th>' in html
    hostile = of(evil).message(1)
    assert "\x1b" not in str(hostile) and "<script>" not in hostile._repr_html_()


def test_table_and_french(registration: Capture) -> None:
    made = registration.diff(1, 3).table()
    assert made.columns.tolist() == ["Field", "State", "1 REGISTER", "3 REGISTER", "Note"]
    assert made["State"].tolist()[:2] == [
        "same",
        "changed",
    ]
    assert "<caption>Difference of the SIP messages 1 REGISTER and 3 REGISTER</caption>" in made._repr_html_()
    assert len(registration.diff(1, 1).table().columns) == 5
    language("fr")
    assert "2 changed" not in registration.diff(1, 3).text() and "changées 2 (≠)" in registration.diff(1, 3).text()
    assert registration.diff(1, 3).table()["State"].tolist()[1] == "changé"


def test_long_bodies_cost_no_more_than_their_lines() -> None:
    first, second = (b"".join(b"a=%d\r\n" % (number * step) for number in range(LONGEST_BODY + 1)) for step in (1, 2))
    found = of(*(b"MESSAGE sip:x SIP/2.0\r\nCall-ID: c\r\nContent-Length: %d\r\n\r\n" % len(body) + body for body in (first, second))).diff(
        1, 2
    )
    assert fields(found, "changed").count("Body") == LONGEST_BODY
