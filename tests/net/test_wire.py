"""The wire process on real sockets: it relays, records, impairs, and never outlives its lab."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from labkit.errors import WireError
from labkit.net.impairment import Impairment
from labkit.net.plan import Host
from labkit.net.wire import Wire
from tests.processes import only_on_linux, wait_gone


@dataclass
class Hosts:
    wire: Wire
    pbx: Host
    bob: Host
    alice: Host


@asynccontextmanager
async def running(tmp_path: Path, mode: str = "pair") -> AsyncIterator[Hosts]:
    wire = await Wire.start(tmp_path / "capture.pcapng", mode=mode, student=str(tmp_path))
    try:
        pbx, bob, alice = await wire.add_hosts({"PBX": "", "BOB": "100", "ALICE": "101"})
        await wire.add_laptop()
        for host in (pbx, bob, alice):
            await wire.open_sip(host)
            await wire.open_rtp(host)
        yield Hosts(wire, pbx, bob, alice)
    finally:
        await wire.close()


def bound(host: Host, port: int) -> socket.socket:
    """A UDP socket at the back of a host's port."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(host.back_of(port))
    made.settimeout(5)
    return made


def packets(path: Path) -> list[tuple[int, bytes]]:
    """(time in ns, packet) of each enhanced packet block, read by hand: this test does not trust the reader of captures."""
    data, found, offset = path.read_bytes(), [], 0
    while offset < len(data):
        kind, length = struct.unpack_from("<II", data, offset)
        if kind == 6:
            _, high, low, size = struct.unpack_from("<IIII", data, offset + 8)
            found.append((high << 32 | low, data[offset + 28 : offset + 28 + size]))
        offset += length
    return found


def payloads(path: Path) -> list[bytes]:
    return [packet[28:] for _, packet in packets(path)]


def with_hosts(tmp_path: Path, scene: Callable[[Hosts], Awaitable[None]], mode: str = "pair") -> None:
    async def play() -> None:
        async with running(tmp_path, mode) as hosts:
            await scene(hosts)

    asyncio.run(asyncio.wait_for(play(), 60))


@pytest.mark.parametrize("mode", ["pair", "single"])
def test_a_datagram_arrives_from_the_senders_face_and_is_recorded_between_faces(tmp_path: Path, mode: str) -> None:
    async def scene(hosts: Hosts) -> None:
        bob_port, alice_port = hosts.bob.rtp_ports.start, hosts.alice.rtp_ports.start
        with closing(bound(hosts.bob, bob_port)) as bob, closing(bound(hosts.alice, alice_port)) as alice:
            bob.sendto(b"hello", (hosts.alice.face, alice_port))
            data, source = await asyncio.to_thread(alice.recvfrom, 100)
            assert (data, source) == (b"hello", (hosts.bob.face, bob_port))
            alice.sendto(b"and back", source)
            assert (await asyncio.to_thread(bob.recvfrom, 100)) == (b"and back", (hosts.alice.face, alice_port))
        assert await hosts.wire.flush() == 2
        (_, first), (_, second) = packets(hosts.wire.capture)
        assert first[12:20] == socket.inet_aton(hosts.bob.face) + socket.inet_aton(hosts.alice.face)
        assert struct.unpack("!HH", first[20:24]) == (bob_port, alice_port)
        assert second[28:] == b"and back"

    with_hosts(tmp_path, scene, mode)


def test_an_ordinary_program_appears_as_laptop_and_a_stranger_is_dropped_and_counted(tmp_path: Path) -> None:
    async def scene(hosts: Hosts) -> None:
        laptop = hosts.wire.plan.host("LAPTOP")
        with closing(bound(hosts.pbx, 5060)) as pbx, closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as program:
            program.bind(("127.0.0.1", 0))
            program.settimeout(5)
            program.sendto(b"OPTIONS", hosts.pbx.sip_face)
            data, source = await asyncio.to_thread(pbx.recvfrom, 100)
            assert (data, source) == (b"OPTIONS", (laptop.face, program.getsockname()[1]))
            pbx.sendto(b"200", source)
            assert await asyncio.to_thread(program.recvfrom, 100) == (b"200", hosts.pbx.sip_face)
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
            stranger.bind(("127.99.99.99", 0))
            stranger.sendto(b"who?", hosts.pbx.sip_face)
            while not (await hosts.wire.stats()).get("alien"):
                await asyncio.sleep(0)
        assert payloads(hosts.wire.capture if await hosts.wire.flush() else Path()) == [b"OPTIONS", b"200"]

    with_hosts(tmp_path, scene)


