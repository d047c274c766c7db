"""A leg that begins with the PBX calling a phone: the client side of INVITE (RFC 3261 §13.2)."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.errors import SipError
from labkit.pbx.asking import ALLOW
from labkit.pbx.events import Connect, Fail, Ring
from labkit.pbx.leg import Leg
from labkit.pbx.reliable import EXTENSION, rseq
from labkit.pbx.session_timer import min_se
from labkit.pbx.stack import Answered
from labkit.sip.dialog import Dialog, DialogState
from labkit.sip.headers import NameAddr
from labkit.sip.message import Headers, Request, Response, SipMessage
from labkit.sip.transaction import State, Transaction
from labkit.sip.uri import SipUri


class OutgoingLeg(Leg):
    """A callee's leg.  :meth:`invite` starts it; Ring, Connect and Fail come to the owner."""

    first_retry_s = 2.1
    invitation: Transaction | None = None
    _reliable: tuple[int, int] | None = None  # RSeq and CSeq of the reliable response that waits for our PRACK
    _last_rseq: int | None = None
    _cancelling = False
    _cancel_sent = False
    _cause: int | None = None

    @property
    def answered(self) -> bool:
        return self.dialog is not None and self.dialog.state is not DialogState.EARLY

    def invite(
        self,
        target: SipUri,
        caller: NameAddr,
        source: SipMessage | None,
        max_forwards: int,
        *,
        extra: Iterable[tuple[str, object]] = (),
        reliable: bool = False,
    ) -> None:
        """Call the phone at ``target`` on behalf of ``caller``, with the session description of ``source``, if it has one.

        ``extra`` are further headers (Diversion, Referred-By ...); with ``reliable`` the phone may send reliable provisional responses.
        """
        uri = target.without_headers()
        headers = Headers([("Max-Forwards", str(max_forwards))])
        headers.append("From", caller.with_tag(self.tag))
        headers.append("To", NameAddr(f"sip:{self.number}@{self.stack.host}"))
        headers.append("Call-ID", f"{self.stack.token(12)}@{self.stack.advertised[0]}")
        headers.append("CSeq", "1 INVITE")
        headers.append("Contact", self.contact)
        headers.append("Allow", ALLOW)
        headers.append("Supported", "replaces, timer" + (f", {EXTENSION}" if reliable else ""))
        for name, value in extra:
            headers.append(name, value)
        self._call(Request("INVITE", uri, headers), uri, source)

    def _call(self, request: Request, uri: SipUri, source: SipMessage | None) -> None:
        self.timer.ask(request.headers)
        self._dress(request, source)
        self._asked = self.invitation = self.stack.send(request, uri.address, self.guarded(self._on_response))
        self._book[request.call_id, self.tag] = self

    def _call_again(self, refusal: Response) -> bool:
        """After 422 with a longer interval (RFC 4028 §7.3): the same INVITE with the next CSeq."""
        if self._cancelling or not self.timer.raise_to(min_se(refusal)):
            return False
        old = self._invite
        headers = old.headers.copy()
        for name in ("Via", "User-Agent", "Session-Expires", "Min-SE", "Content-Length"):
            headers.remove(name)
        headers.set("CSeq", f"{old.cseq.number + 1} INVITE")
        request = Request("INVITE", old.uri, headers, old.body)
        self.timer.ask(headers)
        self._asked = self.invitation = self.stack.send(request, old.target.address, self.guarded(self._on_response))
        return True

    @property
    def _invite(self) -> Request:
        assert self.invitation is not None
        return self.invitation.request

    def receive(self, request: Request, transaction: Transaction | None) -> None:
        if self.answered or transaction is None:
            super().receive(request, transaction)
        else:
            self.answer(transaction, 481)  # §15: before the answer the callee has nothing to say here, least of all BYE

    def _on_response(self, response: Response | None) -> None:
        if response is None:
            self._failed(Fail(408))  # §8.1.3.1: silence counts as 408
        elif response.status < 200:
            self._provisional(response)
        elif response.status < 300:
            self._success(response)
        elif response.status == 422 and self._call_again(response):
            return
        else:
            self._failed(Fail(response.status, response))

    def _provisional(self, response: Response) -> None:
        if self._cancelling:
            self._send_cancel()
            return
        if self.answered or response.status == 100:
            return
        number = rseq(response)
        if number is not None and self._last_rseq is not None and number != self._last_rseq + 1:
            return  # RFC 3262 §4: a copy, or one that came out of order
        if response.to.tag and (self.dialog is None or number is None or self._last_rseq is None):
            try:
                self.dialog = Dialog.from_response(self._invite, response)
            except SipError:
                self.dialog = None  # without a Contact it makes no dialog, and needs none yet
        if number is not None and self.dialog is not None:
            self._last_rseq, self._reliable = number, (number, response.cseq.number)
        self.owner.handle(self, Ring(response))

    def acknowledge(self, source: Request | None, answered: Answered = lambda response: None) -> bool:
        """PRACK the reliable response that waits, with the body of ``source``; false when none waits."""
        if self._reliable is None or self.dialog is None or self.ended:
            return False
        (number, cseq), self._reliable = self._reliable, None
        prack = self.dialog.request("PRACK")
        prack.headers.append("RAck", f"{number} {cseq} INVITE")
        self._dress(prack, source)
        self._send(prack, lambda response: answered(response) if response is None or response.status >= 200 else None)
        return True

    def _success(self, response: Response) -> None:
        if self.answered and self.dialog is not None and response.to.tag != self.dialog.remote.tag:
            self._refuse_fork(response)
            return
        if not self.answered:
            used = self.dialog.local_seq if self.dialog is not None and self.dialog.remote.tag == response.to.tag else 0
            try:
                self.dialog = Dialog.from_response(self._invite, response)
                self.dialog.local_seq = max(used, self.dialog.local_seq)  # a PRACK took numbers already
            except SipError:
                self._failed(Fail(502))  # a 200 without To tag or Contact cannot be acknowledged
                return
        if not self._accepted(self._invite, response):
            return  # a copy
        if self._cancelling:
            self._send_bye()  # it crossed our CANCEL
        else:
            self.owner.handle(self, Connect(response))

    def _refuse_fork(self, response: Response) -> None:
        """A proxy behind us forked and a second phone answered: ACK it and say BYE (§13.2.2.4)."""
        try:
            other = Dialog.from_response(self._invite, response)
            remote = other.next_hop
        except SipError:
            return
        self.stack.send_ack(other.request("ACK", cseq=other.local_seq), remote)
        self.stack.send(other.request("BYE"), remote, lambda _: None)

    def _failed(self, event: Fail) -> None:
        self._asked = None
        silent, self.ended = self.ended or self._cancelling, True
        self._forget()
        self._let_wait_go()
        if not silent:
            self.owner.handle(self, event)

    def _forget(self) -> None:
        super()._forget()
        self._leave(self._invite.call_id)

    def cancel(self, cause: int | None = None) -> None:
        """Stop calling.  ``cause`` 200 tells the phone that another one has answered (RFC 3326)."""
        if not (self.answered or self._cancelling or self.ended):
            self._cancelling, self._cause = True, cause
            self._send_cancel()

    def _send_cancel(self) -> None:
        """§9.1: a CANCEL MUST NOT go out before a provisional response; then it waits here for one."""
        invitation = self.invitation
        if invitation is None or invitation.state is not State.PROCEEDING or self._cancel_sent:
            return
        self._cancel_sent = True
        self._cancel(invitation, self._cause)
        # §9.1: when no final response follows in 64·T1, the INVITE counts as cancelled.
        self.stack.later(64 * self.stack.timers.t1, self._give_up_waiting)

    def _give_up_waiting(self) -> None:
        if not self.answered and self.invitation is not None:
            self.stack.transactions.forget(self.invitation)
            self._forget()

    def disconnect(self, source: SipMessage | None = None) -> None:
        if self.answered:
            super().disconnect(source)
        else:
            self.cancel()
