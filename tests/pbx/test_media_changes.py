"""Changes of a call that is up: hold in all its forms, codecs, early media, UPDATE, and the o= line each phone sees."""

from __future__ import annotations

import asyncio

import pytest

from labkit.pbx.origin import Origin
from labkit.pbx.waiting import waiting
from labkit.sip.sdp import Sdp
from tests.pbx.office import Office, play


@pytest.mark.parametrize(
    ("change", "reply"),
    [
        ((b"sendrecv", b"sendonly"), (b"sendrecv", b"recvonly")),
        ((b"sendrecv", b"inactive"), (b"sendrecv", b"inactive")),
        ((b"c=IN IP4 127.0.0.1", b"c=IN IP4 0.0.0.0"), (b"", b"")),
    ],
)
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_every_form_of_hold_passes(change: tuple[bytes, bytes], reply: tuple[bytes, bytes], method: str) -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        offer = o.bob.sdp.replace(*change)
        assert Sdp.parse(offer).on_hold
        request = o.bob.in_dialog(method, invite, ok, body=offer)
        o.bob.send(request)
        if method == "INVITE":
            await o.bob.response(100)
        asked = await o.alice.ask(method)
        assert asked.body == offer
        answer = o.alice.sdp.replace(*reply) if reply[0] else o.alice.sdp
        o.alice.reply(asked, 200, body=answer)
        done = await o.bob.response(200)
        assert done.body == answer
        if method == "INVITE":
            await o.alice.ask("ACK")
            o.bob.send(o.bob.ack(request, done))
        await o.bob.silent(0.1)

    play(scene)


def test_another_codec_is_agreed_while_they_talk() -> None:
    async def scene(o: Office) -> None:
        _, _, ringing = await o.connected()
        offer = o.alice.sdp.replace(b"RTP/AVP 8 0", b"RTP/AVP 9")
        change = o.alice.in_dialog("INVITE", ringing, tag="t101", body=offer)
        o.alice.send(change)
        await o.alice.response(100)
        asked = await o.bob.ask("INVITE")
        assert [codec.name for codec in Sdp.parse(asked.body).media[0].codecs] == ["G722"]
        o.bob.reply(asked, 488)
        await o.bob.ask("ACK")
        o.alice.send(o.alice.ack(change, await o.alice.response(488)))
        assert len(o.pbx.calls) == 1  # §14.1: a refused change leaves the call as it was

    play(scene)


def test_change_with_a_delayed_offer() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        change = o.bob.in_dialog("INVITE", invite, ok)
        o.bob.send(change)
        await o.bob.response(100)
        asked = await o.alice.ask("INVITE")
        assert asked.body == b""
        o.alice.reply(asked, 200, body=o.alice.sdp)
        done = await o.bob.response(200)
        assert done.body == o.alice.sdp
        await o.alice.silent(0.03)
        o.bob.send(o.bob.ack(change, done, body=o.bob.sdp))
        assert (await o.alice.ask("ACK")).body == o.bob.sdp

    play(scene)


def test_update_without_a_body_is_answered_by_the_pbx() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        o.bob.send(o.bob.in_dialog("UPDATE", invite, ok))
        await o.bob.response(200)
        await o.alice.silent(0.1)

    play(scene)


def test_update_while_a_change_is_open() -> None:
    async def scene(o: Office) -> None:
        invite, ok, ringing = await o.connected()
        o.bob.send(o.bob.in_dialog("INVITE", invite, ok, body=o.bob.sdp))
        await o.bob.response(100)
        await o.alice.ask("INVITE")
        o.alice.send(o.alice.in_dialog("UPDATE", ringing, tag="t101", body=o.alice.sdp))
        await o.alice.response(491)
        o.bob.send(o.bob.in_dialog("UPDATE", invite, ok, body=o.bob.sdp))
        assert (await o.bob.response(500)).headers.get("Retry-After") == "1"

    play(scene)


def test_updates_that_cross_are_both_refused() -> None:
    """RFC 3311 §5.2: whoever waits for an answer takes no offer."""

    async def scene(o: Office) -> None:
        invite, ok, ringing = await o.connected()
        o.bob.send(o.bob.in_dialog("UPDATE", invite, ok, body=o.bob.sdp))
        passed = await o.alice.ask("UPDATE")
        o.alice.send(o.alice.in_dialog("UPDATE", ringing, tag="t101", body=o.alice.sdp))
        await o.alice.response(491)
        again = o.alice.in_dialog("INVITE", ringing, tag="t101", body=o.alice.sdp)
        o.alice.send(again)
        o.alice.send(o.alice.ack(again, await o.alice.response(491)))
        o.bob.send(o.bob.in_dialog("UPDATE", invite, ok, body=o.bob.sdp))
        assert "Retry-After" in (await o.bob.response(500)).headers  # their own first offer is not answered yet
        o.alice.reply(passed, 491)
        await o.bob.response(491)
        for phone, other, update in (  # and nothing is left of it
            (o.alice, o.bob, o.alice.in_dialog("UPDATE", ringing, tag="t101", body=o.alice.sdp)),
            (o.bob, o.alice, o.bob.in_dialog("UPDATE", invite, ok, body=o.bob.sdp)),
        ):
            phone.send(update)
            other.reply(await other.ask("UPDATE"), 200, body=other.sdp)
            await phone.response(200)

    play(scene)


