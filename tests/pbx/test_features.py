"""Feature codes: do not disturb, user status, pickup, park and unpark."""

from __future__ import annotations

import asyncio

import pytest

from labkit.pbx.features import FeatureCodes
from labkit.sip.message import Request, Response
from labkit.sip.sdp import Sdp
from tests.pbx.office import Office, play
from tests.pbx.peer import Peer
from tests.pbx.test_transfer import refer, told


@pytest.mark.parametrize(
    ("dialled", "meaning"),
    [
        ("*60", ("dnd_on", "")),
        ("*61", ("dnd_off", "")),
        ("*30", ("status", "available")),
        ("*32", ("status", "out_of_office")),
        ("*34", ("status", "custom_2")),
        ("*35", None),
        ("*20*101", ("pickup", "101")),
        ("*20*", ("pickup", "")),
        ("*20", ("pickup", "")),
        ("*03", ("park", "3")),
        ("*13", ("unpark", "3")),
        ("*0", None),
        ("*033", None),
        ("101", None),
        ("", None),
    ],
)
def test_codes(dialled: str, meaning: tuple[str, str] | None) -> None:
    assert FeatureCodes().read(dialled) == meaning


def test_an_empty_code_switches_its_feature_off() -> None:
    none = FeatureCodes("", "", "", "", "", "")
    assert [none.read(dialled) for dialled in ("", "*", "*60", "3", "*20*101", "0")] == [None] * 6


async def dial(phone: Peer, code: str) -> None:
    """Dial a code: it is answered with silence, and ended by the PBX."""
    invite = await phone.invite(code)
    ok = await phone.response(200)
    answer = Sdp.parse(ok.body)
    assert [(m.kind, m.direction) for m in answer.media] == [("audio", "inactive")]
    phone.send(phone.ack(invite, ok))
    phone.reply(await phone.ask("BYE"), 200)


def test_do_not_disturb() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await dial(o.alice, "*60")
        invite = await o.bob.invite("101")
        o.bob.send(o.bob.ack(invite, await o.bob.response(486)))
        assert o.alice.inbox.empty()
        await dial(o.alice, "*61")
        await o.bob.invite("101")
        await o.bob.response(100)
        await o.alice.ask("INVITE")
        o.pbx.set_do_not_disturb("102")
        await o.paul.register()
        await o.bob.invite("102")
        await o.bob.response(486)
        o.pbx.set_do_not_disturb("102", False)
        await o.bob.invite("102")
        await o.bob.response(100)

    play(scene)


def test_user_status_by_code() -> None:
    async def scene(o: Office) -> None:
        await dial(o.alice, "*31")
        assert [row.user_status for row in o.pbx.status()] == ["available", "away", "available"]
        assert ("status", "101") in [(event.kind, event.extension) for event in o.events]
        await o.alice.silent(0.05)
        assert o.pbx._legs == {}

    play(scene)


def test_a_code_is_for_those_who_prove_who_they_are() -> None:
    async def scene(o: Office) -> None:
        o.bob.send(o.bob.request("INVITE", "*60", body=o.bob.sdp))
        await o.bob.response(407)
        assert o.pbx.plan.do_not_disturb == set()

    play(scene)


# -- pickup -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["*20*101", "*20*"])
def test_pickup(code: str) -> None:
    """PAUL takes the call that rings at ALICE's."""

    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        taking = await o.paul.invite(code)
        silence = await o.paul.response(200)
        assert b"a=inactive" in silence.body
        cancel = await o.alice.ask("CANCEL")
        assert cancel.headers.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
        o.paul.send(o.paul.ack(taking, silence))
        asked = await o.paul.ask("INVITE")  # BOB's offer
        assert Sdp.parse(asked.body).media == Sdp.parse(o.bob.sdp).media
        o.paul.reply(asked, 200, body=o.paul.sdp)
        await o.paul.ask("ACK")
        ok = await o.bob.response(200)
        assert ok.body == o.paul.sdp
        o.bob.send(o.bob.ack(invite, ok))
        assert repr(o.pbx.calls) == "[<Call 100 -> 102 connected>]"
        assert [kind for kind in o.kinds() if kind in ("picked_up", "connected")] == ["picked_up", "connected"]
        o.paul.send(o.paul.in_dialog("BYE", taking, silence))
        await o.paul.response(200)
        await o.bob.ask("BYE")

    play(scene)


def test_pickup_of_nothing() -> None:
    async def scene(o: Office) -> None:
        await o.paul.invite("*20*101")
        await o.paul.response(404)

    play(scene)


def test_the_caller_gives_up_while_the_call_is_picked_up() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), 180)
        await o.bob.response(180)
        taking = await o.paul.invite("*20*101")
        silence = await o.paul.response(200)
        o.bob.send(o.bob.cancel(invite))
        await o.bob.response(200)
        await o.bob.response(487)
        o.paul.send(o.paul.ack(taking, silence))
        o.paul.reply(await o.paul.ask("BYE"), 200)
        assert o.pbx.calls == []

    play(scene)


