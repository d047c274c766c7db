"""Mistakes of the PBX's own and races: whatever happens, a call ends on both legs, has its record, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from labkit.pbx.asking import AskingLeg
from labkit.pbx.call import Call
from labkit.pbx.hunt import Hunt
from labkit.pbx.leg import Leg
from labkit.pbx.origin import Origin
from labkit.sip.message import Request, Response
from labkit.sip.transaction import Timers
from tests.pbx.office import Office, play
from tests.pbx.peer import Peer
from tests.pbx.test_features import parked
from tests.pbx.test_reliable import invite, prack, reliably
from tests.pbx.test_transfer import refer, told


def fails(*arguments: Any, **named: Any) -> Any:
    raise ValueError("a mistake of the PBX's own")


async def nothing_left(o: Office, *statuses: int) -> None:
    """No call, no leg, nobody in a call, and these records."""
    for _ in range(100):
        if not o.pbx._legs:
            break
        await asyncio.sleep(0.02)
    assert (o.pbx.calls, o.pbx._legs, o.pbx._exchange.parked) == ([], {}, {})
    assert {row.state for row in o.pbx.status()} <= {"registered", "not_registered"}
    assert [record.status for record in o.pbx.store.records()] == list(statuses)


async def ended(phone: Peer) -> None:
    phone.reply(await phone.ask("BYE"), 200)


LONG = b"o=- 1 " + b"9" * 5000


def test_a_version_that_no_number_holds_passes_unchanged() -> None:
    origin = Origin()
    offer = b"v=0\r\n" + LONG + b" IN IP4 127.0.0.1\r\ns=-\r\n"
    assert origin.show(offer) == offer
    assert origin.show(b"v=0\r\no=- 2 7 IN IP4 h\r\ns=-\r\n") == b"v=0\r\no=- 2 7 IN IP4 h\r\ns=-\r\n"
    assert origin.show(b"v=0\r\no=x 3 1 IN IP4 h\r\ns=-\r\n") == b"v=0\r\no=- 2 8 IN IP4 h\r\ns=-\r\n"
    assert origin.show(offer) == offer


def test_a_call_with_such_a_version_is_a_call(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(o: Office) -> None:
        o.bob.sdp, o.alice.sdp = (phone.sdp.replace(b"o=- 1 1", LONG) for phone in (o.bob, o.alice))
        call, ok, ringing = await o.connected()
        assert (ringing.body, ok.body) == (o.bob.sdp, o.alice.sdp)
        o.bob.send(o.bob.in_dialog("BYE", call, ok))
        await o.bob.response(200)
        await ended(o.alice)
        await nothing_left(o, 200)

    play(scene, transports=("udp",))
    assert caplog.records == []


def test_a_mistake_in_the_invite_is_500(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        monkeypatch.setattr(Origin, "show", fails)
        for _ in range(3):
            call = await o.bob.invite("101")
            await o.bob.response(100)
            o.bob.send(o.bob.ack(call, await o.bob.response(500)))
        await nothing_left(o, 500, 500, 500)
        await o.alice.silent(0.05)

    play(scene)


@pytest.mark.parametrize("where", [(Origin, "show"), (Call, "connected"), (AskingLeg, "_accepted")])
def test_a_mistake_in_the_answer_ends_both_legs(where: tuple[type, str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        call = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        monkeypatch.setattr(*where, fails)
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        if where[1] != "_accepted":
            await o.alice.ask("ACK")
        await ended(o.alice)
        o.bob.send(o.bob.ack(call, await o.bob.response(500)))
        monkeypatch.undo()
        await nothing_left(o, 500 if where[1] != "show" else 200)

    play(scene)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INFO"])
def test_a_mistake_inside_the_call_ends_both_legs(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(o: Office) -> None:
        call, ok, _ = await o.connected()
        await asyncio.sleep(0.02)
        monkeypatch.setattr(AskingLeg, "update", fails)
        o.bob.send(o.bob.in_dialog(method, call, ok, body=o.bob.sdp.replace(b"sendrecv", b"sendonly")))
        for _ in range(3 if method == "INVITE" else 2):
            message = await asyncio.wait_for(o.bob.inbox.get(), 5)
            if isinstance(message, Request):
                o.bob.reply(message, 200)
            else:
                assert message.status in (100, 487, 500), message
        assert "< BYE" in o.bob.log
        await ended(o.alice)
        await nothing_left(o, 200)

    play(scene)


def test_a_mistake_when_the_ringing_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        call = await o.bob.invite("101")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), 180)
        await o.bob.response(180)
        monkeypatch.setattr(Hunt, "_next_turn", fails)
        o.bob.send(o.bob.ack(call, await o.bob.response(500)))
        await o.alice.ask("CANCEL")
        assert (o.pbx.calls, [record.status for record in o.pbx.store.records()]) == ([], [500])

    play(scene, ring_timeout_s=0.2)


def test_a_mistake_in_a_transfer_ends_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        _, _, ringing = await o.connected()
        o.alice.send(refer(o.alice, ringing, "102"))
        await o.alice.response(202)
        await told(o.alice, 100)
        monkeypatch.setattr("labkit.pbx.transfer.join_found", fails)
        o.paul.reply(await o.paul.ask("INVITE"), 200, body=o.paul.sdp)
        await ended(o.bob)
        await o.paul.ask("ACK")
        await ended(o.paul)
        await told(o.alice, 200)
        await ended(o.alice)
        await nothing_left(o, 200)

    play(scene)


def test_a_mistake_in_the_bye_ends_both_legs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(o: Office) -> None:
        call, ok, _ = await o.connected()
        await asyncio.sleep(0.02)
        failed: list[Leg] = []
        send_bye = Leg._send_bye
        monkeypatch.setattr(Leg, "_send_bye", lambda leg: send_bye(leg) if failed else fails(failed.append(leg)))
        o.bob.send(o.bob.in_dialog("BYE", call, ok))
        await o.bob.response(200)
        await ended(o.alice)
        await nothing_left(o, 200)

    play(scene)


def test_a_mistake_in_the_bye_that_stays_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(o: Office) -> None:
        call, ok, _ = await o.connected()
        await asyncio.sleep(0.02)
        monkeypatch.setattr(Leg, "_send_bye", fails)
        o.bob.send(o.bob.in_dialog("BYE", call, ok))
        await o.bob.response(200)
        await nothing_left(o, 200)

    play(scene)


def test_a_mistake_in_the_refusal_is_500(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        call = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        monkeypatch.setattr(Origin, "show", fails)
        o.alice.reply(ringing, 488, body=o.alice.sdp)
        await o.alice.ask("ACK")
        o.bob.send(o.bob.ack(call, await o.bob.response(500)))
        await nothing_left(o, 500)

    play(scene)


def test_one_broken_call_does_not_touch_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(o: Office) -> None:
        call, ok, _ = await o.connected()
        await o.paul.register()
        monkeypatch.setattr(Hunt, "start", fails)
        second = await o.paul.invite("101")
        await o.paul.response(100)
        o.paul.send(o.paul.ack(second, await o.paul.response(500)))
        assert repr(o.pbx.calls) == "[<Call 100 -> 101 connected>]"
        o.bob.send(o.bob.in_dialog("BYE", call, ok))
        await o.bob.response(200)
        await ended(o.alice)
        await nothing_left(o, 500, 200)

    play(scene)


# -- two who take the same call -----------------------------------------------------------------------------------------------------

SLOW = Timers(t1=0.5)


def test_of_two_who_take_a_parked_call_one_gets_it() -> None:
    async def scene(o: Office) -> None:
        call, ok, _ = await parked(o)
        taking = await o.paul.invite("*13")
        await o.paul.response(100)
        asked = await o.bob.ask("INVITE")
        late = await o.alice.invite("*13")
        o.alice.send(o.alice.ack(late, await o.alice.response(480)))
        o.bob.reply(asked, 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        o.paul.send(o.paul.ack(taking, await o.paul.response(200)))
        assert repr(o.pbx.calls) == "[<Call 100 -> 102 connected>]"
        o.bob.send(o.bob.in_dialog("BYE", call, ok))
        await o.bob.response(200)
        await ended(o.paul)
        await nothing_left(o, 200)

    play(scene, timers=SLOW)


def test_the_parked_phone_leaves_while_it_is_taken() -> None:
    async def scene(o: Office) -> None:
        call, ok, _ = await parked(o)
        taking = await o.paul.invite("*13")
        await o.paul.response(100)
        asked = await o.bob.ask("INVITE")
        o.bob.send(o.bob.in_dialog("BYE", call, ok))
        await o.bob.response(200)
        o.paul.send(o.paul.ack(taking, await o.paul.response(480)))
        o.bob.reply(asked, 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        await o.paul.silent(0.1)
        await nothing_left(o, 200)

    play(scene, timers=SLOW)


def test_who_gives_up_taking_leaves_the_call_to_the_next() -> None:
    async def scene(o: Office) -> None:
        await parked(o)
        taking = await o.paul.invite("*13")
        await o.paul.response(100)
        asked = await o.bob.ask("INVITE")
        o.paul.send(o.paul.cancel(taking))
        await o.paul.response(200)
        o.paul.send(o.paul.ack(taking, await o.paul.response(487)))
        await o.alice.invite("*13")
        await o.alice.response(100)
        o.bob.reply(asked, 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        o.bob.reply(await o.bob.ask("INVITE"), 200, body=o.bob.sdp)
        await o.bob.ask("ACK")
        await o.alice.response(200)
        assert repr(o.pbx.calls) == "[<Call 100 -> 101 connected>]"

    play(scene, timers=SLOW)


# -- before the caller has its answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "status"), [("INFO", 500), ("INVITE", 491), ("UPDATE", 491), ("REFER", 491)])
def test_the_callee_asks_something_while_the_callers_prack_is_open(method: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(o: Office) -> None:
        call, ringing = await invite(o, ("Supported", "100rel"))
        reliably(o.alice, ringing, 180, 1)
        first = await o.bob.response(180)
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        await o.alice.ask("ACK")
        question = refer(o.alice, ringing, "102") if method == "REFER" else o.alice.in_dialog(method, ringing, tag="t101", body=o.alice.sdp)
        o.alice.send(question)
        if method == "INVITE":
            await o.alice.response(100)
        answer = await o.alice.response(status)
        assert (answer.headers.get("Retry-After") is not None) == (status == 500)
        o.bob.send(prack(o.bob, call, first))
        seen: list[Response] = [await o.bob.response(200)]
        while seen[-1].cseq.method != "INVITE":
            asked = o.alice.inbox.empty() or o.alice.inbox.get_nowait()
            if isinstance(asked, Request) and asked.method == "PRACK":
                o.alice.reply(asked, 200)
            seen.append(await o.bob.response(200))
        o.bob.send(o.bob.ack(call, seen[-1]))
        assert repr(o.pbx.calls) == "[<Call 100 -> 101 connected>]"

    play(scene, timers=SLOW)
    assert caplog.records == []


def test_an_observer_that_fails_keeps_no_call_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(o: Office) -> None:
        call, ok, _ = await o.connected()
        tell: Callable[..., None] = Call.tell
        monkeypatch.setattr(Call, "tell", lambda self, kind, *rest: fails() if kind == "ended" else tell(self, kind, *rest))
        o.bob.send(o.bob.in_dialog("BYE", call, ok))
        await o.bob.response(200)
        await ended(o.alice)
        await nothing_left(o, 200)

    play(scene)
