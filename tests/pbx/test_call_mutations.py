"""Calls under fire: mutated requests of every method inside live dialogs; nothing is raised, nothing hangs, and a call works afterwards."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest

from labkit.sip.message import Request
from tests.pbx.mutation import mutate
from tests.pbx.office import Office, play
from tests.pbx.peer import Peer
from tests.pbx.test_transfer import refer

ROUNDS = 40


def inside(o: Office, ringing: Request) -> list[Request]:
    """One request of each kind that ALICE's phone may send in her call."""

    def made(method: str, body: bytes = b"", *headers: tuple[str, str]) -> Request:
        request = o.alice.in_dialog(method, ringing, tag="t101", body=body)
        for name, value in headers:
            request.headers.append(name, value)
        return request

    replaces = f"<sip:102@h?Replaces={ringing.call_id}%3Bto-tag%3D{ringing.from_.tag}%3Bfrom-tag%3Dt101>"
    return [
        made("INVITE", o.alice.sdp, ("Session-Expires", "1800;refresher=uac"), ("Supported", "timer")),
        made("INVITE"),
        made("UPDATE", o.alice.sdp, ("Session-Expires", "100")),
        made("PRACK", b"", ("RAck", "1 1 INVITE")),
        made("INFO", b"Signal=1"),
        made("MESSAGE", b"hi"),
        made("NOTIFY", b"SIP/2.0 200 OK", ("Event", "refer"), ("Subscription-State", "active")),
        made("SUBSCRIBE", b"", ("Event", "dialog"), ("Expires", "100")),
        refer(o.alice, ringing, "102"),
        refer(o.alice, ringing, replaces),
        refer(o.alice, ringing, "*03"),
        made("CANCEL"),
        made("ACK", o.alice.sdp),
    ]


async def answering(phone: Peer) -> None:
    """Answer whatever comes, as a phone would, more or less."""
    while True:
        message = await phone.inbox.get()
        if isinstance(message, Request) and message.method != "ACK":
            phone.reply(message, 200, body=phone.sdp if message.method == "INVITE" else b"")


@pytest.mark.parametrize("seed", range(4))
def test_a_call_survives_mutations_of_everything(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    chance = random.Random(seed)

    async def scene(o: Office) -> None:
        failures: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
        await o.paul.register()
        invite, ok, ringing = await o.connected()
        tasks = [asyncio.create_task(answering(phone)) for phone in (o.bob, o.alice, o.paul)]
        for _ in range(ROUNDS):
            for request in inside(o, ringing):
                o.alice.send_raw(bytes(request) if chance.random() < 0.1 else mutate(bytes(request), chance))
            for method in ("INVITE", "UPDATE", "REFER"):
                o.bob.send_raw(mutate(bytes(o.bob.in_dialog(method, invite, ok, body=o.bob.sdp)), chance))
            await asyncio.sleep(0.005)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for call in list(o.pbx.calls):
            call.hang_up()
        assert o.pbx.calls == []
        assert o.pbx._exchange.parked == {}
        for phone in (o.bob, o.alice, o.paul):
            await asyncio.sleep(0.02)
            while not phone.inbox.empty():
                phone.inbox.get_nowait()
        fresh = [await Peer(p.number, p.password, p.pbx).start("127.0.0.1") for p in (o.bob, o.alice)]
        await fresh[1].register(contact=fresh[1].contact)
        o.pbx.set_do_not_disturb("101", False)
        call_ = await fresh[0].invite("101")
        await fresh[0].response(100)
        fresh[1].reply(await fresh[1].ask("INVITE"), 200, body=fresh[1].sdp)
        await fresh[1].ask("ACK")
        fresh[0].send(fresh[0].ack(call_, await fresh[0].response(200)))
        for phone in fresh:
            await phone.close()
        assert failures == []

    play(scene)
    assert [record.getMessage() for record in caplog.records] == []
