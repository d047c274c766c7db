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

Whom the PBX calls is the matter of a hunt (:mod:`labkit.pbx.hunt`): it rings all phones of the extension at once, follows the forwarding
rules when nobody answers, and hands over the leg that was answered.

A call goes on when one of its two phones is exchanged: by a transfer (:mod:`labkit.pbx.transfer`), or because somebody takes a call that is
parked or rings elsewhere (:mod:`labkit.pbx.pickup`).  Then the other phone gets a re-INVITE with the new one's session description.

The table (:mod:`labkit.pbx.call_table`) says everything that can happen: in which state, what came from which side, the state after it, and
the method below that does the work.  What it does not know needs no work: a late 180, a second BYE, the 487 of a phone that lost.

The legs: :mod:`labkit.pbx.incoming`, :mod:`labkit.pbx.outgoing`, :mod:`labkit.pbx.leg`.  Who may call: :mod:`labkit.pbx.switchboard`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit.errors import SipError
from labkit.pbx.asking import log
from labkit.pbx.call_table import CALLEE, CALLER, CONNECTED, ENDED, RINGING, TABLE, TRYING, WAITING
from labkit.pbx.call_table import CallState as CallState
from labkit.pbx.call_table import Side as Side
from labkit.pbx.dialplan import Destination, Party
from labkit.pbx.events import (
    Acknowledge,
    CancelUpdate,
    Collapse,
    Confirm,
    Connect,
    Disconnect,
    Fail,
    Forward,
    Kind,
    LegEvent,
    PbxEvent,
    Refer,
    Ring,
    Update,
)
from labkit.pbx.exchange import Exchange
from labkit.pbx.hunt import Hunt, Search, pair
from labkit.pbx.incoming import IncomingLeg
from labkit.pbx.leg import Leg
from labkit.pbx.outgoing import OutgoingLeg
from labkit.pbx.session_id import learn
from labkit.pbx.waiting import waiting
from labkit.sip.message import Response

if TYPE_CHECKING:
    from labkit.pbx.transfer import Transfer


# What the caller hears when a phone refuses in a way that only concerns the PBX and that phone.
_TRANSLATED = {401: 502, 407: 502, 422: 500, 481: 480, 487: 480, 491: 480, 503: 500}


