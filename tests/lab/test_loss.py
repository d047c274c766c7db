"""A bad line at the PBX: fifty calls at once through a real wire that loses packets, both ways, and RFC 3261's timers that mend it.

A call that fails all the same must be explained by a timer that the captures show running out: what was delivered is in one file, what
was lost in the other, and together they have every copy that was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from labkit import Capture
from labkit.capture.sip_records import SipRecord
from labkit.net.impairment import Impairment
from labkit.net.wire import Wire
from labkit.pbx import Extension, Pbx, PbxConfig
from labkit.sip.message import Request, Response
from labkit.sip.transaction import Timers
from tests.lab.user_agents import Callees, Callers

CALLERS = tuple(str(number) for number in range(300, 350))
CALLEE = "200"
PASSWORD = "1111"
INVITE_COPIES = 7
"""Timer A doubles from T1 and timer B ends it after 64·T1: at 0, 1, 3, 7, 15, 31 and 63·T1."""
OTHER_COPIES = 11
"""Timers E and G, and the repetition of a 200, double up to T2 = 8·T1."""


@dataclass
class Played:
    """What became of the calls: the callers' account, and what their partner saw, by the caller's number."""

    outcomes: dict[str, str]
    ended: set[str]
    capture: Path
    dropped: Path

    @property
    def failed(self) -> list[str]:
        """The callers that did not get everything, or whose partner still thinks that they talk."""
        return [number for number, outcome in self.outcomes.items() if outcome or number not in self.ended]


async def play(folder: Path, loss: float, timers: Timers, within_s: float) -> Played:
    """Fifty calls at once, with loss in both directions of the PBX's link."""
    wire = await Wire.start(folder / "capture.pcapng", student=str(folder))
    try:
        pbx_host, caller_host, callee_host = hosts = await wire.add_hosts({"PBX": "", "CALLERS": "100", "CALLEES": "200"})
        for host in hosts:
            await wire.open_sip(host)
        extensions = [Extension(number, "PHONE", auth_password=PASSWORD) for number in (CALLEE, *CALLERS)]
        config = PbxConfig(pbx_host.sip_back, pbx_host.sip_face, tuple(extensions), transports=("udp",), timers=timers)
        pbx = Pbx(config)
        callers = Callers(caller_host.sip_back, caller_host.sip_face, pbx_host.sip_face, timers)
        callees = Callees(callee_host.sip_back, callee_host.sip_face, pbx_host.sip_face, timers)
        for part in (pbx, callers, callees):
            await part.start()
        try:
            await callees.register(CALLEE, PASSWORD)
            await wire.set("PBX", "both", Impairment(loss=loss, seed=2026))
            calls = {number: callers.call(number, PASSWORD, CALLEE) for number in CALLERS}
            await _settled(calls, callees, within_s)
        finally:
            for part in (callers, callees, pbx):
                await part.close()
        await wire.flush()
    finally:
        await wire.close()
    outcomes = {number: call.result() if call.done() else "no end" for number, call in calls.items()}
    return Played(outcomes, callees.ended, wire.capture, wire.dropped)


async def _settled(calls: dict[str, asyncio.Future[str]], callees: Callees, within_s: float) -> None:
    """Until every call has ended on both sides, or the time is over."""
    try:
        async with asyncio.timeout(within_s):
            await asyncio.wait(calls.values())
            while not {number for number, call in calls.items() if call.result() == ""} <= callees.ended:
                callees.changed.clear()
                await callees.changed.wait()
    except TimeoutError:
        pass


# -- what the captures say ------------------------------------------------------------------------------------------------------------


@dataclass
class Copies:
    """One message and all its copies."""

    message: SipRecord
    times: list[float]
    """When they were sent, in seconds since 1970."""
    arrivals: list[float]

    @property
    def seconds(self) -> float:
        """From the first copy to the last."""
        return self.times[-1] - self.times[0]

    def arrived_by(self, time: float) -> bool:
        return bool(self.arrivals) and self.arrivals[0] <= time

    def __str__(self) -> str:
        lost = len(self.times) - len(self.arrivals)
        return f"{self.message.message.start_line} sent {len(self.times)} times in {self.seconds:.1f} s, {lost} lost"