def test_the_one_who_picks_up_hangs_up_at_once() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), 180)
        await o.bob.response(180)
        taking = await o.paul.invite("*20*101")
        silence = await o.paul.response(200)
        o.paul.send(o.paul.in_dialog("BYE", taking, silence))
        await o.paul.response(200)
        await o.bob.response(480)

    play(scene)


# -- park ---------------------------------------------------------------------------------------------------------------------------


async def parked(o: Office, orbit: str = "*03") -> tuple[Request, Response, Request]:
    """ALICE parks BOB; he is on silence then, and she has left."""
    invite, ok, ringing = await o.connected()
    await asyncio.sleep(0.02)
    o.alice.send(refer(o.alice, ringing, orbit))
    await o.alice.response(202)
    await told(o.alice, 100)
    await told(o.alice, 200)
    o.alice.send(o.alice.in_dialog("BYE", ringing, tag="t101"))
    await o.alice.response(200)
    waits = await o.bob.ask("INVITE")
    assert b"a=inactive" in waits.body
    o.bob.reply(waits, 200, body=o.bob.sdp.replace(b"sendrecv", b"inactive"))
    await o.bob.ask("ACK")
    assert repr(o.pbx.calls) == "[<Call 100 -> 101 waiting>]"
    return invite, ok, ringing


def test_park_and_unpark() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await parked(o)
        taking = await o.paul.invite("*13")
        await o.paul.response(100)
        asked = await o.bob.ask("INVITE")
        assert Sdp.parse(asked.body).media == Sdp.parse(o.paul.sdp).media
        o.bob.reply(asked, 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        taken = await o.paul.response(200)
        assert taken.body == o.bob.sdp
        o.paul.send(o.paul.ack(taking, taken))
        assert repr(o.pbx.calls) == "[<Call 100 -> 102 connected>]"
        await o.paul.invite("*13")
        await o.paul.response(404)  # the orbit is free again
        o.bob.send(o.bob.in_dialog("BYE", invite, ok))
        await o.bob.response(200)
        await o.paul.ask("BYE")

    play(scene)


def test_unpark_without_an_offer() -> None:
    async def scene(o: Office) -> None:
        await parked(o)
        taking = await o.paul.invite("*13", body=b"")
        await o.paul.response(100)
        asked = await o.bob.ask("INVITE")
        assert asked.body == b""
        o.bob.reply(asked, 200, body=o.bob.sdp)
        taken = await o.paul.response(200)
        assert taken.body == o.bob.sdp
        o.paul.send(o.paul.ack(taking, taken, body=o.paul.sdp))
        assert Sdp.parse((await o.bob.ask("ACK")).body).media == Sdp.parse(o.paul.sdp).media

    play(scene)


def test_an_orbit_that_is_taken() -> None:
    async def scene(o: Office) -> None:
        _, _, ringing = await o.connected()
        o.pbx._exchange.parked["3"] = o.pbx.calls[0]
        o.alice.send(refer(o.alice, ringing, "*03"))
        await o.alice.response(202)
        await told(o.alice, 100)
        await told(o.alice, 486)
        assert repr(o.pbx.calls) == "[<Call 100 -> 101 connected>]"
        invite = await o.paul.invite("*04")
        o.paul.send(o.paul.ack(invite, await o.paul.response(403)))  # one parks by a transfer

    play(scene)


def test_nobody_takes_it_and_it_rings_at_the_one_who_parked_it() -> None:
    async def scene(o: Office) -> None:
        await parked(o)
        back = await o.alice.ask("INVITE")
        assert (back.from_.sip_uri.user, back.body) == ("100", b"")
        o.alice.reply(back, 200, body=o.alice.sdp)
        asked = await o.bob.ask("INVITE")
        o.bob.reply(asked, 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        assert (await o.alice.ask("ACK")).body == o.bob.sdp
        assert repr(o.pbx.calls) == "[<Call 100 -> 101 connected>]"

    play(scene, park_timeout_s=0.4)


def test_nobody_takes_it_at_all() -> None:
    async def scene(o: Office) -> None:
        await parked(o)
        o.alice.reply(await o.alice.ask("INVITE"), 486)
        await o.bob.ask("BYE")
        assert o.pbx.calls == []
        assert o.pbx._exchange.parked == {}

    play(scene, park_timeout_s=0.4)


def test_the_one_who_waits_hangs_up_or_changes_its_media() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await parked(o)
        change = o.bob.in_dialog("INVITE", invite, ok, body=o.bob.sdp)
        o.bob.send(change)
        await o.bob.response(100)
        silent = await o.bob.response(200)
        assert b"a=inactive" in silent.body
        o.bob.send(o.bob.ack(change, silent))
        o.bob.send(o.bob.in_dialog("INFO", invite, ok, body=b"x"))
        await o.bob.response(480)
        o.bob.send(o.bob.in_dialog("BYE", invite, ok))
        await o.bob.response(200)
        assert o.pbx.calls == []
        assert o.pbx._exchange.parked == {}

    play(scene)
