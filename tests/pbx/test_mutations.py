"""Some hundred thousand messages that are almost right.  Nothing may be raised, nothing may hang, and a normal call works afterwards.

``LABKIT_MUTATIONS`` says how many; by default as many as take less than half a minute.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labkit.errors import SipError
from labkit.pbx.guard import GuardConfig
from labkit.sip.digest import Challenge, Credentials
from labkit.sip.message import Request, Response, parse, validate
from labkit.sip.sdp import Sdp
from labkit.sip.stream import StreamParser
from tests.pbx.mutation import mutate
from tests.pbx.office import EXTENSIONS, FAST, Office, play
from tests.pbx.peer import Peer
from tests.pbx.tcp_peer import tcp_phone

PARSED = int(os.environ.get("LABKIT_MUTATIONS", "200000"))
LIVE = int(os.environ.get("LABKIT_MUTATIONS", "60000"))
BATCH = 250
_hosts = itertools.count()
LONGEST_S = 1.0
"""No single message may keep the PBX this long (it takes a fraction of a millisecond; the machine may be busy)."""


def read_everything(data: bytes) -> None:
    """Parse a message, and everything in it that labkit ever reads."""
    message = parse(data)
    validate(message)
    _ = message.via.reply_address, message.via.received_from(("127.0.0.1", 1)), message.content_type
    for contact in message.contacts:
        _ = contact.expires, contact.q, contact.uri == "*" or contact.sip_uri.address
    for name in ("Authorization", "Proxy-Authorization"):
        for value in message.headers.get_all(name):
            _ = Credentials.parse(value).count
    for value in message.headers.get_all("Proxy-Authenticate"):
        Challenge.parse(value)
    if message.content_type == "application/sdp":
        Sdp.parse(message.body)
    again = parse(bytes(message))
    assert (again.start_line, again.body) == (message.start_line, message.body)


@pytest.mark.timeout(600)
def test_the_parser(corpus: Path, figure: Callable[[str], None]) -> None:
    chance = random.Random(3261)
    samples = [path.read_bytes() for path in sorted((corpus / "rfc4475" / "dat").glob("*.dat"))]
    samples += [bytes(message) for message in Phones().outside()] * 6
    began = time.perf_counter()
    accepted = 0
    stream = StreamParser()
    for n in range(PARSED):
        data = mutate(samples[n % len(samples)], chance)
        try:
            read_everything(data)
            accepted += 1
        except SipError:
            pass
        try:
            list(stream.receive(data[: len(data) // 2]))
            list(stream.receive(data[len(data) // 2 :]))
        except SipError:
            stream = StreamParser()
    assert 0.05 < accepted / PARSED < 0.95  # the mistakes are neither all fatal nor all harmless
    figure(f"parser: {PARSED} mutated messages, {accepted} of them acceptable, {time.perf_counter() - began:.0f} s")


class Phones(Peer):
    """Makes good messages for a phone that never sends them itself."""

    def __init__(self) -> None:
        super().__init__("100", "1111", ("127.0.0.1", 5060))
        self.address = ("127.0.0.1", 5070)
        self.contact = "<sip:100@127.0.0.1:5070>"
        self.sdp = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0\r\na=sendrecv\r\n"

    def outside(self) -> Iterator[Request | Response]:
        return outside_a_call(self)


def outside_a_call(peer: Peer) -> Iterator[Request | Response]:
    """One good message of each kind that needs no call."""
    for method in ("INVITE", "OPTIONS", "MESSAGE", "BYE", "CANCEL", "ACK", "PRACK", "UPDATE", "INFO", "PUBLISH", "DANCE"):
        yield peer.request(method, "101", body=peer.sdp if method in ("INVITE", "MESSAGE") else b"")
    register = peer.request("REGISTER", peer.number)
    register.headers.append("Expires", "60")
    yield register
    challenge = register.response(407)
    challenge.headers.append("Proxy-Authenticate", 'Digest realm="labkit", nonce="1.2.3", algorithm=MD5, qop="auth"')
    yield challenge
    yield peer.again(register, challenge)
    subscribe = peer.request("SUBSCRIBE", "101")
    subscribe.headers.append("Event", "message-summary")
    yield subscribe
    refer = peer.request("REFER", "101")
    refer.headers.append("Refer-To", "<sip:102@127.0.0.1?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>")
    yield refer
    notify = peer.request("NOTIFY", "101", body=b"SIP/2.0 200 OK\r\n")
    notify.headers.append("Event", "refer")
    notify.headers.append("Subscription-State", "terminated")
    yield notify


def inside_the_call(o: Office, invite: Request, ok: Response, ringing: Request) -> Iterator[tuple[Peer, Request]]:
    """One good request of each kind inside a call, from either side."""
    for method in ("INFO", "UPDATE", "INVITE", "MESSAGE", "OPTIONS", "REFER", "NOTIFY", "SUBSCRIBE", "PRACK", "CANCEL", "ACK", "BYE"):
        body = o.bob.sdp if method in ("UPDATE", "INVITE") else b""
        for peer, request in (
            (o.bob, o.bob.in_dialog(method, invite, ok, body=body)),
            (o.alice, o.alice.in_dialog(method, ringing, tag="t101", body=body)),
        ):
            if method == "REFER":
                request.headers.append("Refer-To", "<sip:102@127.0.0.1>")
            if method == "SUBSCRIBE":
                request.headers.append("Event", "dialog")
            yield peer, request


async def alive(o: Office) -> None:
    """PAUL, who also gets the answers to what was sent in his name, asks and is answered."""
    question = o.paul.request("OPTIONS", "102")
    o.paul.send(question)
    while (message := await asyncio.wait_for(o.paul.inbox.get(), 5)).headers.get("Call-ID") != question.call_id:
        pass
    assert isinstance(message, Response)
    assert message.status == 200


async def fresh_call(o: Office) -> tuple[Request, Response, Request]:
    """New phones, registered and in a call, so that what went before does not speak into it."""
    # Each pair is a host of its own: a late answer to a phone of before would only confuse one that has its port again.
    for phone in (o.bob, o.alice):
        o.pbx.registrar.remove(phone.number)
        await phone.close()
    number = next(_hosts)
    host = f"127.0.{number // 250 % 250 + 1}.{number % 250 + 1}"
    o.bob, o.alice = [await Peer(e.number, e.auth_password, o.bob.pbx).start(host) for e in EXTENSIONS[:2]]
    if o.pbx.config.challenge_calls:
        return await o.connected()
    await o.alice.register()
    invite = o.bob.request("INVITE", "101", body=o.bob.sdp)
    o.bob.send(invite)
    await o.bob.response(100)
    ringing = await o.alice.ask("INVITE")
    o.alice.reply(ringing, 200, body=o.alice.sdp)
    await o.alice.ask("ACK")
    ok = await o.bob.response(200)
    o.bob.send(o.bob.ack(invite, ok))
    return invite, ok, ringing


@pytest.mark.timeout(600)
@pytest.mark.parametrize("challenge", [True, False])
def test_a_live_pbx(corpus: Path, caplog: pytest.LogCaptureFixture, figure: Callable[[str], None], challenge: bool) -> None:
    caplog.set_level(logging.ERROR)
    chance = random.Random(4475)
    torture = [path.read_bytes() for path in sorted((corpus / "rfc4475" / "dat").glob("*.dat"))]
    slowest = 0.0
    count = LIVE if challenge else LIVE // 3

    async def scene(o: Office) -> None:
        nonlocal slowest
        sent = 0

        def feed(data: bytes, peer: Peer) -> None:
            """As if ``data`` had come from the phone's socket; nothing gets lost on the way, so each run is the same."""
            nonlocal slowest, sent
            began = time.perf_counter()
            o.pbx._stack._received(data, peer.address)
            slowest = max(slowest, time.perf_counter() - began)
            sent += 1

        while sent < count:
            for call in list(o.pbx.calls):
                call.hang_up()
            invite, ok, ringing = await fresh_call(o)
            samples = [(o.bob, bytes(message)) for message in outside_a_call(o.bob)]
            samples += [(peer, bytes(request)) for peer, request in inside_the_call(o, invite, ok, ringing)]
            samples += [(o.paul, data) for data in chance.sample(torture, 5)]
            for n in range(BATCH):
                peer, data = chance.choice(samples)
                feed(mutate(data, chance), peer)
                if n % 10 == 0:
                    await asyncio.sleep(0)
                for phone in (o.bob, o.alice):
                    while not phone.inbox.empty():  # what the PBX asks is answered, almost rightly
                        asked = phone.inbox.get_nowait()
                        if isinstance(asked, Request) and asked.method != "ACK":
                            answer = asked.response(chance.choice((100, 180, 183, 200, 200, 302, 404, 481, 491, 500, 603)), to_tag="t101")
                            answer.headers.append("Contact", phone.contact)
                            answer.headers.append("Content-Type", "application/sdp")
                            answer.body = phone.sdp
                            feed(mutate(bytes(answer), chance) if chance.random() < 0.7 else bytes(answer), phone)
            await alive(o)
        for call in list(o.pbx.calls):
            call.hang_up()
        await asyncio.sleep(3 * 64 * FAST.t1)
        assert len(o.pbx._stack.transactions) == 0  # everything ends some day
        await fresh_call(o)
        figure(f"live PBX: {sent} mutated messages, the slowest took {slowest * 1000:.1f} ms")

    play(scene, within_s=580, challenge_calls=challenge, ring_timeout_s=1.0, guard=GuardConfig(enabled=False), bindings_max=100)
    assert slowest < LONGEST_S
    assert caplog.records == []


@pytest.mark.timeout(300)
def test_a_live_pbx_over_tcp(caplog: pytest.LogCaptureFixture, figure: Callable[[str], None]) -> None:
    """A connection whose frames are lost is closed; the next one is served."""
    caplog.set_level(logging.ERROR)
    chance = random.Random(5626)
    count = LIVE // 20

    async def scene(o: Office) -> None:
        sent = 0
        while sent < count:
            peer = await tcp_phone("100", "1111", o.bob.pbx)
            for message in outside_a_call(peer):
                peer.send_raw(mutate(bytes(message), chance))
                sent += 1
                if peer.closed.is_set():
                    break
            peer.send_raw(b"\r\n\r\n")
            await asyncio.sleep(0)
            await peer.close()
        o.paul.send(o.paul.request("OPTIONS", "102"))
        await o.paul.response(200)
        await o.connected()
        figure(f"live PBX over TCP: {sent} mutated messages")

    play(scene, within_s=280, guard=GuardConfig(enabled=False))
    assert caplog.records == []
