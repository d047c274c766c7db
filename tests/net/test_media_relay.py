"""The media relay: descriptions that lead through it, and a process that passes on what the right phone sends, and nothing else."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from labkit.errors import WireError
from labkit.net.media_relay import MediaRelay
from labkit.net.plan import Host
from labkit.sip.message import Request, Response
from labkit.sip.sdp import Sdp

HERE = "127.0.0.1"
BODY = (
    "v=0\r\no=bob 7 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0 101\r\n{more}a=rtpmap:101 telephone-event/8000\r\n"
)


def sdp(port: int, *, ip: str = HERE, version: int = 1, more: str = "") -> bytes:
    return BODY.format(ip=ip, port=port, version=version, more=more).encode()


def pass_on(relay: MediaRelay, body: bytes, giver: str, taker: str) -> Sdp:
    source = Request("INVITE", "sip:101@pbx", [("Call-ID", giver), ("Content-Type", "application/sdp")], body)
    return Sdp.parse(relay.pass_on(source, Response(200, "OK", [("Call-ID", taker)])))


class Phone:
    """A pair of sockets, RTP and RTCP."""

    def __init__(self) -> None:
        while True:
            self.rtp, self.rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
            self.rtp.bind((HERE, 0))
            self.port: int = self.rtp.getsockname()[1]
            try:
                self.rtcp.bind((HERE, self.port + 1))
                break
            except (OSError, OverflowError):
                self.close()
        self.rtp.setblocking(False)
        self.rtcp.setblocking(False)

    async def hears(self, kind: str = "rtp") -> tuple[bytes, tuple[str, int]]:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recvfrom(getattr(self, kind), 2048), 5)

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


def free_ports(count: int) -> range:
    """Ports that nobody holds, beginning with an even one."""
    for start in range(42000, 60000, count + count % 2):
        held = []
        try:
            for port in range(start, start + count):
                held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                held[-1].bind((HERE, port))
            return range(start, start + count)
        except OSError:
            continue
        finally:
            for sock in held:
                sock.close()
    raise AssertionError("no free ports")


def scene(play: Callable[[MediaRelay, Phone, Phone], Awaitable[None]], folder: Path, ports: int = 8) -> None:
    async def run() -> None:
        relay = MediaRelay(Host("PBX", HERE, HERE, 5060, free_ports(ports)), folder / "relay.log")
        await relay.start()
        bob, alice = Phone(), Phone()
        try:
            await play(relay, bob, alice)
        finally:
            bob.close()
            alice.close()
            await relay.close()

    asyncio.run(run())


async def joined(relay: MediaRelay, bob: Phone, alice: Phone) -> tuple[int, int]:
    """A call from bob to alice; returns the ports that each of them is shown."""
    to_alice = pass_on(relay, sdp(bob.port), "bob", "alice").media[0].port
    to_bob = pass_on(relay, sdp(alice.port), "alice", "bob").media[0].port
    await relay.stats()  # the answer comes after the orders before it were carried out
    return to_bob, to_alice


def test_both_directions_pass_and_strangers_do_not(tmp_path: Path) -> None:
    async def play(relay: MediaRelay, bob: Phone, alice: Phone) -> None:
        to_bob, to_alice = await joined(relay, bob, alice)
        assert to_bob != to_alice and to_bob % 2 == to_alice % 2 == 0
        stranger = Phone()
        stranger.rtp.sendto(b"spit", (HERE, to_bob))
        alice.rtp.sendto(b"wrong door", (HERE, to_bob))
        bob.rtcp.sendto(b"rtcp on the rtp port", (HERE, to_bob))
        bob.rtp.sendto(b"from bob", (HERE, to_bob))
        assert await alice.hears() == (b"from bob", (HERE, to_alice))
        alice.rtp.sendto(b"from alice", (HERE, to_alice))
        assert await bob.hears() == (b"from alice", (HERE, to_bob))
        bob.rtcp.sendto(b"report", (HERE, to_bob + 1))
        assert await alice.hears("rtcp") == (b"report", (HERE, to_alice + 1))
        stats = await relay.stats()
        assert (stats["rtp"], stats["rtcp"], stats["strangers"]) == (2, 1, 3)
        stranger.close()

    scene(play, tmp_path)


def test_the_description_shows_the_relay_alone(tmp_path: Path) -> None:
    relay = MediaRelay(Host("PBX", "127.5.0.10", HERE, 5060, range(40001, 40010)), tmp_path / "x.log")
    more = "a=rtcp:4001 IN IP4 127.0.0.1\r\na=candidate:1 1 UDP 1 127.0.0.1 4000 typ host\r\na=ice-ufrag:x\r\na=sendonly\r\n"
    shown = pass_on(relay, sdp(4000, more=more), "bob", "alice")
    assert (
        str(shown) == "v=0\r\no=bob 7 1 IN IP4 127.5.0.10\r\ns=-\r\nc=IN IP4 127.5.0.10\r\nt=0 0\r\nm=audio 40002 RTP/AVP 0 101\r\n"
        "a=rtcp:40003\r\na=sendonly\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
    assert pass_on(relay, sdp(4000, version=2), "bob", "alice").media[0].port == 40002  # a re-INVITE keeps its port
    assert relay.ports_in_use == [40002, 40004]
    held = pass_on(relay, sdp(4000, ip="0.0.0.0"), "bob", "alice")
    assert held.on_hold and held.media[0].port == 40002
    assert pass_on(relay, sdp(0), "alice", "bob").media[0].port == 0


@pytest.mark.parametrize("body", [b"", b"SIP/2.0 200 OK\r\n", b"v=0\r\nnonsense", b"Signal=1\r\n"])
def test_other_bodies_pass_unchanged(body: bytes, tmp_path: Path) -> None:
    relay = MediaRelay(Host("PBX", HERE, HERE, 5060, range(40000, 40010)), tmp_path / "x.log")
    assert relay.pass_on(Request("INFO", "sip:x", [("Call-ID", "a")], body), Response(200, "", [("Call-ID", "b")])) == body
    assert not relay.ports_in_use


def test_a_description_of_the_pbx_itself_passes_unchanged(tmp_path: Path) -> None:
    relay = MediaRelay(Host("PBX", HERE, HERE, 5060, range(40000, 40010)), tmp_path / "x.log")
    assert relay.pass_on(Response(200, "OK", [], sdp(9)), Response(200, "", [("Call-ID", "b")])) == sdp(9)


@pytest.mark.parametrize("value", ["", " ", "²", "٣", "9" * 5000, "70000", "0"])
def test_an_rtcp_port_that_is_none_is_the_next_one(value: str, tmp_path: Path) -> None:
    relay = MediaRelay(Host("PBX", HERE, HERE, 5060, range(40000, 40010)), tmp_path / "x.log")
    assert pass_on(relay, sdp(4000, more=f"a=rtcp:{value}\r\n"), "bob", "alice").media[0].attributes("rtcp") == ["40001"]


def test_hold_and_transfer(tmp_path: Path) -> None:
    """Alice hears nothing while she holds with c=0.0.0.0; then bob is joined with paul, by the same relay port as before."""

    async def play(relay: MediaRelay, bob: Phone, alice: Phone) -> None:
        to_bob, _ = await joined(relay, bob, alice)
        pass_on(relay, sdp(alice.port, ip="0.0.0.0", version=2), "alice", "bob")
        await relay.stats()
        bob.rtp.sendto(b"unheard", (HERE, to_bob))
        paul = Phone()
        assert pass_on(relay, sdp(paul.port), "paul", "bob").media[0].port == to_bob
        to_paul = pass_on(relay, sdp(bob.port, version=2), "bob", "paul").media[0].port
        relay.release("alice")
        stats = await relay.stats()
        assert stats["channels"] == sorted([to_bob, to_paul]) == relay.ports_in_use
        bob.rtp.sendto(b"hello paul", (HERE, to_bob))
        assert await paul.hears() == (b"hello paul", (HERE, to_paul))
        paul.rtp.sendto(b"hello bob", (HERE, to_paul))
        assert await bob.hears() == (b"hello bob", (HERE, to_bob))
        assert (await relay.stats())["unheard"] == 1
        relay.release("bob")
        relay.release("paul")
        assert (await relay.stats())["channels"] == [] == relay.ports_in_use
        paul.close()

    scene(play, tmp_path)


def test_ports_run_out_and_come_back(tmp_path: Path) -> None:
    async def play(relay: MediaRelay, bob: Phone, alice: Phone) -> None:
        await joined(relay, bob, alice)
        assert pass_on(relay, sdp(5000), "paul", "eve").media[0].port == 0
        relay.release("bob")
        relay.release("alice")
        relay.release("paul")
        relay.release("eve")
        to_bob, _ = await joined(relay, bob, alice)
        bob.rtp.sendto(b"again", (HERE, to_bob))
        assert (await alice.hears())[0] == b"again"

    scene(play, tmp_path, ports=4)


def test_ports_of_other_programs_are_left_out(tmp_path: Path) -> None:
    async def run() -> None:
        ports = free_ports(6)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((HERE, ports[3]))  # the RTCP port of the second pair
            relay = MediaRelay(Host("PBX", HERE, HERE, 5060, ports), tmp_path / "relay.log")
            await relay.start()
            pass_on(relay, sdp(5000), "bob", "alice")
            assert relay.ports_in_use == [ports[0], ports[4]]
            await relay.close()
            none_left = MediaRelay(Host("PBX", HERE, HERE, 5060, ports[2:4]), tmp_path / "relay.log")
            with pytest.raises(WireError, match=f"{ports[2]}-{ports[3]}"):
                await none_left.start()
            await none_left.close()

    asyncio.run(run())


def test_how_long_a_packet_takes(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """500 packets of one voice at 1 ms: what the relay adds, seen by the phones themselves."""

    async def play(relay: MediaRelay, bob: Phone, alice: Phone) -> None:
        to_bob, _ = await joined(relay, bob, alice)
        took = []
        for number in range(500):
            sent = time.perf_counter()
            bob.rtp.sendto(number.to_bytes(172, "big"), (HERE, to_bob))
            data, _ = await alice.hears()
            took.append(time.perf_counter() - sent)
            assert int.from_bytes(data, "big") == number
            await asyncio.sleep(0.001)
        took.sort()
        inside = (await relay.stats())["latency_us"]
        figure(
            f"media relay, phone to phone: p50 {took[250] * 1e3:.2f} ms, p99 {took[495] * 1e3:.2f} ms; "
            f"inside: p50 {inside['p50']:.0f} µs, p99 {inside['p99']:.0f} µs"
        )
        assert took[250] < 0.02

    scene(play, tmp_path)
