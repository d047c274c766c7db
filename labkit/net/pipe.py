"""The pipe to the kernel, seen from a child process (:mod:`labkit.net.child` is the other end).

JSON lines in on standard input, JSON lines out on what was standard output; anything that a library prints goes to standard error.
The process ignores SIGINT and ends at once when the pipe closes.  A process that the kernel forked may hold the pipe open after the
kernel has died, so the parent's process id is watched as well.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

PARENT_POLL_S = 0.25

Message = dict[str, Any]


class Pipe:
    """Takes over the standard streams of this process.  ``farewell`` runs just before the process ends."""

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # what is printed reaches the log even when the process is killed
        self._lock = threading.Lock()
        self._parent = os.getppid()
        self.farewell: Callable[[], None] = lambda: None
        self.config: Message = json.loads(sys.stdin.readline() or "{}")
        threading.Thread(target=self._watch_parent, daemon=True).start()

    def send(self, message: Message) -> None:
        """Send one line to the kernel; without a kernel there is nothing left to do."""
        line = json.dumps(message)
        try:
            with self._lock:
                self._out.write(line + "\n")
                self._out.flush()
        except OSError:
            self.end()

    def serve(self, handle: Callable[[str, Message], object]) -> None:
        """Answer requests until the pipe closes, then end the process.  An exception of ``handle`` becomes the reply's ``error``."""
        for line in sys.stdin:
            request = json.loads(line)
            self.send(self.answer(request, handle))
        self.end()

    @staticmethod
    def answer(request: Message, handle: Callable[[str, Message], object]) -> Message:
        """The reply to one request."""
        number, op = request.pop("id"), request.pop("op")
        try:
            return {"id": number, "result": handle(op, request)}
        except Exception as error:  # whatever it is, the kernel must hear of it: it waits for this reply
            return {"id": number, "error": str(error) or repr(error), "kind": type(error).__name__}

    def end(self) -> None:
        """Say farewell and leave without running destructors (a softphone's would abort)."""
        try:
            self.farewell()
        finally:
            os._exit(0)

    def _watch_parent(self) -> None:
        never = threading.Event()
        while not never.wait(PARENT_POLL_S):
            if os.getppid() != self._parent:
                self.end()