@pytest.mark.parametrize("mode", ["pair", "single"])
def test_a_tcp_connection_is_relayed_both_ways_and_recorded_as_segments(tmp_path: Path, mode: str) -> None:
    big = os.urandom(300_000)

    async def scene(hosts: Hosts) -> None:
        seen = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.set_result((await reader.read(), writer.get_extra_info("peername")))
            writer.write(b"thanks" + big)
            writer.close()

        server = await asyncio.start_server(serve, *hosts.pbx.sip_back)
        await hosts.wire.listen(hosts.pbx, hosts.pbx.sip_port)
        reader, writer = await asyncio.open_connection(*hosts.pbx.sip_face)
        writer.write(big)
        writer.write_eof()
        answer = await reader.read()
        got, peer = await seen
        assert got == big
        assert answer == b"thanks" + big
        assert peer[0] == hosts.wire.plan.host("LAPTOP").face
        writer.close()
        server.close()
        while await hosts.wire.flush() < 3 + 2 * 215 + 3:
            await asyncio.sleep(0.01)
        flags = [packet[33] for _, packet in packets(hosts.wire.capture)]
        assert flags[:3] == [0x02, 0x12, 0x10]
        assert flags[-3:] == [0x11, 0x11, 0x10]
        client = struct.pack("!H", peer[1])
        assert b"".join(packet[40:] for _, packet in packets(hosts.wire.capture) if packet[20:22] == client) == big
        await hosts.wire.unlisten(hosts.pbx, hosts.pbx.sip_port)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*hosts.pbx.sip_face)

    with_hosts(tmp_path, scene, mode)


def test_tcp_waits_for_the_delay_alone_and_stays_in_order(tmp_path: Path) -> None:
    async def scene(hosts: Hosts) -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        server = await asyncio.start_server(echo, *hosts.pbx.sip_back)
        await hosts.wire.listen(hosts.pbx, 5060)
        await hosts.wire.set("LAPTOP", "both", Impairment(delay_ms=60, loss=1.0))
        reader, writer = await asyncio.open_connection(*hosts.pbx.sip_face)
        began = asyncio.get_running_loop().time()
        for number in range(10):
            writer.write(f"{number}".encode())
            await writer.drain()
        assert await reader.readexactly(10) == b"0123456789"
        assert 0.118 < asyncio.get_running_loop().time() - began < 0.5
        writer.close()
        assert await reader.read() == b""
        server.close()

    with_hosts(tmp_path, scene)


def test_a_delay_is_kept_losses_go_to_the_other_file_and_clear_mends_the_link(tmp_path: Path) -> None:
    async def scene(hosts: Hosts) -> None:
        with closing(bound(hosts.bob, 40000)) as bob, closing(bound(hosts.alice, 40000)) as alice:
            to = (hosts.alice.face, 40000)
            await hosts.wire.set("BOB", "out", Impairment(delay_ms=50))
            await hosts.wire.set("ALICE", "in", Impairment(delay_ms=30))
            sent = asyncio.get_running_loop().time()
            bob.sendto(b"late", to)
            assert await asyncio.to_thread(alice.recv, 100) == b"late"
            assert 0.079 < asyncio.get_running_loop().time() - sent < 0.3
            await hosts.wire.set("BOB", "out", Impairment(loss=1.0))
            bob.sendto(b"lost", to)
            await hosts.wire.clear()
            bob.sendto(b"sound", to)
            assert await asyncio.to_thread(alice.recv, 100) == b"sound"
        await hosts.wire.flush()
        assert payloads(hosts.wire.capture) == [b"late", b"sound"]
        assert payloads(hosts.wire.dropped) == [b"lost"]

    with_hosts(tmp_path, scene)


def test_the_capture_is_in_the_order_of_delivery(tmp_path: Path) -> None:
    async def scene(hosts: Hosts) -> None:
        with closing(bound(hosts.bob, 40000)) as bob, closing(bound(hosts.alice, 40000)) as alice:
            await hosts.wire.set("BOB", "out", Impairment(jitter_ms=20, delay_ms=20))
            for number in range(50):
                bob.sendto(bytes([number]), (hosts.alice.face, 40000))
            got = [await asyncio.to_thread(alice.recv, 10) for _ in range(50)]
        await hosts.wire.flush()
        times = [time for time, _ in packets(hosts.wire.capture)]
        assert times == sorted(times)
        assert sorted(got) == [bytes([number]) for number in range(50)]
        assert payloads(hosts.wire.capture) == got
        assert got != sorted(got), "a jitter of 20 ms reorders a burst"

    with_hosts(tmp_path, scene)


def test_a_dark_port_is_recorded_and_delivers_nowhere(tmp_path: Path) -> None:
    async def scene(hosts: Hosts) -> None:
        await hosts.wire.dark(hosts.alice, 43974)
        with closing(bound(hosts.pbx, 5060)) as pbx:
            pbx.sendto(b"INVITE", (hosts.alice.face, 43974))
            while not (await hosts.wire.stats()).get("dark"):
                await asyncio.sleep(0)
        await hosts.wire.flush()
        assert payloads(hosts.wire.capture) == [b"INVITE"]

    with_hosts(tmp_path, scene)


