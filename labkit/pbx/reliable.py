"""Reliable provisional responses: RFC 3262.  A 180 or 183 that is repeated until the caller's phone says PRACK.

Both legs do it when both phones can: what the callee's phone sends reliably goes out reliably, and the caller's PRACK, with the offer or
the answer in it, goes on to the callee.  A phone that cannot never hears of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from labkit.pbx.repeat import Repeater
from labkit.pbx.stack import SipStack
from labkit.sip.message import Request, Response
from labkit.sip.transaction import Transaction

EXTENSION = "100rel"
_RACK = re.compile(r"(\d{1,10})\s+(\d{1,10})\s+(\S+)", re.ASCII)


def rseq(response: Response) -> int | None:
    """The RSeq of a reliable response; ``None`` for an ordinary one."""
    value = response.headers.get("RSeq") or ""
    required = EXTENSION in (item.lower() for item in response.headers.get_list("Require"))
    return int(value) if required and value.isascii() and value.isdecimal() and len(value) < 11 else None


def _nothing() -> None:
    return


class ReliableResponses:
    """The sending side, for one INVITE.  One response at a time is on its way; the next waits for its PRACK (§3)."""

    def __init__(self, stack: SipStack, invite: Transaction, give_up: Callable[[], None]) -> None:
        self._stack, self._invite, self._give_up = stack, invite, give_up
        self._last = int(stack.token(2), 16) + 1  # §3: the first number is chosen at random, below 2**31
        self._open: Repeater | None = None
        self._waiting: list[Callable[[], None]] = []

    def send(self, response: Response) -> None:
        """Send ``response`` again and again, once nothing else waits for its PRACK."""
        if self._open is not None:
            self._waiting.append(lambda: self.send(response))
            return
        self._last += 1
        response.headers.append("Require", EXTENSION)
        response.headers.append("RSeq", self._last)
        self._stack.respond(self._invite, response)

        def again() -> None:
            self._stack.respond(self._invite, response)

        self._open = Repeater(self._stack, again, self._lost, 64 * self._stack.timers.t1)

    def when_acknowledged(self, action: Callable[[], None]) -> None:
        """Do ``action`` (send the final response) once nothing waits for a PRACK any more (§3)."""
        if self._open is None:
            action()
        else:
            self._waiting.append(action)

    def acknowledged(self, prack: Request) -> bool:
        """Whether this PRACK is for the response that waits (§7.2)."""
        match = _RACK.fullmatch(prack.headers.get("RAck") or "")
        named = (self._last, self._invite.request.cseq.number, "INVITE")
        if match is None or self._open is None or (int(match[1]), int(match[2]), match[3].upper()) != named:
            return False
        self._open.stop()
        self._open = None
        return True

    def go_on(self) -> None:
        """Send what has waited for the PRACK, once that was dealt with."""
        while self._waiting and self._open is None:
            self._waiting.pop(0)()

    def stop(self) -> None:
        """The INVITE is answered for good, and its leg may go."""
        self._give_up = _nothing
        self._waiting.clear()
        if self._open is not None:
            self._open.stop()
            self._open = None

    def _lost(self) -> None:
        give_up = self._give_up
        self.stop()
        give_up()
