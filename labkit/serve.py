"""``labkit serve``: the PBX alone in a terminal, for real phones and test tools.

A line tells how it does: how many extensions are registered, how many calls are up, how many begin in a second.  On a terminal the line
stays in its place; elsewhere a new one is printed when something has changed.  Ctrl-C and SIGTERM end it, hanging up what is live.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

from labkit.errors import PbxError, WireError
from labkit.net.media_relay import MediaRelay
from labkit.net.plan import Host
from labkit.net.tap import Tap
from labkit.pbx import settings
from labkit.pbx.config import PbxConfig
from labkit.pbx.events import PbxEvent
from labkit.pbx.server import Pbx
from labkit.texts import text

STATUS_S = 1.0
RATE_OVER_S = 10.0
"""Calls per second are counted over so long."""
GOODBYE_S = 5.0
"""How long the end waits at most until each phone has answered its BYE: time for three more copies (RFC 3261 §17.1.2.2)."""
REGISTERED = ("registered", "ringing", "in_call")


class Status:
    """The status line."""

    def __init__(self, pbx: Pbx, out: TextIO) -> None:
        self._pbx, self._out = pbx, out
        self._begun: deque[float] = deque()
        self._shown = ""

    def observe(self, event: PbxEvent) -> None:
        if event.kind == "calling":
            self._begun.append(asyncio.get_running_loop().time())

    def line(self, now: float) -> str:
        while self._begun and self._begun[0] < now - RATE_OVER_S:
            self._begun.popleft()
        rows = self._pbx.status()
        registered = sum(row.state in REGISTERED for row in rows)
        rate = len(self._begun) / RATE_OVER_S
        return text("serve.status", registered=registered, extensions=len(rows), calls=len(self._pbx.calls), rate=f"{rate:.1f}")

    def show(self, now: float) -> None:
        line = self.line(now)
        if self._out.isatty():
            self._out.write(f"\r{line}\x1b[K")
        elif line != self._shown:
            self._out.write(f"{line}\n")
        self._shown = line
        self._out.flush()


def serve(file: Path, *, capture: Path | None = None, out: TextIO | None = None) -> None:
    """Serve the configuration in ``file`` until a signal ends it; raises :class:`labkit.errors.LabkitError` when it cannot begin."""
    config = settings.read(file)
    check_served(config, file)
    asyncio.run(_serve(config, file, capture, out or sys.stdout))


def check_served(config: PbxConfig, file: Path) -> None:
    """Raise :class:`PbxError` for a PBX that nobody could use, or that anybody could."""
    if not config.extensions:
        raise PbxError("serve.no_extensions", path=file)
    for place, extension in enumerate(config.extensions):
        if not extension.auth_password:
            line = settings.line_of_key(file, "extensions", place)
            raise PbxError("serve.no_password", path=file, line=line, number=extension.number)


async def _serve(config: PbxConfig, file: Path, capture: Path | None, out: TextIO) -> None:
    end = asyncio.Event()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="labkit-serve-", ignore_cleanup_errors=True))
        tap, relay = _tap(config, capture), None
        if tap is not None:
            stack.callback(tap.close)
        if config.media == "relayed":
            first, last = config.rtp_ports
            host = Host("PBX", config.advertised[0], config.bind[0], config.advertised[1], range(first, last + 1))
            relay = MediaRelay(host, Path(folder) / "media-relay.log")
            stack.push_async_callback(relay.close)
            await relay.start()
        try:
            pbx = Pbx(config, observe=lambda event: status.observe(event), relay=relay, tap=tap)
        except PbxError as error:
            line = settings.line_of_key(file, "database")
            raise PbxError("settings.at_line", path=file, line=line, problem=error) from error
        status = Status(pbx, out)
        stack.push_async_callback(pbx.close, GOODBYE_S)
        try:
            await pbx.start()
        except WireError as error:
            line = settings.line_of_key(file, "bind")
            raise WireError("serve.not_bound", path=file, line=line, problem=error) from error
        announce(config, capture, out)
        search_for_garbage_less()
        with ended_by_signals(end):
            while not end.is_set():
                status.show(asyncio.get_running_loop().time())
                try:
                    await asyncio.wait_for(end.wait(), STATUS_S)
                except TimeoutError:
                    continue
        if out.isatty():
            out.write("\n")
    print(text("serve.ended"), file=out, flush=True)


def search_for_garbage_less() -> None:
    """A finished call has no circle of references, and each full search for some would hold a busy PBX up for a third of a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 20)


def _tap(config: PbxConfig, capture: Path | None) -> Tap | None:
    if capture is None:
        return None
    try:
        tap = Tap(capture, config.advertised)
    except OSError as error:
        raise WireError("net.capture_unwritable", path=capture, reason=error.strerror or error) from error
    tap.hosts([Host("PBX", config.advertised[0], config.bind[0], config.advertised[1], range(0))])
    return tap


def announce(config: PbxConfig, capture: Path | None, out: TextIO) -> None:
    """Say where phones find the PBX, and loudly when the network can reach it."""
    address = f"{config.advertised[0]}:{config.advertised[1]}"
    print(text("serve.ready", address=address, transports=", ".join(config.transports), count=len(config.extensions)), file=out)
    if capture is not None:
        print(text("serve.capture", path=capture), file=out)
    if not is_loopback(config.bind[0]):
        bar = "!" * 78
        print(f"{bar}\n{text('serve.open', address=f'{config.bind[0]}:{config.bind[1]}')}\n{bar}", file=sys.stderr, flush=True)
    out.flush()


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach what is bound there."""
    if host.lower() == "localhost":  # RFC 6761 §6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def ended_by_signals(end: asyncio.Event) -> Iterator[None]:
    """Within this, Ctrl-C and SIGTERM set ``end`` instead of raising.  The loop looks at least once a second, also on Windows."""
    loop = asyncio.get_running_loop()

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(end.set)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
