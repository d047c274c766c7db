"""The half of a leg that asks: what the PBX sends inside a dialog, and what comes back (RFC 3261 §12.2.1, §14.1; RFC 4028 §10).

The half that is asked is :mod:`labkit.pbx.leg`, which builds on this one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

from labkit.errors import SipError
from labkit.net.udp import Address
from labkit.pbx.exchange import Exchange
from labkit.pbx.origin import Origin
from labkit.pbx.session_id import NIL
from labkit.pbx.session_timer import SessionTimer, min_se
from labkit.pbx.stack import Answered
from labkit.sip.dialog import Dialog, DialogState
from labkit.sip.message import Request, Response, SipMessage, cancel
from labkit.sip.transaction import State, Transaction

ALLOW = "INVITE, ACK, CANCEL, OPTIONS, BYE, REGISTER, SUBSCRIBE, NOTIFY, REFER, PRACK, UPDATE, INFO, MESSAGE"
SUPPORTED = ("replaces", "timer", "100rel", "norefersub")
"""Extensions that a request may require of us (RFC 3891, 4028, 3262, 4488)."""
CAPABILITIES = (
    ("Accept", "application/sdp"),
    ("Accept-Encoding", "identity"),
    ("Accept-Language", "en"),
    ("Supported", ", ".join(SUPPORTED)),
)
"""What a 200 to OPTIONS says beside Allow (RFC 3261 §11.2)."""
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

P = ParamSpec("P")
log = logging.getLogger("labkit.pbx")


class AskingLeg:
    """One dialog with a phone.  ``number`` is the extension at the other end, ``shown`` the number that our Contact shows it."""

    first_retry_s = 0.0
    """How long the PBX waits at least after a 491: nothing where the phone chose the Call-ID, 2.1 s where the PBX did (§14.1)."""

    def __init__(self, exchange: Exchange, number: str, shown: str) -> None:
        self.exchange = exchange
        self.stack = exchange.stack
        self.number = number
        self.contact = f"<sip:{shown}@{self.stack.host}>"
        self.uuid = NIL
        self.session_id = ""
        """The Session-ID (RFC 7989) of what we send here; both legs of a call carry the same pair."""
        self.dialog: Dialog | None = None
        self.tag = self.stack.token(6)
        self.ended = False
        self.referrals = 0
        """How many transfers the phone has asked for in this dialog."""
        self.origin = Origin()
        config = exchange.config
        refresh, expire = self.guarded(self._refresh_session), self.guarded(self._session_over)
        self.timer = SessionTimer(self.stack, config.session_expires_s, config.session_min_s, refresh, expire)
        self._book = exchange.book
        self._allowed: set[str] = set()  # the methods that the phone says it knows
        self._asked: Transaction | None = None  # our INVITE that has no final response yet
        self._pending: Transaction | None = None  # their INVITE that we have not answered yet
        self._unconfirmed: Transaction | None = None  # their INVITE whose 2xx has no ACK yet
        self._ack_due: int | None = None  # CSeq of our INVITE whose 2xx waits for the other leg's ACK body
        self._ack_sent: tuple[int, bytes, Address] | None = None
        self._offered: Transaction | None = None  # their UPDATE with an offer that we have not answered yet
        self._offers = 0  # our UPDATEs with an offer that have no final response yet
        self._when_free: list[Callable[[], None]] = []

    @property
    def busy(self) -> bool:
        """Whether an INVITE, or an UPDATE with an offer, is open on this leg, theirs or ours, so that another must wait (§14.1)."""
        return self._offers > 0 or any(x is not None for x in (self._asked, self._pending, self._unconfirmed, self._ack_due, self._offered))

    @property
    def confirmed(self) -> bool:
        """Whether the call is up on this leg."""
        return self.dialog is not None and self.dialog.state is DialogState.CONFIRMED and not self.ended

    # -- mistakes of the PBX's own --------------------------------------------------------------------------------------------------

    def collapse(self) -> None:
        """Give this leg up, and the call it belongs to."""
        raise NotImplementedError

    @contextmanager
    def contained(self) -> Iterator[None]:
        """Whatever goes wrong inside is logged and ends the call of this leg, so that no call is left behind half made."""
        try:
            yield
        except Exception:
            log.exception("the call of %s ends: it could not be handled", self.number)
            self.collapse()

    def guarded(self, work: Callable[P, None]) -> Callable[P, None]:
        """``work`` as a timer or a response may start it: :meth:`contained`."""

        def contained_work(*arguments: P.args, **named: P.kwargs) -> None:
            with self.contained():
                work(*arguments, **named)

        return contained_work

    # -- asking ---------------------------------------------------------------------------------------------------------------------

    def ask(
        self, method: str, headers: Iterable[tuple[str, object]], body: bytes = b"", answered: Answered = lambda response: None
    ) -> None:
        """Send any other request inside the dialog; ``answered`` gets the final response, or ``None`` for silence.

        A NOTIFY still goes out when the call has ended: BYE ends the call, but no subscription that uses its dialog (RFC 5057 §4.1).
        """
        if self.dialog is None or (self.ended and method != "NOTIFY"):
            answered(None)
            return
        request = self.dialog.request(method, body=body)
        for name, value in headers:
            request.headers.append(name, value)
        self._dress(request, None)
        self._send(request, lambda response: answered(response) if response is None or response.status >= 200 else None)

    def update(self, method: str, source: SipMessage | None, answered: Answered) -> None:
        """Send a request inside the dialog with the body of ``source``; ``answered`` gets its final response, or ``None`` for silence.

        An INVITE waits until no other is open here (§14.1).
        """
        if method == "INVITE" and self.busy and not self.ended:
            self._when_free.append(lambda: self.update(method, source, answered))
            return
        if self.dialog is None or not self.confirmed:
            answered(None)
            return
        request = self.dialog.request(method)
        if method in ("INVITE", "UPDATE"):
            request.headers.append("Contact", self.contact)
            request.headers.append("Allow", ALLOW)
            request.headers.append("Supported", "replaces, timer")
            self.timer.ask(request.headers)
        self._dress(request, source)
        if method == "INVITE":
            self._asked = self._send(request, self._on_reinvite(request, answered))
        else:
            self._offers += bool(method == "UPDATE" and request.body)
            self._send(request, lambda response: self._on_other(request, response, answered))

    def reinvite(self, source: SipMessage | None, answered: Answered, tries: int = 5) -> None:
        """A re-INVITE of the PBX's own, without an offer when there is no ``source``.  After 491 it tries again (§14.1).

        Without an offer the 2xx brings one, and :meth:`confirm` must follow with the answer.
        """

        def on_answer(response: Response | None) -> None:
            if response is not None and response.status == 491 and tries > 1 and not self.ended:
                chance = int(self.stack.token(2), 16) / 0xFFFF
                pause = (self.first_retry_s + 1.9 * chance) * self.stack.timers.t1 / 0.5
                self.stack.later(pause, self.guarded(lambda: self.reinvite(source, answered, tries - 1)))
            else:
                answered(response)

        self.update("INVITE", source, on_answer)

    def _let_wait_go(self) -> None:
        """The leg is free again, or gone: go on with what waited for that."""
        while self._when_free and (self.ended or not self.busy):
            self._when_free.pop(0)()

    def _on_other(self, request: Request, response: Response | None, answered: Answered) -> None:
        if response is not None and response.status < 200:
            return
        self._offers -= bool(request.method == "UPDATE" and request.body)
        if response is not None and response.status < 300 and request.method == "UPDATE":
            self._refresh(response)
            self.timer.answered(response)
        answered(response)
        self._let_wait_go()

    # -- the session timer ----------------------------------------------------------------------------------------------------------

    def _refresh_session(self) -> None:
        """RFC 4028 §7.4, §10: by UPDATE where the phone knows it, else by a re-INVITE with what it was shown last."""

        def answered(response: Response | None) -> None:
            if response is None or response.status in (408, 481):
                self._session_over()
            elif response.status == 422 and self.timer.raise_to(min_se(response)):
                self._refresh_session()
            elif response.status >= 300:
                self.timer.failed()

        if self.ended or not self.confirmed:
            return
        if "UPDATE" in self._allowed:
            self.update("UPDATE", None, answered)
            return
        last = Request("INVITE", "sip:", [("Content-Type", "application/sdp")], self.origin.shown)
        self.update("INVITE", last if self.origin.shown else None, answered)

    def _session_over(self) -> None:
        """The phone is gone."""
        raise NotImplementedError

    # -- answers to INVITE -----------------------------------------------------------------------------------------------------------

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
                self._let_wait_go()

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
        self.timer.answered(response)
        self._ack_due = number
        if request.body or self.ended:
            self.confirm(None)  # our INVITE had the offer, so the ACK has nothing to say and goes at once
        return True

    def _refresh(self, message: SipMessage) -> None:
        """Take over the phone's new Contact; a useless one leaves the old in force."""
        assert self.dialog is not None
        if allowed := message.headers.get_list("Allow"):
            self._allowed = set(allowed)
        try:
            self.dialog.refresh(message)
        except SipError:
            return

    def confirm(self, source: SipMessage | None) -> None:
        """Send the ACK that waits, with the body (the answer to a delayed offer) of the other leg's ACK."""
        if self._ack_due is None or self.dialog is None:
            return
        number, self._ack_due = self._ack_due, None
        ack = self.dialog.request("ACK", cseq=number)
        self._dress(ack, source)
        remote = self.stack.way(ack, self._next_hop())
        self._ack_sent = (number, self.stack.send_ack(ack, remote), remote)
        self._let_wait_go()

    def cancel_update(self, source: SipMessage | None) -> None:
        """CANCEL our re-INVITE, if it is still open and was heard (§9.1: not before a provisional response)."""
        if self._asked is not None and self._asked.state is State.PROCEEDING:
            self._cancel(self._asked)

    def _cancel(self, invite: Transaction, cause: int | None = None) -> None:
        request = cancel(invite.request, cause=cause)
        self._dress(request, None)
        self.stack.send(request, invite.remote, lambda response: None)

    # -- helpers --------------------------------------------------------------------------------------------------------------------

    def _next_hop(self) -> Address:
        assert self.dialog is not None
        try:
            return self.dialog.next_hop
        except SipError:
            return "", 0  # a Contact of another scheme: nobody hears us, and the timers say so

    def _send(self, request: Request, answered: Answered) -> Transaction:
        return self.stack.send(request, self._next_hop(), self.guarded(answered))

    def _dress(self, message: SipMessage, source: SipMessage | None) -> None:
        """Add the Session-ID, and the body of the other leg with the headers that describe it, byte for byte."""
        if self.session_id:
            message.headers.append("Session-ID", self.session_id)
        if source is not None:
            message.headers.copy_from(source.headers, *PASSED)
            body = source.body if self.stack.relay is None else self.stack.relay.pass_on(source, message)
            message.body = self.origin.show(body) if source.content_type == "application/sdp" else body
