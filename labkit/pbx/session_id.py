"""Session-ID: RFC 7989, one pair of numbers that both legs of a call carry, so that a capture can join them.

Each phone has a UUID; a message says ``mine;remote=yours``.  A phone that sends none is given one, as §7 lets an intermediary do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from labkit.sip.message import SipMessage

NIL = "0" * 32
_UUID = re.compile(r"[0-9a-f]{32}")


class End(Protocol):
    """A leg: ``uuid`` is its phone's, ``session_id`` the header of what we send to it."""

    uuid: str
    session_id: str


def local_uuid(message: SipMessage) -> str | None:
    """The UUID of whoever sent this message, if it has one."""
    value = (message.headers.get("Session-ID") or "").partition(";")[0].strip().lower()
    return value if _UUID.fullmatch(value) and value != NIL else None


def learn(end: End, message: SipMessage, token: Callable[[int], str]) -> None:
    """The phone has spoken: take its UUID, or give it one."""
    end.uuid = local_uuid(message) or (token(16) if end.uuid == NIL else end.uuid)


def join(one: End, other: End) -> None:
    """These two talk to each other from now on."""
    one.session_id = f"{other.uuid};remote={one.uuid}"
    other.session_id = f"{one.uuid};remote={other.uuid}"
