"""Sending again until it is confirmed: a 2xx until its ACK (RFC 3261 §13.3.1.4), a reliable 1xx until its PRACK (RFC 3262 §3).

Both go out again after T1, the pause doubling, and are given up after 64·T1.  The transaction layer does not do it, since another request
confirms them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from labkit.pbx.stack import SipStack


class Repeater:
    """Calls ``send`` again and again, ``longest_s`` apart at most, until :meth:`stop`; after 64·T1 it calls ``give_up`` instead."""

    def __init__(self, stack: SipStack, send: Callable[[], None], give_up: Callable[[], None], longest_s: float) -> None:
        self._stack, self._send, self._give_up, self._longest_s = stack, send, give_up, longest_s
        self._pause = stack.timers.t1
        self._until = stack.now + 64 * stack.timers.t1
        self._alarm: asyncio.TimerHandle | None = stack.later(self._pause, self._again)

    def _again(self) -> None:
        left = self._until - self._stack.now
        if left <= 0.001:
            self._alarm = None
            self._give_up()
            return
        self._send()
        self._pause = min(2 * self._pause, self._longest_s)
        self._alarm = self._stack.later(min(self._pause, left), self._again)

    def stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
