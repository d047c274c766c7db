"""A child process of the lab, seen from the kernel: started, asked, watched, ended.

A child is a Python module run with ``-m``.  It speaks JSON lines over its standard input and output (:mod:`labkit.net.pipe` is the
other end): a request carries an id, the reply carries it back, and what has no id is an event.  Its configuration is the first
line, never an argument, since arguments of a process can be read by every user of the machine.

A child lives in a session of its own, so that "Interrupt kernel", which signals the kernel's process group, does not reach it.  It ends
by itself when its pipe closes or its parent changes; :meth:`Child.close` only hurries it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
LINE_LIMIT = 1 << 22
"""Longest line of the pipe, in bytes: a SIP message of 64 kB and its JSON escapes fit many times."""
START_TIMEOUT_S = 20.0
REQUEST_TIMEOUT_S = 10.0
END_TIMEOUT_S = 2.0

Event = dict[str, Any]


class ChildEnded(LabkitError):
    """The child process is not there any more."""


class ChildRefused(LabkitError):
    """The child could not do what it was asked; ``detail`` is what it said."""

    def __init__(self, message_id: str = "net.child_refused", /, *, name: str, detail: str, values: Event | None = None) -> None:
        super().__init__(message_id, name=name, detail=detail)
        self.detail = detail
        self.reply = values or {}


class Child:
    """One running child process.  All methods belong to the labkit thread."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self.on_event: Callable[[Event], None] = lambda event: None
        self.on_end: Callable[[Child], None] = lambda child: None
        self.ready: Event = {}
        self._process = process
        self._replies: dict[int, asyncio.Future[Event]] = {}
        self._next_id = 0
        self._closing = self._killed = False
        self.ended = asyncio.Event()

    @classmethod
    async def start(cls, name: str, module: str, config: Event, log: Path) -> Child:
        """Run ``python -m module``, hand it ``config``, and wait until it says that it is ready (its words are in ``ready``)."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))}
        # -P: a student's own json.py or queue.py beside the notebook must not replace the standard module.
        command = [sys.executable, "-P", "-X", "utf8", "-m", module]
        options: dict[str, Any] = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}  # type: ignore[attr-defined,unused-ignore]
            if sys.platform == "win32"
            else {"start_new_session": True}
        )
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                limit=LINE_LIMIT,
                **options,
            )
        child = cls(name, process, log)
        try:
            child._write(config)
            line = await asyncio.wait_for(child._read(), START_TIMEOUT_S)
            if not line:
                await process.wait()
                raise ChildEnded("net.child_not_started", name=name, reason=child.last_words())
            if "error" in line:
                raise ChildRefused(name=name, detail=str(line["error"]), values=line)
            child.ready = line
        except BaseException as error:
            await child.close()
            if isinstance(error, TimeoutError):
                raise ChildEnded("net.child_not_started", name=name, reason=f"{START_TIMEOUT_S:.0f} s") from error
            raise
        child._reader = asyncio.create_task(child._listen())
        return child

    _reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self.ended.is_set()

    def last_words(self) -> str:
        """How the process ended, with the last line that it left in its log."""
        code = self._process.returncode
        if code == -9 or self._killed:
            return "killed"
        how = "" if code is None else f"signal {-code}" if code < 0 else f"exit {code}"
        try:
            lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return f"{how}: {lines[-1]}" if lines and how else how or (lines[-1] if lines else "?")

    async def request(self, op: str, *, timeout_s: float = REQUEST_TIMEOUT_S, **arguments: Any) -> Any:
        """Ask for ``op`` and return the child's answer; raises :class:`ChildRefused` or :class:`ChildEnded`."""
        if not self.alive:
            raise self._ended()
        self._next_id += 1
        number = self._next_id
        reply: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            self._write({"id": number, "op": op, **arguments})
            answer = await asyncio.wait_for(reply, timeout_s)
        except TimeoutError as error:
            raise ChildRefused("net.child_silent", name=self.name, detail=op) from error
        finally:
            self._replies.pop(number, None)
        if "error" in answer:
            raise ChildRefused(name=self.name, detail=str(answer["error"]), values=answer)
        return answer.get("result")

    def tell(self, op: str, **arguments: Any) -> None:
        """Give an order whose answer nobody waits for; a child that has ended gets none."""
        if self.alive and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._next_id += 1
            self._write({"id": self._next_id, "op": op, **arguments})

    async def close(self) -> None:
        """Close the pipe, which ends the child; kill it when it has not gone within two seconds.  May be called twice."""
        self._closing = True
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_TIMEOUT_S)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)
        transport = getattr(self._process, "_transport", None)  # its pipes hold descriptors until it is closed
        if transport is not None:
            transport.close()

    def kill(self) -> None:
        """End the process at once, as a pulled plug would."""
        if self._process.returncode is None:
            self._killed = True
            self._process.kill()

    def _ended(self) -> ChildEnded:
        return ChildEnded("net.child_ended", name=self.name, reason=self.last_words())

    def _write(self, line: Event) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def _read(self) -> Event:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        answer: Event = json.loads(line) if line else {}
        return answer

    async def _listen(self) -> None:
        try:
            while line := await self._read():
                reply = self._replies.pop(line["id"], None) if "id" in line else None
                if reply is not None:
                    if not reply.done():
                        reply.set_result(line)
                elif "id" not in line:
                    self.on_event(line)
            await self._process.wait()
        finally:
            self.ended.set()
            for reply in self._replies.values():
                if not reply.done():
                    reply.set_exception(self._ended())
            self._replies.clear()
            if not self._closing:
                self.on_end(self)
