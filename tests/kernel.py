"""A real Jupyter kernel that a test drives cell by cell, as JupyterLab would."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager


class Kernel:
    """A running kernel.  ``run`` executes one cell and returns what it printed or showed."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client = manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=30)

    @property
    def pid(self) -> int:
        pid: int = self.manager.provisioner.process.pid  # type: ignore[union-attr]
        return pid

    def send(self, code: str) -> str:
        """Start a cell and return its number, without waiting."""
        number: str = self.client.execute(code)
        return number

    def wait_output(self, text: str, seconds: float = 20) -> None:
        """Wait until a running cell has printed ``text``."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            message = self.client.get_iopub_msg(timeout=until - time.monotonic())
            if message["msg_type"] == "stream" and text in message["content"]["text"]:
                return
        raise AssertionError(f"no output {text!r} within {seconds} s")

    def finish(self, number: str, seconds: float = 60) -> str:
        """Wait for a cell's end and return its output; an error's traceback is part of it."""
        parts: list[str] = []
        until = time.monotonic() + seconds
        while True:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=max(0.1, until - time.monotonic()))
            if message["parent_header"].get("msg_id") != number:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                parts.append(content["text"])
            elif kind in ("execute_result", "display_data"):
                parts.append(content["data"].get("text/plain", ""))
            elif kind == "error":
                parts.append("\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                return "".join(parts)

    def run(self, code: str, seconds: float = 60) -> str:
        return self.finish(self.send(code), seconds)

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()


@contextlib.contextmanager
def kernel(folder: Path) -> Iterator[Kernel]:
    """A kernel whose current folder is ``folder``."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(folder))
    running = Kernel(manager)
    try:
        yield running
    finally:
        running.client.stop_channels()
        manager.shutdown_kernel(now=True)
