"""Session-ID: RFC 7989, one pair of numbers that both legs of a call carry, so that a capture can join them.

Each end of a call has a UUID; a message says ``mine;remote=yours``.  A phone that sends none is given one, as §7 lets an intermediary do.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from labkit.sip.message import SipMessage

NIL = "0" * 32
_UUID = re.compile(r"[0-9a-f]{32}")


def local_uuid(message: SipMessage) -> str | None:
    """The UUID of whoever sent this message, if it has one."""
    value = (message.headers.get("Session-ID") or "").partition(";")[0].strip().lower()
    return value if _UUID.fullmatch(value) and value != NIL else None


class SessionId:
    """The pair of one call."""

    def __init__(self, invite: SipMessage, token: Callable[[int], str]) -> None:
        self._caller = local_uuid(invite) or token(16)
        self._callee = NIL
        self._spare = token(16)

    def learn_callee(self, message: SipMessage) -> None:
        """A phone of the callee has spoken: take its UUID, or give it one."""
        self._callee = local_uuid(message) or (self._spare if self._callee == NIL else self._callee)

    @property
    def to_caller(self) -> str:
        return f"{self._callee};remote={self._caller}"

    @property
    def to_callee(self) -> str:
        return f"{self._caller};remote={self._callee}"