class Call:
    """One call.  Made with the caller's leg, then :meth:`start`."""

    def __init__(self, exchange: Exchange, caller: Party, callee: Party) -> None:
        self.exchange = exchange
        self.id = exchange.stack.token(4)
        self.parties = {CALLER: caller, CALLEE: callee}
        self.dialled = callee
        """Who was called at first; rules and transfers change :attr:`callee`."""
        self.state = TRYING
        self.started = 0.0
        """When the INVITE came, when the call was answered and when it ended (seconds of the PBX's clock)."""
        self.connected_at: float | None = None
        self.ended_at: float | None = None
        self.code: int | None = None
        """The status that ended an unanswered call."""
        self.on_end: Callable[[Call], None] = lambda call: None
        self.legs: dict[Side, Leg] = {}
        self.hunt: Hunt | None = None
        self.transfer: Transfer | None = None
        self.taker: IncomingLeg | None = None
        """The phone that is about to take a side of this call (:func:`labkit.pbx.pickup.take`)."""
        self.stop_waiting: Callable[[], None] = lambda: None
        """What is to be undone when the phone that waits is taken, or leaves."""
        self._rung: tuple[int, bytes] | None = None
        self._over = False

    @property
    def caller(self) -> Party:
        return self.parties[CALLER]

    @property
    def callee(self) -> Party:
        return self.parties[CALLEE]

    def start(self, incoming: IncomingLeg, destination: Destination, max_forwards: int) -> None:
        """Find somebody who answers."""
        self.started = incoming.stack.now
        self.legs[CALLER] = incoming
        learn(incoming, incoming.request, incoming.stack.token)
        incoming.session_id = f"{'0' * 32};remote={incoming.uuid}"
        if destination.rings:
            incoming.trying()
        self.tell("calling", self.caller.number, self.callee.number)
        search = Search(self.caller, incoming.request, max_forwards, incoming.uuid, incoming.reliable)
        self.hunt = Hunt(self.exchange, search, lambda leg, event: self._happen(CALLEE, leg, event), self.collapse)
        self.hunt.start(destination)

    def handle(self, leg: Leg, event: LegEvent) -> None:
        """Something happened on a leg: look it up in the table and do it."""
        side = next((side for side, known in self.legs.items() if known is leg), None)
        if isinstance(event, Collapse):
            if side is not None or leg is self.taker:
                self.collapse()
        elif side is None:
            self._refuse(leg, event)  # of a phone that has left this call
        else:
            self._happen(side, leg, event)

    def _happen(self, side: Side, leg: Leg | None, event: LegEvent) -> None:
        row = TABLE[self.state].get((side, type(event)))
        if row is None:
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
        self.code = status if self.connected_at is None else None
        self.state = ENDED
        if self.transfer is not None:
            self.transfer.abandon(487)
        for leg in list(self.legs.values()):
            leg.break_off(status)
        self._finish()

    def collapse(self) -> None:
        """The PBX has made a mistake in this call: it ends on every leg with 500 or BYE, has its record, and leaves nothing behind."""
        if self._over:
            return
        self.code = 500 if self.connected_at is None else None
        self.state = ENDED
        legs = list(self.legs.values())
        legs += [leg for leg in (self.taker, self.transfer.leg if self.transfer is not None else None) if leg is not None]
        for leg in legs:
            leg.break_off()
        self._finish()

    # -- the work of the table: before the answer -----------------------------------------------------------------------------------

    def _ring_caller(self, leg: OutgoingLeg, event: Ring) -> None:
        assert self.hunt is not None
        incoming = self._incoming
        pair(incoming, leg, event.message)
        response = event.message
        if len(self.hunt.phones) > 1 and response.body:
            # The caller has one dialog with us, and early media from several phones do not fit into it.
            response = Response(180)
        if self._rung != (response.status, response.body):
            if self._rung is None:
                self.tell("ringing", self.callee.number, self.caller.number)
            self._rung = (response.status, response.body)
            if incoming.ring(response):
                return  # its PRACK comes from the caller
        leg.acknowledge(None)

    def _acknowledge(self, leg: Leg, event: Acknowledge) -> None:
        """The caller's PRACK goes on to the phone that waits for one; else it is for us alone."""

        def answered(response: Response | None) -> None:
            leg.answer(event.transaction, response.status if response is not None else 408, response)

        phones = self.hunt.phones if self.hunt is not None else []
        if not any(phone.acknowledge(event.message, answered) for phone in phones):
            leg.answer(event.transaction, 200)

    def _forward(self, leg: None, event: Forward) -> None:
        self.parties[CALLEE] = self.exchange.plan.party(event.to)
        self._rung = None
        self._incoming.forwarded(event.history)
        self.tell("forwarded", event.from_, event.to)

    def _connect(self, leg: OutgoingLeg, event: Connect) -> None:
        self.legs[CALLEE] = leg
        leg.owner = self
        pair(self._incoming, leg, event.message)
        self.connected(leg)
        self._incoming.connect(event.message)

    def _refuse_caller(self, leg: None, event: Fail) -> None:
        self.code = _TRANSLATED.get(event.status, event.status)
        self._incoming.fail(self.code, event.message if self.code == event.status else None)

    def _stop_ringing(self, leg: Leg, event: Disconnect) -> None:
        self.code = 487
        if CALLEE in self.legs:
            self.legs[CALLEE].disconnect()  # it was picking the call up

    def _picker_left(self, leg: Leg, event: Disconnect) -> None:
        self.code = 480
        self._incoming.fail(480)

    def _refuse_update(self, leg: Leg, event: Update) -> None:
        leg.answer(event.transaction, 491)  # RFC 3311 §5.2: an offer is still open

    # -- the work of the table: while they talk -------------------------------------------------------------------------------------

    def _confirm(self, leg: Leg, event: Confirm) -> None:
        self.other(leg).confirm(event.message)

    def _update(self, leg: Leg, event: Update) -> None:
        """re-INVITE, UPDATE, INFO or MESSAGE: ask the other leg the same, answer this one what it says."""
        other, method = self.other(leg), event.message.method
        if not other.confirmed and not other.ended:
            # The caller's 200 still waits for a PRACK, so its phone can be asked nothing: an offer crosses that one (RFC 3311 §5.2).
            glare = method in ("INVITE", "UPDATE")
            leg.answer(event.transaction, 491 if glare else 500, extra=[] if glare else [("Retry-After", 1)])
            return

        def answered(response: Response | None) -> None:
            status = response.status if response is not None else 408
            if status in (401, 407, 422):
                status, response = _TRANSLATED[status], None
            leg.answer(event.transaction, status, response, reason=response.reason if response is not None else "")
            if status in (408, 481) and self.state is CONNECTED:
                # §12.2.1.2: the other phone has lost the dialog, so the call is over.
                self.hang_up()
            elif status < 300 and method in ("INVITE", "UPDATE"):
                self.tell("updated", leg.number, other.number)

        other.update(method, event.message, answered)

    def _cancel_update(self, leg: Leg, event: CancelUpdate) -> None:
        self.other(leg).cancel_update(event.message)

    def _disconnect_other(self, leg: Leg, event: Disconnect) -> None:
        self.other(leg).disconnect(event.message)

    # -- the work of the table: when a phone is exchanged ---------------------------------------------------------------------------

    def _transfer_call(self, leg: Leg, event: Refer) -> None:
        from labkit.pbx.transfer import begin

        self.state = CONNECTED
        if self.other(leg).confirmed:
            begin(self, leg, event)
        else:
            self._refuse_transfer(leg, event)

    def _refuse_transfer(self, leg: Leg, event: Refer) -> None:
        leg.answer(event.transaction, 491)  # one transfer at a time, and none before the caller is answered

    def _one_leaves(self, leg: Leg, event: Disconnect) -> None:
        """A transfer rings.  Whoever asked for it may go; without the other one there is nothing to transfer."""
        assert self.transfer is not None
        if self.transfer.asked_by(leg):
            del self.legs[self.side(leg)]
            self.state = WAITING
        else:
            self.transfer.abandon(487)
            self.other(leg).disconnect(event.message)

    def _update_alone(self, leg: Leg, event: Update) -> None:
        """The phone that waits changes its media: there is nobody to ask, and silence answers it."""
        if event.message.method not in ("INVITE", "UPDATE"):
            leg.answer(event.transaction, 480)
            return
        try:
            leg.answer(event.transaction, 200, waiting(event.message.body, leg.stack.advertised[0]))
        except SipError as error:
            leg.answer(event.transaction, error.status or 400)

    def _last_leaves(self, leg: Leg, event: Disconnect) -> None:
        """Nobody is left; what was sought for the phone is given up in :meth:`_finish`."""

    def replace(self, side: Side, leg: Leg, party: Party) -> None:
        """From now on this phone is on that side of the call."""
        self.legs[side], self.parties[side] = leg, party
        leg.owner = self
        self.transfer, self.taker, self.state = None, None, CONNECTED
        self.stop_waiting()
        self.stop_waiting = lambda: None

    def connected(self, leg: Leg) -> None:
        """It is answered for the first time."""
        self.connected_at = leg.stack.now
        self.tell("connected", self.callee.number, self.caller.number)

    # -- helpers --------------------------------------------------------------------------------------------------------------------

    def _refuse(self, leg: Leg | None, event: LegEvent) -> None:
        """An event that changes nothing; a request among them still gets its answer."""
        if leg is not None and isinstance(event, (Update, Refer, Acknowledge)):
            leg.answer(event.transaction, 481)

    @property
    def _incoming(self) -> IncomingLeg:
        incoming = self.legs[CALLER]
        assert isinstance(incoming, IncomingLeg)
        return incoming

    def side(self, leg: Leg) -> Side:
        """On which side of the call a leg is."""
        return CALLER if self.legs.get(CALLER) is leg else CALLEE

    def other(self, leg: Leg) -> Leg:
        """The leg on the other side."""
        return self.legs[self.side(leg).other]

    def _finish(self) -> None:
        """Once: let go of everything, and write the record.  A step that fails does not keep the next one from being done."""
        if self._over:
            return
        self._over, self.ended_at = True, self.exchange.stack.now
        for step in (self._stop_seeking, self.stop_waiting, self._tell_end, lambda: self.on_end(self)):
            try:
                step()
            except Exception:
                log.exception("%r could not be ended properly", self)
        # Its legs know this call.  If it knew them on, a busy PBX would be stopped for long by the search for such circles.
        self.legs, self.hunt, self.transfer, self.taker, self.on_end = {}, None, None, None, lambda call: None
        self.stop_waiting = lambda: None

    def _stop_seeking(self) -> None:
        if self.taker is not None and not self.taker.answered:
            self.taker.break_off(480)
        if self.hunt is not None:
            self.hunt.stop()
        if self.transfer is not None:
            self.transfer.abandon(487)

    def _tell_end(self) -> None:
        if self.connected_at is None:
            self.tell("failed", self.caller.number, self.callee.number, self.code)
        else:
            self.tell("ended", self.caller.number, self.callee.number)

    def tell(self, kind: Kind, extension: str, peer: str, code: int | None = None) -> None:
        """Let the owner of the PBX know."""
        self.exchange.observe(PbxEvent(kind, extension, peer, code))

    def activity(self, number: str) -> str:
        """What this call means for an extension: ringing, in_call, or nothing."""
        if self.state is ENDED or number not in (self.caller.number, self.callee.number):
            return ""
        if self.state in (TRYING, RINGING) and number != self.caller.number:
            return "ringing" if self.state is RINGING else ""
        return "in_call"

    def __repr__(self) -> str:
        return f"<Call {self.caller.number} -> {self.callee.number} {self.state.value}>"
