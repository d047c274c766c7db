"""The switchboard: what becomes of an INVITE that begins something.  A call, a feature code, or the taking of another call.

It checks who calls and what is asked (RFC 3261 §8.2 in the order of the RFC), and hands over to :mod:`labkit.pbx.call` or
:mod:`labkit.pbx.pickup`.  Calls from outside come from a gateway of the configuration, known by its address.
"""

from __future__ import annotations

from collections.abc import Callable

from labkit.errors import SipError
from labkit.pbx.call import Call, CallState, Side
from labkit.pbx.config import Extension
from labkit.pbx.dialplan import Party
from labkit.pbx.events import Kind, LegEvent, PbxEvent
from labkit.pbx.exchange import Exchange
from labkit.pbx.features import Feature
from labkit.pbx.incoming import IncomingLeg
from labkit.pbx.leg import Leg
from labkit.pbx.message import relay_message
from labkit.pbx.pickup import confirm_and_end, pick_up, take
from labkit.pbx.stack import warning
from labkit.pbx.transfer import read_replaces
from labkit.sip.message import Request
from labkit.sip.number import decimal
from labkit.sip.transaction import Transaction
from labkit.sip.uri import SipUri

ACCEPTED_BODIES = ("application/sdp", "multipart/mixed", "multipart/alternative", "multipart/related")


class _Nobody:
    """The owner of a leg that has none yet."""

    def handle(self, leg: Leg, event: LegEvent) -> None:
        return


