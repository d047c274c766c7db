"""RFC 4475, the torture tests: what parser and validation decide on their own (a PBX test judges the rest)."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.errors import SipError
from labkit.sip.message import Request, Response, parse, validate

# What read and validate owe: None to accept, a status to answer, "drop" for a response that must be dropped.
EXPECTED: dict[str, int | str | None] = {
    "wsinv": None,
    "intmeth": None,
    "esc01": None,
    "escnull": None,
    "esc02": None,
    "lwsdisp": None,
    "longreq": None,
    "dblreq": None,
    "semiuri": None,
    "transports": None,
    "mpart01": None,
    "unreason": None,
    "noreason": None,
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": "drop",
    "quotbal": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 400,
    "trws": 400,
    "escruri": 400,
    "baddate": None,
    "regbadct": 400,
    "badaspec": 400,
    "baddn": 400,
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "bigcode": "drop",
    "badbranch": None,
    "insuf": 400,
    "unkscm": 416,
    "novelsc": 416,
    "unksm2": None,
    "bext01": None,
    "invut": None,
    "regaut01": None,
    "multi01": 400,
    "mcl01": 400,
    "bcast": None,
    "zeromf": None,
    "cparam01": None,
    "cparam02": None,
    "regescrt": None,
    "sdp01": None,
    "inv2543": None,
}


@pytest.fixture
def dat(corpus: Path) -> Path:
    return corpus / "rfc4475" / "dat"


def judge(data: bytes) -> int | str | None:
    try:
        message = parse(data)
        validate(message)
    except SipError as error:
        return "drop" if data.startswith(b"SIP/") else error.status
    return None


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_torture(name: str, dat: Path) -> None:
    assert judge((dat / f"{name}.dat").read_bytes()) == EXPECTED[name]


def test_every_file_is_expected(dat: Path) -> None:
    assert {path.stem for path in dat.glob("*.dat")} == {*EXPECTED, "test"}


@pytest.mark.parametrize("name", [n for n, e in sorted(EXPECTED.items()) if e is None])
def test_relayed_byte_for_byte(name: str, dat: Path) -> None:
    data = (dat / f"{name}.dat").read_bytes()
    head, _, _ = data.partition(b"\r\n\r\n")
    written_head, _, _ = bytes(parse(data)).partition(b"\r\n\r\n")
    assert written_head.startswith(head)


def test_wild_white_space(dat: Path) -> None:
    message = parse((dat / "wsinv.dat").read_bytes())
    assert isinstance(message, Request)
    assert message.to.uri == "sip:vivekg@chair-dnrc.example.com"
    assert message.to.tag == "1918181833n"
    assert message.from_.display_name == 'J Rosenberg \\"'
    assert message.cseq.number == 9
    assert message.via.host == "192.0.2.2"
    assert message.via.branch == "390skdjuw"
    assert len(message.headers.get_list("Via")) == 3
    assert message.contacts[0].display_name == 'Quoted string ""'
    assert message.contacts[0].q == 0.33


def test_wide_range_of_characters(dat: Path) -> None:
    message = parse((dat / "intmeth.dat").read_bytes())
    assert isinstance(message, Request)
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.to.display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.target.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.target.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"


def test_escapes_are_decoded_once(dat: Path) -> None:
    message = parse((dat / "esc01.dat").read_bytes())
    assert isinstance(message, Request)
    assert message.target.user == "sips:user@example.com"
    contact = message.contacts[0]
    assert contact.sip_uri.params == (("lr", None), ("name", "value%41"))
    nul = parse((dat / "escnull.dat").read_bytes())
    assert [c.sip_uri.user for c in nul.contacts] == ["\0", "\0\0"]


def test_two_contacts_not_three(dat: Path) -> None:
    message = parse((dat / "esc02.dat").read_bytes())
    assert isinstance(message, Request)
    assert message.method == "RE%47IST%45R"
    assert len(message.contacts) == 2
    assert message.headers.get("C%6Fntact") is not None


def test_trailing_octets_are_cut(dat: Path) -> None:
    message = parse((dat / "dblreq.dat").read_bytes())
    assert isinstance(message, Request)
    assert message.method == "REGISTER"
    assert message.body == b""


def test_responses(dat: Path) -> None:
    unusual = parse((dat / "unreason.dat").read_bytes())
    assert isinstance(unusual, Response)
    assert unusual.reason == "= 2**3 * 5**2 но сто девяносто девять - простое"
    empty = parse((dat / "noreason.dat").read_bytes())
    assert isinstance(empty, Response)
    assert (empty.status, empty.reason) == (100, "")
    assert bytes(empty).startswith(b"SIP/2.0 100 \r\n")
