"""Session timers: RFC 4028.  A call whose phones have died ends by itself.

One side refreshes the session at half of the interval, by UPDATE or re-INVITE; the other ends it when no refresh comes.  The PBX is one
side of every leg: it leaves the refreshing to a phone that can do it and asks for it, and does it itself for all others, also for
phones that know nothing of session timers: those still answer, or do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from labkit.errors import SipError
from labkit.pbx.stack import SipStack
from labkit.sip.headers import NameAddr
from labkit.sip.message import Headers, Request, Response, SipMessage

DEFAULT_MIN_S = 90
"""The Min-SE that a message without one means (§5)."""


def session_expires(message: SipMessage) -> tuple[int, str] | None:
    """The interval in seconds and the refresher ("uac", "uas" or nothing); ``None`` without a readable header (§4)."""
    value = message.headers.get("Session-Expires") or ""
    try:
        given = NameAddr.parse(value, "Session-Expires") if value else None
    except SipError:
        return None
    if given is None or not (given.uri.isascii() and given.uri.isdecimal()) or len(given.uri) > 9:
        return None
    return int(given.uri), (given.param("refresher") or "").lower()


def min_se(message: SipMessage) -> int:
    """The Min-SE of a 422, 0 when it has none."""
    value = (message.headers.get("Min-SE") or "").partition(";")[0].strip()
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 9 else 0


def supports(message: SipMessage, extension: str) -> bool:
    return extension in (item.lower() for item in message.headers.get_list("Supported") + message.headers.get_list("Require"))


def _nothing() -> None:
    return


class SessionTimer:
    """The timer of one leg.  ``refresh`` sends a refresh, ``expire`` ends the call."""

    def __init__(self, stack: SipStack, interval_s: int, minimum_s: int, refresh: Callable[[], None], expire: Callable[[], None]) -> None:
        self.interval_s, self.minimum_s = interval_s, minimum_s
        self._stack, self._refresh, self._expire = stack, refresh, expire
        self._ours: bool | None = None  # whether we refresh; not known before the first 2xx
        self._ends_at = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    def ask(self, headers: Headers) -> None:
        """Write our wish into a request of ours; the roles, once they are known, stay (§7.4)."""
        refresher = "" if self._ours is None else f";refresher={'uac' if self._ours else 'uas'}"
        headers.append("Session-Expires", f"{self.interval_s}{refresher}")
        if self.minimum_s != DEFAULT_MIN_S:
            headers.append("Min-SE", self.minimum_s)

    def too_short(self, request: Request) -> bool:
        """Whether a request of the phone must get 422 (§9)."""
        asked = session_expires(request)
        return asked is not None and asked[0] < self.minimum_s and supports(request, "timer")

    def answer(self, request: Request, headers: Headers) -> None:
        """Write the outcome into our 2xx, and start (§9)."""
        asked = session_expires(request)
        self.interval_s = max(self.minimum_s, min(asked[0], self.interval_s)) if asked else self.interval_s
        if supports(request, "timer"):
            refresher = (asked[1] if asked else "") or "uac"
            headers.append("Session-Expires", f"{self.interval_s};refresher={refresher}")
            if refresher == "uac":
                headers.append("Require", "timer")
            self._start(refresher == "uas")
        else:
            self._start(True)

    def answered(self, response: Response) -> None:
        """A 2xx to our request: what the phone made of our wish (§7.2)."""
        given = session_expires(response)
        if given is not None and given[0] > 0:
            self.interval_s = given[0]
        self._start(given is None or given[1] != "uas")

    def raise_to(self, minimum_s: int) -> bool:
        """After a 422: take a longer interval; false when that makes no difference (§7.4)."""
        if minimum_s <= self.interval_s and minimum_s <= self.minimum_s:
            return False
        self.minimum_s = max(minimum_s, self.minimum_s)
        self.interval_s = max(self.interval_s, self.minimum_s)
        return True

    def failed(self) -> None:
        """A refresh was refused for the moment: try again while there is time."""
        left = self._ends_at - self._stack.now
        self._set(max(left / 2, 0.1), self._refresh if left > 0.1 else self._expire)

    def stop(self) -> None:
        """The leg has ended; the timer lets go of it."""
        self._refresh = self._expire = _nothing
        self._cancel()

    def _cancel(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _start(self, ours: bool) -> None:
        self._ours = ours
        self._ends_at = self._stack.now + self.interval_s
        if ours:
            self._set(self.interval_s / 2, self._refresh)
        else:
            self._set(self.interval_s - min(32, self.interval_s / 3), self._expire)  # §10

    def _set(self, seconds: float, what: Callable[[], None]) -> None:
        self._cancel()
        self._alarm = self._stack.later(seconds, what)