def read(played: Played) -> dict[str, list[Copies]]:
    """The messages of each call on both of its legs (the PBX calls in the caller's name), by the caller's number."""
    files = [(Capture.open(path), arrived) for path, arrived in ((played.capture, True), (played.dropped, False))]
    records = [(r, c.origin_ns / 1e9 + r.time, arrived) for c, arrived in files for r in c.messages]
    found: dict[str, list[Copies]] = {number: [] for number in played.outcomes}
    for _, group in groupby(sorted(records, key=lambda item: (_end_to_end(item[0]), item[1])), key=lambda item: _end_to_end(item[0])):
        copies = list(group)
        number = copies[0][0].message.from_.sip_uri.user or ""
        if number in found:
            times = [time for _, time, _ in copies]
            found[number].append(Copies(copies[0][0], times, [time for _, time, arrived in copies if arrived]))
    return found


def _end_to_end(record: SipRecord) -> tuple[object, ...]:
    """What all copies of a message have in common: they are equal."""
    return record.source, record.destination, record.raw


def expired(messages: list[Copies], timers: Timers) -> list[str]:
    """The timers that ran out in a call: each copy was sent, and what would have stopped them never came."""
    found = []
    for copies in messages:
        message = copies.message.message
        key = _transaction(message)
        until = copies.times[0] + 64 * timers.t1
        heard = [m.message.message for m in messages if m.message.destination == copies.message.source and m.arrived_by(until)]
        if isinstance(message, Request) and message.method != "ACK":
            timer, wanted = ("B", INVITE_COPIES) if message.method == "INVITE" else ("F", OTHER_COPIES)
            enough = 100 if message.method == "INVITE" else 200  # what stops the timer: any response, or a final one
            silence = not any(isinstance(m, Response) and _transaction(m) == key and m.status >= enough for m in heard)
        elif isinstance(message, Response) and message.status >= 200 and message.cseq.method == "INVITE":
            timer, wanted = ("H" if message.status >= 300 else "2xx without ACK"), OTHER_COPIES
            number = message.cseq.number
            silence = not any(isinstance(m, Request) and m.method == "ACK" and m.cseq.number == number for m in heard)
        else:
            continue
        if silence and len(copies.times) == wanted and copies.seconds > 54 * timers.t1:
            found.append(f"timer {timer}: {copies}")
    return found


def _transaction(message: Request | Response) -> tuple[str, str]:
    return message.via.branch, message.cseq.method


# -- the tests --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "completed", "within_s"), [(0.1, 50, 40.0), (0.3, 48, 55.0)], ids=["10%", "30%"])
def test_fifty_calls_at_once(tmp_path: Path, loss: float, completed: int, within_s: float, figure: Callable[[str], None]) -> None:
    timers = Timers()
    played = asyncio.run(play(tmp_path, loss, timers, within_s))
    messages = read(played)
    every = [copies for one in messages.values() for copies in one]
    sent = sum(len(copies.times) for copies in every)
    lost = sent - sum(len(copies.arrivals) for copies in every)
    reasons = {number: expired(messages[number], timers) for number in played.failed}
    told = {number: (played.outcomes[number], reasons[number], [str(copies) for copies in messages[number]]) for number in played.failed}
    assert abs(lost / sent - loss) < 0.05
    assert all(reasons.values()), told
    assert len(CALLERS) - len(played.failed) >= completed, told
    seconds = max(copies.seconds for copies in every)
    good = len(CALLERS) - len(played.failed)
    figure(f"{loss:.0%} loss at the PBX: {good} of 50 calls complete, {lost} of {sent} messages lost, longest repetition {seconds:.1f} s")


def test_every_failure_is_explained_by_a_timer(tmp_path: Path) -> None:
    """On a line so bad that most calls fail, in every way there is; short timers, so that they run out soon."""
    timers = Timers(t1=0.05, t2=0.4, t4=0.5)
    played = asyncio.run(play(tmp_path, 0.7, timers, 15.0))
    messages = read(played)
    reasons = {number: expired(messages[number], timers) for number in played.failed}
    assert len(played.failed) >= 10
    assert [(number, played.outcomes[number], list(map(str, messages[number]))) for number, why in reasons.items() if not why] == []
    kinds = {reason.partition(":")[0] for why in reasons.values() for reason in why}
    assert {"timer B", "timer F"} <= kinds, kinds
