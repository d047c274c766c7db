"""What a capture says about a question: the facts of the learner's own call, read from bytes on the wire.

Each check takes a :class:`labkit.capture.capture.Capture` and returns :class:`Seen`.  A check that finds nothing to look at says so
(``missing``) and leaves the bank's answer in force.  Hosts are told apart by address and port, so that a lab on one address is read too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import SipError
from labkit.grading.verdict import Feedback
from labkit.sip.digest import Challenge, Credentials

if TYPE_CHECKING:
    from labkit.capture.capture import Capture
    from labkit.capture.sip_records import SipRecord

Address = tuple[str, int]


@dataclass(frozen=True)
class Seen:
    """``accepted`` replaces the bank's answer when it is not empty; ``mistakes`` adds numbers that mean something else here."""

    accepted: tuple[int | str, ...] = ()
    mistakes: tuple[tuple[int, Feedback], ...] = ()
    facts: tuple[Feedback, ...] = ()
    """Said when the answer is right: they name what the question asks."""
    missing: tuple[Feedback, ...] = ()
    """What the evidence lacks."""
    sequence: tuple[str, ...] = ()
    """The messages of the scenario, as methods and codes."""


def _missing(message_id: str, **values: object) -> Seen:
    return Seen(missing=(Feedback(message_id, values),))


def _label(record: SipRecord) -> str:
    return record.method if record.is_request else str(record.status)


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _cseq(record: SipRecord) -> int:
    try:
        return record.message.cseq.number
    except SipError:
        return -1


def _credentials(record: SipRecord) -> Credentials | None:
    value = record.message.headers.get("Authorization") or record.message.headers.get("Proxy-Authorization")
    try:
        return Credentials.parse(value) if value else None
    except SipError:
        return None


def _nonce(record: SipRecord) -> str | None:
    value = record.message.headers.get("WWW-Authenticate") or record.message.headers.get("Proxy-Authenticate")
    try:
        return Challenge.parse(value).nonce if value else None
    except SipError:
        return None


def _dialogs(records: Iterable[SipRecord], method: str) -> dict[str, list[SipRecord]]:
    """The first copies of all messages of each Call-ID in which a request with ``method`` was sent, in order."""
    found: dict[str, list[SipRecord]] = {}
    for record in records:
        if not record.retransmission:
            found.setdefault(record.call_id, []).append(record)
    return {call_id: group for call_id, group in found.items() if any(r.is_request and r.method == method for r in group)}


def _registers(capture: Capture) -> list[SipRecord]:
    return [record for record in capture.messages if record.is_request and record.method == "REGISTER"]


def server_port(capture: Capture) -> Seen:
    """The port to which REGISTER was sent; the ports it came from are the phones' own."""
    registers = _registers(capture)
    if not registers:
        return _missing("grading.no_register")
    ports = sorted({record.destination[1] for record in registers})
    own = sorted({record.source[1] for record in registers} - set(ports))
    return Seen(
        accepted=tuple(ports),
        mistakes=tuple((port, Feedback("grading.q1_3.client_port", {"port": port})) for port in own),
        facts=(Feedback("grading.q1_3.fact", {"source": _text(registers[0].source), "server": _text(registers[0].destination)}),),
    )


def registration(capture: Capture) -> Seen:
    """REGISTER, 401 or 407, REGISTER with credentials that echo the nonce, 200: one Call-ID, CSeq one higher (RFC 3261 §10.2, §22.1)."""
    if not _registers(capture):
        return _missing("grading.no_register")
    lacks = Feedback("grading.q1_1.no_challenge")
    for group in _dialogs(capture.messages, "REGISTER").values():
        group = [record for record in group if record.method == "REGISTER"]
        challenge = next((i for i, r in enumerate(group) if r.status in (401, 407)), None)
        if challenge is None:
            continue
        number, nonce = _cseq(group[challenge]), _nonce(group[challenge])
        again = next((i for i, r in enumerate(group) if i > challenge and r.is_request and _credentials(r)), None)
        credentials = _credentials(group[again]) if again is not None else None
        if again is None or credentials is None:
            lacks = Feedback("grading.q1_1.no_credentials")
        elif credentials.nonce != nonce or _cseq(group[again]) != number + 1:
            lacks = Feedback("grading.q1_1.other_nonce")
        elif not any(r.status == 200 and _cseq(r) == number + 1 for r in group[again:]):
            lacks = Feedback("grading.q1_1.no_success")
        else:
            end = next(i for i, r in enumerate(group) if i > again and r.status == 200)
            code = group[challenge].status or 0
            facts = [Feedback("grading.q1_1.fact", {"first": number, "second": number + 1, "call_id": group[0].call_id})]
            facts += [Feedback("grading.q1_1.proxy_code")] if code == 407 else []
            return Seen(facts=tuple(facts), sequence=tuple(_label(r) for r in group[: end + 1]))
    return Seen(missing=(lacks,))


