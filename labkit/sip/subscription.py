"""Event notification: RFC 6665, from the side that notifies.  A subscription is a small dialog in which only NOTIFY is sent.

Event and Subscription-State as values, the body of a REFER's notifications (message/sipfrag, RFC 3420), and :class:`Subscription`, which
builds the NOTIFY requests and remembers when it ends.  Sending, and what there is to tell, are the owner's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from labkit.errors import SipError
from labkit.sip.dialog import Dialog, DialogState
from labkit.sip.headers import NameAddr
from labkit.sip.message import Request
from labkit.sip.status import reason

SIPFRAG = "message/sipfrag;version=2.0"


@dataclass(frozen=True, slots=True)
class EventType:
    """``Event: dialog;id=7``: the package and the id that tells two subscriptions in one dialog apart (§8.2.1)."""

    package: str
    id: str = ""

    @classmethod
    def parse(cls, text: str) -> EventType:
        value = NameAddr.parse(text, "Event")
        return cls(value.uri.lower(), value.param("id") or "")

    def __str__(self) -> str:
        return f"{self.package};id={self.id}" if self.id else self.package


def subscription_state(state: Literal["active", "pending", "terminated"], *, expires_s: int = 0, reason: str = "") -> str:
    """The header Subscription-State (§4.1.3): ``active;expires=60``, ``terminated;reason=noresource``."""
    return state + (f";reason={reason}" if reason else "") + (f";expires={expires_s}" if state != "terminated" else "")


def sipfrag(status: int, phrase: str = "") -> bytes:
    """A status line as the body of a NOTIFY (RFC 3515 §2.4.5)."""
    return f"SIP/2.0 {status} {phrase or reason(status)}\r\n".encode()


class Subscription:
    """One subscription that somebody has to the state of ``resource``, until ``ends_at`` (seconds of the owner's clock)."""

    def __init__(self, subscribe: Request, tag: str, resource: str, contact: str) -> None:
        self.dialog = Dialog.from_request(subscribe, tag)
        self.dialog.state = DialogState.CONFIRMED
        self.event = EventType.parse(subscribe.headers.get("Event") or "")
        self.resource = resource
        self.contact = contact
        self.ends_at = 0.0
        self.version = 0
        """How many notifications were built; some packages count them."""

    def renew(self, subscribe: Request) -> None:
        """A SUBSCRIBE inside the dialog; raises :class:`SipError` for an old CSeq or another event."""
        self.dialog.receive(subscribe)
        if EventType.parse(subscribe.headers.get("Event") or "") != self.event:
            raise SipError("sip.bad_header", status=481, header="Event", value=(subscribe.headers.get("Event") or "")[:100])
        self.dialog.refresh(subscribe)

    def notify(self, now: float, content_type: str, body: bytes, *, ended: str = "") -> Request:
        """The next NOTIFY; ``ended`` is the reason of the last one ("timeout", "noresource")."""
        self.version += 1
        request = self.dialog.request("NOTIFY", body=body)
        request.headers.append("Contact", self.contact)
        request.headers.append("Event", self.event)
        left = max(0, round(self.ends_at - now))
        state = subscription_state("terminated", reason=ended) if ended else subscription_state("active", expires_s=left)
        request.headers.append("Subscription-State", state)
        if body:
            request.headers.append("Content-Type", content_type)
        return request
