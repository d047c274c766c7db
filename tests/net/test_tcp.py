"""The TCP endpoint: connections made and taken, used again, bounded, and closed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from labkit.net.tcp import TcpConnection, TcpEndpoint, TcpLimits

LOCAL = ("127.0.0.1", 0)


class Ends:
    """An endpoint and what it told us."""

    def __init__(self, limits: TcpLimits | None = None) -> None:
        self.inbox: asyncio.Queue[tuple[TcpConnection, bytes]] = asyncio.Queue()
        self.gone: asyncio.Queue[TcpConnection] = asyncio.Queue()
        self.endpoint = TcpEndpoint(lambda c, data: self.inbox.put_nowait((c, data)), self.gone.put_nowait, limits)

    async def got(self) -> tuple[TcpConnection, bytes]:
        return await asyncio.wait_for(self.inbox.get(), 5)


def run(scene: Callable[[Ends, Ends], Awaitable[None]], limits: TcpLimits | None = None) -> None:
    async def main() -> None:
        one, two = Ends(limits), Ends()
        await one.endpoint.listen(LOCAL)
        await two.endpoint.listen(LOCAL)
        try:
            await scene(one, two)
        finally:
            await one.endpoint.close()
            await two.endpoint.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def failed() -> None:
    raise AssertionError("it should have been sent")


def test_one_connection_serves_both_ways() -> None:
    async def scene(one: Ends, two: Ends) -> None:
        one.endpoint.send(b"a", two.endpoint.address, failed)
        one.endpoint.send(b"b", two.endpoint.address, failed)  # while it is being made
        connection, data = await two.got()
        if data == b"a":
            data += (await two.got())[1]
        assert data == b"ab"
        assert connection.peer[0] == "127.0.0.1"
        two.endpoint.send(b"c", connection.peer, failed)
        assert (await one.got())[1] == b"c"
        one.endpoint.send(b"d", two.endpoint.address, failed)
        again, data = await two.got()
        assert (again, data) == (connection, b"d")
        raw = connection._transport.get_extra_info("socket")  # type: ignore[union-attr]
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    run(scene)


def test_nobody_there() -> None:
    async def scene(one: Ends, two: Ends) -> None:
        address = two.endpoint.address
        await two.endpoint.close()
        told: asyncio.Queue[str] = asyncio.Queue()
        one.endpoint.send(b"a", address, lambda: told.put_nowait("a"))
        one.endpoint.send(b"b", address, lambda: told.put_nowait("b"))
        assert [await asyncio.wait_for(told.get(), 5) for _ in "ab"] == ["a", "b"]

    run(scene)


def test_too_many_connections_are_closed() -> None:
    async def scene(one: Ends, two: Ends) -> None:
        held = [await asyncio.open_connection(*one.endpoint.address) for _ in range(2)]
        reader, writer = await asyncio.open_connection(*one.endpoint.address)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        told = asyncio.Event()
        one.endpoint.send(b"x", two.endpoint.address, told.set)
        await asyncio.wait_for(told.wait(), 5)
        for _, other in [*held, (reader, writer)]:
            other.close()

    run(scene, TcpLimits(connections=2))


def test_the_silent_and_the_idle_are_closed() -> None:
    async def scene(one: Ends, two: Ends) -> None:
        two.endpoint.send(b"trust me", one.endpoint.address, failed)
        connection, _ = await one.got()
        connection.trusted = True
        reader, writer = await asyncio.open_connection(*one.endpoint.address)  # says nothing
        began = asyncio.get_running_loop().time()
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        silent = asyncio.get_running_loop().time() - began
        assert one.endpoint.connection(connection.peer) is connection
        assert await asyncio.wait_for(one.gone.get(), 5) is not connection
        assert await asyncio.wait_for(one.gone.get(), 5) is connection
        assert silent < asyncio.get_running_loop().time() - began
        writer.close()

    run(scene, TcpLimits(idle_s=0.8, silence_s=0.2))


def test_a_reader_that_does_not_read_is_cut_off() -> None:
    async def scene(one: Ends, two: Ends) -> None:
        _, writer = await asyncio.open_connection(*one.endpoint.address, limit=1024)
        writer.write(b"hello")
        connection, _ = await one.got()
        for _ in range(1000):
            connection.send(b"x" * 65536)
            await asyncio.sleep(0)
            if not one.gone.empty():
                break
        assert await asyncio.wait_for(one.gone.get(), 5) is connection
        writer.close()

    run(scene, TcpLimits(waiting=100_000))


def test_last_words_arrive_although_more_is_being_sent() -> None:
    async def scene(one: Ends, two: Ends) -> None:
        reader, writer = await asyncio.open_connection(*one.endpoint.address)
        writer.write(b"x" * 1_000_000)
        connection, _ = await one.got()
        connection.send(b"enough")
        connection.finish()
        writer.write(b"x" * 100_000)
        assert await asyncio.wait_for(reader.read(), 5) == b"enough"
        writer.close()
        assert await asyncio.wait_for(one.gone.get(), 5) is connection

    run(scene)
