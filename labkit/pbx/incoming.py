"""A leg that begins with a phone calling the PBX: the server side of INVITE (RFC 3261 §13.3)."""

from __future__ import annotations

from labkit.pbx.events import CancelUpdate, Disconnect
from labkit.pbx.leg import Leg, Owner
from labkit.pbx.stack import SipStack
from labkit.sip.dialog import Dialog, DialogState
from labkit.sip.message import Request, Response, SipMessage
from labkit.sip.transaction import Transaction


class IncomingLeg(Leg):
    """The caller's leg.  Until :meth:`connect` or :meth:`fail` its INVITE waits for the answer."""

    def __init__(
        self, stack: SipStack, book: dict[tuple[str, str], Leg], owner: Owner, number: str, shown: str, transaction: Transaction
    ) -> None:
        super().__init__(stack, book, owner, number, shown)
        self.request: Request = transaction.request
        self.dialog = Dialog.from_request(transaction.request, self.tag)
        self._initial = transaction
        self._pending = transaction
        transaction.user = self
        book[self.dialog.call_id, self.tag] = self

    @property
    def answered(self) -> bool:
        return self.dialog is not None and self.dialog.state is not DialogState.EARLY

    def trying(self) -> None:
        """100 at once, so that the phone stops sending its INVITE (§17.2.1)."""
        self.answer(self._initial, 100)

    def ring(self, source: Response) -> None:
        """Pass 180 or 183 on, with its body (early media)."""
        self.answer(self._initial, source.status, source, reason=source.reason)

    def connect(self, source: Response) -> None:
        """Answer the call with the callee's session description."""
        if not self.answered and not self.ended:
            assert self.dialog is not None
            self.dialog.state = DialogState.CONFIRMED
            self.answer(self._initial, 200, source)

    def fail(self, status: int, source: Response | None = None) -> None:
        """Refuse the call."""
        if not self.answered and not self.ended:
            self.ended = True
            self.answer(self._initial, status, source)
            self._forget()

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
