"""The labkit thread: results and errors come out, an interrupt cancels, closing frees everything."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from labkit.net.background import Background
from tests.processes import only_on_linux


def test_results_and_exceptions_come_out() -> None:
    background = Background()

    async def fail() -> None:
        raise KeyError("gone")

    assert background.run(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(KeyError, match="gone"):
        background.run(fail())
    background.close()
    background.close()


@only_on_linux
def test_an_interrupt_cancels_what_was_waited_for_and_the_loop_goes_on() -> None:
    background = Background()
    waiting, cancelled = threading.Event(), threading.Event()

    async def wait() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def interrupt() -> None:
        waiting.wait(5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        background.run(wait())
    assert cancelled.wait(5)
    assert background.run(asyncio.sleep(0, "alive")) == "alive"
    background.close()


def test_waiting_for_itself_is_refused_instead_of_waiting_for_ever() -> None:
    background = Background()

    async def inside() -> None:
        background.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="await the coroutine"):
        background.run(inside())
    background.close()
