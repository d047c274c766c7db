"""What happens, in two vocabularies.

:class:`PbxEvent` is for the owner of a PBX: one small record each time something happened that a screen could show.  The others are for a
call: what the phone of one leg did (:mod:`labkit.pbx.leg` has the table).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from labkit.sip.message import Request, Response, SipMessage
from labkit.sip.transaction import Transaction

# fmt: off
Kind = Literal[
    "registered", "unregistered", "expired", "refused",
    "calling", "ringing", "forwarded", "connected", "updated", "failed", "ended",
    "transferring", "transferred", "transfer_failed", "parked", "picked_up", "status", "messages",
]
# fmt: on


@dataclass(frozen=True, slots=True)
class PbxEvent:
    """``extension`` did something, or something was done to it, with ``peer`` (the other number, or a contact)."""

    kind: Kind
    extension: str
    peer: str = ""
    code: int | None = None
    """The SIP status code, where one belongs to it."""


@dataclass(frozen=True, slots=True)
class Ring:
    """The phone rings, or sends early media."""

    message: Response


@dataclass(frozen=True, slots=True)
class Connect:
    """The phone was answered."""

    message: Response


@dataclass(frozen=True, slots=True)
class Confirm:
    """The phone has our answer."""

    message: Request


@dataclass(frozen=True, slots=True)
class Update:
    """The phone asks something inside the call."""

    message: Request
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class CancelUpdate:
    """The phone takes its re-INVITE back."""

    message: Request


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The phone hung up; no message when it fell silent."""

    message: SipMessage | None


@dataclass(frozen=True, slots=True)
class Fail:
    """The phone did not take the call."""

    status: int
    message: Response | None = None


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The phone has our reliable provisional response (PRACK)."""

    message: Request
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Refer:
    """The phone wants its call transferred."""

    message: Request
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Forward:
    """Nobody took the call, and it goes on to somebody else.  No phone says this: the hunt does (:mod:`labkit.pbx.hunt`)."""

    from_: str
    to: str
    history: tuple[str, ...]
    """The entries of History-Info (RFC 7044)."""


@dataclass(frozen=True, slots=True)
class Collapse:
    """The PBX itself made a mistake with this leg (an exception, which is in the log), and cannot go on with it."""


LegEvent = Ring | Connect | Confirm | Update | CancelUpdate | Disconnect | Fail | Acknowledge | Refer | Forward | Collapse
