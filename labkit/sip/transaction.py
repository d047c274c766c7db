"""The four transactions of RFC 3261 §17, with the Accepted state of RFC 6026, as tables.

A transaction is one request and its responses.  SIP mostly runs over UDP, so somebody must send again what got lost, and somebody must
notice that the same message came twice.  That is all a transaction does.  Who is called, and why, is not its business: that is the
transaction user's (the PBX, a phone).

There are four machines, because a client and a server differ, and because INVITE differs from everything else: it may stay unanswered for
minutes while a phone rings, so its final answer is confirmed by a third message, ACK.

* ``INVITE_CLIENT`` (§17.1.1) sends INVITE again at T1, 2·T1, 4·T1 ... until any response comes; after a refusal it sends the ACK itself.
* ``CLIENT`` (§17.1.2) sends again until the *final* response comes, at most every T2 seconds.
* ``INVITE_SERVER`` (§17.2.1) repeats a refusal until its ACK comes.  It does not repeat a 2xx: the transaction user does, end to end.
* ``SERVER`` (§17.2.2) only answers a repeated request with the same response.

How to read a table: ``{state: {event: (next state, action, action ...)}}``.  A timer among the actions is started; a timer as an event
has gone off.  An event that is not in the row of the current state is ignored, which is what the RFC asks: a late response, a stray
ACK.  The same event names serve both sides: PROVISIONAL (1xx), SUCCESS (2xx) and FAILURE (300 to 699) are received by a client and
sent by a server.

The timers (§17, table 4; values in :class:`Timers`):

====  ==============================  ============================================
A     INVITE sent again               T1, doubled each time; never on TCP
B     client gives up on INVITE       64·T1
D     repeated refusals are ACKed     32 s; 0 on TCP
E     request sent again              T1, doubled up to T2; never on TCP
F     client gives up                 64·T1
G     refusal sent again              T1, doubled up to T2; never on TCP
H     server gives up on ACK          64·T1
I     repeated ACKs are absorbed      T4; 0 on TCP
J     repeated requests are answered  64·T1; 0 on TCP
K     repeated responses are absorbed T4; 0 on TCP
L     repeated INVITEs are absorbed   64·T1 after a 2xx was sent (RFC 6026)
M     further 2xx are delivered       64·T1 after the first (RFC 6026): a forked INVITE
====  ==============================  ============================================

Which transaction a message belongs to is decided in :mod:`labkit.sip.transactions`.  No socket and no clock here: time comes in as ``now``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from labkit.sip.message import Request, Response, ack


class State(Enum):
    IDLE = "idle"
    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Event(Enum):
    START = "start"
    REQUEST = "request"
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    ACK = "ACK"


class Timer(Enum):
    A = "A"
    B = "B"
    D = "D"
    E = "E"
    F = "F"
    G = "G"
    H = "H"
    I = "I"  # noqa: E741
    J = "J"
    K = "K"
    L = "L"
    M = "M"


class Action(Enum):
    SEND = "send"
    RESEND = "send again"
    DELIVER = "deliver"
    ACKNOWLEDGE = "send ACK"
    GIVE_UP = "report the silence"
    STOP = "stop timers"


A, B, D, E, F, G, H, I, J, K, L, M = Timer  # noqa: E741
SEND, RESEND, DELIVER, ACKNOWLEDGE, GIVE_UP, STOP = Action
START, REQUEST, PROVISIONAL, SUCCESS, FAILURE, ACK = Event
IDLE, CALLING, TRYING, PROCEEDING, ACCEPTED, COMPLETED, CONFIRMED, TERMINATED = State

Table: TypeAlias = "dict[State, dict[Event | Timer, tuple[State | Action | Timer, ...]]]"

INVITE_CLIENT: Table = {
    IDLE: {START: (CALLING, SEND, A, B)},
    CALLING: {
        A: (CALLING, RESEND, A),
        B: (TERMINATED, GIVE_UP),
        PROVISIONAL: (PROCEEDING, STOP, DELIVER),
        SUCCESS: (ACCEPTED, STOP, DELIVER, M),
        FAILURE: (COMPLETED, STOP, ACKNOWLEDGE, DELIVER, D),
    },
    PROCEEDING: {
        PROVISIONAL: (PROCEEDING, DELIVER),
        SUCCESS: (ACCEPTED, DELIVER, M),
        FAILURE: (COMPLETED, ACKNOWLEDGE, DELIVER, D),
    },
    ACCEPTED: {SUCCESS: (ACCEPTED, DELIVER), M: (TERMINATED,)},
    COMPLETED: {FAILURE: (COMPLETED, ACKNOWLEDGE), D: (TERMINATED,)},
    TERMINATED: {},
}

CLIENT: Table = {
    IDLE: {START: (TRYING, SEND, E, F)},
    TRYING: {
        E: (TRYING, RESEND, E),
        F: (TERMINATED, GIVE_UP),
        PROVISIONAL: (PROCEEDING, DELIVER),
        SUCCESS: (COMPLETED, STOP, DELIVER, K),
        FAILURE: (COMPLETED, STOP, DELIVER, K),
    },
    PROCEEDING: {
        E: (PROCEEDING, RESEND, E),
        F: (TERMINATED, GIVE_UP),
        PROVISIONAL: (PROCEEDING, DELIVER),
        SUCCESS: (COMPLETED, STOP, DELIVER, K),
        FAILURE: (COMPLETED, STOP, DELIVER, K),
    },
    COMPLETED: {K: (TERMINATED,)},
    TERMINATED: {},
}

INVITE_SERVER: Table = {
    IDLE: {REQUEST: (PROCEEDING, DELIVER)},
    PROCEEDING: {
        REQUEST: (PROCEEDING, RESEND),
        PROVISIONAL: (PROCEEDING, SEND),
        SUCCESS: (ACCEPTED, SEND, L),
        FAILURE: (COMPLETED, SEND, G, H),
    },
    ACCEPTED: {SUCCESS: (ACCEPTED, SEND), ACK: (ACCEPTED, DELIVER), REQUEST: (ACCEPTED,), L: (TERMINATED,)},
    COMPLETED: {
        REQUEST: (COMPLETED, RESEND),
        G: (COMPLETED, RESEND, G),
        H: (TERMINATED, GIVE_UP),
        ACK: (CONFIRMED, STOP, I),
    },
    CONFIRMED: {ACK: (CONFIRMED,), REQUEST: (CONFIRMED,), I: (TERMINATED,)},
    TERMINATED: {},
}

SERVER: Table = {
    IDLE: {REQUEST: (TRYING, DELIVER)},
    TRYING: {
        REQUEST: (TRYING,),
        PROVISIONAL: (PROCEEDING, SEND),
        SUCCESS: (COMPLETED, SEND, J),
        FAILURE: (COMPLETED, SEND, J),
    },
    PROCEEDING: {
        REQUEST: (PROCEEDING, RESEND),
        PROVISIONAL: (PROCEEDING, SEND),
        SUCCESS: (COMPLETED, SEND, J),
        FAILURE: (COMPLETED, SEND, J),
    },
    COMPLETED: {REQUEST: (COMPLETED, RESEND), J: (TERMINATED,)},
    TERMINATED: {},
}

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Timers:
    """The three values from which every timer is made (§17.1.1.1, §17.1.2.2), in seconds."""

    t1: float = 0.5
    """An estimate of the round-trip time."""
    t2: float = 4.0
    """The longest pause between two copies of a request that is not INVITE, or of a refusal."""
    t4: float = 5.0
    """How long a message may stay in the network."""


@dataclass(frozen=True, slots=True)
class Send:
    """These octets go to this address.  When they cannot, ``transaction.fallback`` may know another."""

    data: bytes
    remote: Address
    transaction: Transaction | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """A message for the transaction user.  ``transaction`` is ``None`` for an ACK to a 2xx and for a response that nobody waits for."""

    message: Request | Response
    transaction: Transaction | None
    source: Address


@dataclass(frozen=True, slots=True)
class TimedOut:
    """No response (client: treat it as 408, §8.1.3.1), or no ACK to a refusal (server), in 64·T1."""

    transaction: Transaction


Output = Send | Received | TimedOut


class Transaction:
    """One request and its responses: a state, a table, the timers that run.  :meth:`fire` moves it."""

    __slots__ = (
        "table",
        "request",
        "remote",
        "reliable",
        "source",
        "fallback",
        "values",
        "state",
        "due",
        "user",
        "key",
        "scheduled",
        "_last",
        "_times",
    )

    def __init__(self, table: Table, request: Request, remote: Address, *, reliable: bool = False, timers: Timers | None = None) -> None:
        self.table = table
        self.request = request
        self.remote = remote
        self.reliable = reliable
        self.source = remote
        """Where the request of a server really came from; ``remote`` is where its Via wants the responses."""
        self.fallback: Address | None = None
        """Another way, for when ``remote`` cannot be reached."""
        self.values = timers or Timers()
        self.state = IDLE
        self.due: dict[Timer, float] = {}
        self.user: object = None
        """A place where the transaction user remembers whose transaction this is."""
        self.key: tuple[str, ...] = ()
        self.scheduled: float | None = None  # the wake-up that Transactions has noted for it
        self._last: bytes | None = None
        self._times = 0  # how often the repeating timer (A, E or G) was started

    @property
    def next_timer(self) -> float | None:
        """When :meth:`timeout` has something to do."""
        return min(self.due.values(), default=None)

    def fire(self, event: Event | Timer, now: float, message: Request | Response | None = None) -> list[Output]:
        """Let ``event`` happen; returns what must be done.  An event that the state does not know does nothing."""
        row = self.table[self.state].get(event)
        if row is None:
            return []
        state = row[0]
        assert isinstance(state, State)
        self.state = state
        outputs: list[Output] = []
        for step in row[1:]:
            if isinstance(step, Timer):
                self._start(step, now)
            elif step is SEND:
                self._last = bytes(message or self.request)
                outputs.append(Send(self._last, self.remote, self))
            elif step is RESEND:
                if self._last is not None:
                    outputs.append(Send(self._last, self.remote, self))
            elif step is DELIVER:
                outputs.append(Received(message or self.request, self, self.remote))
            elif step is ACKNOWLEDGE:
                assert isinstance(message, Response)
                outputs.append(Send(bytes(ack(self.request, message)), self.remote, self))
            elif step is GIVE_UP:
                outputs.append(TimedOut(self))
            elif step is STOP:
                self.due.clear()
        if state is TERMINATED:
            self.due.clear()
        return outputs

    def restart(self, remote: Address, now: float, *, reliable: bool) -> list[Output]:
        """Begin again on another way; a client's request has a new Via by then."""
        self.remote, self.reliable, self.fallback = remote, reliable, None
        self.state, self._times = IDLE, 0
        self.due.clear()
        return self.fire(START, now)

    @property
    def is_client(self) -> bool:
        return self.table is INVITE_CLIENT or self.table is CLIENT

    def repeat(self) -> list[Output]:
        """Send what was sent last once more, to where ``remote`` now says."""
        return [Send(self._last, self.remote, self)] if self._last is not None else []

    def respond(self, response: Response, now: float) -> list[Output]:
        """A server's user answers; a second final answer is ignored."""
        return self.fire(event_of(response.status), now, response)

    def timeout(self, now: float) -> list[Output]:
        """Let every timer go off whose time has come, the earliest first."""
        outputs: list[Output] = []
        while self.due:
            timer = min(self.due, key=self.due.__getitem__)
            if self.due[timer] > now:
                break
            del self.due[timer]
            outputs += self.fire(timer, now)
        return outputs

    def _start(self, timer: Timer, now: float) -> None:
        t1, t2, t4 = self.values.t1, self.values.t2, self.values.t4
        if timer in (A, E, G):
            if self.reliable:
                return
            pause = t1 * 2**self._times
            self._times += 1
            if timer is not A:
                # §17.1.2.2: once a provisional response is there, the pause is T2 at once.
                pause = t2 if timer is E and self.state is PROCEEDING else min(pause, t2)
            self.due[timer] = now + pause
        elif timer in (B, F, H, L, M):
            self.due[timer] = now + 64 * t1
        elif self.reliable:
            self.due[timer] = now  # D, I, J and K only wait for copies, and TCP makes none
        elif timer is D:
            self.due[timer] = now + 64 * t1  # §17.1.1.2 asks for at least 32 s, which this is with the T1 of the RFC
        else:
            self.due[timer] = now + (64 * t1 if timer is J else t4)

    def __repr__(self) -> str:
        return f"<Transaction {self.request.method} {self.state.value}>"


def event_of(status: int) -> Event:
    return PROVISIONAL if status < 200 else SUCCESS if status < 300 else FAILURE


def diagram(table: Table) -> str:
    """The picture of a table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for state, row in table.items():
        for event, (target, *steps) in row.items():
            what = f"timer {event.value}" if isinstance(event, Timer) else event.value
            does = ", ".join(f"start {s.value}" if isinstance(s, Timer) else str(s.value) for s in steps)
            start = "[*]" if state is IDLE else state.value
            end = "[*]" if target is TERMINATED else target.value
            lines.append(f"    {start} --> {end}: {what}" + (f" / {does}" if does else ""))
    return "\n".join(lines) + "\n"
