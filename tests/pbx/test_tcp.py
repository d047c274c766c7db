"""SIP over TCP: framing, keep-alives, connections that are used again, limits, and the switch for long messages (RFC 3261 §18)."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from labkit.errors import WireError
from labkit.net.udp import UdpEndpoint
from labkit.pbx import Pbx, PbxConfig
from labkit.sip.message import Request, parse
from labkit.sip.stream import StreamParser
from tests.pbx.office import Office, free_port, play
from tests.pbx.tcp_peer import TcpPeer, tcp_phone
from tests.pbx.test_torture import EXPECTED


async def alice_on_tcp(o: Office, contact_port: int | None = None) -> TcpPeer:
    alice = await tcp_phone("101", "2222", o.bob.pbx, contact_port)
    ok = await alice.register()
    assert ok.via.transport == "TCP"
    return alice


def test_a_call_to_a_phone_on_tcp_goes_over_its_own_connection() -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        alice = await alice_on_tcp(o)
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await alice.ask("INVITE")
        assert ringing.via.transport == "TCP"
        assert ringing.contacts[0].sip_uri.param("transport") == "tcp"
        alice.reply(ringing, 180)
        await o.bob.response(180)
        alice.reply(ringing, 200, body=alice.sdp)
        ack = await alice.ask("ACK")
        assert ack.via.transport == "TCP"
        ok = await o.bob.response(200)
        assert ok.contacts[0].sip_uri.param("transport") is None  # BOB speaks UDP
        o.bob.send(o.bob.ack(invite, ok))
        o.bob.send(o.bob.in_dialog("BYE", invite, ok))
        await o.bob.response(200)
        alice.reply(await alice.ask("BYE"), 200)
        assert not alice.closed.is_set()
        await alice.close()

    play(scene)


def test_a_caller_on_tcp_that_listens_nowhere_gets_the_bye() -> None:
    """Not even registered: its Contact is reached on the connection over which it came."""

    async def scene(o: Office) -> None:
        await o.alice.register()
        bob = await tcp_phone("100", "1111", o.bob.pbx, contact_port=9)
        invite = await bob.invite("101")
        await bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 200, tag="a", body=o.alice.sdp)
        await o.alice.ask("ACK")
        ok = await bob.response(200)
        assert ok.contacts[0].sip_uri.param("transport") == "tcp"
        bob.send(bob.ack(invite, ok))
        o.alice.send(o.alice.in_dialog("BYE", ringing, tag="a"))
        await o.alice.response(200)
        bob.reply(await bob.ask("BYE"), 200)
        await bob.close()

    play(scene)


@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_any_segmentation_and_several_messages_at_once(size: int) -> None:
    async def scene(o: Office) -> None:
        bob = await tcp_phone("100", "1111", o.bob.pbx)
        requests = [bob.request("OPTIONS", "101", body=b"x" * n) for n in (0, 500, 5)]
        stream = b"\r\n".join(map(bytes, requests))
        for at in range(0, len(stream), size):
            bob.send_raw(stream[at : at + size])
            await asyncio.sleep(0)
        answers = [await bob.response(200) for _ in requests]
        assert [a.call_id for a in answers] == [r.call_id for r in requests]
        await bob.close()

    play(scene)


def test_keep_alive_is_answered() -> None:
    async def scene(o: Office) -> None:
        bob = await tcp_phone("100", "1111", o.bob.pbx)
        bob.send_raw(b"\r\n\r\n")
        for _ in range(2):
            bob.send(bob.request("OPTIONS", "101"))
            await bob.response(200)
        # One CRLF for two (RFC 5626 §4.4.1): before the first response or behind it.
        assert bob.octets.split(b"SIP/2.0 200")[0] == b"\r\n" or b"\r\n\r\n\r\nSIP/2.0 200" in bob.octets
        await bob.close()

    play(scene)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda data: data.replace(b"Content-Length: 0", b"Content-Length: 70000") + b"x" * 70_000, 413),
        (lambda data: data.replace(b"Content-Length: 0\r\n", b""), 400),
        (lambda data: data.replace(b"Content-Length: 0", b"Content-Length: -1"), 400),
        (lambda data: data.replace(b" SIP/2.0\r", b" SIP/3.0\r", 1), 505),
        (lambda data: b"x" * 70_000, None),
    ],
)
def test_a_stream_that_cannot_be_cut_is_answered_and_closed(change, status: int | None) -> None:  # type: ignore[no-untyped-def]
    async def scene(o: Office) -> None:
        bob = await tcp_phone("100", "1111", o.bob.pbx)
        first = bob.request("OPTIONS", "101")
        bob.send_raw(bytes(first) + change(bytes(bob.request("OPTIONS", "101"))))
        assert (await bob.response(200)).call_id == first.call_id  # what came before is served
        if status is not None:
            await bob.response(status)
        await asyncio.wait_for(bob.closed.wait(), 5)
        o.bob.send(o.bob.request("OPTIONS", "101"))
        await o.bob.response(200)
        await bob.close()

    play(scene)


async def listener(o: Office, port: int) -> tuple[asyncio.Server, asyncio.Queue[tuple[Request, asyncio.StreamWriter]]]:
    """A phone that accepts TCP connections at ``port`` and puts what comes into a queue."""
    inbox: asyncio.Queue[tuple[Request, asyncio.StreamWriter]] = asyncio.Queue()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = StreamParser()
        while data := await reader.read(65536):
            for message in parser.receive(data):
                inbox.put_nowait((message, writer))  # type: ignore[arg-type]
        writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", port), inbox


def long_sdp(o: Office) -> bytes:
    return o.bob.sdp + b"".join(b"a=rtpmap:%d x-codec-%d/8000\r\n" % (n, n) for n in range(60))


def test_a_long_request_goes_over_tcp_where_the_phone_has_it() -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        await o.alice.register()
        server, inbox = await listener(o, o.alice.address[1])
        await o.bob.invite("101", body=long_sdp(o))
        await o.bob.response(100)
        invite, writer = await asyncio.wait_for(inbox.get(), 5)
        assert len(bytes(invite)) > 1300
        assert invite.via.transport == "TCP"
        assert invite.contacts[0].sip_uri.param("transport") == "tcp"
        writer.write(bytes(invite.response(486, to_tag="a")))
        await o.bob.response(486)
        server.close()
        writer.close()

    play(scene)


def test_a_long_request_goes_over_udp_after_all() -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        await o.alice.register()
        for _ in range(2):  # the second time TCP is not even tried
            invite = await o.bob.invite("101", body=long_sdp(o))
            await o.bob.response(100)
            ringing = await o.alice.ask("INVITE")
            assert (len(bytes(ringing)) > 1300, ringing.via.transport) == (True, "UDP")
            assert ringing.contacts[0].sip_uri.param("transport") is None
            o.alice.reply(ringing, 486)
            await o.alice.ask("ACK")
            o.bob.send(o.bob.ack(invite, await o.bob.response(486)))

    play(scene)


def test_a_phone_on_tcp_that_hung_up_its_connection_is_called_at_its_contact() -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        port = await free_port()
        server, inbox = await listener(o, port)
        alice = await alice_on_tcp(o, contact_port=port)
        await alice.close()
        await asyncio.sleep(0.05)
        await o.bob.invite("101")
        await o.bob.response(100)
        invite, writer = await asyncio.wait_for(inbox.get(), 5)
        writer.write(bytes(invite.response(486, to_tag="a")))
        await o.bob.response(486)
        server.close()
        writer.close()

    play(scene)


def test_a_phone_on_tcp_that_has_gone_is_silence_at_once() -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        alice = await alice_on_tcp(o, contact_port=await free_port())
        await alice.close()
        await asyncio.sleep(0.05)
        await o.bob.invite("101")
        await o.bob.response(100)
        await o.bob.response(408, timeout=2)

    play(scene)


def test_a_response_finds_another_way_when_its_connection_has_gone() -> None:
    """§18.2.2: to the address of the Via, over a new connection."""

    async def scene(o: Office) -> None:
        await o.alice.register()
        port = await free_port()
        server, inbox = await listener(o, port)
        bob = await tcp_phone("100", "1111", o.bob.pbx)
        first = bob.request("INVITE", "101", body=bob.sdp)
        bob.send(first)
        again = bob.again(first, await bob.response(407))
        again.headers.set("Via", f"SIP/2.0/TCP 127.0.0.1:{port};branch=z9hG4bKother")
        bob.send(again)
        await bob.response(100)
        ringing = await o.alice.ask("INVITE")
        await bob.close()
        await asyncio.sleep(0.05)
        o.alice.reply(ringing, 486)
        response, writer = await asyncio.wait_for(inbox.get(), 5)
        assert parse(bytes(response)).start_line == "SIP/2.0 486 Busy Here"
        server.close()
        writer.close()

    play(scene)


def test_nobody_takes_the_calls_of_another_host() -> None:
    """A Contact that names another host is not believed because of the connection it came over."""

    async def scene(o: Office) -> None:
        thief = await tcp_phone("666", "", o.bob.pbx)
        thief.contact = f"<sip:101@127.0.0.7:{thief.address[1]};transport=tcp>"
        thief.send(thief.request("OPTIONS", "101"))
        await thief.response(200)
        assert o.pbx._stack.ways._aliases == {}
        await thief.close()

    play(scene)


def test_both_ports_or_none() -> None:
    async def run() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            address = other.getsockname()
            pbx = Pbx(PbxConfig(address, address))
            with pytest.raises(WireError, match=str(address[1])):
                await pbx.start()
            endpoint = await UdpEndpoint.open(address, lambda data, source: None)  # UDP was given back
            await endpoint.close()
            await pbx.close()
            only_udp = Pbx(PbxConfig(address, address, transports=("udp",)))
            await only_udp.start()
            await only_udp.close()

    asyncio.run(run())


# Over TCP: None means that the connection stays and nothing is answered; what differs from UDP is here.
OVER_TCP: dict[str, list[int]] = {
    "dblreq": [407, 403],  # what follows is a message of its own
    "clerr": [],  # waits for the rest
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_torture(corpus: Path, name: str) -> None:
    data = (corpus / "rfc4475" / "dat" / f"{name}.dat").read_bytes()
    no_length = b"\ncontent-length" not in data.lower().replace(b" ", b"") and b"\nl:" not in data.lower().replace(b" ", b"")

    async def scene(o: Office) -> None:
        peer = await tcp_phone("100", "1111", o.bob.pbx)
        probe = peer.request("OPTIONS", "101")
        peer.send_raw(data)
        await asyncio.sleep(0.02)
        peer.send(probe)
        expected = OVER_TCP.get(name) if name in OVER_TCP else [EXPECTED[name]] if EXPECTED[name] else []
        if no_length:
            expected = [EXPECTED[name] if EXPECTED[name] == 505 else 400] if EXPECTED[name] else []
        assert expected is not None
        for status in expected:
            await peer.response(status)
        # Either the connection goes on, or it was closed because its frames were lost, or it waits for the rest of a message.
        if name != "clerr":
            probed = asyncio.create_task(peer.response(200))
            ended = asyncio.create_task(peer.closed.wait())
            done, pending = await asyncio.wait({probed, ended}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            assert done
            for task in pending:
                task.cancel()
        o.bob.send(o.bob.request("OPTIONS", "101"))
        await o.bob.response(200)
        await peer.close()

    play(scene, challenge_calls=False)
