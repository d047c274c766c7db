"""Reliable provisional responses (RFC 3262): PRACK on both legs when both phones can, none where one cannot."""

from __future__ import annotations

import asyncio

import pytest

from labkit.sip.message import Request, Response
from tests.pbx.office import Office, play
from tests.pbx.peer import Peer


async def invite(o: Office, *headers: tuple[str, str], body: bytes | None = None) -> tuple[Request, Request]:
    """BOB's INVITE with these headers, and the one that ALICE gets."""
    await o.alice.register()
    first = o.bob.request("INVITE", "101", body=o.bob.sdp if body is None else body)
    for name, value in headers:
        first.headers.append(name, value)
    o.bob.send(first)
    challenge = await o.bob.expect_challenge()
    o.bob.send(o.bob.ack(first, challenge))
    second = o.bob.again(first, challenge)
    o.bob.send(second)
    await o.bob.response(100)
    return second, await o.alice.ask("INVITE")


def reliably(phone: Peer, request: Request, status: int, number: int, body: bytes = b"") -> Response:
    response = request.response(status, to_tag=f"t{phone.number}", body=body)
    response.headers.append("Contact", phone.contact)
    response.headers.append("Require", "100rel")
    response.headers.append("RSeq", number)
    if body:
        response.headers.append("Content-Type", "application/sdp")
    phone.send(response)
    return response


def prack(phone: Peer, call: Request, response: Response, *, body: bytes = b"") -> Request:
    request = phone.in_dialog("PRACK", call, response, body=body)
    request.headers.append("RAck", f"{response.headers.get('RSeq')} {call.cseq.number} INVITE")
    return request


def test_prack_goes_through_when_both_can() -> None:
    async def scene(o: Office) -> None:
        call, ringing = await invite(o, ("Supported", "100rel"))
        assert "100rel" in ringing.headers.get_list("Supported")
        reliably(o.alice, ringing, 183, 7001, o.alice.sdp)
        progress = await o.bob.response(183)
        assert progress.body == o.alice.sdp
        assert progress.headers.get("Require") == "100rel"
        assert progress.headers.get("RSeq") != "7001"  # each leg counts for itself
        o.bob.send(prack(o.bob, call, progress, body=b"x=1"))
        asked = await o.alice.ask("PRACK")
        assert asked.headers.get("RAck") == f"7001 {ringing.cseq.number} INVITE"
        assert (asked.to.tag, asked.body) == ("t101", b"x=1")
        o.alice.reply(asked, 200, body=b"y=2")
        assert (await o.bob.response(200)).body == b"y=2"
        reliably(o.alice, ringing, 180, 7002)
        second = await o.bob.response(180)
        assert int(second.headers.get("RSeq") or 0) == int(progress.headers.get("RSeq") or 0) + 1
        o.bob.send(prack(o.bob, call, second))
        o.alice.reply(await o.alice.ask("PRACK"), 200)
        await o.bob.response(200)
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        ack = await o.alice.ask("ACK")
        assert ack.cseq.number == ringing.cseq.number
        ok = await o.bob.response(200)
        o.bob.send(o.bob.ack(call, ok))
        o.bob.send(o.bob.in_dialog("BYE", call, ok))
        bye = await o.alice.ask("BYE")
        assert bye.cseq.number > asked.cseq.number  # PRACK took numbers of the dialog

    play(scene)


def test_it_is_repeated_until_prack() -> None:
    async def scene(o: Office) -> None:
        call, ringing = await invite(o, ("Supported", "100rel"))
        reliably(o.alice, ringing, 180, 1)
        first = await o.bob.response(180)
        for _ in range(2):
            assert bytes(await o.bob.response(180)) == bytes(first)
        reliably(o.alice, ringing, 180, 1)  # a copy of ALICE's is absorbed
        o.bob.send(prack(o.bob, call, first))
        o.alice.reply(await o.alice.ask("PRACK"), 200)
        await o.bob.response(200)
        await o.bob.silent(0.4)
        o.bob.send(prack(o.bob, call, first))
        await o.bob.response(481)  # nothing waits for it any more

    play(scene)


