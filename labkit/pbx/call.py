"""A call: two legs joined by a few events.  A back-to-back user agent (RFC 7092).

BOB dials 101.  His phone sends INVITE to the PBX, and the PBX does not pass it on: it sends an INVITE of its own to ALICE's phone, with
its own Call-ID, tags and CSeq.  There are two dialogs, and in each of them the PBX is one of the two ends.  What happens on one leg is
repeated on the other, in the other leg's own words::

      BOB                     PBX                    ALICE
       │  INVITE ─────────────►│                       │
       │◄────────── 100 Trying │                       │
       │                       │ INVITE (new) ────────►│
       │                       │◄───────── 180 Ringing │      Ring
       │◄───────── 180 Ringing │                       │
       │                       │◄────────────── 200 OK │      Connect
       │                       │ ACK ─────────────────►│
       │◄────────────── 200 OK │                       │
       │  ACK ────────────────►│                       │      Confirm
       │◄═══════════ voice, directly ═════════════════►│
       │  BYE ────────────────►│                       │      Disconnect
       │◄────────────── 200 OK │ BYE ─────────────────►│
       │                       │◄────────────── 200 OK │

A proxy would pass the same messages on; it could not hang up, hold a call back, or send it to voicemail after ten seconds.  A PBX can,
since it speaks for itself on both sides.  The price: nothing but the session description, and a few headers that describe it, passes from
one leg to the other.  One header is meant to: Session-ID (RFC 7989), by which a capture joins the two legs again.

The session description is passed on unchanged, so the phones send their voices to each other; the PBX never sees them ("direct media").
When BOB's INVITE has none (a delayed offer), ALICE's 200 carries the offer and BOB's ACK the answer; then the ACK to ALICE waits for it.

An extension may have several phones.  All of them ring (parallel forking); the first that answers wins, the others get CANCEL, with the
reason "Call completed elsewhere".  When all refuse, the caller hears the best refusal (RFC 3261 §16.7, step 6).

The table says everything that can happen: in which state, what came from which side, the state after it, and the method that does the
work.  What the table does not know needs no work: a late 180, a second BYE, the 487 of a phone that lost.

The legs: :mod:`labkit.pbx.incoming`, :mod:`labkit.pbx.outgoing`, :mod:`labkit.pbx.leg`.  Who may call, and whom: :mod:`labkit.pbx.server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

from labkit.pbx.config import Extension
from labkit.pbx.events import CancelUpdate, Confirm, Connect, Disconnect, Fail, Kind, LegEvent, PbxEvent, Ring, Update
from labkit.pbx.incoming import IncomingLeg
from labkit.pbx.leg import Leg
from labkit.pbx.outgoing import OutgoingLeg
from labkit.pbx.session_id import SessionId
from labkit.sip.headers import NameAddr
from labkit.sip.message import Request, Response
from labkit.sip.uri import SipUri


class CallState(Enum):
    TRYING = "trying"
    RINGING = "ringing"
    CONNECTED = "connected"
    ENDED = "ended"


class Side(Enum):
    CALLER = "caller"
    CALLEE = "callee"


TRYING, RINGING, CONNECTED, ENDED = CallState
CALLER, CALLEE = Side

Table: TypeAlias = "dict[CallState, dict[tuple[Side, type[LegEvent]], tuple[CallState, str]]]"

TABLE: Table = {
    TRYING: {
        (CALLEE, Ring): (RINGING, "ring_caller"),
        (CALLEE, Connect): (CONNECTED, "connect"),
        (CALLEE, Fail): (TRYING, "one_phone_failed"),
        (CALLER, Disconnect): (ENDED, "stop_ringing"),
        (CALLER, Update): (TRYING, "refuse_update"),
    },
    RINGING: {
        (CALLEE, Ring): (RINGING, "ring_caller"),
        (CALLEE, Connect): (CONNECTED, "connect"),
        (CALLEE, Fail): (RINGING, "one_phone_failed"),
        (CALLER, Disconnect): (ENDED, "stop_ringing"),
        (CALLER, Update): (RINGING, "refuse_update"),
    },
    CONNECTED: {
        (CALLER, Confirm): (CONNECTED, "confirm"),
        (CALLEE, Confirm): (CONNECTED, "confirm"),
        (CALLER, Update): (CONNECTED, "update"),
        (CALLEE, Update): (CONNECTED, "update"),
        (CALLER, CancelUpdate): (CONNECTED, "cancel_update"),
        (CALLEE, CancelUpdate): (CONNECTED, "cancel_update"),
        (CALLER, Disconnect): (ENDED, "disconnect_other"),
        (CALLEE, Disconnect): (ENDED, "disconnect_other"),
    },
    ENDED: {},
}

# What the caller hears when a phone refuses in a way that only concerns the PBX and that phone.
_TRANSLATED = {401: 502, 407: 502, 481: 480, 487: 480, 491: 480, 503: 500}


class Call:
    """One call from an extension to another.  The PBX makes it with the caller's leg, then calls :meth:`start`."""

    def __init__(self, caller: Extension, callee: Extension, *, ring_timeout_s: float, observe: Callable[[PbxEvent], None]) -> None:
        self.caller = caller
        self.callee = callee
        self.state = TRYING
        self.started = 0.0
        """When the INVITE came, when the call was answered and when it ended (seconds of the PBX's clock)."""
        self.connected_at: float | None = None
        self.ended_at: float | None = None
        self.code: int | None = None
        """The status that ended an unanswered call."""
        self.on_end: Callable[[Call], None] = lambda call: None
        self._incoming: IncomingLeg | None = None
        self._phones: list[OutgoingLeg] = []
        self._winner: OutgoingLeg | None = None
        self._refusals: list[Fail] = []
        self._rung: tuple[int, bytes] | None = None
        self._ring_timeout_s = ring_timeout_s
        self._ring_timer: asyncio.TimerHandle | None = None
        self._observe = observe
        self._session_id: SessionId | None = None

    def start(self, incoming: IncomingLeg, phones: list[tuple[OutgoingLeg, SipUri]], session_id: SessionId, max_forwards: int) -> None:
        """Call every phone of the callee at once."""
        self.started = incoming.stack.now
        self._incoming, self._session_id = incoming, session_id
        incoming.session_id = session_id.to_caller
        incoming.trying()
        self._tell("calling", self.caller.number, self.callee.number)
        caller = NameAddr(f"sip:{self.caller.number}@{incoming.stack.host}", self.caller.name)
        self._phones = [leg for leg, _ in phones]
        for leg, target in phones:
            leg.session_id = session_id.to_callee
            leg.invite(target, caller, incoming.request, max_forwards)
        # The timer starts with the INVITE to the phone, not with the ringing.
        self._ring_timer = incoming.stack.later(self._ring_timeout_s, self._no_answer)

    def handle(self, leg: Leg, event: LegEvent) -> None:
        """Something happened on a leg: look it up in the table and do it."""
        side = CALLER if leg is self._incoming else CALLEE
        row = TABLE[self.state].get((side, type(event)))
        if row is None or (self._winner is not None and side is CALLEE and leg is not self._winner):
            self._refuse(leg, event)
            return
        before, self.state = self.state, row[0]
        getattr(self, "_" + row[1])(leg, event)
        if self.state is ENDED and before is not ENDED:
            self._finish()

    def hang_up(self, status: int = 480) -> None:
        """End the call from the PBX ("Disconnect the call" on the lab's screen): BYE to both, or CANCEL and ``status``."""
        if self.state is ENDED:
            return
        if self.state is not CONNECTED:
            self.code = status
        self.state = ENDED
        for phone in self._phones:
            phone.disconnect()
        if self._incoming is not None:
            self._incoming.fail(status)
            self._incoming.disconnect()
        self._finish()

    # -- the work of the table ------------------------------------------------------------------------------------------------------

    def _ring_caller(self, leg: OutgoingLeg, event: Ring) -> None:
        assert self._incoming is not None and self._session_id is not None
        self._learn_session_id(event.message)
        response = event.message
        if len(self._phones) > 1 and response.body:
            # The caller has one dialog with us, and early media from several phones do not fit into it.
            response = Response(180)
        if self._rung != (response.status, response.body):
            if self._rung is None:
                self._tell("ringing", self.callee.number, self.caller.number)
            self._rung = (response.status, response.body)
            self._incoming.ring(response)

    def _connect(self, leg: OutgoingLeg, event: Connect) -> None:
        assert self._incoming is not None
        self._winner = leg
        self.connected_at = leg.stack.now
        self._stop_timer()
        self._learn_session_id(event.message)
        for phone in self._phones:
            if phone is not leg:
                phone.cancel(cause=200)
        self._incoming.connect(event.message)
        self._tell("connected", self.callee.number, self.caller.number)

    def _one_phone_failed(self, leg: OutgoingLeg, event: Fail) -> None:
        self._refusals.append(event)
        if event.status >= 600:
            # §16.7, step 5: a 6xx speaks for every phone.
            for phone in self._phones:
                phone.cancel()
            self._give_up(event)
        elif len(self._refusals) == len(self._phones):
            self._give_up(best(self._refusals))

    def _stop_ringing(self, leg: Leg, event: Disconnect) -> None:
        self.code = 487
        for phone in self._phones:
            phone.cancel()

    def _confirm(self, leg: Leg, event: Confirm) -> None:
        self._other(leg).confirm(event.message)

    def _update(self, leg: Leg, event: Update) -> None:
        """re-INVITE, UPDATE, INFO or MESSAGE: ask the other leg the same, answer this one what it says."""
        other, method = self._other(leg), event.message.method

        def answered(response: Response | None) -> None:
            status = response.status if response is not None else 408
            if status in (401, 407):
                status, response = _TRANSLATED[status], None
            leg.answer(event.transaction, status, response, reason=response.reason if response is not None else "")
            if status in (408, 481) and self.state is CONNECTED:
                # §12.2.1.2: the other phone has lost the dialog, so the call is over.
                self.hang_up()
            elif status < 300 and method in ("INVITE", "UPDATE"):
                self._tell("updated", leg.number, other.number)

        other.update(method, event.message, answered)

    def _cancel_update(self, leg: Leg, event: CancelUpdate) -> None:
        self._other(leg).cancel_update(event.message)

    def _refuse_update(self, leg: Leg, event: Update) -> None:
        leg.answer(event.transaction, 491)  # RFC 3311 §5.2: an offer is still open

    def _disconnect_other(self, leg: Leg, event: Disconnect) -> None:
        self._other(leg).disconnect(event.message)

    # -- helpers --------------------------------------------------------------------------------------------------------------------

    def _refuse(self, leg: Leg, event: LegEvent) -> None:
        """An event that changes nothing; a request among them still gets its answer."""
        if isinstance(event, Update):
            leg.answer(event.transaction, 481)

    def _other(self, leg: Leg) -> Leg:
        other = self._winner if leg is self._incoming else self._incoming
        assert other is not None
        return other

    def _no_answer(self) -> None:
        if self.state in (TRYING, RINGING):
            for phone in self._phones:
                phone.cancel()
            self._give_up(Fail(408))
            self._finish()

    def _give_up(self, refusal: Fail) -> None:
        assert self._incoming is not None
        status = refusal.status if refusal.status >= 400 else 480  # a redirection is not followed here
        self.code = _TRANSLATED.get(status, status)
        self.state = ENDED
        self._incoming.fail(self.code, refusal.message if self.code == refusal.status else None)

    def _learn_session_id(self, message: Response | Request) -> None:
        assert self._session_id is not None and self._incoming is not None
        self._session_id.learn_callee(message)
        self._incoming.session_id = self._session_id.to_caller
        for phone in self._phones:
            phone.session_id = self._session_id.to_callee

    def _stop_timer(self) -> None:
        if self._ring_timer is not None:
            self._ring_timer.cancel()

    def _finish(self) -> None:
        assert self._incoming is not None
        self._stop_timer()
        self.ended_at = self._incoming.stack.now
        if self.connected_at is None:
            self._tell("failed", self.caller.number, self.callee.number, self.code)
        else:
            self._tell("ended", self.caller.number, self.callee.number)
        self.on_end(self)

    def _tell(self, kind: Kind, extension: str, peer: str, code: int | None = None) -> None:
        self._observe(PbxEvent(kind, extension, peer, code))

    def activity(self, number: str) -> str:
        """What this call means for an extension: ringing, in_call, or nothing."""
        if self.state is ENDED or number not in (self.caller.number, self.callee.number):
            return ""
        if self.state is CONNECTED or number == self.caller.number:
            return "in_call"
        return "ringing" if self.state is RINGING else ""

    def __repr__(self) -> str:
        return f"<Call {self.caller.number} -> {self.callee.number} {self.state.value}>"


def best(refusals: list[Fail]) -> Fail:
    """The refusal that tells the caller most (§16.7, step 6): the lowest class; in 4xx one that the caller can act on; silence last."""
    helpful = (488, 415, 420, 484, 486)

    def rank(refusal: Fail) -> tuple[int, int, int]:
        status = refusal.status
        return status // 100, helpful.index(status) if status in helpful else len(helpful), 1 if status == 408 else 0

    return min(refusals, key=rank)
