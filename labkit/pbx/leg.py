"""A leg: one dialog between the PBX and one phone, from the first INVITE to the last BYE.

A call has two or more legs (:mod:`labkit.pbx.call`).  A leg knows SIP and nothing of the other legs: it turns messages into the abstract
events of :mod:`labkit.pbx.events` and gives them to its owner, and the owner tells it what to do in the same words.

============  ==========================================  =========================================
event         the phone did this                          the owner orders this
============  ==========================================  =========================================
Ring          180, 183 ... to our INVITE                  ``ring``: send the same to the caller
Connect       200 to our INVITE                           ``connect``: send 200 to the caller
Acknowledge   PRACK for our reliable 1xx                  ``acknowledge``: send PRACK
Confirm       ACK for our 200                             ``confirm``: send ACK, if one still waits
Update        re-INVITE, UPDATE, INFO, MESSAGE            ``update``: send the same
CancelUpdate  CANCEL of a re-INVITE                       ``cancel_update``: send CANCEL
Refer         REFER: transfer this call                   ``ask``: send NOTIFY (:mod:`labkit.pbx.transfer`)
Disconnect    BYE, or CANCEL before the answer            ``disconnect``: send BYE, CANCEL or 480
Fail          300 to 699 to our INVITE, or silence (408)  ``fail``: send it to the caller
============  ==========================================  =========================================

This class is the part inside the dialog, and :mod:`labkit.pbx.asking` its half that asks.  How a leg begins is in
:mod:`labkit.pbx.incoming` (the phone calls) and :mod:`labkit.pbx.outgoing` (the PBX calls the phone).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Protocol

from labkit.errors import SipError
from labkit.pbx.asking import ALLOW, CAPABILITIES, AskingLeg, log
from labkit.pbx.events import CancelUpdate, Collapse, Confirm, Disconnect, LegEvent, Refer, Update
from labkit.pbx.exchange import Exchange
from labkit.pbx.repeat import Repeater
from labkit.sip.dialog import DialogState
from labkit.sip.message import Request, Response, SipMessage
from labkit.sip.transaction import State, Transaction


class Owner(Protocol):
    """Who joins legs: the call."""

    def handle(self, leg: Leg, event: LegEvent) -> None: ...


class Leg(AskingLeg):
    """A leg with its owner."""

    def __init__(self, exchange: Exchange, owner: Owner, number: str, shown: str) -> None:
        super().__init__(exchange, number, shown)
        self.owner = owner
        self._repeat: Repeater | None = None
        self._bye_waits = False  # our BYE must wait for the ACK of our 2xx
        self._bye_source: SipMessage | None = None  # what the other leg said when it ended, for its Reason

    # -- mistakes of the PBX's own --------------------------------------------------------------------------------------------------

    def take(self, request: Request, transaction: Transaction | None) -> None:
        """:meth:`receive`, contained: a request that cannot be handled gets 500, and its call ends."""
        with self.contained():
            self.receive(request, transaction)
            return
        if transaction is not None:
            self.answer(transaction, 500)

    def collapse(self) -> None:
        self.owner.handle(self, Collapse())
        self.break_off()

    def break_off(self, status: int = 500) -> None:
        """End this leg from whatever state it is in: ``status`` before the answer, else BYE or CANCEL.  Raises nothing."""
        try:
            self._end(status)
        except Exception:
            log.exception("the leg of %s could not be ended properly", self.number)
            self.ended = True
            self._stop_repeating()
            self.timer.stop()
            for call_id, tag in [key for key, leg in self._book.items() if leg is self]:
                del self._book[call_id, tag]

    def _end(self, status: int) -> None:
        self.disconnect()

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
        elif request.method == "UPDATE":
            self._updated(request, transaction)
        elif request.method in ("INFO", "MESSAGE"):
            self.owner.handle(self, Update(request, transaction))
        elif request.method == "REFER":
            self.owner.handle(self, Refer(request, transaction))
        elif request.method in ("PRACK", "NOTIFY", "SUBSCRIBE"):
            self.answer(transaction, 481)  # nothing here waits for it (RFC 3262 §3, RFC 6665 §4.1.3)
        elif request.method == "OPTIONS":
            self.answer(transaction, 200, extra=CAPABILITIES)
        else:
            self.answer(transaction, 405 if request.method == "PUBLISH" else 501, extra=[("Allow", ALLOW)])

    def _updated(self, request: Request, transaction: Transaction) -> None:
        """RFC 3311 §5.2; without a body it only refreshes the session, and that is between this phone and us."""
        if self.timer.too_short(request):
            self.refuse_interval(transaction)
        elif request.body and (self._pending is not None or self._offered is not None):
            self.answer(transaction, 500, extra=[("Retry-After", 1)])
        elif request.body and self.busy:
            self.answer(transaction, 491)
        elif request.body or not self.confirmed:
            self._offered = transaction if request.body else self._offered
            self.owner.handle(self, Update(request, transaction))
        else:
            self.answer(transaction, 200)

    def refuse_interval(self, transaction: Transaction) -> None:
        """422 with the shortest session interval that would do (RFC 4028 §9)."""
        response = transaction.request.response(422, to_tag=self.tag)
        response.headers.append("Min-SE", self.timer.minimum_s)
        self.stack.respond(transaction, response)

    def _reinvited(self, request: Request, transaction: Transaction) -> None:
        if self.timer.too_short(request):
            self.refuse_interval(transaction)
        elif self._pending is not None or self._offered is not None:
            # §14.2: another offer of theirs is still open.
            self.answer(transaction, 500, extra=[("Retry-After", 1)])
        elif self.busy:
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
        self._let_wait_go()

    # -- answering ------------------------------------------------------------------------------------------------------------------

    def answer(
        self,
        transaction: Transaction,
        status: int,
        source: SipMessage | None = None,
        *,
        reason: str = "",
        extra: Iterable[tuple[str, object]] = (),
    ) -> None:
        """Respond in this dialog, with the body of ``source`` if there is one; a 2xx to INVITE is repeated until its ACK comes."""
        request = transaction.request
        if transaction.state not in (State.TRYING, State.PROCEEDING):
            return  # answered already, or gone
        response = request.response(status, reason, to_tag=self.tag)
        if request.method in ("INVITE", "UPDATE") and 100 < status < 300:
            response.headers.copy_from(request.headers, "Record-Route")
            response.headers.append("Contact", self.contact)
            if status >= 200:
                response.headers.append("Supported", "replaces, timer")
                self.timer.answer(request, response.headers)
        if request.method in ("INVITE", "OPTIONS") and status >= 200:
            response.headers.append("Allow", ALLOW)
        for name, value in extra:
            response.headers.append(name, value)
        self._dress(response, source if status > 100 else None)
        self.stack.respond(transaction, response)
        if status < 200:
            return
        if transaction is self._pending:
            self._pending = None
        if transaction is self._offered:
            self._offered = None
        if status < 300 and self.dialog is not None and request.method in ("INVITE", "UPDATE"):
            self._refresh(request)
            if request.method == "INVITE":
                self._repeat_until_ack(transaction, response)
        self._let_wait_go()

    def _repeat_until_ack(self, transaction: Transaction, response: Response) -> None:
        """§13.3.1.4: a 2xx goes out again at T1, doubled up to T2, until ACK; after 64·T1 without one the call is ended by BYE."""
        self._unconfirmed, self._bye_waits = transaction, False

        def give_up() -> None:
            known = self.ended
            self._stop_repeating()
            self._send_bye()
            if not known:
                self.owner.handle(self, Disconnect(None))

        again = partial(self.stack.respond, transaction, response)
        self._repeat = Repeater(self.stack, again, self.guarded(give_up), self.stack.timers.t2)

    def _stop_repeating(self) -> None:
        self._unconfirmed = None
        if self._repeat is not None:
            self._repeat.stop()
            self._repeat = None

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
            return
        try:
            self._send_bye()
        except Exception:
            self.ended = False  # it has not ended: whoever breaks it off tries once more
            raise

    def _send_bye(self) -> None:
        assert self.dialog is not None
        self.ended, self._bye_waits = True, False
        self.timer.stop()
        self.confirm(None)
        bye = self.dialog.request("BYE")
        if self._bye_source is not None:
            bye.headers.copy_from(self._bye_source.headers, "Reason")
        self._dress(bye, None)
        self._send(bye, lambda response: self._forget() if response is None or response.status >= 200 else None)

    def _forget(self) -> None:
        """No request of this dialog is expected any more; a late one gets 481."""
        self._stop_repeating()
        self.timer.stop()
        if self._asked is not None:  # an INVITE inside a call that has ended may ring for ever
            self.stack.later(64 * self.stack.timers.t1, partial(self.stack.transactions.forget, self._asked))
        if self.dialog is not None:
            self.dialog.state = DialogState.TERMINATED
            self._leave(self.dialog.call_id)

    def _leave(self, call_id: str) -> None:
        """Nobody finds this leg any more, and its relay ports are free."""
        self._book.pop((call_id, self.tag), None)
        if self.stack.relay is not None:
            self.stack.relay.release(call_id)

    def _session_over(self) -> None:
        if not self.ended:
            self.disconnect()
            self.owner.handle(self, Disconnect(None))
