"""A phone's process, seen from the kernel: it is started and asked here, and here its events become state that can be waited for.

Everything belongs to the labkit thread.  :mod:`labkit.phones.phone` is the synchronous object that a notebook holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.errors import PhoneError
from labkit.net.child import Child, ChildEnded, ChildRefused
from labkit.net.plan import Host

CODECS = {
    "PCMU": "PCMU/8000/1",
    "PCMA": "PCMA/8000/1",
    "GSM": "GSM/8000/1",
    "G722": "G722/16000/1",
    "iLBC": "iLBC/8000/1",
    "speex": "speex/8000/1",
    "speex/16000": "speex/16000/1",
    "speex/32000": "speex/32000/1",
}
"""The codecs of the lab's phones, by the name on their screens, and what pjsua2 calls them."""

# The library's names for the states of an INVITE session, and ours.
STATES = {
    "NULL": "calling",
    "CALLING": "calling",
    "INCOMING": "ringing",
    "EARLY": "ringing",
    "CONNECTING": "connecting",
    "CONFIRMED": "connected",
    "DISCONNECTED": "ended",
}
ORDER = ("calling", "ringing", "connecting", "connected", "ended")
REFUSALS = {"ended": "phone.call_over", "no media": "phone.no_media", "four calls": "phone.four_calls", "not now": "phone.not_now"}
"""What the engine says when it refuses, and the sentence for it."""


@dataclass(frozen=True)
class PhoneConfig:
    """What a phone is: the fields of the 3CXPhone's account and preferences windows."""

    name: str
    number: str
    password: str = field(repr=False)
    auth_id: str = ""
    """Empty: the number."""
    registration_time_s: int = 120
    codecs: tuple[str, ...] = ("PCMU", "PCMA", "GSM")
    mailbox: bool = True
    """Ask the PBX about messages after registering (SUBSCRIBE message-summary), as the 3CXPhone does."""
    user_agent: str = "labkit phone"


@dataclass
class Registration:
    """What the PBX last said to a REGISTER."""

    code: int = 0
    reason: str = ""
    expires_s: int = 0
    answers: int = 0
    """How many final answers there have been."""

    @property
    def active(self) -> bool:
        return self.code // 100 == 2 and self.expires_s > 0


@dataclass
class Leg:
    """One call as its phone sees it."""

    number: int
    incoming: bool = False
    peer: str = ""
    call_id: str = ""
    state: str = "calling"
    code: int = 0
    reason: str = ""
    hold: str = ""
    """"local" when this phone holds the call, "remote" when the other does."""
    direction: str = ""
    """Which way audio flows: "send", "receive", "both" or "none"; empty while there is none."""
    answered: bool = False
    digits: str = ""
    played: int = 0
    """How many files have been played to their end."""
    transfer_code: int = 0
    """What the other side last told about a transfer that was asked for here, and how often that was the last word."""
    transfer_reason: str = ""
    transfers: int = 0
    began: float = field(default_factory=time.monotonic)

    def reached(self, state: str) -> bool:
        return ORDER.index(self.state) >= ORDER.index(state)


def registration(config: PhoneConfig, domain: str) -> dict[str, Any]:
    """What the engine must know to register at ``domain``, and to answer a challenge to a call before it has."""
    return {
        "domain": domain,
        "number": config.number,
        "auth_id": config.auth_id or config.number,
        "password": config.password,
        "expires_s": config.registration_time_s,
        "mailbox": config.mailbox,
    }


