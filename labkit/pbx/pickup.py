"""Taking a call that is not one's own: pickup of one that rings elsewhere, park and unpark, INVITE with Replaces (RFC 3891).

A parked call waits with one phone in it, which hears nothing, since the PBX has no voice.  Whoever dials the orbit's number takes it; when
nobody does, it rings at the phone that parked it.
"""

from __future__ import annotations

from labkit.errors import SipError
from labkit.pbx.call import Call, CallState, Side
from labkit.pbx.dialplan import Party
from labkit.pbx.events import Confirm, LegEvent, Refer, Update
from labkit.pbx.incoming import IncomingLeg
from labkit.pbx.leg import Leg
from labkit.pbx.session_id import join, learn
from labkit.pbx.transfer import ring_back
from labkit.pbx.waiting import waiting
from labkit.sip.message import Response


def park(call: Call, side: Side, orbit: str, parker: str) -> None:
    """Let the other phone of ``call`` wait in ``orbit``; the phone on ``side`` has left."""
    exchange, left = call.exchange, call.legs[side.other]
    call.transfer, call.state = None, CallState.WAITING
    exchange.parked[orbit] = call

    def back_to_parker() -> None:
        exchange.parked.pop(orbit, None)
        call.stop_waiting = ring_back(call, side, parker)

    alarm = exchange.stack.later(exchange.config.park_timeout_s, left.guarded(back_to_parker))

    def stop() -> None:
        alarm.cancel()
        exchange.parked.pop(orbit, None)

    call.stop_waiting = stop
    left.reinvite(waiting(b"", left.stack.advertised[0]), lambda response: None)
    call.tell("parked", left.number, orbit)


def take(call: Call, side: Side, incoming: IncomingLeg, party: Party) -> None:
    """The phone that has just called takes that side of ``call``: the other one answers its offer, or makes one if it has none.

    One at a time: who comes while the other phone is still being asked gets 480, and so does the first when the call ends meanwhile.
    """
    if call.taker is not None and not call.taker.ended:
        incoming.fail(480)
        return
    remaining, before, call.taker = call.legs[side.other], call.state, incoming
    learn(incoming, incoming.request, incoming.stack.token)
    join(remaining, incoming)
    incoming.trying()

    def answered(response: Response | None) -> None:
        gone = incoming.ended or call.state is not before or call.legs.get(side.other) is not remaining
        if response is None or response.status >= 300 or gone:
            incoming.fail(response.status if response is not None and response.status >= 300 else 480)
            remaining.confirm(None)
            return
        replaced = call.legs.get(side)
        call.replace(side, incoming, party)
        if replaced is not None:
            replaced.disconnect()
        incoming.connect(response)
        call.tell("picked_up", party.number, remaining.number)

    remaining.reinvite(incoming.request if incoming.request.body else None, answered)


def pick_up(call: Call, incoming: IncomingLeg, party: Party) -> None:
    """Take a call that still rings.

    Both the caller and the one who picks up have made an offer, and an offer cannot answer another.  So the picker's phone is answered with
    silence first, and gets the caller's offer in a re-INVITE; its answer is the caller's 200.
    """
    caller = call.legs[Side.CALLER]
    assert isinstance(caller, IncomingLeg) and call.hunt is not None
    try:
        silence = _silence(incoming)
    except SipError as error:
        incoming.fail(error.status or 488)
        return
    call.legs[Side.CALLEE], call.parties[Side.CALLEE] = incoming, party
    incoming.owner = call
    call.hunt.stop(200)
    learn(incoming, incoming.request, incoming.stack.token)
    join(caller, incoming)
    incoming.connect(silence)

    def answered(response: Response | None) -> None:
        if response is None or response.status >= 300 or call.state is CallState.ENDED:
            call.hang_up(response.status if response is not None and response.status >= 300 else 480)
            return
        call.state = CallState.CONNECTED
        call.tell("picked_up", party.number, call.dialled.number)
        call.connected(incoming)
        caller.connect(response)

    incoming.reinvite(caller.request if caller.request.body else None, answered)


def confirm_and_end(incoming: IncomingLeg) -> None:
    """Answer a feature code: the phone sees that its call was taken, and that it is over."""
    incoming.owner = _Confirmation()
    try:
        incoming.connect(_silence(incoming))
    except SipError as error:
        incoming.fail(error.status or 488)


class _Confirmation:
    def handle(self, leg: Leg, event: LegEvent) -> None:
        if isinstance(event, Confirm):
            leg.disconnect()
        elif isinstance(event, (Update, Refer)):
            leg.answer(event.transaction, 481)


def _silence(incoming: IncomingLeg) -> Response:
    return waiting(incoming.request.body, incoming.stack.advertised[0])
