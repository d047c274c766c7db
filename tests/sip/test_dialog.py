"""Dialogs: made by both sides, requests inside them, routes."""

from __future__ import annotations

import pytest

from labkit.errors import SipError
from labkit.sip.dialog import Dialog, DialogState
from labkit.sip.message import Request

INVITE = [
    ("Via", "SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK1"),
    ("Record-Route", "<sip:p2;lr>, <sip:p1;lr>"),
    ("From", "<sip:100@h>;tag=a"),
    ("To", "<sip:101@h>"),
    ("Call-ID", "c"),
    ("CSeq", "7 INVITE"),
    ("Contact", "<sip:100@127.0.0.2:5062>"),
]


def pair() -> tuple[Dialog, Dialog]:
    invite = Request("INVITE", "sip:101@h", INVITE)
    callee = Dialog.from_request(invite, "b")
    ok = invite.response(200, to_tag="b")
    ok.headers.copy_from(invite.headers, "Record-Route")
    ok.headers.append("Contact", "<sip:101@127.0.0.3>")
    return Dialog.from_response(invite, ok), callee


def test_both_sides_agree() -> None:
    caller, callee = pair()
    assert caller.id == ("c", "a", "b")
    assert callee.id == ("c", "b", "a")
    assert caller.state is DialogState.CONFIRMED
    bye = callee.request("BYE")
    assert (bye.uri, bye.from_.tag, bye.to.tag) == ("sip:100@127.0.0.2:5062", "b", "a")
    assert bye.headers.get_list("Route") == ["<sip:p2;lr>", "<sip:p1;lr>"]
    assert callee.next_hop == ("p2", 5060)
    reinvite = caller.request("INVITE")
    assert (reinvite.uri, reinvite.cseq.number) == ("sip:101@127.0.0.3", 8)
    assert reinvite.headers.get_list("Route") == ["<sip:p1;lr>", "<sip:p2;lr>"]
    assert caller.request("ACK", cseq=8).cseq.number == 8
    assert caller.request("BYE").cseq.number == 9


def test_old_cseq_is_500() -> None:
    caller, callee = pair()
    bye = caller.request("BYE")
    callee.receive(bye)
    with pytest.raises(SipError) as caught:
        callee.receive(caller.request("INFO", cseq=3))
    assert caught.value.status == 500


def test_target_refresh() -> None:
    caller, callee = pair()
    update = caller.request("UPDATE")
    update.headers.append("Contact", "<sip:100@127.0.0.9>")
    callee.refresh(update)
    assert callee.request("BYE").uri == "sip:100@127.0.0.9"


def test_strict_router() -> None:
    caller, _ = pair()
    caller.route_set = [caller.route_set[0].parse("<sip:old>"), caller.route_set[1]]
    request = caller.request("BYE")
    assert request.uri == "sip:old"
    assert request.headers.get_list("Route") == ["<sip:p2;lr>", "<sip:101@127.0.0.3>"]


def test_no_dialog_without_tag_or_contact() -> None:
    invite = Request("INVITE", "sip:101@h", INVITE)
    with pytest.raises(SipError, match="no To tag"):
        Dialog.from_response(invite, invite.response(200))
    with pytest.raises(SipError, match="Contact"):
        Dialog.from_response(invite, invite.response(200, to_tag="b"))
