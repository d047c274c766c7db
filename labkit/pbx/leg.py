"""A leg: one dialog between the PBX and one phone, from the first INVITE to the last BYE.

A call has two or more legs (:mod:`labkit.pbx.call`).  A leg knows SIP and nothing of the other legs: it turns messages into the abstract
events of :mod:`labkit.pbx.events` and gives them to its owner, and the owner tells it what to do in the same words.

============  ==========================================  =========================================
event         the phone did this                          the owner orders this
============  ==========================================  =========================================
Ring          180, 183 ... to our INVITE                  ``ring``: send the same to the caller
Connect       200 to our INVITE                           ``connect``: send 200 to the caller
Confirm       ACK for our 200                             ``confirm``: send ACK, if one still waits
Update        re-INVITE, UPDATE, INFO, MESSAGE            ``update``: send the same
CancelUpdate  CANCEL of a re-INVITE                       ``cancel_update``: send CANCEL
Disconnect    BYE, or CANCEL before the answer            ``disconnect``: send BYE, CANCEL or 480
Fail          300 to 699 to our INVITE, or silence (408)  ``fail``: send it to the caller
============  ==========================================  =========================================

This class is the part inside the dialog.  How a leg begins is in :mod:`labkit.pbx.incoming` (the phone calls) and
:mod:`labkit.pbx.outgoing` (the PBX calls the phone).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from labkit.errors import SipError
from labkit.net.udp import Address
from labkit.pbx.events import CancelUpdate, Confirm, Disconnect, LegEvent, Update
from labkit.pbx.stack import Answered, SipStack
from labkit.sip.dialog import Dialog, DialogState
from labkit.sip.message import Request, Response, SipMessage, cancel
from labkit.sip.transaction import State, Transaction

ALLOW = "INVITE, ACK, CANCEL, OPTIONS, BYE, REGISTER, SUBSCRIBE, UPDATE, INFO, MESSAGE"
# What a message of one leg hands to the other beside its body.  Everything else is that leg's own business and stays there.
PASSED = (
    "Content-Type",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "MIME-Version",
    "Info-Package",
    "Reason",
    "Warning",
)


class Owner(Protocol):
    """Who joins legs: the call."""

    def handle(self, leg: Leg, event: LegEvent) -> None: ...


class Leg:
    """One dialog with a phone.  ``number`` is the extension at the other end, ``shown`` the number that our Contact shows it."""

    def __init__(self, stack: SipStack, book: dict[tuple[str, str], Leg], owner: Owner, number: str, shown: str) -> None:
        self.stack = stack
        self.owner = owner
        self.number = number
        self.contact = f"<sip:{shown}@{stack.host}>"
        self.session_id = ""
        """The Session-ID (RFC 7989) of what we send here; both legs of a call carry the same pair."""
        self.dialog: Dialog | None = None
        self.tag = stack.token(6)
        self.ended = False
        self._book = book
        self._asked: Transaction | None = None  # our INVITE that has no final response yet
        self._pending: Transaction | None = None  # their INVITE that we have not answered yet
        self._unconfirmed: Transaction | None = None  # their INVITE whose 2xx has no ACK yet
        self._repeat: asyncio.TimerHandle | None = None
        self._bye_waits = False  # our BYE must wait for the ACK of our 2xx
        self._bye_source: SipMessage | None = None  # what the other leg said when it ended, for its Reason
        self._ack_due: int | None = None  # CSeq of our INVITE whose 2xx waits for the other leg's ACK body
        self._ack_sent: tuple[int, bytes, Address] | None = None

    # -- what the phone does inside the dialog --------------------------------------------------------------------------------------

    def receive(self, request: Request, transaction: Transaction | None) -> None:
        """A request inside the dialog."""
        assert self.dialog is not None
        if transaction is None:  # ACK for a 2xx
            self._confirmed(request)
            return
        try:
            self.dialog.receive(request)
        except SipError as error:
            self.answer(transaction, error.status or 400)
            return
        if request.method == "BYE":
            self._bye(request, transaction)
        elif self.ended:
            self.answer(transaction, 481)
        elif request.method == "INVITE":
            self._reinvited(request, transaction)
        elif request.method in ("UPDATE", "INFO", "MESSAGE"):
            self.owner.handle(self, Update(request, transaction))
        else:
            self.answer(transaction, 200 if request.method == "OPTIONS" else 405)

    def _reinvited(self, request: Request, transaction: Transaction) -> None:
        if self._pending is not None:
            # §14.2: another INVITE of theirs is still open.
            self.answer(transaction, 500, retry_after=1)
        elif self._asked is not None or self._ack_due is not None or self._unconfirmed is not None:
            # §14.2: another offer is open; the two crossed, and both sides will try again after a random time.
            self.answer(transaction, 491)
        else:
            self._pending = transaction
            transaction.user = self
            self.answer(transaction, 100)
            self.owner.handle(self, Update(request, transaction))

    def _bye(self, request: Request, transaction: Transaction) -> None:
        self.answer(transaction, 200)
        if self._pending is not None:
            self.answer(self._pending, 487)  # §15.1.2: pending requests are still answered
        crossed, self.ended = self.ended, True
        self._forget()
        if not crossed:
            self.owner.handle(self, Disconnect(request))

    def cancelled(self, request: Request) -> None:
        """The phone cancels an INVITE of this dialog."""
        if self._pending is not None:
            self.owner.handle(self, CancelUpdate(request))

    def _confirmed(self, ack: Request) -> None:
        waiting = self._unconfirmed
        if waiting is None or waiting.request.cseq.number != ack.cseq.number:
            return  # a copy, or the ACK of something else: absorbed
        self._stop_repeating()
        if self._bye_waits:
            self._send_bye()
        else:
            self.owner.handle(self, Confirm(ack))

    # -- answering ------------------------------------------------------------------------------------------------------------------

    def answer(
        self, transaction: Transaction, status: int, source: SipMessage | None = None, *, reason: str = "", retry_after: int | None = None
    ) -> None:
        """Respond in this dialog, with the body of ``source`` if there is one; a 2xx to INVITE is repeated until its ACK comes."""
        request = transaction.request
        if transaction.state not in (State.TRYING, State.PROCEEDING):
            return  # answered already, or gone
        response = request.response(status, reason, to_tag=self.tag)
        if request.method in ("INVITE", "UPDATE") and 100 < status < 300:
            response.headers.copy_from(request.headers, "Record-Route")
            response.headers.append("Contact", self.contact)
        if (request.method in ("INVITE", "OPTIONS") and status >= 200) or status == 405:
            response.headers.append("Allow", ALLOW)
        if retry_after is not None:
            response.headers.append("Retry-After", retry_after)
        self._dress(response, source if status > 100 else None)
        self.stack.respond(transaction, response)
        if status < 200:
            return
        if transaction is self._pending:
            self._pending = None
        if status < 300 and self.dialog is not None and request.method in ("INVITE", "UPDATE"):
            self._refresh(request)
            if request.method == "INVITE":
                self._repeat_until_ack(transaction, response)

    def _repeat_until_ack(self, transaction: Transaction, response: Response) -> None:
        """§13.3.1.4: a 2xx goes out again at T1, doubled up to T2, until ACK; after 64·T1 without one the call is ended by BYE."""
        timers = self.stack.timers
        self._unconfirmed = transaction
        self._bye_waits = False
        started = self.stack.now
        pause = timers.t1

        def again() -> None:
            nonlocal pause
            if self.stack.now - started >= 64 * timers.t1 - 0.001:
                known = self.ended
                self._stop_repeating()
                self._send_bye()
                if not known:
                    self.owner.handle(self, Disconnect(None))
                return
            self.stack.respond(transaction, response)
            pause = min(2 * pause, timers.t2)
            self._repeat = self.stack.later(min(pause, started + 64 * timers.t1 - self.stack.now), again)

        self._repeat = self.stack.later(pause, again)

    def _stop_repeating(self) -> None:
        self._unconfirmed = None
        if self._repeat is not None:
            self._repeat.cancel()
            self._repeat = None

    # -- asking ---------------------------------------------------------------------------------------------------------------------

    def update(self, method: str, source: Request, answered: Callable[[Response | None], None]) -> None:
        """Send a request inside the dialog with the body of ``source``; ``answered`` gets its final response, or ``None`` for silence."""
        if self.dialog is None or self.dialog.state is not DialogState.CONFIRMED or self.ended:
            answered(None)
            return
        request = self.dialog.request(method, body=source.body)
        if method in ("INVITE", "UPDATE"):
            request.headers.append("Contact", self.contact)
            request.headers.append("Allow", ALLOW)
        self._dress(request, source)
        if method == "INVITE":
            self._asked = self._send(request, self._on_reinvite(request, answered))
        else:
            self._send(request, lambda response: answered(response) if response is None or response.status >= 200 else None)

    def _on_reinvite(self, request: Request, answered: Callable[[Response | None], None]) -> Answered:
        number = request.cseq.number

        def on_response(response: Response | None) -> None:
            if response is not None and response.status < 200:
                return
            if response is not None and response.status < 300:
                if self._accepted(request, response):
                    answered(response)
                return
            if self._asked is not None and self._asked.request.cseq.number == number:
                self._asked = None
                answered(response)

        return on_response

    def _accepted(self, request: Request, response: Response) -> bool:
        """A 2xx to an INVITE of ours; true for the first.  Each copy is answered with the same ACK (§13.2.2.4)."""
        number = request.cseq.number
        if self._ack_sent is not None and self._ack_sent[0] == number:
            self.stack.send_bytes(self._ack_sent[1], self._ack_sent[2])
            return False
        if self._ack_due == number:
            return False
        self._asked = None
        self._refresh(response)
        self._ack_due = number
        if request.body or self.ended:
            self.confirm(None)  # our INVITE had the offer, so the ACK has nothing to say and goes at once
        return True

    def _refresh(self, message: SipMessage) -> None:
        """Take over the phone's new Contact; a useless one leaves the old in force."""
        assert self.dialog is not None
        try:
            self.dialog.refresh(message)
        except SipError:
            return

    def confirm(self, source: Request | None) -> None:
        """Send the ACK that waits, with the body (the answer to a delayed offer) of the other leg's ACK."""
        if self._ack_due is None or self.dialog is None:
            return
        number, self._ack_due = self._ack_due, None
        ack = self.dialog.request("ACK", cseq=number, body=source.body if source is not None else b"")
        self._dress(ack, source)
        remote = self._next_hop()
        self._ack_sent = (number, self.stack.send_ack(ack, remote), remote)

    def cancel_update(self, source: SipMessage | None) -> None:
        """CANCEL our re-INVITE, if it is still open and was heard (§9.1: not before a provisional response)."""
        if self._asked is not None and self._asked.state is State.PROCEEDING:
            self._cancel(self._asked)

    def _cancel(self, invite: Transaction, cause: int | None = None) -> None:
        request = cancel(invite.request, cause=cause)
        self._dress(request, None)
        self.stack.send(request, invite.remote, lambda response: None)

    # -- ending ---------------------------------------------------------------------------------------------------------------------

    def disconnect(self, source: SipMessage | None = None) -> None:
        """End the dialog from our side: BYE, or later, when §15 forbids it before the ACK."""
        if self.ended or self.dialog is None:
            return
        self.ended, self._bye_source = True, source
        if self._pending is not None:
            self.answer(self._pending, 487)
        if self._unconfirmed is not None:
            self._bye_waits = True  # §15: the callee MUST NOT send BYE before it has the ACK
        else:
            self._send_bye()

    def _send_bye(self) -> None:
        assert self.dialog is not None
        self.ended, self._bye_waits = True, False
        self.confirm(None)
        bye = self.dialog.request("BYE")
        if self._bye_source is not None:
            bye.headers.copy_from(self._bye_source.headers, "Reason")
        self._dress(bye, None)
        self._send(bye, lambda response: self._forget() if response is None or response.status >= 200 else None)

    def _forget(self) -> None:
        """No request of this dialog is expected any more; a late one gets 481."""
        self._stop_repeating()
        if self.dialog is not None:
            self.dialog.state = DialogState.TERMINATED
            self._book.pop((self.dialog.call_id, self.tag), None)

    # -- helpers --------------------------------------------------------------------------------------------------------------------

    def _next_hop(self) -> Address:
        assert self.dialog is not None
        try:
            return self.dialog.next_hop
        except SipError:
            return "", 0  # a Contact of another scheme: nobody hears us, and the timers say so

    def _send(self, request: Request, answered: Answered) -> Transaction:
        return self.stack.send(request, self._next_hop(), answered)

    def _dress(self, message: SipMessage, source: SipMessage | None) -> None:
        """Add the Session-ID, and the body of the other leg with the headers that describe it, byte for byte."""
        if self.session_id:
            message.headers.append("Session-ID", self.session_id)
        if source is not None:
            message.headers.copy_from(source.headers, *PASSED)
            message.body = source.body