class Switchboard:
    """The calls of one PBX.  ``authenticate`` returns the extension, or answers the request itself; ``ended`` hears of each ended call."""

    def __init__(
        self,
        exchange: Exchange,
        authenticate: Callable[[Request, Transaction], Extension | None],
        ended: Callable[[Call, str], None],
        refused: Callable[[IncomingLeg, str, int], None],
    ) -> None:
        self.exchange = exchange
        self._authenticate = authenticate
        self._ended, self._refused = ended, refused

    # -- requests -------------------------------------------------------------------------------------------------------------------

    def invite(self, request: Request, transaction: Transaction) -> None:
        """An INVITE outside any dialog."""
        caller = self._caller(request, transaction)
        if caller is None or not self._body_understood(request, transaction):
            return
        hops = self._hops(request, transaction)
        if hops is None:
            return
        dialled = request.target.user or ""
        try:
            incoming = IncomingLeg(self.exchange, _Nobody(), caller.number, dialled or caller.number, transaction)
        except SipError as error:
            self._reply(transaction, 400, error)  # no usable Contact (§8.1.1.8)
            return
        with incoming.contained():
            if incoming.timer.too_short(request):
                incoming.refuse_interval(transaction)
                incoming.fail(422)
            elif replaces := request.headers.get("Replaces"):
                self._replace(replaces, incoming, caller)
            elif feature := self.exchange.config.features.read(dialled):
                self._feature(*feature, incoming, caller)
            else:
                self._call(incoming, caller, dialled, hops)

    def message(self, request: Request, transaction: Transaction) -> None:
        """A text from phone to phone (RFC 3428): to the contact that is wanted most."""
        caller = self._caller(request, transaction)
        hops = self._hops(request, transaction) if caller is not None else None
        if caller is None or hops is None:
            return
        destination = self.exchange.plan.destination(request.target.user or "", caller.number)
        if destination is None:
            self._reply(transaction, 404)
        elif destination.party.number == caller.number:
            self._reply(transaction, 486)  # who writes to himself
        elif not destination.turns:
            self._reply(transaction, 480)
        else:
            relay_message(self.exchange.stack, transaction, caller, destination.party, destination.turns[0].contacts[0], hops)

    # -- what an INVITE begins ------------------------------------------------------------------------------------------------------

    def _call(self, incoming: IncomingLeg, caller: Party, dialled: str, hops: int) -> None:
        destination = self.exchange.plan.destination(dialled, caller.number)
        if destination is None or dialled == caller.number:
            status = 404 if destination is None else 486  # who calls himself is in a call
            incoming.fail(status)
            self._refused(incoming, dialled, status)
        else:
            call = Call(self.exchange, caller, destination.party)
            incoming.owner = call
            call.on_end = lambda ended: self._ended(ended, incoming.request.call_id)
            self.exchange.calls.append(call)
            call.start(incoming, destination, hops)

    def _replace(self, replaces: str, incoming: IncomingLeg, caller: Party) -> None:
        """RFC 3891 §3: the caller takes the place of another phone of his own in a call, or picks up one that rings."""
        leg = self.exchange.leg(*read_replaces(replaces))
        call = leg.owner if leg is not None else None
        if leg is None or not isinstance(call, Call) or call.state is not CallState.CONNECTED:
            incoming.fail(481)
        elif leg.number != caller.number:
            incoming.fail(403)
        else:
            take(call, call.side(leg), incoming, caller)

    def _feature(self, feature: Feature, argument: str, incoming: IncomingLeg, caller: Party) -> None:
        plan = self.exchange.plan
        if feature == "unpark":
            parked = self.exchange.parked.get(argument)
            if parked is None:
                incoming.fail(404)
            else:
                take(parked, Side.CALLEE if Side.CALLER in parked.legs else Side.CALLER, incoming, caller)
        elif feature == "pickup":
            self._pick_up(argument, incoming, caller)
        elif feature == "park" or self.exchange.config.extension(caller.number) is None:
            incoming.fail(403)  # one parks by a transfer; and only a user has a status
        else:
            if feature == "status":
                plan.set_status(caller.number, argument)
            elif feature == "dnd_on":
                plan.do_not_disturb.add(caller.number)
            else:
                plan.do_not_disturb.discard(caller.number)
            self._tell("status", caller.number)
            confirm_and_end(incoming)

    def _pick_up(self, number: str, incoming: IncomingLeg, caller: Party) -> None:
        groups = {group.number: group.members for group in self.exchange.config.groups}
        for call in self.exchange.calls:
            rings_at = (call.callee.number, *groups.get(call.callee.number, ()))
            wanted = not number or number in rings_at
            if wanted and call.activity(call.callee.number) == "ringing" and Side.CALLEE not in call.legs and call.caller != caller:
                pick_up(call, incoming, caller)
                return
        incoming.fail(404)

    # -- checks ---------------------------------------------------------------------------------------------------------------------

    def _caller(self, request: Request, transaction: Transaction) -> Party | None:
        """Who calls: an extension, proven by its password (or believed, when calls are not challenged), or somebody outside."""
        claimed = user_of(request.from_.uri)
        if any(gateway.address == transaction.source for gateway in self.exchange.config.gateways):
            self.exchange.stack.trust(transaction.source)
            return Party(claimed or "anonymous", request.from_.display_name)
        if self.exchange.config.challenge_calls:
            extension = self._authenticate(request, transaction)
            if extension is None:
                return None
        else:
            extension = self.exchange.config.extension(claimed)
        if extension is None or extension.number != claimed:
            self._reply(transaction, 403)  # nobody calls in another's name
            return None
        self.exchange.stack.trust(transaction.source)
        return Party(extension.number, extension.name)

    def _hops(self, request: Request, transaction: Transaction) -> int | None:
        """Max-Forwards less one (§16.6, step 3), 483 when it is used up."""
        left = decimal(request.headers.get("Max-Forwards"))
        if left is None:
            left = 70
        if left == 0:
            self._reply(transaction, 483)
            return None
        return left - 1

    def _body_understood(self, request: Request, transaction: Transaction) -> bool:
        """§8.2.3: an INVITE whose body is no session description gets 415 with what would do."""
        accept = {item.partition(";")[0].strip().lower() for item in request.headers.get_list("Accept")}
        if "Accept" in request.headers and not accept & {"application/sdp", "application/*", "*/*"}:
            self._reply(transaction, 406)  # RFC 4475 §3.3.15: it could not read the answer
            return False
        encoding = (request.headers.get("Content-Encoding") or "identity").lower()
        if not request.body or (request.content_type in ACCEPTED_BODIES and encoding == "identity"):
            return True
        response = request.response(415, to_tag=self.exchange.stack.token(4))
        response.headers.append("Accept", "application/sdp")
        response.headers.append("Accept-Encoding", "identity")
        self.exchange.stack.respond(transaction, response)
        return False

    def _reply(self, transaction: Transaction, status: int, error: SipError | None = None) -> None:
        response = transaction.request.response(status, to_tag=self.exchange.stack.token(4))
        if error is not None:
            response.headers.append("Warning", warning(error))
        self.exchange.stack.respond(transaction, response)

    def _tell(self, kind: Kind, extension: str) -> None:
        self.exchange.observe(PbxEvent(kind, extension))


def user_of(uri: str) -> str:
    """The user part of any URI, ``""`` for one that is no SIP address."""
    try:
        return SipUri.parse(uri).user or ""
    except SipError:
        return ""
