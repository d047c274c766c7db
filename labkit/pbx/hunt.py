"""The hunt: the PBX looks for somebody who answers.  Forking (RFC 3261 §16.7), ring groups, forwarding rules, redirection (302).

A hunt rings the phones of a destination turn after turn: a user's phones in the order of their q (RFC 3261 §16.6), or the members of a
ring group.  In one turn all phones ring at once; the first that answers wins, the others get CANCEL with the reason "Call completed
elsewhere".  When a turn brings nothing, the next one rings; when there is none, the destination's rules say where the call goes on
(:mod:`labkit.pbx.rules`), and the hunt begins again there, :attr:`PbxConfig.forwards_max` times at most and never twice at the same number.
Only when nothing is left does it fail, with the refusal that tells the caller most.

Whoever wants somebody found (a new call, a transfer) is told by ``report(leg, event)``: Ring, Forward, and in the end Connect or Fail.
The leg that connects is his from then on.

Of a redirection only the number is read, whatever host it names: it is dialled as if the phone's user had dialled it, so that no phone can
make the PBX call an address of its choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from labkit.errors import SipError
from labkit.pbx.asking import log
from labkit.pbx.dialplan import Destination, Party, Turn
from labkit.pbx.events import Collapse, Connect, Fail, Forward, LegEvent, Ring, Update
from labkit.pbx.exchange import Exchange
from labkit.pbx.leg import Leg
from labkit.pbx.outgoing import OutgoingLeg
from labkit.pbx.rules import Cause, ForwardTo
from labkit.pbx.session_id import NIL, join, learn
from labkit.sip.headers import NameAddr
from labkit.sip.message import SipMessage

Report = Callable[["OutgoingLeg | None", LegEvent], None]

# What the refusal of a phone means for its user's rules.  Others (488, 415 ...) concern this one call and go back to the caller.
CAUSES = {486: Cause.BUSY, 600: Cause.BUSY, 603: Cause.BUSY, 480: Cause.NO_ANSWER}
CAUSES |= dict.fromkeys((404, 408, 410, 503), Cause.NOT_REGISTERED)  # nobody is there, or nobody who speaks
HUNG_UP = {Cause.BUSY: 486}
"""What "disconnect the call" tells the caller; 480 for every other cause."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is sought: the same for every phone that is tried."""

    caller: Party
    source: SipMessage | None
    """Whose session description is offered; without one the phone that answers makes the offer."""
    max_forwards: int = 69
    uuid: str = NIL
    """The caller's part of Session-ID."""
    reliable: bool = False
    """Whether the caller understands reliable provisional responses."""
    extra: tuple[tuple[str, str], ...] = ()
    """Further headers of each INVITE."""


