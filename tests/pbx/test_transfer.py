"""Transfers: the lab's trace message by message, attended ones, and everything that can go wrong."""

from __future__ import annotations

import asyncio
import re

import pytest

from labkit.sip.headers import NameAddr
from labkit.sip.message import Request
from labkit.sip.uri import SipUri
from tests.pbx.office import Office, play
from tests.pbx.peer import Peer

HOLD = b"sendonly"


def refer(phone: Peer, ringing: Request, to: str, *, headers: tuple[tuple[str, str], ...] = ()) -> Request:
    """A REFER of the phone that was called (its dialog is that of ``ringing``)."""
    request = phone.in_dialog("REFER", ringing, tag=f"t{phone.number}")
    request.headers.append("Refer-To", f"<sip:{to}@{phone.pbx[0]}>" if "<" not in to else to)
    for name, value in headers:
        request.headers.append(name, value)
    return request


async def told(phone: Peer, status: int) -> Request:
    """The next NOTIFY, answered; its body is the status line."""
    notify = await phone.ask("NOTIFY")
    assert notify.content_type == "message/sipfrag"
    assert notify.body.startswith(b"SIP/2.0 %d " % status), notify.body
    final = status >= 200
    assert (notify.headers.get("Subscription-State") or "").startswith("terminated;reason=noresource" if final else "active;expires=")
    phone.reply(notify, 200)
    return notify


async def hold(o: Office, ringing: Request) -> None:
    change = o.alice.in_dialog("INVITE", ringing, tag="t101", body=o.alice.sdp.replace(b"sendrecv", HOLD))
    o.alice.send(change)
    await o.alice.response(100)
    asked = await o.bob.ask("INVITE")
    assert HOLD in asked.body
    o.bob.reply(asked, 200, body=o.bob.sdp.replace(b"sendrecv", b"recvonly"))
    await o.bob.ask("ACK")
    o.alice.send(o.alice.ack(change, await o.alice.response(200)))


