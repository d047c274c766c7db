"""Whoever sends the most that fits into a message must not make others wait: every loop over what came is bounded."""

from __future__ import annotations

import asyncio
import time

import pytest

from labkit.net.tcp import TcpLimits
from labkit.pbx.stack import SipStack
from labkit.pbx.transport import BATCH
from labkit.sip.headers import NameAddr
from labkit.sip.message import Request
from tests.pbx.office import Office, free_port, play
from tests.pbx.peer import Peer
from tests.pbx.tcp_peer import TcpPeer, tcp_phone

LONGEST_DATAGRAM = 65_000
PATIENCE_S = 0.2


async def waited(phone: Peer) -> float:
    """How long an OPTIONS of ``phone`` waits for its answer, in seconds."""
    began = time.perf_counter()
    phone.send(phone.request("OPTIONS", "101", uri=f"sip:{phone.pbx[0]}"))
    await phone.response(200, timeout=30)
    return time.perf_counter() - began


def filled(request: Request, name: str, first: str, more: str) -> Request:
    """``request`` with one header field as long as a datagram allows."""
    request.headers.remove(name)
    request.headers.append(name, first + more * ((LONGEST_DATAGRAM - len(bytes(request))) // len(more.encode())))
    return request


def lines(request: Request, name: str, value: str, count: int) -> Request:
    for _ in range(count):
        request.headers.append(name, value)
    return request


async def hostile(o: Office, kind: str) -> None:
    """BOB, who has a password, sends the most of ``kind``; the answer does not matter."""
    bob = o.bob
    plain, request = bob.request("REGISTER", "100"), bob.request("REGISTER", "100")
    bob.send(plain)
    challenge = await bob.response(407)
    request = bob.again(request, challenge)
    if kind == "contacts":
        request.headers.set("Contact", ", ".join(f"<sip:a@1.1.1.1:{n}>" for n in range(1, 601)))
    elif kind == "contacts as many and as long as allowed":
        padding = ";a" * 30
        request.headers.set("Contact", ", ".join(f"<sip:a@127.0.0.1:{n}{padding * 5};b>;x=" + "y" * 5000 for n in range(1, 9)))
    elif kind == "vias":
        filled(request, "Via", bob.via(), ", SIP/2.0/UDP a")
    elif kind == "vias as many as allowed":
        lines(request, "Via", "SIP/2.0/UDP h;branch=z9hG4bK", 480)
    elif kind == "routes":
        filled(filled(request, "Record-Route", "<sip:a;lr>", ",<sip:b;lr>"), "Route", "<sip:a>", ",<sip:b>")
    elif kind == "header lines":
        lines(request, "a", "", 9000)
    elif kind == "folded lines":
        request.headers.lines.append(("x", b"X: y" + b"\r\n " * 20_000))
    elif kind == "list elements":
        filled(request, "Require", "a", ",")
    elif kind == "parameters":
        filled(request, "From", "<sip:100@h>;tag=1", ";a")
    elif kind == "white space":
        filled(request, "From", "\x0b", "\x0b")
    elif kind == "quotes":
        filled(request, "Contact", '"', '\\"')
    elif kind == "parameters of a URI":
        request = bob.again(bob.request("REGISTER", "100", uri="sip:h" + ";a" * 15_000), challenge)
    elif kind == "session description":
        body = b"v=0\r\n" + b"o=- 1 1 IN IP4 h\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:\r\n" * 1000
        await bob.invite("101", body=body)
        return
    bob.send(request)


KINDS = (
    "contacts",
    "contacts as many and as long as allowed",
    "vias",
    "vias as many as allowed",
    "routes",
    "header lines",
    "folded lines",
    "list elements",
    "parameters",
    "white space",
    "quotes",
    "parameters of a URI",
    "session description",
)


@pytest.mark.parametrize("kind", KINDS)
def test_others_do_not_wait(kind: str) -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        times = []
        for _ in range(3):  # the machine may be busy with something else
            await hostile(o, kind)
            times.append(await waited(o.alice))
            while not o.bob.inbox.empty():
                o.bob.inbox.get_nowait()
            if min(times) < PATIENCE_S:
                break
        assert min(times) < PATIENCE_S

    play(scene, within_s=120)


def test_a_register_with_the_most_of_everything() -> None:
    async def scene(o: Office) -> None:
        times = []
        for _ in range(3):
            request = o.bob.request("REGISTER", "100")
            request.headers.set("Contact", ", ".join(f"<sip:a@127.0.0.1:{n}{';a' * 60}>" for n in range(1, 9)))
            for name, value in (("Via", "SIP/2.0/UDP h;branch=z9hG4bK1"), ("Record-Route", "<sip:h;lr>"), ("X", "y" * 150)):
                lines(request, name, value, 150)
            o.bob.send(request)
            o.bob.send(o.bob.again(request, await o.bob.response(407)))
            times.append(await waited(o.alice))
            assert len((await o.bob.response(200)).contacts) == 8
        assert min(times) < PATIENCE_S

    play(scene, within_s=120)


def test_too_many_contacts_are_refused_before_they_are_compared() -> None:
    async def scene(o: Office) -> None:
        for contact in (", ".join(f"<sip:a@1.1.1.1:{n}>" for n in range(1, 10)), f"<sip:a@127.0.0.1{';a' * 500}>"):
            request = o.bob.request("REGISTER", "100")
            request.headers.set("Contact", contact)
            o.bob.send(request)
            o.bob.send(o.bob.again(request, await o.bob.response(407)))
            assert "Warning" not in (await o.bob.response(403)).headers
        assert o.pbx.registrar.bindings("100") == []

    play(scene)


# -- TCP ----------------------------------------------------------------------------------------------------------------------------


def test_many_messages_in_one_segment_leave_others_their_turn() -> None:
    async def scene(o: Office) -> None:
        mallory = await tcp_phone("666", "", o.bob.pbx)
        mallory.send(mallory.request("OPTIONS", "101"))
        await mallory.response(200)
        stack, count, served = o.pbx._stack, 10 * BATCH, []
        serve = stack._on_request
        stack._on_request = lambda request, *rest: (served.append(request), serve(request, *rest))[1]
        endpoint = stack._transport.streams["TCP"]
        segment = b"".join(bytes(mallory.request("OPTIONS", "101")) for _ in range(count))
        endpoint.received(endpoint._connections[mallory.address], segment)
        assert len(served) == BATCH  # the rest when the loop has looked at the others
        for _ in range(count):
            await mallory.response(200)  # and nothing got lost
        await mallory.close()

    play(scene)


def test_many_keep_alives_are_answered_at_once() -> None:
    async def scene(o: Office) -> None:
        mallory = await tcp_phone("666", "", o.bob.pbx)
        mallory.send_raw(b"\r\n\r\n" * 50_000)
        mallory.send(mallory.request("OPTIONS", "101"))
        await mallory.response(200, timeout=20)
        assert mallory.octets.count(b"\r\n") >= 50_000
        await mallory.close()

    play(scene)


def test_a_head_that_is_too_long_is_answered() -> None:
    async def scene(o: Office) -> None:
        bob = await tcp_phone("100", "1111", o.bob.pbx)
        request = bob.request("OPTIONS", "101")
        request.headers.append("X", "y" * (1 << 20))
        bob.send(request)
        assert (await bob.response(513)).via.branch == request.via.branch
        await asyncio.wait_for(bob.closed.wait(), 5)
        await bob.close()

    play(scene)


async def connected(host: str, address: tuple[str, int]) -> TcpPeer:
    return await TcpPeer("100", "", address).start(host)


def test_one_host_does_not_take_every_place() -> None:
    """An OPTIONS is no reason to trust anyone: strangers go, and phones of other hosts find a place meanwhile."""

    async def run() -> None:
        address = ("127.0.0.1", await free_port())

        def answer(request: Request, transaction: object, source: tuple[str, int]) -> None:
            stack.respond(transaction, request.response(200, to_tag="t"))  # type: ignore[arg-type]

        stack = SipStack(address, answer, limits=TcpLimits(connections=10, connections_per_host=4, silence_s=0.4))
        await stack.start(address)
        greedy = [await connected("127.0.0.1", address) for _ in range(12)]
        await asyncio.sleep(0.1)
        assert sum(not phone.closed.is_set() for phone in greedy) == 4
        other = await connected("127.0.0.2", address)
        other.send(other.request("OPTIONS", "101"))
        await other.response(200)
        held = [phone for phone in greedy if not phone.closed.is_set()]
        for phone in held:
            phone.send(phone.request("OPTIONS", "101"))
            await phone.response(200)
        for phone in held:
            await asyncio.wait_for(phone.closed.wait(), 3)
        again = await connected("127.0.0.1", address)  # its place is free again
        again.send(again.request("OPTIONS", "101"))
        await again.response(200)
        await stack.close()
        for phone in (*greedy, other, again):
            await phone.close()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_who_has_shown_a_password_may_be_silent() -> None:
    async def scene(o: Office) -> None:
        stranger, phone = [await tcp_phone("101", "2222", o.bob.pbx) for _ in range(2)]
        stranger.send(stranger.request("OPTIONS", "101"))
        await stranger.response(200)
        await phone.register()
        connections = o.pbx._stack._transport.streams["TCP"]._connections
        assert [connections[peer.address].trusted for peer in (stranger, phone)] == [False, True]
        await stranger.close()
        await phone.close()

    play(scene)


def test_contacts_of_one_connection_are_counted_at_once() -> None:
    async def scene(o: Office) -> None:
        bob = await tcp_phone("100", "", o.bob.pbx)
        ways = o.pbx._stack.ways
        for first in (1, 401):
            request = bob.request("OPTIONS", "101")
            request.headers.set("Contact", ",".join(str(NameAddr(f"sip:a@127.0.0.1:{n};transport=tcp")) for n in range(first, first + 400)))
            bob.send(request)
            await bob.response(200)
        assert len(ways._aliases) == 100
        await bob.close()
        for _ in range(100):
            if not ways._aliases:
                break
            await asyncio.sleep(0.02)
        assert ways._aliases == ways._by_hop == {}

    play(scene)