def test_stripped_where_the_caller_cannot() -> None:
    async def scene(o: Office) -> None:
        _, ringing = await invite(o)
        assert "100rel" not in ringing.headers.get_list("Supported")
        o.alice.reply(ringing, 180)
        assert "RSeq" not in (await o.bob.response(180)).headers

    play(scene)


def test_served_by_the_pbx_where_the_callee_cannot_and_the_caller_insists() -> None:
    async def scene(o: Office) -> None:
        call, ringing = await invite(o, ("Require", "100rel"))
        o.alice.reply(ringing, 180)
        first = await o.bob.response(180)
        assert first.headers.get("Require") == "100rel"
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        await o.alice.ask("ACK")
        await o.bob.response(180)  # the 200 waits for the PRACK (§3)
        o.bob.send(prack(o.bob, call, first))
        statuses = {(await o.bob.response(200)).cseq.method, (await o.bob.response(200)).cseq.method}
        assert statuses == {"PRACK", "INVITE"}
        assert "< PRACK" not in o.alice.log

    play(scene)


def test_unreliable_ringing_stays_unreliable() -> None:
    async def scene(o: Office) -> None:
        _, ringing = await invite(o, ("Supported", "100rel"))
        o.alice.reply(ringing, 180)
        assert "RSeq" not in (await o.bob.response(180)).headers
        await o.bob.silent(0.2)

    play(scene)


def test_of_several_phones_the_caller_hears_one_and_the_pbx_acknowledges_the_others() -> None:
    async def scene(o: Office) -> None:
        o.paul.number, o.paul.password, o.paul.contact = "101", "2222", o.paul.contact.replace("102", "101")
        await o.paul.register()
        call, ringing = await invite(o, ("Supported", "100rel"))
        assert "100rel" not in ringing.headers.get_list("Supported")
        reliably(o.alice, ringing, 180, 5)  # they do it all the same
        first = await o.bob.response(180)
        o.bob.send(prack(o.bob, call, first))
        o.alice.reply(await o.alice.ask("PRACK"), 200)
        await o.bob.response(200)
        reliably(o.paul, await o.paul.ask("INVITE"), 180, 9)
        o.paul.reply(await o.paul.ask("PRACK"), 200)
        await o.bob.silent(0.2)

    play(scene)


def test_no_prack_at_all_ends_the_call() -> None:
    async def scene(o: Office) -> None:
        _, ringing = await invite(o, ("Supported", "100rel"))
        reliably(o.alice, ringing, 180, 1)
        await asyncio.wait_for(_until(o.bob, 504), 10)
        await o.alice.ask("CANCEL")
        assert o.pbx.calls == []

    async def _until(phone: Peer, status: int) -> None:
        while getattr(await phone.inbox.get(), "status", 0) != status:
            pass

    play(scene)


@pytest.mark.parametrize("rack", ["", "1 2", "x y INVITE", "999999 1 INVITE"])
def test_bad_rack(rack: str) -> None:
    async def scene(o: Office) -> None:
        call, ringing = await invite(o, ("Supported", "100rel"))
        reliably(o.alice, ringing, 180, 1)
        first = await o.bob.response(180)
        request = o.bob.in_dialog("PRACK", call, first)
        if rack:
            request.headers.append("RAck", rack)
        o.bob.send(request)
        while True:
            message = await o.bob.inbox.get()
            if isinstance(message, Response) and message.cseq.method == "PRACK":
                assert message.status == 481
                break

    play(scene)


def test_delayed_offer_in_a_reliable_response() -> None:
    """INVITE without an offer, the offer in ALICE's 183, BOB's answer in his PRACK (§5)."""

    async def scene(o: Office) -> None:
        call, ringing = await invite(o, ("Supported", "100rel"), body=b"")
        reliably(o.alice, ringing, 183, 1, o.alice.sdp)
        progress = await o.bob.response(183)
        o.bob.send(prack(o.bob, call, progress, body=o.bob.sdp))
        asked = await o.alice.ask("PRACK")
        assert asked.body == o.bob.sdp
        o.alice.reply(asked, 200)
        await o.bob.response(200)

    play(scene)
