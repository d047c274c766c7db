"""SIPp, written by people who never saw this PBX: it registers, calls and answers through it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from labkit.sip.transaction import Timers
from tests.pbx.office import Office, free_port, play

SCENARIOS = Path(__file__).parent / "sipp"
CALLS = 20


async def sipp(program: str, scenario: str, pbx: tuple[str, int], folder: Path, *options: str) -> tuple[int, str]:
    """Run one scenario to its end; its exit code (0: every call as written) and what it says."""
    process = await asyncio.create_subprocess_exec(
        *[program, f"{pbx[0]}:{pbx[1]}", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", "127.0.0.1", "-nostdin"],
        *["-timeout", "20s", "-timeout_error", "-trace_err", "-error_file", str(folder / f"{scenario}.log"), *options],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
    )
    _, errors = await process.communicate()
    log = folder / f"{scenario}.log"
    return process.returncode or 0, errors.decode(errors="replace") + (log.read_text("utf-8", "replace") if log.exists() else "")


def test_register_call_and_hang_up(tool: Callable[[str], str], tmp_path: Path) -> None:
    program = tool("sipp")

    async def scene(o: Office) -> None:
        pbx, port = o.bob.pbx, await free_port()
        registered = await sipp(
            *(program, "register", pbx, tmp_path, "-m", "1", "-p", str(await free_port())),
            *("-key", "contact_port", str(port)),
        )
        assert registered[0] == 0, registered
        assert o.pbx.registrar.bindings("101")[0].uri.port == port
        callee = asyncio.create_task(sipp(program, "callee", pbx, tmp_path, "-p", str(port), "-m", str(CALLS)))
        called = await sipp(program, "caller", pbx, tmp_path, "-p", str(await free_port()), "-m", str(CALLS), "-r", "20")
        answered = await callee
        assert called[0] == 0, called
        assert answered[0] == 0, answered
        assert o.kinds().count("connected") == o.kinds().count("ended") == CALLS
        assert o.pbx.calls == []

    play(scene, timers=Timers())