def challenge(capture: Capture) -> Seen:
    """The codes that challenged a REGISTER; the numbers in CSeq are no codes."""
    codes = sorted({record.status for record in capture.messages if record.method == "REGISTER" and record.status in (401, 407)} - {None})
    if not codes:
        return _missing("grading.q1_1.no_challenge")
    counted = Feedback("grading.q1_5.cseq")
    return Seen(
        mistakes=tuple((number, counted) for number in sorted({_cseq(record) for record in _registers(capture)})),
        facts=(Feedback("grading.q1_5.fact", {"codes": ", ".join(str(code) for code in codes)}),),
    )


def confirmation(capture: Capture) -> Seen:
    """The code that confirmed a REGISTER, and the Contacts that came with it."""
    confirmed = [record for record in capture.messages if record.method == "REGISTER" and record.status and record.status // 100 == 2]
    if not confirmed:
        return _missing("grading.q1_1.no_success")
    contacts = next((record.message.headers.get("Contact") for record in confirmed if record.message.headers.get("Contact")), "-")
    return Seen(facts=(Feedback("grading.q1_6.fact", {"contact": contacts}),))


def credentials(capture: Capture) -> Seen:
    """The user ID and the digest of the first REGISTER with credentials, as anyone on the path reads them."""
    for record in _registers(capture):
        found = _credentials(record)
        if found:
            return Seen(
                facts=(Feedback("grading.q1_2.fact", {"number": record.number, "user": found.username, "response": found.response}),)
            )
    return _missing("grading.q1_1.no_credentials")


def call(capture: Capture) -> Seen:
    """A call through the server: two dialogs, each from INVITE to BYE, the ACK with the CSeq of its 200 (RFC 3261 §13, §15)."""
    registrars = {record.destination for record in _registers(capture)}
    if not registrars:
        return _missing("grading.no_register")
    dialogs = _dialogs(capture.messages, "INVITE")
    through = [group for group in dialogs.values() if registrars & {group[0].source, group[0].destination}]
    if not through:
        return _missing("grading.no_call")
    whole = [group for group in through if _is_whole(group)]
    inbound = [group for group in whole if group[0].destination in registrars]
    outbound = [group for group in whole if group[0].source in registrars]
    if not inbound or not outbound:
        return _missing("grading.q1_7.not_whole")
    ends = {end for group in (inbound[-1], outbound[-1]) for end in (group[0].source, group[0].destination)}
    if len(ends) < 3:
        return _missing("grading.q1_7.one_host")
    if not capture.streams:
        return _missing("grading.no_voice")
    fact = Feedback("grading.q1_7.fact", {"hosts": len(ends), "inbound": inbound[-1][0].call_id, "outbound": outbound[-1][0].call_id})
    return Seen(facts=(fact,), sequence=tuple(_label(record) for record in inbound[-1]))


def _is_whole(group: list[SipRecord]) -> bool:
    wanted = iter(["INVITE", "180", "200", "ACK", "BYE", "200"])
    step: str | None = next(wanted)
    accepted = -1
    for record in group:
        if _label(record) != step:
            continue
        if step == "200" and record.method == "INVITE":
            accepted = _cseq(record)
        # §13.2.2.4: the ACK carries the sequence number of the INVITE that it acknowledges.
        if step == "ACK" and _cseq(record) != accepted:
            continue
        step = next(wanted, None)
    return step is None


def signalling_ports(capture: Capture) -> Seen:
    """Where the INVITEs went: to the server's port, or straight to the other phone."""
    registrars = {record.destination for record in _registers(capture)}
    invites = [record for record in capture.messages if record.is_request and record.method == "INVITE" and not record.in_dialog]
    inbound = next((record for record in invites if record.destination in registrars), None)
    direct = next((record for record in invites if not registrars & {record.source, record.destination}), None)
    if inbound is None:
        return _missing("grading.no_call")
    facts = [Feedback("grading.q1_8.through", {"source": _text(inbound.source), "server": _text(inbound.destination)})]
    if direct:
        facts.append(Feedback("grading.q1_8.direct", {"source": _text(direct.source), "phone": _text(direct.destination)}))
    else:
        facts.append(Feedback("grading.q1_8.no_direct"))
    return Seen(facts=tuple(facts))


def voice_path(capture: Capture) -> Seen:
    """Whether RTP ran between the addresses that the phones themselves gave in their SDP, or through the server's."""
    registers = _registers(capture)
    phones = {record.source for record in registers} - {record.destination for record in registers}
    own = {
        where
        for record in capture.messages
        if record.source in phones and record.sdp
        for media in record.sdp.media
        if (where := record.sdp.address(media))
    }
    if not capture.streams:
        return _missing("grading.no_voice")
    stream = capture.streams[0]
    direct = all({stream.source, stream.destination} <= own for stream in capture.streams)
    fact = Feedback("grading.q1_9.fact", {"source": _text(stream.source), "destination": _text(stream.destination)})
    return Seen(accepted=("direct" if direct else "server",), facts=(fact,))


CHECKS: dict[str, Callable[[Capture], Seen]] = {
    "call": call,
    "challenge": challenge,
    "confirmation": confirmation,
    "credentials": credentials,
    "registration": registration,
    "server_port": server_port,
    "signalling_ports": signalling_ports,
    "voice_path": voice_path,
}
