"""Session timers (RFC 4028): who refreshes, 422, and calls whose phones have died."""

from __future__ import annotations

import asyncio

import pytest

from labkit.sip.message import Request, Response
from tests.pbx.office import Office, play
from tests.pbx.peer import Peer

SHORT = {"session_expires_s": 2, "session_min_s": 1}


async def call(o: Office, *headers: tuple[str, str], reply: tuple[tuple[str, str], ...] = ()) -> tuple[Request, Response, Request]:
    """BOB calls ALICE with these headers, and her 200 has those."""
    await o.alice.register()
    first = o.bob.request("INVITE", "101", body=o.bob.sdp)
    for name, value in headers:
        first.headers.append(name, value)
    o.bob.send(first)
    challenge = await o.bob.expect_challenge()
    o.bob.send(o.bob.ack(first, challenge))
    invite = o.bob.again(first, challenge)
    o.bob.send(invite)
    await o.bob.response(100)
    ringing = await o.alice.ask("INVITE")
    ok = ringing.response(200, to_tag="t101", body=o.alice.sdp)
    ok.headers.append("Contact", o.alice.contact)
    ok.headers.append("Content-Type", "application/sdp")
    for name, value in reply:
        ok.headers.append(name, value)
    o.alice.send(ok)
    await o.alice.ask("ACK")
    answered = await o.bob.response(200)
    o.bob.send(o.bob.ack(invite, answered))
    return invite, answered, ringing


async def refreshed_until_bye(phone: Peer) -> None:
    """Answer every refresh, until the call ends."""
    method = ""
    while method != "BYE":
        message = await asyncio.wait_for(phone.inbox.get(), 10)
        assert isinstance(message, Request)
        phone.reply(message, 200)
        method = message.method


def test_what_the_messages_say() -> None:
    async def scene(o: Office) -> None:
        _, answered, ringing = await call(o, ("Supported", "timer"), ("Session-Expires", "600"))
        assert ringing.headers.get("Session-Expires") == "1800"
        assert "Min-SE" not in ringing.headers  # 90 goes without saying (§5)
        assert "timer" in ringing.headers.get_list("Supported")
        assert answered.headers.get("Session-Expires") == "600;refresher=uac"
        assert answered.headers.get("Require") == "timer"

    play(scene)


def test_a_phone_without_session_timers_hears_nothing_of_them() -> None:
    async def scene(o: Office) -> None:
        _, answered, _ = await call(o)
        assert "Session-Expires" not in answered.headers
        assert "Require" not in answered.headers

    play(scene)


def test_too_short_is_422_with_the_minimum() -> None:
    async def scene(o: Office) -> None:
        request = o.bob.request("INVITE", "101", body=o.bob.sdp)
        request.headers.append("Supported", "timer")
        request.headers.append("Session-Expires", "60")
        o.bob.send(request)
        o.bob.send(o.bob.again(request, await o.bob.response(407)))
        refused = await o.bob.response(422)
        assert (refused.reason, refused.headers.get("Min-SE")) == ("Session Interval Too Small", "90")
        assert o.pbx.calls == []
        assert o.pbx._legs == {}

    play(scene)


def test_too_short_inside_the_call_too() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        for method in ("INVITE", "UPDATE"):
            request = o.bob.in_dialog(method, invite, ok, body=o.bob.sdp)
            request.headers.append("Supported", "timer")
            request.headers.append("Session-Expires", "60")
            o.bob.send(request)
            refused = await o.bob.response(422)
            if method == "INVITE":
                o.bob.send(o.bob.ack(request, refused))
        await o.alice.silent(0.1)

    play(scene)


def test_the_callee_wants_a_longer_interval() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        first = await o.alice.ask("INVITE")
        refusal = first.response(422, to_tag="t")
        refusal.headers.append("Min-SE", "3600")
        o.alice.send(refusal)
        await o.alice.ask("ACK")
        second = await o.alice.ask("INVITE")
        assert (second.headers.get("Session-Expires"), second.headers.get("Min-SE")) == ("3600", "3600")
        assert (second.call_id, second.cseq.number, second.body) == (first.call_id, first.cseq.number + 1, first.body)
        o.alice.reply(second, 180)
        await o.bob.response(180)

    play(scene)


@pytest.mark.parametrize("update", [True, False])
def test_the_pbx_refreshes_and_ends_the_call_of_a_dead_phone(update: bool) -> None:
    """ALICE's phone cannot refresh, so the PBX does; when her phone has died, BOB gets BYE."""

    async def scene(o: Office) -> None:
        await call(o, ("Allow", "INVITE, UPDATE"), reply=(("Allow", "UPDATE"),) if update else ())
        method = "UPDATE" if update else "INVITE"
        for _ in range(2):
            refresh = await o.alice.ask(method)
            assert refresh.headers.get("Session-Expires") == "2;refresher=uac"
            assert refresh.body == (b"" if update else o.bob.sdp)
            o.alice.reply(refresh, 200, body=b"" if update else o.alice.sdp)
            if not update:
                await o.alice.ask("ACK")
            o.bob.reply(await o.bob.ask("UPDATE"), 200)
        await refreshed_until_bye(o.bob)  # while ALICE's phone says nothing more
        assert o.pbx.calls == []

    play(scene, **SHORT)


def test_a_phone_that_promised_to_refresh_and_does_not() -> None:
    async def scene(o: Office) -> None:
        await call(
            o,
            ("Supported", "timer"),
            ("Session-Expires", "2;refresher=uac"),
            reply=(("Session-Expires", "2;refresher=uas"), ("Require", "timer")),
        )
        assert await o.bob.ask("BYE")
        assert await o.alice.ask("BYE")
        assert "< UPDATE" not in o.alice.log + o.bob.log
        assert o.pbx.calls == []

    play(scene, **SHORT)


def test_a_phone_that_refreshes_keeps_its_call() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await call(
            o, ("Supported", "timer"), ("Session-Expires", "2;refresher=uac"), reply=(("Session-Expires", "1800;refresher=uas"),)
        )
        for _ in range(3):
            await o.bob.silent(0.8)
            refresh = o.bob.in_dialog("UPDATE", invite, ok)
            refresh.headers.append("Supported", "timer")
            refresh.headers.append("Session-Expires", "2;refresher=uac")
            o.bob.send(refresh)
            assert (await o.bob.response(200)).headers.get("Session-Expires") == "2;refresher=uac"
        assert len(o.pbx.calls) == 1

    play(scene, **SHORT)


def test_a_refresh_that_is_refused_for_the_moment_is_tried_again() -> None:
    async def scene(o: Office) -> None:
        await call(o, ("Allow", "UPDATE"), reply=(("Allow", "UPDATE"),))
        bob = asyncio.create_task(refreshed_until_bye(o.bob))
        o.alice.reply(await o.alice.ask("UPDATE"), 500)
        o.alice.reply(await o.alice.ask("UPDATE"), 200)
        await o.alice.silent(0.5)
        assert len(o.pbx.calls) == 1
        o.alice.reply(await o.alice.ask("UPDATE"), 481)  # it has forgotten the call
        o.alice.reply(await o.alice.ask("BYE"), 481)
        await bob

    play(scene, **SHORT)


@pytest.mark.parametrize("value", ["soon", "-5", "99999999999", ";refresher=uac", ""])
def test_a_header_that_cannot_be_read_counts_as_none(value: str) -> None:
    async def scene(o: Office) -> None:
        _, answered, _ = await call(o, ("Supported", "timer"), ("Session-Expires", value))
        assert answered.headers.get("Session-Expires") == "1800;refresher=uac"

    play(scene)