def test_a_dark_port_is_the_first_that_is_free(tmp_path: Path) -> None:
    async def scene(hosts: Hosts) -> None:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
            taken.bind((hosts.alice.face, 43974))
            port = await hosts.wire.open_dark(hosts.alice)
        assert port == 43976 and await hosts.wire.open_dark(hosts.bob) == 43974
        assert await hosts.wire.open_dark(hosts.bob) == 43974, "once open it is the same again"

    with_hosts(tmp_path, scene)


def test_a_port_that_another_program_holds_is_skipped_for_rtp_and_named_for_the_pbx(tmp_path: Path) -> None:
    async def scene(hosts: Hosts) -> None:
        (paul,) = await hosts.wire.add_hosts({"PAUL": "102"})
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
            taken.bind((paul.face, 40010))
            assert await hosts.wire.open_rtp(paul) == range(40050, 40100)
        (server,) = await hosts.wire.add_hosts({"OTHER PBX": ""})
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
            taken.bind((server.face, 5060))
            with pytest.raises(WireError, match=rf"{server.face}:5060 \({os.strerror(errno.EADDRINUSE)}\)"):
                await hosts.wire.open_sip(server)

    with_hosts(tmp_path, scene)


def test_two_labs_of_one_student_take_different_addresses_and_a_closed_one_frees_them(tmp_path: Path) -> None:
    async def scene(hosts: Hosts) -> None:
        second = await Wire.start(tmp_path / "second.pcapng", mode="pair", student=str(tmp_path))
        assert second.plan.slot != hosts.wire.plan.slot
        await second.close()
        third = await Wire.start(tmp_path / "third.pcapng", mode="pair", student=str(tmp_path))
        assert third.plan.slot == second.plan.slot
        await third.close()

    with_hosts(tmp_path, scene)


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: /dev/full is the disk that is always full")
def test_a_full_disk_is_said_once_asked_and_the_packets_wait_in_memory(tmp_path: Path) -> None:
    (tmp_path / "capture.pcapng").symlink_to("/dev/full")

    async def scene(hosts: Hosts) -> None:
        with closing(bound(hosts.bob, 40000)) as bob, closing(bound(hosts.alice, 40000)) as alice:
            bob.sendto(b"kept", (hosts.alice.face, 40000))
            assert await asyncio.to_thread(alice.recv, 100) == b"kept", "the network goes on without a capture"
        with pytest.raises(WireError, match=r"could not be written to .*No space left on device.*nothing is lost yet \(0 too many"):
            await hosts.wire.flush()

    with_hosts(tmp_path, scene)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(WireError, match="cannot be written to .*nowhere"):
        asyncio.run(Wire.start(tmp_path / "nowhere" / "capture.pcapng"))


def test_a_killed_wire_says_so_and_its_capture_opens(tmp_path: Path) -> None:
    async def scene(hosts: Hosts) -> None:
        with closing(bound(hosts.bob, 40000)) as bob, closing(bound(hosts.alice, 40000)) as alice:
            bob.sendto(b"before", (hosts.alice.face, 40000))
            await asyncio.to_thread(alice.recv, 100)
        await hosts.wire.flush()
        told = asyncio.get_running_loop().create_future()
        hosts.wire.on_end(told.set_result)
        hosts.wire.kill()
        assert await asyncio.wait_for(told, 5) == "killed"
        with pytest.raises(WireError, match="wire process has ended"):
            await hosts.wire.flush()
        assert payloads(hosts.wire.capture) == [b"before"]

    with_hosts(tmp_path, scene)


ORPHANS = """
import asyncio, os, sys
from pathlib import Path
from labkit.net.wire import Wire
async def main():
    wire = await Wire.start(Path(sys.argv[1]))
    if sys.argv[2] == "fork" and os.fork() == 0:
        os.read(0, 1)   # a worker that keeps the pipe open and outlives its parent
        os._exit(0)
    print(wire.pid, flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


@only_on_linux
@pytest.mark.parametrize("how", ["plain", "fork"])
def test_the_wire_ends_when_the_kernel_is_killed_even_while_a_forked_worker_holds_the_pipe(tmp_path: Path, how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS, str(tmp_path / "capture.pcapng"), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as kernel:
        assert kernel.stdout is not None
        assert kernel.stdin is not None
        pid = int(kernel.stdout.readline())
        assert kernel.wait(10) == -9
        assert wait_gone([pid]) == []
        kernel.stdin.close()
