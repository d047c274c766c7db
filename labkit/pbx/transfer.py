"""Transfer: RFC 3515 (REFER), RFC 5589 (how it is used), RFC 3891 (Replaces), RFC 4488 (norefersub).

ALICE talks to BOB and wants him to talk to PAUL.  Her phone asks the PBX, which is the other end of her dialog, and the PBX calls PAUL for
BOB.  The blind transfer of the lab's trace::

      BOB                     PBX                    ALICE          PAUL
       │◄══════════ voice (on hold) ═════════════════►│              │
       │                       │◄───── REFER to: 102  │              │
       │                       │ 202 Accepted ───────►│              │
       │                       │ NOTIFY "100 Trying" ►│              │
       │                       │ INVITE, no SDP ─────────────────────►
       │                       │◄───────────────────── 180, 200 + offer
       │                       │ NOTIFY "200 OK" ────►│              │
       │◄──── re-INVITE, offer │                      │              │
       │ 200 + answer ────────►│◄───────────────── BYE│              │
       │  ◄─── ACK             │ ACK + answer ───────────────────────►
       │◄══════════ voice ═══════════════════════════════════════════►

PAUL's INVITE has no session description: the PBX has none to offer, for BOB's is busy with ALICE.  So PAUL's phone makes the offer, BOB's
answers it in a re-INVITE, and his answer travels in the ACK to PAUL.

* The one who transfers says BYE.  A phone that forgets gets one after :attr:`PbxConfig.transfer_bye_wait_s`; one that says it early may go.
* When PAUL does not take the call, ALICE's phone learns why ("486 Busy Here"), and her call with BOB is still there.
* When BOB's phone then refuses PAUL's offer, ALICE has been told of PAUL's 200 and has left.  PAUL gets BYE, and BOB waits while the PBX
  rings at ALICE's: the call comes back to her as a parked one would.
* Attended: ALICE has called PAUL before.  Her REFER names that dialog in ``Replaces``; the PBX knows it, since it is one of its own, and
  joins BOB with PAUL: PAUL is asked for an offer, BOB for the answer.
* A REFER outside a dialog is refused with 403 (:mod:`labkit.pbx.server`): there is no call it could transfer, and who may make the PBX
  call a number for nothing could make it ring at night.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit.errors import SipError
from labkit.pbx.call import Call, CallState, Side
from labkit.pbx.dialplan import Party
from labkit.pbx.events import Connect, Disconnect, Fail, Forward, LegEvent, Refer, Ring, Update
from labkit.pbx.hunt import Hunt, Search, pair
from labkit.pbx.leg import Leg
from labkit.pbx.session_id import join
from labkit.pbx.waiting import waiting
from labkit.sip.headers import NameAddr
from labkit.sip.message import Request, Response
from labkit.sip.subscription import SIPFRAG, sipfrag, subscription_state
from labkit.sip.uri import SipUri

if TYPE_CHECKING:
    from labkit.pbx.outgoing import OutgoingLeg

SUBSCRIPTION_S = 60
"""How long the implicit subscription of a REFER is said to last; it ends with the transfer."""


def begin(call: Call, leg: Leg, event: Refer) -> None:
    """A phone in ``call`` asks for a transfer: refuse what is no proper REFER, else start."""
    request = event.message
    try:
        target = _refer_to(request)
    except SipError as error:
        leg.answer(event.transaction, error.status or 400)
        return
    quiet = (request.headers.get("Refer-Sub") or "").strip().lower() == "false"
    extra = [("Contact", leg.contact)] + ([("Refer-Sub", "false")] if quiet else [])
    leg.answer(event.transaction, 202, extra=extra)
    Transfer(call, leg, request, quiet).start(target)


def _refer_to(request: Request) -> SipUri:
    """RFC 3515 §2.1: exactly one Refer-To; only a call can be asked for."""
    values = request.headers.get_list("Refer-To")
    if len(values) != 1:
        raise SipError("sip.missing_header", header="Refer-To")
    target = NameAddr.parse(values[0], "Refer-To").sip_uri
    if (target.param("method") or "INVITE").upper() != "INVITE":
        raise SipError("sip.bad_header", status=403, header="Refer-To", value=values[0][:200])
    return target


class Transfer:
    """One REFER, from its 202 to its last NOTIFY."""

    def __init__(self, call: Call, leg: Leg, refer: Request, quiet: bool) -> None:
        self.call, self.leg = call, leg
        self.side = call.side(leg)
        self.remaining = call.other(leg)
        self._party = call.parties[self.side.other]  # who is transferred
        self._transferor = call.parties[self.side]
        self._refer = refer
        self._quiet = quiet
        # RFC 3515 §2.4.6: from the second REFER of a dialog on, the NOTIFYs name theirs by its CSeq.
        self._event = f"refer;id={refer.cseq.number}" if leg.referrals else "refer"
        leg.referrals += 1
        self._hunt: Hunt | None = None
        self._consultation: tuple[Call, Leg] | None = None  # the transferor's other call, and the leg of it that is replaced
        self._over = False

    def start(self, target: SipUri) -> None:
        self.call.transfer, self.call.state = self, CallState.TRANSFERRING
        self.call.tell("transferring", self.leg.number, target.user or "")
        self._notify(100)
        replaces = next((value for name, value in target.headers if name.lower() == "replaces"), None)
        if replaces is not None:
            self._attended(replaces)
        else:
            self._blind(target.user or "")

    def asked_by(self, leg: Leg) -> bool:
        """Whether this is a leg of the phone that transfers: its call, or the one it consulted in."""
        return leg is self.leg or (self._consultation is not None and leg is self._consultation[1])

    def abandon(self, status: int) -> None:
        """A call has ended under it."""
        if self._hunt is not None:
            self._hunt.stop()
        self._fail(status)

    # -- blind ----------------------------------------------------------------------------------------------------------------------

    def _blind(self, number: str) -> None:
        exchange = self.call.exchange
        feature = exchange.config.features.read(number)
        if feature is not None and feature[0] == "park":
            self._park(feature[1])
            return
        destination = exchange.plan.destination(number, self.remaining.number)
        if destination is None or number == self.remaining.number:
            self._fail(404 if destination is None else 486)
            return
        extra = (("Referred-By", self._refer.headers.get("Referred-By") or f"<sip:{self.leg.number}@{exchange.stack.host}>"),)
        self._hunt = Hunt(exchange, Search(self._party, None, uuid=self.remaining.uuid, extra=extra), self._sought, self.call.collapse)
        self._hunt.start(destination)

    def _sought(self, leg: OutgoingLeg | None, event: LegEvent) -> None:
        if isinstance(event, Forward):
            self.call.tell("forwarded", event.from_, event.to)
        elif isinstance(event, Fail):
            self._fail(event.status)
        elif leg is not None and isinstance(event, (Ring, Connect)):
            pair(self.remaining, leg, event.message)
            if isinstance(event, Ring):
                leg.acknowledge(None)
            else:
                self._found(leg, event.message)

    def _found(self, leg: OutgoingLeg, response: Response) -> None:
        assert self._hunt is not None
        self._succeed()
        join_found(self.call, self.side, leg, response, self._hunt.destination.party, self._come_back)

    def _come_back(self, status: int) -> None:
        """The two cannot speak to each other: the target leaves, and the one who transferred is rung."""
        call = self.call
        call.legs.pop(self.side).disconnect()
        call.parties[self.side], call.state = self._transferor, CallState.WAITING
        call.tell("transfer_failed", self.leg.number, self._party.number, status)
        call.stop_waiting = ring_back(call, self.side, self._transferor.number)

    def _park(self, orbit: str) -> None:
        from labkit.pbx.pickup import park

        if orbit in self.call.exchange.parked:
            self._fail(486)
            return
        self._succeed()
        park(self.call, self.side, orbit, self.leg.number)

    # -- attended -------------------------------------------------------------------------------------------------------------------

    def _attended(self, replaces: str) -> None:
        """RFC 3891 §3: the tags are told from the view of the one who gets Replaces, here the PBX: to-tag is ours."""
        other_leg = self.call.exchange.leg(*read_replaces(replaces))
        other = other_leg.owner if other_leg is not None else None
        if other_leg is None or not isinstance(other, Call) or other is self.call or other.state is not CallState.CONNECTED:
            self._fail(481)
            return
        if other_leg.number != self.leg.number:
            self._fail(403)  # nobody gives away another's call
            return
        self._consultation = other, other_leg
        other.transfer, other.state = self, CallState.TRANSFERRING
        third = other.other(other_leg)
        third.reinvite(None, lambda offer: self._offered(third, offer))

    def _offered(self, third: Leg, offer: Response | None) -> None:
        if offer is None or offer.status >= 300 or not offer.body or self._over:
            third.confirm(_silence(offer.body, third) if offer is not None and offer.body else None)
            self._fail(offer.status if offer is not None and offer.status >= 300 else 480)
            return

        def answered(answer: Response | None) -> None:
            if answer is None or answer.status >= 300 or self._over:
                third.confirm(_silence(offer.body, third))  # the ACK owes an answer (§13.2.1)
                self._fail(answer.status if answer is not None and answer.status >= 300 else 480)
            else:
                third.confirm(answer)
                self._joined(third)

        self.remaining.reinvite(offer, answered)

    def _joined(self, third: Leg) -> None:
        assert self._consultation is not None
        other, other_leg = self._consultation
        join(self.remaining, third)
        self._succeed()
        party = other.parties[other.side(third)]
        other.transfer = None
        other.legs = {other.side(other_leg): other_leg}
        self.call.replace(self.side, third, party)
        other.hang_up()  # as PAUL's phone would: the dialog that was replaced ends with BYE (RFC 3891 §3)
        self.call.tell("transferred", self._party.number, party.number)

    # -- the end --------------------------------------------------------------------------------------------------------------------

    def _succeed(self) -> None:
        self._over = True
        self._notify(200)
        self.call.legs.pop(self.side, None)
        Departure(self.leg, self.call.exchange.config.transfer_bye_wait_s)

    def _fail(self, status: int) -> None:
        """The call comes back: the two talk on as before, unless the one who transferred has left."""
        if self._over:
            return
        self._over = True
        self._notify(status)
        self.call.tell("transfer_failed", self.leg.number, self._party.number, status)
        for call in [self.call] + ([self._consultation[0]] if self._consultation is not None else []):
            call.transfer = None
            if call.state is CallState.WAITING:
                call.hang_up()
            elif call.state is CallState.TRANSFERRING:
                call.state = CallState.CONNECTED

    def _notify(self, status: int) -> None:
        """Tell the phone how it goes, unless it asked not to be told (RFC 4488 §4)."""
        if self._quiet:
            return
        final = status >= 200
        state = subscription_state("terminated", reason="noresource") if final else subscription_state("active", expires_s=SUBSCRIPTION_S)
        headers = [("Contact", self.leg.contact), ("Event", self._event), ("Subscription-State", state), ("Content-Type", SIPFRAG)]
        self.leg.ask("NOTIFY", headers, sipfrag(status))


class Departure:
    """The leg of a phone that has transferred its call: its BYE is awaited, for a while."""

    def __init__(self, leg: Leg, wait_s: float) -> None:
        self._alarm: asyncio.TimerHandle = leg.stack.later(wait_s, leg.guarded(leg.disconnect))
        leg.owner = self

    def handle(self, leg: Leg, event: LegEvent) -> None:
        if isinstance(event, Disconnect):
            self._alarm.cancel()
        elif isinstance(event, (Update, Refer)):
            leg.answer(event.transaction, 481)


def ring_back(call: Call, side: Side, number: str) -> Callable[[], None]:
    """Ring ``number`` for the phone that waits in ``call``, to take ``side``; returns what stops it."""
    exchange, remaining = call.exchange, call.legs[side.other]

    def sought(leg: OutgoingLeg | None, event: LegEvent) -> None:
        if isinstance(event, Fail):
            call.hang_up()
        elif leg is not None and isinstance(event, (Ring, Connect)):
            pair(remaining, leg, event.message)
            if isinstance(event, Ring):
                leg.acknowledge(None)
            else:
                join_found(call, side, leg, event.message, hunt.destination.party)

    hunt = Hunt(exchange, Search(call.parties[side.other], None, uuid=remaining.uuid), sought, call.collapse)
    destination = exchange.plan.destination(number, remaining.number)
    if destination is None:
        call.hang_up()
    else:
        hunt.start(destination)
    return hunt.stop


def join_found(
    call: Call, side: Side, leg: OutgoingLeg, response: Response, party: Party, refused: Callable[[int], None] | None = None
) -> None:
    """A phone was called without an offer and has answered with one: the phone that waits in ``call`` answers it.

    When it refuses the offer, ``refused`` goes on with the status, or the call ends.
    """
    remaining = call.legs[side.other]
    call.replace(side, leg, party)
    give_up = refused or call.hang_up
    if not response.body:
        give_up(488)  # a 200 to an INVITE without an offer must bring one (§13.2.1)
        return

    def answered(answer: Response | None) -> None:
        if answer is not None and answer.status < 300:
            leg.confirm(answer)
            call.tell("transferred", call.parties[side.other].number, party.number)
        elif answer is None or answer.status in (408, 481) or call.state is not CallState.CONNECTED:
            call.hang_up()
        else:
            give_up(answer.status)

    remaining.reinvite(response, answered)


def _silence(offer: bytes, leg: Leg) -> Response | None:
    try:
        return waiting(offer, leg.stack.advertised[0])
    except SipError:
        return None


def read_replaces(value: str) -> tuple[str, str, str]:
    """Call-ID, to-tag and from-tag of a Replaces header (RFC 3891 §6.1); empty tags when they are missing."""
    call_id, *parameters = (part.strip() for part in value.split(";"))
    tags = dict(part.partition("=")[::2] for part in parameters)
    return call_id, tags.get("to-tag", ""), tags.get("from-tag", "")
