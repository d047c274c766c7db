"""Dialogs: RFC 3261 §12, the memory that makes an INVITE, its answer and the BYE one conversation.

A dialog is named by Call-ID, local tag and remote tag.  It keeps the route, the other side's Contact and a CSeq counter each way,
and it builds the requests inside the dialog.  Sending, and the transactions, are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from labkit.errors import SipError
from labkit.sip.headers import NameAddr
from labkit.sip.hop import Hop
from labkit.sip.message import Headers, Request, Response, SipMessage
from labkit.sip.uri import SipUri

DialogId = tuple[str, str, str]


class DialogState(Enum):
    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


@dataclass
class Dialog:
    """One side's view of a dialog."""

    call_id: str
    local: NameAddr
    """Our From in requests that we send, with our tag."""
    remote: NameAddr
    """Their address, with their tag."""
    remote_target: str
    """The Request-URI of our requests: their Contact."""
    route_set: list[NameAddr] = field(default_factory=list)
    local_seq: int = 0
    remote_seq: int | None = None
    state: DialogState = DialogState.EARLY

    @classmethod
    def from_request(cls, request: Request, local_tag: str) -> Dialog:
        """The dialog that the server of ``request`` makes (§12.1.1)."""
        return cls(
            call_id=request.call_id,
            local=request.to.with_tag(local_tag),
            remote=request.from_,
            remote_target=_contact(request),
            route_set=[NameAddr.parse(item, "Record-Route") for item in request.headers.get_list("Record-Route")],
            remote_seq=request.cseq.number,
        )

    @classmethod
    def from_response(cls, request: Request, response: Response) -> Dialog:
        """The dialog that the client of ``request`` makes from a response of 101 to 299 with a To tag (§12.1.2)."""
        if not response.to.tag:
            raise SipError("sip.dialog_tag", status=response.status)
        dialog = cls(
            call_id=request.call_id,
            local=request.from_,
            remote=response.to,
            remote_target=_contact(response),
            route_set=[NameAddr.parse(item, "Record-Route") for item in reversed(response.headers.get_list("Record-Route"))],
            local_seq=request.cseq.number,
        )
        if response.status >= 200:
            dialog.state = DialogState.CONFIRMED
        return dialog

    @property
    def id(self) -> DialogId:
        return self.call_id, self.local.tag, self.remote.tag

    def confirm(self, response: Response) -> None:
        """A 2xx came to the INVITE: take its Contact, and its route set anew (§13.2.2.4)."""
        self.state = DialogState.CONFIRMED
        self.route_set = [NameAddr.parse(item, "Record-Route") for item in reversed(response.headers.get_list("Record-Route"))]
        self.refresh(response)

    def refresh(self, message: SipMessage) -> None:
        """Take the Contact of a target refresh: re-INVITE or UPDATE, or their 2xx (§12.2.1.2, §12.2.2)."""
        if message.contacts:
            self.remote_target = _contact(message)

    def receive(self, request: Request) -> None:
        """Check the CSeq of a request inside the dialog; an older one than the last raises :class:`SipError` with 500 (§12.2.2)."""
        number = request.cseq.number
        if request.method not in ("ACK", "CANCEL"):
            if self.remote_seq is not None and number < self.remote_seq:
                raise SipError("sip.dialog_cseq", status=500, number=number, last=self.remote_seq)
            self.remote_seq = number

    def request(self, method: str, *, body: bytes = b"", cseq: int | None = None) -> Request:
        """A request inside the dialog (§12.2.1.1), without Via and Contact, which are the transport's.

        CSeq counts up by one, except for an ACK, for which ``cseq`` names the INVITE's number.
        """
        if cseq is None:
            self.local_seq += 1
            cseq = self.local_seq
        uri, route = self.remote_target, list(self.route_set)
        if route and route[0].sip_uri.param("lr") is None:
            # A strict router of RFC 2543: its address goes into the Request-URI, the target to the end of the Route.
            uri, route = route[0].uri, [*route[1:], NameAddr(uri)]
        headers = Headers([("Max-Forwards", "70")])
        for hop in route:
            headers.append("Route", hop)
        headers.append("From", self.local)
        headers.append("To", self.remote)
        headers.append("Call-ID", self.call_id)
        headers.append("CSeq", f"{cseq} {method}")
        return Request(method, uri, headers, body)

    @property
    def next_hop(self) -> Hop:
        """Where requests of this dialog are sent: the first route, else the remote target."""
        return (self.route_set[0].sip_uri if self.route_set else SipUri.parse(self.remote_target)).address


def _contact(message: SipMessage) -> str:
    contacts = message.contacts
    if len(contacts) != 1 or contacts[0].uri == "*":
        raise SipError("sip.dialog_target")
    return contacts[0].uri