class Hunt:
    """One search.  It owns the legs that ring.  ``collapse`` ends what it is for, when the PBX itself makes a mistake in it."""

    def __init__(self, exchange: Exchange, search: Search, report: Report, collapse: Callable[[], None]) -> None:
        self.exchange, self.search = exchange, search
        self.destination: Destination
        """Where it rings now."""
        self.phones: list[OutgoingLeg] = []
        """The phones of this turn."""
        self._hear, self._collapse = report, collapse
        self._turns: list[Turn] = []
        self._refusals: list[Fail] = []
        self._open = 0  # phones of this turn that have not refused
        self._rang_out = False  # whether a turn ended with its time
        self._timer: asyncio.TimerHandle | None = None
        self._visited: list[tuple[Party, Cause | None]] = []  # the way so far, and why it went on from there
        self._over = False

    def start(self, destination: Destination) -> None:
        """Ring there."""
        self.destination = destination
        self._visited.append((destination.party, None))
        self._turns = list(destination.turns)
        self._refusals, self._rang_out = [], False
        if destination.at_once is not None:
            self._go_on(Cause.ALL_CALLS, destination.at_once, Fail(480))
        else:
            self._next_turn()

    def stop(self, cause: int | None = None) -> None:
        """Nobody is sought any more; ``cause`` 200 when another phone has answered (RFC 3326)."""
        self._over = True
        self._stop_turn(cause)

    def handle(self, leg: Leg, event: LegEvent) -> None:
        """A phone that rings did something."""
        if self._over or leg not in self.phones:
            if isinstance(event, Update):
                leg.answer(event.transaction, 481)
        elif isinstance(event, Ring):
            assert isinstance(leg, OutgoingLeg)
            self._report(leg, event)
        elif isinstance(event, Connect):
            assert isinstance(leg, OutgoingLeg)
            self.phones.remove(leg)
            self.stop(200)
            self._report(leg, event)
        elif isinstance(event, Fail):
            self._refused(event)
        elif isinstance(event, Collapse):
            self._collapse()

    def _report(self, leg: OutgoingLeg | None, event: LegEvent) -> None:
        try:
            self._hear(leg, event)
        except Exception:
            log.exception("%s for %s could not be handled", type(event).__name__, self.search.caller.number)
            if leg is not None:
                leg.break_off()
            self._collapse()

    # -- turns ----------------------------------------------------------------------------------------------------------------------

    def _next_turn(self, verdict: Fail | None = None) -> None:
        """Ring the next turn; when there is none, do what is foreseen for the ``verdict``, or for what all turns came to."""
        self._stop_turn()
        if not self._turns:
            self._nobody(*((CAUSES.get(verdict.status), verdict) if verdict is not None else self._outcome()))
            return
        if not self.destination.one_user:
            self._refusals, self._rang_out = [], False  # each member of a group speaks for himself, and the last one is heard
        turn = self._turns.pop(0)
        self._open = len(turn.contacts)
        search, party, stack = self.search, self.destination.party, self.exchange.stack
        caller = NameAddr(f"sip:{search.caller.number}@{stack.host}", search.caller.name)
        extra = (*search.extra, *self._diversion())
        reliable = search.reliable and len(turn.contacts) == 1
        # The timer starts with the INVITE to the phone, not with the ringing.
        self._timer = stack.later(turn.seconds, self._no_answer)
        self.phones = [OutgoingLeg(self.exchange, self, party.number, search.caller.number) for _ in turn.contacts]
        for leg, contact in zip(list(self.phones), turn.contacts, strict=True):
            leg.session_id = f"{search.uuid};remote={NIL}"
            leg.invite(contact, caller, search.source, search.max_forwards, extra=extra, reliable=reliable)

    def _stop_turn(self, cause: int | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        phones, self.phones = self.phones, []
        for phone in phones:
            phone.cancel(cause)

    def _no_answer(self) -> None:
        self._rang_out = True
        try:
            self._next_turn()
        except Exception:
            log.exception("nobody else could be rung for %s", self.search.caller.number)
            self._collapse()

    def _refused(self, event: Fail) -> None:
        self._refusals.append(event)
        self._open -= 1
        if 300 <= event.status < 400:
            self._redirected(event)
        elif event.status >= 600:  # §16.7, step 5: it speaks for every phone that rings, and for those its user has in reserve
            if self.destination.one_user:
                self._turns.clear()
            self._next_turn(event)
        elif not self._open:
            self._next_turn()

    def _outcome(self) -> tuple[Cause | None, Fail]:
        """What all turns of this destination came to: time has run out, or the best refusal."""
        if self._rang_out:
            return Cause.NO_ANSWER, Fail(408)
        if not self._refusals:
            return self.destination.cause, Fail(self.destination.refusal)
        refusal = best(self._refusals)
        return CAUSES.get(refusal.status), refusal

    # -- going on -------------------------------------------------------------------------------------------------------------------

    def _redirected(self, event: Fail) -> None:
        """302: the phone's user has the call sent on (§8.1.3.4)."""
        try:
            number = event.message.contacts[0].sip_uri.user if event.message is not None and event.message.contacts else None
        except SipError:
            number = None
        self._stop_turn()
        if number:
            self._go_on(Cause.DEFLECTION, ForwardTo("extension", number), Fail(480))
        else:
            self._fail(Fail(480))

    def _nobody(self, cause: Cause | None, refusal: Fail) -> None:
        target = self.destination.after(cause) if cause is not None else None
        if cause is None or target is None:
            self._fail(refusal)
        elif target.target == "hang_up":
            self._fail(Fail(HUNG_UP.get(cause, 480)))
        else:
            self._go_on(cause, target, refusal)

    def _go_on(self, cause: Cause, target: ForwardTo, refusal: Fail) -> None:
        here = self.destination.party
        destination = None
        if target.target != "hang_up" and len(self._visited) <= self.exchange.config.forwards_max:
            destination = self.exchange.plan.forwarded(target, here, self.search.caller.number)
        service = target.target in ("voicemail", "receptionist")  # the number stays, but somebody else answers
        visited = [party.number for party, _ in self._visited]
        if destination is None or (destination.party.number in visited and not service):
            self._fail(refusal)
            return
        self._visited[-1] = (here, cause)
        self._report(None, Forward(here.number, destination.party.number, (*self._history(), self._entry(destination.party))))
        self.start(destination)

    def _fail(self, refusal: Fail) -> None:
        self.stop()
        self._report(None, refusal)

    # -- telling where the call came from -------------------------------------------------------------------------------------------

    def _diversion(self) -> list[tuple[str, str]]:
        """Diversion, the last one first (RFC 5806 §3), and History-Info (RFC 7044 §5) for a call that was sent on."""
        if len(self._visited) < 2:
            return []
        host = self.exchange.stack.host
        headers = []
        for party, cause in reversed(self._visited[:-1]):
            assert cause is not None
            headers.append(("Diversion", f"{NameAddr(f'sip:{party.number}@{host}', party.name)};reason={cause.value}"))
        return headers + [("History-Info", entry) for entry in self._history()]

    def _history(self) -> list[str]:
        """One entry for each number so far; its Reason says why the call went on from there."""
        entries = []
        for place, (party, cause) in enumerate(self._visited):
            why = "" if cause is None else f"?Reason=SIP%3Bcause%3D{cause.status}"
            entries.append(self._entry(party, why, place))
        return entries

    def _entry(self, party: Party, why: str = "", place: int | None = None) -> str:
        """``<sip:101@pbx?Reason=…>;index=1.1;mp=1``: ``mp`` names the entry that this one was sent on from (RFC 7044 §5)."""
        place = len(self._visited) if place is None else place
        index = ".".join("1" * (place + 1))
        return f"<sip:{party.number}@{self.exchange.stack.host}{why}>;index={index}" + (f";mp={index[:-2]}" if place else "")


def pair(one: Leg, other: Leg, message: SipMessage) -> None:
    """``other`` has spoken, and ``one`` will hear it: both learn the other's Session-ID."""
    learn(other, message, other.stack.token)
    join(one, other)


def best(refusals: list[Fail]) -> Fail:
    """The refusal that tells the caller most (§16.7, step 6): the lowest class; in 4xx one that the caller can act on; silence last."""
    helpful = (488, 415, 420, 484, 486)

    def rank(refusal: Fail) -> tuple[int, int, int]:
        status = refusal.status
        return status // 100, helpful.index(status) if status in helpful else len(helpful), 1 if status == 408 else 0

    return min(refusals, key=rank)
