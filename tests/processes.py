"""Processes that a test must see end: waited for by an event of the system, never by sleeping."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterable

import psutil
import pytest

only_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: the test waits for processes that are not its children")


def wait_gone(pids: Iterable[int], seconds: float = 5.0) -> list[int]:
    """Wait until the processes have ended; returns those that still run after ``seconds`` (each)."""
    left = []
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([handle], [], [], seconds)[0]:
                left.append(pid)
        finally:
            os.close(handle)
    return left


def children_of(pid: int) -> dict[int, str]:
    """The processes that ``pid`` has started and that still run: number to command line."""
    found = {}
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE:
                found[child.pid] = " ".join(child.cmdline())
    return found