def test_dtmf_in_info_passes_both_ways() -> None:
    async def scene(o: Office) -> None:
        invite, ok, ringing = await o.connected()
        for phone, other, request in (
            (o.bob, o.alice, o.bob.in_dialog("INFO", invite, ok, body=b"Signal=5\r\nDuration=160\r\n")),
            (o.alice, o.bob, o.alice.in_dialog("INFO", ringing, tag="t101", body=b"Signal=#\r\nDuration=160\r\n")),
        ):
            request.headers.set("Content-Type", "application/dtmf-relay")
            phone.send(request)
            asked = await other.ask("INFO")
            assert (asked.body, asked.content_type) == (request.body, "application/dtmf-relay")
            other.reply(asked, 200)
            await phone.response(200)

    play(scene)


def test_options_inside_a_call() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        o.bob.send(o.bob.in_dialog("OPTIONS", invite, ok))
        assert "REFER" in (await o.bob.response(200)).headers.get_list("Allow")

    play(scene)


def test_early_media_of_two_phones_is_left_out() -> None:
    async def scene(o: Office) -> None:
        o.paul.number, o.paul.password, o.paul.contact = "101", "2222", o.paul.contact.replace("102", "101")
        await o.alice.register()
        await o.paul.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), 183, body=o.alice.sdp)
        ringing = await o.bob.response(180)
        assert ringing.body == b""
        await asyncio.sleep(0)

    play(scene)


# -- the o= line --------------------------------------------------------------------------------------------------------------------


def line(session: str, version: int, rest: str = "x") -> bytes:
    return f"v=0\r\no=- {session} {version} IN IP4 h\r\ns={rest}\r\n".encode()


def test_origin_passes_until_another_session_comes() -> None:
    origin = Origin()
    assert origin.show(line("1", 1)) == line("1", 1)
    assert origin.show(line("1", 2)) == line("1", 2)
    assert origin.show(line("7", 99, "y")) == line("1", 3, "y")  # RFC 3264 §8: only the version may change, by one
    assert origin.show(line("7", 99, "y")) == line("1", 3, "y")  # the same again is the same
    assert origin.show(origin.shown) == line("1", 3, "y")
    assert origin.show(line("1", 2)) == line("1", 4)
    assert origin.show(b"no description") == b"no description"


def test_silence_answers_an_offer_and_offers() -> None:
    offer = Sdp.parse(waiting(b"", "127.0.0.9").body)
    assert (offer.media[0].direction, offer.media[0].port, offer.connection) == ("inactive", 9, "127.0.0.9")
    body = b"v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 h\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    answer = Sdp.parse(waiting(body + b"m=video 5000 RTP/AVP 34\r\n", "127.0.0.9").body)
    assert [(m.kind, m.port, m.formats) for m in answer.media] == [("audio", 9, ("8", "101")), ("video", 0, ("34",))]


@pytest.mark.parametrize("second", ["UPDATE", "INVITE"])
def test_two_offers_that_cross_are_both_refused(second: str) -> None:
    """RFC 3311 §5.2: both sides offer at once, both hear 491, and may try again."""

    async def scene(o: Office) -> None:
        invite, ok, ringing = await o.connected()
        await asyncio.sleep(0.02)
        offer = o.bob.in_dialog("UPDATE", invite, ok, body=o.bob.sdp.replace(b"sendrecv", b"sendonly"))
        o.bob.send(offer)
        asked = await o.alice.ask("UPDATE")
        crossing = o.alice.in_dialog(second, ringing, tag="t101", body=o.alice.sdp.replace(b"sendrecv", b"sendonly"))
        o.alice.send(crossing)
        refused = await o.alice.response(491)
        if second == "INVITE":
            o.alice.send(o.alice.ack(crossing, refused))
        o.alice.reply(asked, 491)
        await o.bob.response(491)
        again = o.alice.in_dialog("UPDATE", ringing, tag="t101", body=o.alice.sdp.replace(b"sendrecv", b"sendonly"))
        o.alice.send(again)
        o.bob.reply(await o.bob.ask("UPDATE"), 200, body=o.bob.sdp)
        await o.alice.response(200)
        assert "< UPDATE" in o.bob.log and o.bob.log.count("< UPDATE") == 1

    play(scene)


def test_a_second_update_before_the_first_is_answered() -> None:
    """RFC 3311 §5.2: 500 with Retry-After; a re-INVITE of the PBX's own side waits as well."""

    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        await asyncio.sleep(0.02)
        o.bob.send(o.bob.in_dialog("UPDATE", invite, ok, body=o.bob.sdp))
        asked = await o.alice.ask("UPDATE")
        o.bob.send(o.bob.in_dialog("UPDATE", invite, ok, body=o.bob.sdp))
        assert (await o.bob.response(500)).headers.get("Retry-After") == "1"
        answers: list[str] = []
        bob, alice = o.pbx.calls[0].legs.values()
        for leg in (bob, alice):
            leg.update("INVITE", None, lambda response: answers.append("?"))
        await o.alice.silent(0.03)
        o.alice.reply(asked, 200, body=o.alice.sdp)
        await o.bob.response(200)
        await o.alice.ask("INVITE")
        await o.bob.ask("INVITE")

    play(scene)
