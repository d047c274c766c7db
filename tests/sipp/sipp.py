"""SIPp at work: one process plays one scenario file against the PBX, as often as it is told, and fails when anything differs from it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from tests.pbx.office import Office, free_port

SCENARIOS = Path(__file__).parent / "scenarios"
NUMBERS = {"100": "1111", "101": "2222", "102": "3333"}
"""The extensions of the office and their passwords."""
HOST = "127.0.0.1"
PATIENCE_S = 20


class Running:
    """One SIPp process."""

    def __init__(self, process: asyncio.subprocess.Process, scenario: str, log: Path) -> None:
        self._process, self._scenario, self._log = process, scenario, log

    async def done(self) -> None:
        """Wait for its end; every call must have gone as written (exit code 0)."""
        _, said = await self._process.communicate()
        code = self._process.returncode
        told = self._log.read_text("utf-8", "replace") if self._log.exists() else said.decode("utf-8", "replace")
        assert code == 0, f"SIPp ended with {code} in {self._scenario}: {told[-2000:]}"

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()


class Sipp:
    """The SIPp phones of one office."""

    def __init__(self, program: str, office: Office, folder: Path) -> None:
        self.program, self.pbx, self.folder = program, office.bob.pbx, folder
        self._started: list[Running] = []

    async def start(self, scenario: str, *options: str, port: int = 0, tcp: bool = False, calls: int = 1) -> Running:
        """Begin to play a scenario; one that waits for calls at ``port`` is ready for them when this returns."""
        log = self.folder / f"{len(self._started)}-{scenario}.log"
        process = await asyncio.create_subprocess_exec(
            *[self.program, f"{self.pbx[0]}:{self.pbx[1]}", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-t", "t1" if tcp else "u1"],
            *["-i", HOST, "-p", str(port or await free_port()), "-m", str(calls), "-nostdin", "-trace_err", "-error_file", str(log)],
            *["-timeout", f"{PATIENCE_S}s", "-timeout_error", *options],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
        )
        running = Running(process, scenario, log)
        self._started.append(running)
        if port:
            await _bound(port, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        return running

    async def play(self, scenario: str, *options: str, tcp: bool = False, calls: int = 1) -> None:
        """Play a scenario to its end."""
        await (await self.start(scenario, *options, tcp=tcp, calls=calls)).done()

    async def register(self, number: str, *, password: str = "", domain: str = "", tcp: bool = False) -> int:
        """Register a number with its password; returns the port where its phone is to answer."""
        port = await free_port()
        keys = "-key", "contact_port", str(port), "-key", "domain", domain or f"{self.pbx[0]}:{self.pbx[1]}"
        await self.play("register", "-s", number, "-au", number, "-ap", password or NUMBERS[number], *keys, tcp=tcp)
        return port

    async def phone(self, number: str, scenario: str, *options: str, tcp: bool = False, calls: int = 1) -> Running:
        """Register a number, and let its phone play a scenario."""
        return await self.start(scenario, *options, port=await self.register(number, tcp=tcp), tcp=tcp, calls=calls)

    async def close(self) -> None:
        for running in self._started:
            await running.kill()


async def _bound(port: int, kind: socket.SocketKind) -> None:
    """Wait until somebody holds a port: SIPp does not say when it is ready."""
    for _ in range(500):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                return
        await asyncio.sleep(0.01)
    raise AssertionError(f"nobody listens at port {port}")
