"""URIs: RFC 3261 §19.1, with the examples that the RFC prints."""

from __future__ import annotations

import pytest

from labkit.errors import SipError
from labkit.sip.hop import Hop
from labkit.sip.uri import SipUri


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice@atlanta.com",
        "sip:alice:secretword@atlanta.com;transport=tcp",
        "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:+1-212-555-1212:1234@gateway.com;user=phone",
        "sips:1212@gateway.com",
        "sip:alice@192.0.2.4",
        "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
        "sip:alice;day=tuesday@atlanta.com",
        "sip:100@[2001:db8::1]:5070;lr",
    ],
)
def test_examples_of_the_rfc_survive(text: str) -> None:
    assert str(SipUri.parse(text)) == text


def test_parts() -> None:
    uri = SipUri.parse("SIP:al%69ce:pw@[2001:db8::1]:5070;Transport=UDP;lr?Replaces=a%3Bb")
    assert uri == SipUri("sip", "alice", "pw", "[2001:db8::1]", 5070, (("Transport", "UDP"), ("lr", None)), (("Replaces", "a;b"),))
    assert uri.address == ("2001:db8::1", 5070)
    assert uri.param("transport") == "UDP"
    assert uri.param("lr") == ""
    assert uri.param("maddr") is None
    assert SipUri.parse("sips:a@b").address == Hop("b", 5061, "TLS")
    assert SipUri.parse("sip:a@b;transport=tcp").address == Hop("b", 5060, "TCP") != ("b", 5060)
    assert str(uri.aor) == "sip:alice@[2001:db8::1]"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        ("sip:alice@atlanta.com?subject=project%20x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=project%20x"),
    ],
)
def test_equivalent(one: str, other: str) -> None:
    assert SipUri.parse(one).matches(SipUri.parse(other))
    assert SipUri.parse(other).matches(SipUri.parse(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ],
)
def test_different(one: str, other: str) -> None:
    assert not SipUri.parse(one).matches(SipUri.parse(other))


def test_building_escapes() -> None:
    assert str(SipUri(user="a@b c", host="127.0.0.1")) == "sip:a%40b%20c@127.0.0.1"
    assert SipUri.parse(str(SipUri(user="é%41", host="h"))).user == "é%41"


@pytest.mark.parametrize(
    "text", ["", "sip:", "sip:@h", "sip:a@", "sip:a@h:99999", "sip:a@h:0", "sip:a b@h", "sip:a@h;", "100@h", "sip:a@h?"]
)
def test_refused(text: str) -> None:
    with pytest.raises(SipError) as caught:
        SipUri.parse(text)
    assert caught.value.status == 400


def test_other_schemes_are_416() -> None:
    with pytest.raises(SipError) as caught:
        SipUri.parse("tel:+33123456789")
    assert caught.value.status == 416
