"""The calls of a capture: SIP dialogs begun by INVITE, both sides of a B2BUA joined, with the times that a user notices.

A B2BUA makes of one call two dialogs with Call-IDs of their own.  They belong together when they share a Session-ID (RFC 7989), or, where
nobody sends one, when one overlaps the other and announces the same media: the origin line, or the address and port, of the same SDP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from labkit.capture.info import shown
from labkit.capture.sip_records import Address, SipRecord
from labkit.capture.table import html_table
from labkit.sip.message import Request
from labkit.texts import text

COLUMNS = (
    "Start Time",
    "Stop Time",
    "Initial Speaker",
    "From",
    "To",
    "Protocol",
    "Duration",
    "Packets",
    "State",
    "Comments",
    "Post-Dial Delay",
    "Ringing",
    "Talk",
    "Legs",
)
"""Wireshark's VoIP Calls, then seconds from INVITE to ringing, from ringing to answer, from ACK to BYE, and the number of dialogs."""

NIL = "0" * 32
"""RFC 7989 §5: the UUID of a side that is not known yet."""


@dataclass(eq=False)
class Leg:
    """The messages of one Call-ID, in order."""

    call_id: str
    messages: list[SipRecord]

    @property
    def start(self) -> float:
        return self.messages[0].time

    @property
    def stop(self) -> float:
        return self.messages[-1].time

    @cached_property
    def invite(self) -> SipRecord:
        """The request that began it."""
        return next(record for record in self.messages if _is(record, "INVITE"))

    def first(self, wanted: Callable[[SipRecord], bool], after: float = 0.0) -> SipRecord | None:
        return next((record for record in self.messages if record.time >= after and wanted(record)), None)

    @cached_property
    def ringing(self) -> SipRecord | None:
        """The first 180 or 183 to the INVITE."""
        return self.first(lambda r: r.status in (180, 183) and r.cseq_method == "INVITE")

    @cached_property
    def answered(self) -> SipRecord | None:
        """The first 2xx to the INVITE."""
        return self.first(lambda r: r.status is not None and r.status // 100 == 2 and r.cseq_method == "INVITE")

    @cached_property
    def refused(self) -> SipRecord | None:
        """The last final response to the INVITE that is no 2xx; a challenge (401, 407) only when the caller gave up at it."""
        finals = [r for r in self.messages if r.status is not None and r.status >= 300 and r.cseq_method == "INVITE"]
        if not finals or any(_is(r, "INVITE") and r.number > finals[-1].number and finals[-1].status in (401, 407) for r in self.messages):
            return None
        return finals[-1]

    @cached_property
    def bye(self) -> SipRecord | None:
        return self.first(lambda r: _is(r, "BYE"))


def _is(record: SipRecord, method: str) -> bool:
    return isinstance(record.message, Request) and record.message.method == method


@dataclass(eq=False)
class Call:
    """One call: the caller's dialog first, then what a B2BUA made of it.  Times are seconds since the first packet."""

    legs: list[Leg]

    @cached_property
    def messages(self) -> list[SipRecord]:
        """The messages of all legs, in order."""
        return sorted((record for leg in self.legs for record in leg.messages), key=lambda record: record.number)

    @property
    def start(self) -> float:
        return self.messages[0].time

    @property
    def stop(self) -> float:
        return self.messages[-1].time

    @property
    def initial_speaker(self) -> Address:
        return self.legs[0].invite.source

    @property
    def caller(self) -> str:
        """The From header of the first INVITE, without its parameters."""
        return _party(self.legs[0].invite, "From")

    @property
    def called(self) -> str:
        return _party(self.legs[0].invite, "To")

    @property
    def state(self) -> str:
        """In Wireshark's words, as the caller saw it."""
        leg = self.legs[0]
        if leg.answered:
            return "COMPLETED" if any(each.bye for each in self.legs) else "IN CALL"
        if any(_is(record, "CANCEL") for record in leg.messages) or (leg.refused and leg.refused.status == 487):
            return "CANCELLED"
        if leg.refused:
            return "REJECTED"
        return "RINGING" if leg.ringing else "CALL SETUP"

    @property
    def comment(self) -> str:
        """What became of the INVITE: its last response."""
        leg = self.legs[0]
        end = leg.answered or leg.refused or leg.ringing
        return f"INVITE {end.status}" if end else "INVITE"

    @property
    def post_dial_delay(self) -> float | None:
        """Seconds from the first INVITE to its 180 or 183, or to its 200 when it never rang."""
        leg = self.legs[0]
        end = leg.ringing or leg.answered
        return end.time - leg.invite.time if end else None

    @property
    def ringing(self) -> float | None:
        """Seconds from the first 180 or 183 to the 200."""
        leg = self.legs[0]
        return leg.answered.time - leg.ringing.time if leg.answered and leg.ringing else None

    @property
    def talk(self) -> float | None:
        """Seconds from the ACK of the 200 to the BYE."""
        leg = self.legs[0]
        if leg.answered is None or leg.bye is None:
            return None
        ack = leg.first(lambda record: _is(record, "ACK"), after=leg.answered.time)
        return leg.bye.time - ack.time if ack else None

    def row(self, host_of: Callable[[str, int], str]) -> tuple[object, ...]:
        """The call under :data:`COLUMNS`; the speaker by name when ``host_of`` knows it."""
        return (
            self.start,
            self.stop,
            host_of(*self.initial_speaker),
            self.caller,
            self.called,
            "SIP",
            self.stop - self.start,
            len(self.messages),
            self.state,
            self.comment,
            self.post_dial_delay,
            self.ringing,
            self.talk,
            len(self.legs),
        )

    def _repr_html_(self) -> str:
        return html_table(COLUMNS, [self.row(lambda ip, _: ip)], text("capture.table_calls"))

    def __repr__(self) -> str:
        size = f"{len(self.messages)} packets in {len(self.legs)} legs"
        return f"<Call {self.caller} -> {self.called} {self.state} at {self.start:.3f} s, {size}>"


def _party(record: SipRecord, header: str) -> str:
    value = shown(record.message.headers.get(header) or "")
    address, closed, _ = value.rpartition(">")
    return address + closed if closed else value.partition(";")[0]


def find_calls(messages: list[SipRecord]) -> list[Call]:
    """The calls in order of their first INVITE."""
    of_id: dict[str, list[SipRecord]] = {}
    for record in messages:
        of_id.setdefault(record.call_id, []).append(record)
    legs = [Leg(call_id, records) for call_id, records in of_id.items() if any(_is(record, "INVITE") for record in records)]
    groups = list(range(len(legs)))

    def group(number: int) -> int:
        while groups[number] != number:
            number = groups[number]
        return number

    known: dict[str, int] = {}
    for number, leg in enumerate(legs):
        for key, needs_overlap in _keys(leg):
            other = known.setdefault(key, number)
            if not needs_overlap or legs[other].stop >= leg.start:
                low, high = sorted((group(other), group(number)))
                groups[high] = low
            known[key] = number
    calls: dict[int, Call] = {}
    for number, leg in enumerate(legs):
        calls.setdefault(group(number), Call([])).legs.append(leg)
    return list(calls.values())


def _keys(leg: Leg) -> Iterator[tuple[str, bool]]:
    """What a leg shares with its other side, and whether the two must overlap in time for that to mean anything."""
    sessions = {uuid for record in leg.messages for uuid in _session_ids(record)}
    yield from ((f"session {uuid}", False) for uuid in sessions)
    if sessions:
        return
    for record in leg.messages:
        sdp = record.sdp
        if sdp is None:
            continue
        yield from ((f"origin {value}", True) for kind, value in sdp.lines if kind == "o")
        yield from ((f"media {where[0]} {where[1]}", True) for where in map(sdp.address, sdp.media) if where)


def _session_ids(record: SipRecord) -> Iterator[str]:
    value = record.message.headers.get("Session-ID")
    if value:
        local, *parameters = (part.strip() for part in value.split(";"))
        remote = [part[len("remote=") :] for part in parameters if part.startswith("remote=")]
        yield from (uuid for uuid in (local, *remote) if uuid and uuid != NIL)
