"""Header fields as dataclasses."""

from __future__ import annotations

import time

import pytest

from labkit.errors import SipError
from labkit.sip.headers import CSeq, NameAddr, Via, name_addrs, split_commas


def test_commas_in_quotes_and_brackets_do_not_split() -> None:
    value = '"Watson, \\"T\\", jr" <sip:t,w@h;x=1,2>;q=0.5 , <sip:b@h>, sip:c@h'
    assert split_commas(value) == ['"Watson, \\"T\\", jr" <sip:t,w@h;x=1,2>;q=0.5', "<sip:b@h>", "sip:c@h"]
    first, second, third = name_addrs([value])
    assert (first.display_name, first.uri, first.q) == ('Watson, "T", jr', "sip:t,w@h;x=1,2", 0.5)
    assert (second.uri, third.uri, third.q) == ("sip:b@h", "sip:c@h", 1.0)


@pytest.mark.parametrize("filling", ['\\"', "<", '"', ",", ";a", "a "])
def test_hostile_headers_cost_linear_time(filling: str) -> None:
    start = time.process_time()
    text = '"' + filling * 30_000
    split_commas(text)
    with pytest.raises(SipError):
        NameAddr.parse(text)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("space", [" ", "\x0b", "\u2003"])
def test_white_space_without_a_bracket_costs_linear_time(space: str) -> None:
    start = time.process_time()
    with pytest.raises(SipError):
        NameAddr.parse(space * 60_000 + "x y", "From")
    assert time.process_time() - start < 1


def test_name_addr() -> None:
    bob = NameAddr.parse('"BOB" <sip:100@h:5060;lr>;Tag=x;expires=120')
    assert (bob.display_name, bob.uri, bob.tag, bob.expires) == ("BOB", "sip:100@h:5060;lr", "x", 120)
    assert str(bob.with_tag("y")) == '"BOB" <sip:100@h:5060;lr>;Tag=y;expires=120'
    assert str(NameAddr("sip:a@h").with_tag("t")) == "<sip:a@h>;tag=t"
    bare = NameAddr.parse("sip:100@h;tag=x")
    assert (bare.uri, bare.tag) == ("sip:100@h", "x")
    assert NameAddr.parse("*").uri == "*"
    assert NameAddr.parse("<sip:a@h>;expires=soon").expires is None
    assert NameAddr.parse('J\\"x" <sip:a@h>'.replace('\\"x"', " Rosenberg")).display_name == "J Rosenberg"


def test_via_stamping() -> None:
    via = Via.parse("SIP / 2.0 / UDP  10.0.0.1 : 5070 ; branch = z9hG4bKa ;rport")
    stamped = via.received_from(("10.0.0.9", 6000))
    assert str(stamped) == "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKa;rport=6000;received=10.0.0.9"
    assert stamped.reply_address == ("10.0.0.9", 6000)
    plain = Via.parse("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa")
    assert plain.received_from(("10.0.0.1", 6000)) is plain
    assert plain.reply_address == ("10.0.0.1", 5060)
    assert plain.received_from(("10.0.0.2", 6000)).reply_address == ("10.0.0.2", 5060)


def test_cseq_bounds() -> None:
    assert CSeq.parse("2147483647 BYE") == CSeq(2**31 - 1, "BYE")
    for text in ("2147483648 BYE", "-1 BYE", "1", "BYE 1", "1 BYE x"):
        with pytest.raises(SipError):
            CSeq.parse(text)
