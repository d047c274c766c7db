"""The labkit thread: one asyncio loop beside the notebook, and the bridge by which synchronous cells wait for it.

A wait in a cell releases the interpreter; "Interrupt kernel" ends the wait, cancels what was waited for, and leaves the loop running.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


async def together(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Run all at once; when one fails or this is cancelled, cancel the others and wait until each has cleaned up.

    ``asyncio.gather`` would return at the first failure and leave the others to themselves.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()  # does nothing to one that has ended
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let "Interrupt kernel" wait until the block is over; it is raised then.  For taking down what must not be left half way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[object] = []
    before = signal.signal(signal.SIGINT, lambda *arguments: waiting.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        raise KeyboardInterrupt


class Background:
    """An asyncio loop on a daemon thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="labkit", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the labkit thread and return its result; an exception or an interrupt comes out here."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("Background.run was called on the labkit thread; await the coroutine instead.")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have ``function(*arguments)`` called on the labkit thread soon; do not wait for it."""
        self.loop.call_soon_threadsafe(function, *arguments)

    def close(self) -> None:
        """Cancel what still runs, stop the loop, and free its descriptors.  A second call does nothing."""
        if self.loop.is_closed():
            return
        self.run(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)
        self.loop.close()

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()
