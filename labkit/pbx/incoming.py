"""A leg that begins with a phone calling the PBX: the server side of INVITE (RFC 3261 §13.3)."""

from __future__ import annotations

from labkit.pbx.events import Acknowledge, CancelUpdate, Disconnect
from labkit.pbx.exchange import Exchange
from labkit.pbx.leg import Leg, Owner
from labkit.pbx.reliable import EXTENSION, ReliableResponses, rseq
from labkit.pbx.session_timer import supports
from labkit.sip.dialog import Dialog, DialogState
from labkit.sip.message import Request, Response, SipMessage
from labkit.sip.transaction import Transaction


class IncomingLeg(Leg):
    """The caller's leg.  Until :meth:`connect` or :meth:`fail` its INVITE waits for the answer."""

    def __init__(self, exchange: Exchange, owner: Owner, number: str, shown: str, transaction: Transaction) -> None:
        super().__init__(exchange, owner, number, shown)
        self.request: Request = transaction.request
        self.dialog = Dialog.from_request(transaction.request, self.tag)
        self.reliable = supports(self.request, EXTENSION)
        """Whether the phone understands reliable provisional responses."""
        self._needs_reliable = EXTENSION in self.request.headers.get_list("Require")
        self._reliable = ReliableResponses(self.stack, transaction, self.guarded(self._not_acknowledged))
        self._initial = transaction
        self._pending = transaction
        transaction.user = self
        self._book[self.dialog.call_id, self.tag] = self

    @property
    def answered(self) -> bool:
        return self.dialog is not None and self.dialog.state is not DialogState.EARLY

    def trying(self) -> None:
        """100 at once, so that the phone stops sending its INVITE (§17.2.1)."""
        self.answer(self._initial, 100)

    def ring(self, source: Response) -> bool:
        """Pass 180 or 183 on, with its body (early media); true when its PRACK will come and is to be passed back."""
        asked = rseq(source) is not None
        if not (self._needs_reliable or (asked and self.reliable)):
            self.answer(self._initial, source.status, source, reason=source.reason)
            return False
        if self.answered or self.ended:
            return False
        response = self.request.response(source.status, source.reason, to_tag=self.tag)
        response.headers.copy_from(self.request.headers, "Record-Route")
        response.headers.append("Contact", self.contact)
        self._dress(response, source)
        self._reliable.send(response)
        return asked

    def receive(self, request: Request, transaction: Transaction | None) -> None:
        if request.method != "PRACK" or transaction is None or self.answered:
            super().receive(request, transaction)
        elif self._reliable.acknowledged(request):
            self.owner.handle(self, Acknowledge(request, transaction))
            self._reliable.go_on()
        else:
            self.answer(transaction, 481)  # RFC 3262 §3

    def forwarded(self, history: tuple[str, ...]) -> None:
        """181 Call Is Being Forwarded, with where it goes (§21.1.3, RFC 7044)."""
        if not self.answered and not self.ended:
            response = self.request.response(181, to_tag=self.tag)
            response.headers.append("Contact", self.contact)
            for entry in history:
                response.headers.append("History-Info", entry)
            self._dress(response, None)
            if self._needs_reliable:
                self._reliable.send(response)
            else:
                self.stack.respond(self._initial, response)

    def connect(self, source: SipMessage) -> None:
        """Answer the call with the callee's session description."""

        def accept() -> None:
            if not self.answered and not self.ended:
                assert self.dialog is not None
                self.dialog.state = DialogState.CONFIRMED
                self.answer(self._initial, 200, source)

        self._reliable.when_acknowledged(accept)

    def fail(self, status: int, source: Response | None = None) -> None:
        """Refuse the call."""
        if not self.answered and not self.ended:
            self.ended = True
            self._reliable.stop()
            try:
                self.answer(self._initial, status, source)
            except Exception:
                self.ended = False  # it is not refused yet: whoever breaks it off does it in plainer words
                raise
            self._forget()

    def _forget(self) -> None:
        super()._forget()
        self._reliable.stop()

    def cancelled(self, request: Request) -> None:
        """CANCEL before the answer ends the call with 487; after it, it has no effect (§9.2)."""
        if self._pending is self._initial:
            self.fail(487)
            self.owner.handle(self, Disconnect(request))
        elif self._pending is not None:
            self.owner.handle(self, CancelUpdate(request))

    def disconnect(self, source: SipMessage | None = None) -> None:
        if self.answered:
            super().disconnect(source)
        else:
            self.fail(480)

    def _end(self, status: int) -> None:
        if self._pending is self._initial and self.dialog is not None:
            self.dialog.state = DialogState.EARLY  # its 200 was to go out, and did not
        self.fail(status)
        self.disconnect()

    def _not_acknowledged(self) -> None:
        """RFC 3262 §3: no PRACK in 64·T1, so the INVITE is refused with a 5xx."""
        self.fail(504)
        self.owner.handle(self, Disconnect(None))