class PhoneProcess:
    """The running engine of one phone and the state that its events have left here."""

    def __init__(self, config: PhoneConfig, child: Child) -> None:
        self.config = config
        self.registration = Registration()
        self.legs: dict[int, Leg] = {}
        self._child = child
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[bool]]] = []
        child.on_event = self._take
        child.on_end = self._end

    @classmethod
    async def start(cls, config: PhoneConfig, host: Host, sip_port: int, rtp_ports: range, domain: str, log: Path) -> PhoneProcess:
        """Start the engine on ``host``; its face ports must be open already."""
        settings = {
            "name": config.name,
            "number": config.number,
            "user_agent": config.user_agent,
            "codecs": [CODECS[codec] for codec in config.codecs],
            "domain": domain,
            "face": host.face,
            "back": host.back,
            "shift": host.shift,
            "sip_port": sip_port,
            "rtp_ports": [rtp_ports.start, len(rtp_ports)],
            "registration": registration(config, domain),
        }
        try:
            return cls(config, await Child.start(config.name, "labkit.phones.engine", settings, log))
        except (ChildEnded, ChildRefused) as error:
            raise PhoneError(
                "phone.not_started", name=config.name, reason=error.values.get("detail") or error.values.get("reason")
            ) from error

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.alive

    async def ask(self, op: str, **arguments: Any) -> Any:
        """Give the engine one order; raises :class:`PhoneError` when the phone has ended or refuses."""
        try:
            return await self._child.request(op, **arguments)
        except ChildEnded as error:
            raise self.ended() from error
        except ChildRefused as error:
            if error.detail in REFUSALS:
                raise PhoneError(REFUSALS[error.detail], name=self.config.name, op=op, now="-") from error
            raise PhoneError("phone.engine_refused", name=self.config.name, op=op, reason=error.detail) from error

    def ended(self) -> PhoneError:
        return PhoneError("phone.ended", name=self.config.name, reason=self._child.last_words())

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``condition()`` holds, which is looked at after each event; False when it does not within ``timeout_s``.

        Raises :class:`PhoneError` when the process ends meanwhile.
        """
        if condition():
            return True
        if not self.alive:
            raise self.ended()
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        entry = (condition, future)
        self._waiting.append(entry)
        try:
            # What held once counts, even if the next event has already changed it again.
            if not await asyncio.wait_for(future, timeout_s):
                raise self.ended()
        except TimeoutError:
            return False
        finally:
            self._waiting.remove(entry)
        return True

    def dialled(self, number: int, peer: str, call_id: str) -> Leg:
        """The leg that the order to call has made."""
        leg = self.legs.setdefault(number, Leg(number))
        leg.peer, leg.call_id = peer, call_id
        return leg

    async def close(self) -> None:
        await self._child.close()
        self._end(self._child)

    def kill(self) -> None:
        self._child.kill()

    def _take(self, event: dict[str, Any]) -> None:
        """Let one event of the engine change the state."""
        kind = event["event"]
        if "call" in event:  # the first event of a call that was dialled may overtake the answer to the order
            leg = self.legs.setdefault(event["call"], Leg(event["call"]))
        if kind == "registration":
            answers = self.registration.answers + 1
            self.registration = Registration(event["code"], event["reason"], event["expires"], answers)
        elif kind == "incoming":
            leg.incoming, leg.peer, leg.call_id, leg.state = True, event["peer"], event["call_id"], "ringing"
        elif kind == "state":
            leg.state, leg.code, leg.reason = STATES[event["state"]], event["code"], event["reason"]
            leg.answered = leg.answered or leg.state == "connected"
        elif kind == "media":
            leg.hold, leg.direction = event["hold"], event["direction"]
        elif kind == "digit":
            leg.digits += event["digit"]
        elif kind == "played":
            leg.played += 1
        elif kind == "transfer":
            leg.transfer_code, leg.transfer_reason = event["code"], event["reason"]
            leg.transfers += event["final"]
        self._wake()

    def _wake(self) -> None:
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(True)

    def _end(self, child: Child) -> None:
        """The process has gone, and with it every call: whoever holds one must not find it connected for ever."""
        for leg in self.legs.values():
            leg.state = "ended"
        self.registration = Registration(answers=self.registration.answers)
        self._wake()
        for _, future in self._waiting:
            if not future.done():
                future.set_result(False)