def test_the_blind_transfer_of_the_trace() -> None:
    async def scene(o: Office) -> None:
        o.paul.sdp = o.paul.sdp.replace(b"o=- 1 1 ", b"o=paul 7 7 ")
        await o.paul.register()
        _, _, ringing = await o.connected()
        await hold(o, ringing)
        before = len(o.alice.log)
        o.alice.send(refer(o.alice, ringing, "102"))
        accepted = await o.alice.response(202)
        assert accepted.reason == "Accepted"
        assert (await told(o.alice, 100)).headers.get("Event") == "refer"
        outgoing = await o.paul.ask("INVITE")
        assert (outgoing.body, outgoing.content_type) == (b"", "")  # delayed offer
        assert (outgoing.from_.display_name, outgoing.from_.sip_uri.user) == ("BOB", "100")
        assert "sip:101@" in (outgoing.headers.get("Referred-By") or "")
        o.paul.reply(outgoing, 100)
        o.paul.reply(outgoing, 180)
        o.paul.reply(outgoing, 200, body=o.paul.sdp)
        await told(o.alice, 200)
        o.alice.send(o.alice.in_dialog("BYE", ringing, tag="t101"))
        await o.alice.response(200)
        asked = await o.bob.ask("INVITE")
        # PAUL's offer, in the session that BOB's phone knows (RFC 3264 §8).
        assert re.sub(rb"o=.*\r\n", b"", asked.body) == re.sub(rb"o=.*\r\n", b"", o.paul.sdp)
        assert re.findall(rb"o=.*\r\n", asked.body) == [b"o=- 1 2 IN IP4 127.0.0.1\r\n"]
        assert "< ACK" not in o.paul.log  # the answer is not there yet
        o.bob.reply(asked, 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        ack = await o.paul.ask("ACK")
        assert (ack.body, ack.content_type) == (o.bob.sdp, "application/sdp")
        assert o.alice.log[before:] == ["> REFER", "< 202", "< NOTIFY", "> 200", "< NOTIFY", "> 200", "> BYE", "< 200"]
        assert o.paul.log[4:] == ["< INVITE", "> 100", "> 180", "> 200", "< ACK"]
        assert repr(o.pbx.calls) == "[<Call 100 -> 102 connected>]"
        assert [row.state for row in o.pbx.status()] == ["in_call", "registered", "in_call"]
        # They talk, and PAUL hangs up.
        o.paul.send(o.paul.in_dialog("BYE", outgoing, tag="t102"))
        await o.paul.response(200)
        o.bob.reply(await o.bob.ask("BYE"), 200)
        await o.alice.silent(0.1)
        assert o.pbx.calls == []
        assert [kind for kind in o.kinds() if kind.startswith("transf")] == ["transferring", "transferred"]

    play(scene)


def test_the_stale_contact_of_the_trace_is_never_cancelled_and_keeps_being_called() -> None:
    async def scene(o: Office) -> None:
        dead = await Peer("102", "3333", o.paul.pbx).start("127.0.0.1")
        await dead.register()
        await o.paul.register()
        _, _, ringing = await o.connected()
        o.alice.send(refer(o.alice, ringing, "102"))
        await o.alice.response(202)
        await told(o.alice, 100)
        outgoing = await o.paul.ask("INVITE")
        stale = await dead.ask("INVITE")
        assert stale.call_id != outgoing.call_id
        o.paul.reply(outgoing, 180)
        o.paul.reply(outgoing, 200, body=o.paul.sdp)
        await told(o.alice, 200)
        asked = await o.bob.ask("INVITE")
        o.bob.reply(asked, 200, body=o.bob.sdp)
        await o.paul.ask("ACK")
        for _ in range(4):  # §9.1: no provisional response, so no CANCEL; §17.1.1.2: so it is repeated until timer B
            await dead.ask("INVITE")
        assert "< CANCEL" not in dead.log
        dead.reply(stale, 180)  # it wakes up at last: now it is told
        assert (await dead.ask("CANCEL")).headers.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
        await dead.close()

    play(scene)


def test_the_caller_transfers() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        invite, ok, _ = await o.connected()
        request = o.bob.in_dialog("REFER", invite, ok)
        request.headers.append("Refer-To", "<sip:102@h>")
        o.bob.send(request)
        await o.bob.response(202)
        await told(o.bob, 100)
        outgoing = await o.paul.ask("INVITE")
        assert outgoing.from_.sip_uri.user == "101"
        o.paul.reply(outgoing, 200, body=o.paul.sdp)
        await told(o.bob, 200)
        asked = await o.alice.ask("INVITE")
        o.alice.reply(asked, 200, body=o.alice.sdp)
        await o.alice.ask("ACK")
        await o.paul.ask("ACK")
        bye = o.bob.in_dialog("BYE", invite, ok)
        o.bob.send(bye)
        await o.bob.response(200)
        assert repr(o.pbx.calls) == "[<Call 102 -> 101 connected>]"
        o.alice.send(o.alice.in_dialog("BYE", asked, tag="t101"))

    play(scene)


def test_a_transferor_that_forgets_its_bye_gets_one() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        _, _, ringing = await o.connected()
        o.alice.send(refer(o.alice, ringing, "102"))
        await o.alice.response(202)
        await told(o.alice, 100)
        o.paul.reply(await o.paul.ask("INVITE"), 200, body=o.paul.sdp)
        await told(o.alice, 200)
        o.bob.reply(await o.bob.ask("INVITE"), 200, body=o.bob.sdp)
        await o.paul.ask("ACK")
        await o.alice.silent(0.1)
        o.alice.reply(await o.alice.ask("BYE"), 200)
        await o.bob.ask("ACK")
        await o.bob.silent(0.1)
        assert len(o.pbx.calls) == 1

    play(scene, transfer_bye_wait_s=0.3)


def test_a_transferor_that_leaves_early_may_go() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        _, _, ringing = await o.connected()
        o.alice.send(refer(o.alice, ringing, "102"))
        await o.alice.response(202)
        await told(o.alice, 100)
        outgoing = await o.paul.ask("INVITE")
        o.paul.reply(outgoing, 180)
        o.alice.send(o.alice.in_dialog("BYE", ringing, tag="t101"))
        await o.alice.response(200)
        await o.bob.silent(0.1)
        o.paul.reply(outgoing, 200, body=o.paul.sdp)
        o.bob.reply(await o.bob.ask("INVITE"), 200, body=o.bob.sdp)
        await o.paul.ask("ACK")
        await told(o.alice, 200)  # the subscription outlives the call
        await o.alice.silent(0.1)

    play(scene)


@pytest.mark.parametrize("status", [486, 603, 480])
def test_a_failed_transfer_and_the_call_comes_back(status: int) -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        invite, ok, ringing = await o.connected()
        await hold(o, ringing)
        o.alice.send(refer(o.alice, ringing, "102"))
        await o.alice.response(202)
        await told(o.alice, 100)
        o.paul.reply(await o.paul.ask("INVITE"), status)
        await o.paul.ask("ACK")
        await told(o.alice, status)
        await o.bob.silent(0.1)
        assert repr(o.pbx.calls) == "[<Call 100 -> 101 connected>]"
        assert o.kinds()[-1] == "transfer_failed"
        # ALICE takes BOB back from hold, and tries again: the second REFER is told apart by its id (RFC 3515 §2.4.6).
        change = o.alice.in_dialog("INVITE", ringing, tag="t101", body=o.alice.sdp)
        o.alice.send(change)
        await o.alice.response(100)
        o.bob.reply(await o.bob.ask("INVITE"), 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        o.alice.send(o.alice.ack(change, await o.alice.response(200)))
        again = refer(o.alice, ringing, "102")
        o.alice.send(again)
        await o.alice.response(202)
        assert (await told(o.alice, 100)).headers.get("Event") == f"refer;id={again.cseq.number}"
        assert (invite, ok) != (None, None)

    play(scene)


@pytest.mark.parametrize(("number", "status"), [("999", 404), ("102", 480), ("100", 486)])
def test_targets_that_cannot_be_reached(number: str, status: int) -> None:
    async def scene(o: Office) -> None:
        _, _, ringing = await o.connected()
        o.alice.send(refer(o.alice, ringing, number))
        await o.alice.response(202)
        await told(o.alice, 100)
        await told(o.alice, status)
        assert repr(o.pbx.calls) == "[<Call 100 -> 101 connected>]"

    play(scene)


def test_a_failed_transfer_without_anybody_to_come_back_to() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        _, _, ringing = await o.connected()
        o.alice.send(refer(o.alice, ringing, "102"))
        await o.alice.response(202)
        await told(o.alice, 100)
        outgoing = await o.paul.ask("INVITE")
        o.alice.send(o.alice.in_dialog("BYE", ringing, tag="t101"))
        await o.alice.response(200)
        o.paul.reply(outgoing, 486)
        await o.bob.ask("BYE")
        assert o.pbx.calls == []

    play(scene)


def test_the_one_who_is_transferred_hangs_up_meanwhile() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        invite, ok, ringing = await o.connected()
        o.alice.send(refer(o.alice, ringing, "102"))
        await o.alice.response(202)
        await told(o.alice, 100)
        outgoing = await o.paul.ask("INVITE")
        o.paul.reply(outgoing, 180)
        await asyncio.sleep(0.02)
        o.bob.send(o.bob.in_dialog("BYE", invite, ok))
        await o.bob.response(200)
        await told(o.alice, 487)
        o.alice.reply(await o.alice.ask("BYE"), 200)
        o.paul.reply(await o.paul.ask("CANCEL"), 200)
        assert o.pbx.calls == []

    play(scene)


async def refused_by_bob(o: Office) -> None:
    """PAUL answers and ALICE leaves; BOB's phone cannot take PAUL's offer, and ALICE's rings again."""
    await o.paul.register()
    _, _, ringing = await o.connected()
    o.alice.send(refer(o.alice, ringing, "102"))
    await o.alice.response(202)
    await told(o.alice, 100)
    o.paul.reply(await o.paul.ask("INVITE"), 200, body=o.paul.sdp)
    await told(o.alice, 200)
    o.alice.send(o.alice.in_dialog("BYE", ringing, tag="t101"))
    await o.alice.response(200)
    o.bob.reply(await o.bob.ask("INVITE"), 488)
    await o.bob.ask("ACK")
    await o.paul.ask("ACK")
    o.paul.reply(await o.paul.ask("BYE"), 200)
    assert repr(o.pbx.calls) == "[<Call 100 -> 101 waiting>]"
    assert ("transfer_failed", "101", "100", 488) in [(e.kind, e.extension, e.peer, e.code) for e in o.events]


def test_the_one_who_is_transferred_cannot_speak_to_the_target_and_the_call_comes_back() -> None:
    async def scene(o: Office) -> None:
        await refused_by_bob(o)
        back = await o.alice.ask("INVITE")
        assert (back.from_.sip_uri.user, back.body) == ("100", b"")
        o.alice.reply(back, 180)
        o.alice.reply(back, 200, body=o.alice.sdp)
        asked = await o.bob.ask("INVITE")
        o.bob.reply(asked, 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        assert (await o.alice.ask("ACK")).body == o.bob.sdp
        assert repr(o.pbx.calls) == "[<Call 100 -> 101 connected>]"
        o.alice.send(o.alice.in_dialog("BYE", back, tag="t101"))
        await o.alice.response(200)
        o.bob.reply(await o.bob.ask("BYE"), 200)
        assert [(r.caller, r.callee, r.status) for r in o.pbx.store.records()] == [("100", "101", 200)]

    play(scene)


@pytest.mark.parametrize("how", ["alice refuses", "bob refuses again", "bob leaves"])
def test_a_call_that_comes_back_and_finds_nobody_ends(how: str) -> None:
    async def scene(o: Office) -> None:
        await refused_by_bob(o)
        back = await o.alice.ask("INVITE")
        if how == "alice refuses":
            o.alice.reply(back, 486)
            await o.alice.ask("ACK")
        elif how == "bob refuses again":
            o.alice.reply(back, 200, body=o.alice.sdp)
            o.bob.reply(await o.bob.ask("INVITE"), 488)
            await o.bob.ask("ACK")
            await o.alice.ask("ACK")
            o.alice.reply(await o.alice.ask("BYE"), 200)
        else:
            o.alice.reply(back, 180)
            await o.alice.silent(0.02)
            leg = o.pbx.calls[0].legs
            bob = next(iter(leg.values())).dialog
            assert bob is not None
            bye = Request("BYE", back.contacts[0].uri, [("Via", o.bob.via())])
            for name, value in (("From", bob.remote), ("To", bob.local), ("Call-ID", bob.call_id), ("CSeq", "900 BYE")):
                bye.headers.append(name, value)
            o.bob.send(bye)
            await o.bob.response(200)
            await o.alice.ask("CANCEL")
            assert o.pbx.calls == []
            return
        o.bob.reply(await o.bob.ask("BYE"), 200)
        assert o.pbx.calls == []

    play(scene)


def test_a_change_that_crosses_the_join_is_tried_again() -> None:
    """BOB's phone answers 491, since it asked itself; the PBX comes back after a random time (§14.1)."""

    async def scene(o: Office) -> None:
        await o.paul.register()
        _, _, ringing = await o.connected()
        o.alice.send(refer(o.alice, ringing, "102"))
        await o.alice.response(202)
        await told(o.alice, 100)
        o.paul.reply(await o.paul.ask("INVITE"), 200, body=o.paul.sdp)
        await told(o.alice, 200)
        o.bob.reply(await o.bob.ask("INVITE"), 491)
        await o.bob.ask("ACK")
        o.bob.reply(await o.bob.ask("INVITE"), 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        assert (await o.paul.ask("ACK")).body == o.bob.sdp

    play(scene)


def test_target_has_forwarding_rules_too() -> None:
    from labkit.pbx.rules import ExtensionRules, ForwardTo, StatusRules

    async def scene(o: Office) -> None:
        anna = await Peer("103", "4444", o.bob.pbx).start("127.0.0.1")
        await anna.register()
        await o.paul.register()
        _, _, ringing = await o.connected()
        o.alice.send(refer(o.alice, ringing, "102"))
        await o.alice.response(202)
        await told(o.alice, 100)
        o.paul.reply(await o.paul.ask("INVITE"), 486)
        outgoing = await anna.ask("INVITE")
        assert (outgoing.headers.get("Diversion") or "").endswith(";reason=user-busy")
        anna.reply(outgoing, 200, body=anna.sdp)
        await told(o.alice, 200)
        o.bob.reply(await o.bob.ask("INVITE"), 200, body=o.bob.sdp)
        await anna.ask("ACK")
        assert repr(o.pbx.calls) == "[<Call 100 -> 103 connected>]"
        await anna.close()

    from labkit.pbx import Extension
    from tests.pbx.office import EXTENSIONS

    play(
        scene,
        extensions=(*EXTENSIONS, Extension("103", "ANNA", auth_password="4444")),
        rules=(ExtensionRules("102", StatusRules(busy=ForwardTo("extension", "103"))),),
    )


# -- attended -----------------------------------------------------------------------------------------------------------------------


async def consulted(o: Office) -> tuple[Request, Request, Request, str]:
    """BOB talks to ALICE (on hold), ALICE to PAUL; BOB's and PAUL's INVITEs, ALICE's second INVITE, and what Replaces must say."""
    await o.paul.register()
    _, _, ringing = await o.connected()
    await hold(o, ringing)
    second = await o.alice.invite("102")
    await o.alice.response(100)
    at_paul = await o.paul.ask("INVITE")
    o.paul.reply(at_paul, 200, body=o.paul.sdp)
    await o.paul.ask("ACK")
    ok = await o.alice.response(200)
    o.alice.send(o.alice.ack(second, ok))
    await asyncio.sleep(0.02)
    replaces = f"{second.call_id};to-tag={ok.to.tag};from-tag={second.from_.tag}"
    return ringing, at_paul, second, replaces


def with_replaces(o: Office, replaces: str) -> str:
    return str(NameAddr(str(SipUri(user="102", host=o.alice.pbx[0], headers=(("Replaces", replaces),)))))


def test_attended_transfer() -> None:
    async def scene(o: Office) -> None:
        ringing, at_paul, _, replaces = await consulted(o)
        target = with_replaces(o, replaces)
        assert "%3Bto-tag%3D" in target
        o.alice.send(refer(o.alice, ringing, target))
        await o.alice.response(202)
        await told(o.alice, 100)
        asked = await o.paul.ask("INVITE")
        assert (asked.call_id, asked.body) == (at_paul.call_id, b"")
        o.paul.reply(asked, 200, body=o.paul.sdp)
        offered = await o.bob.ask("INVITE")
        assert b"m=audio" in offered.body
        o.bob.reply(offered, 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        ack = await o.paul.ask("ACK")
        assert re.sub(rb"o=.*\r\n", b"", ack.body) == re.sub(rb"o=.*\r\n", b"", o.bob.sdp)
        await told(o.alice, 200)
        replaced = await o.alice.ask("BYE")  # the dialog that Replaces names ends, as RFC 3891 wants
        assert replaced.call_id in replaces
        o.alice.reply(replaced, 200)
        o.alice.send(o.alice.in_dialog("BYE", ringing, tag="t101"))
        await o.alice.response(200)
        await o.bob.silent(0.1)
        assert repr(o.pbx.calls) == "[<Call 100 -> 102 connected>]"
        o.paul.send(o.paul.in_dialog("BYE", at_paul, tag="t102"))
        await o.paul.response(200)
        await o.bob.ask("BYE")

    play(scene)


def test_attended_transfer_that_the_target_refuses_comes_back() -> None:
    async def scene(o: Office) -> None:
        ringing, _, _, replaces = await consulted(o)
        o.alice.send(refer(o.alice, ringing, with_replaces(o, replaces)))
        await o.alice.response(202)
        await told(o.alice, 100)
        o.paul.reply(await o.paul.ask("INVITE"), 200, body=o.paul.sdp)
        o.bob.reply(await o.bob.ask("INVITE"), 488)
        await o.bob.ask("ACK")
        ack = await o.paul.ask("ACK")
        assert b"a=inactive" in ack.body  # an ACK owes PAUL's offer an answer
        await told(o.alice, 488)
        assert sorted(map(repr, o.pbx.calls)) == ["<Call 100 -> 101 connected>", "<Call 101 -> 102 connected>"]

    play(scene)


@pytest.mark.parametrize("who", ["bob", "paul"])
def test_attended_transfer_in_which_somebody_hangs_up(who: str) -> None:
    """Of the two calls one ends under the transfer; the other one is as it was, and ends as any call does."""

    async def scene(o: Office) -> None:
        ringing, at_paul, second, replaces = await consulted(o)
        o.alice.send(refer(o.alice, ringing, with_replaces(o, replaces)))
        await o.alice.response(202)
        await told(o.alice, 100)
        asked = await o.paul.ask("INVITE")
        call = next(call for call in o.pbx.calls if call.caller.number == ("100" if who == "bob" else "101"))
        if who == "bob":
            call.hang_up()
            o.bob.reply(await o.bob.ask("BYE"), 200)
        else:
            o.paul.send(o.paul.in_dialog("BYE", at_paul, tag="t102"))
            await o.paul.response(200)
        await told(o.alice, 487)
        o.alice.reply(await o.alice.ask("BYE"), 200)
        if who == "bob":
            o.paul.reply(asked, 200, body=o.paul.sdp)
            assert b"a=inactive" in (await o.paul.ask("ACK")).body
        (left,) = o.pbx.calls
        assert left.state.value == "connected"
        left.hang_up()
        await o.alice.ask("BYE")
        assert o.pbx.calls == []
        assert second.method == "INVITE"

    play(scene)


@pytest.mark.parametrize("replaces", ["nobody@h;to-tag=1;from-tag=2", "", "{own}"])
def test_replaces_that_names_no_call(replaces: str) -> None:
    async def scene(o: Office) -> None:
        _, _, ringing = await o.connected()
        own = f"{ringing.call_id};to-tag={ringing.from_.tag};from-tag=t101"
        o.alice.send(refer(o.alice, ringing, with_replaces(o, replaces.format(own=own))))
        await o.alice.response(202)
        await told(o.alice, 100)
        await told(o.alice, 481)

    play(scene)


def test_nobody_gives_away_the_call_of_another() -> None:
    async def scene(o: Office) -> None:
        ringing, _, _, replaces = await consulted(o)
        call = next(call for call in o.pbx.calls if call.caller.number == "101")
        call.legs[next(iter(call.legs))].number = "999"
        o.alice.send(refer(o.alice, ringing, with_replaces(o, replaces)))
        await o.alice.response(202)
        await told(o.alice, 100)
        await told(o.alice, 403)

    play(scene)


# -- REFER itself -------------------------------------------------------------------------------------------------------------------


def test_refer_outside_a_dialog() -> None:
    async def scene(o: Office) -> None:
        request = o.bob.request("REFER", "101")
        request.headers.append("Refer-To", "<sip:102@h>")
        o.bob.send(request)
        await o.bob.response(403)
        request = o.bob.request("REFER", "101")
        request.headers.set("To", "<sip:101@h>;tag=gone")
        o.bob.send(request)
        await o.bob.response(481)

    play(scene)


@pytest.mark.parametrize(
    ("values", "status"),
    [([], 400), (["<sip:102@h>", "<sip:100@h>"], 400), (["<tel:102>"], 416), (["<sip:102@h;method=BYE>"], 403), (["<<"], 400)],
)
def test_bad_refer_to(values: list[str], status: int) -> None:
    async def scene(o: Office) -> None:
        _, _, ringing = await o.connected()
        request = o.alice.in_dialog("REFER", ringing, tag="t101")
        for value in values:
            request.headers.append("Refer-To", value)
        o.alice.send(request)
        await o.alice.response(status)
        assert len(o.pbx.calls) == 1

    play(scene)


def test_without_notifications() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        _, _, ringing = await o.connected()
        o.alice.send(refer(o.alice, ringing, "102", headers=(("Supported", "norefersub"), ("Refer-Sub", "false"))))
        assert (await o.alice.response(202)).headers.get("Refer-Sub") == "false"
        o.paul.reply(await o.paul.ask("INVITE"), 200, body=o.paul.sdp)
        o.bob.reply(await o.bob.ask("INVITE"), 200, body=o.bob.sdp)
        await o.paul.ask("ACK")
        await o.alice.silent(0.2)

    play(scene)


def test_one_transfer_at_a_time() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        invite, ok, ringing = await o.connected()
        o.alice.send(refer(o.alice, ringing, "102"))
        await o.alice.response(202)
        await told(o.alice, 100)
        o.alice.send(refer(o.alice, ringing, "102"))
        await o.alice.response(491)
        request = o.bob.in_dialog("REFER", invite, ok)
        request.headers.append("Refer-To", "<sip:102@h>")
        o.bob.send(request)
        await o.bob.response(491)

    play(scene)


def test_a_new_phone_takes_over_a_call_with_replaces() -> None:
    """INVITE with Replaces (RFC 3891): ALICE goes on with her call at another phone of hers."""

    async def scene(o: Office) -> None:
        _, _, ringing = await o.connected()
        other = await Peer("101", "2222", o.alice.pbx).start("127.0.0.1")
        first = other.request("INVITE", "100", body=other.sdp)
        first.headers.append("Replaces", f"{ringing.call_id};to-tag={ringing.from_.tag};from-tag=t101")
        first.headers.append("Require", "replaces")
        other.send(first)
        challenge = await other.expect_challenge()
        other.send(other.ack(first, challenge))
        second = other.again(first, challenge)
        other.send(second)
        await other.response(100)
        o.bob.reply(await o.bob.ask("INVITE"), 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        ok = await other.response(200)
        assert ok.body == o.bob.sdp
        other.send(other.ack(second, ok))
        o.alice.reply(await o.alice.ask("BYE"), 200)
        assert repr(o.pbx.calls) == "[<Call 100 -> 101 connected>]"
        other.send(other.in_dialog("BYE", second, ok))
        await other.response(200)
        await o.bob.ask("BYE")
        await other.close()

    play(scene)
