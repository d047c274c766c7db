"""The traces of the lab sheet as call flows, message by message.

In the sheet's captures BOB's phone and the PBX are one machine, so nothing between the two is in them.
"""

from __future__ import annotations

from collections.abc import Sequence

from labkit.capture.flow import STALE, Flow, Step
from labkit.capture.sip_records import Address, SipRecord


def _is_blind_refer(record: SipRecord) -> bool:
    """RFC 3515 without Replaces (RFC 3891): the target is called anew."""
    return record.is_request and record.method == "REFER" and "replaces=" not in (record.message.headers.get("Refer-To") or "").lower()


def _is_cancel_of_the_server(record: SipRecord) -> bool:
    return record.is_request and record.method == "CANCEL"


def _transfer_cast(messages: Sequence[SipRecord], refer: SipRecord) -> dict[Address, str]:
    """Who sent REFER is ALICE, who got it the PBX; whom the PBX then calls is PAUL, or a contact that never says anything."""
    return _cast(messages, refer, refer.destination, refer.source)


def _no_answer_cast(messages: Sequence[SipRecord], cancel: SipRecord) -> dict[Address, str]:
    """Who sent CANCEL is the PBX, who got it ALICE; whom the PBX calls next is PAUL."""
    return _cast(messages, cancel, cancel.source, cancel.destination)


def _cast(messages: Sequence[SipRecord], anchor: SipRecord, pbx: Address, alice: Address) -> dict[Address, str]:
    cast = {pbx: "PBX", alice: "ALICE"}
    speakers = {record.source for record in messages}
    for record in messages:
        called = record.is_request and record.method == "INVITE" and not record.in_dialog and record.source == pbx
        if called and record.number > anchor.number:
            cast.setdefault(record.destination, "PAUL" if record.destination in speakers else STALE)
    for record in messages:
        for end in (record.source, record.destination):
            cast.setdefault(end, "BOB")
    return cast


BLIND_TRANSFER = Flow(
    "flow.blind_transfer",
    (
        # BOB's call with ALICE is up.
        Step(1, "PBX", "ALICE", "INVITE", in_dialog=False, sdp=True),
        Step(1, "ALICE", "PBX", "180", "INVITE"),
        Step(1, "ALICE", "PBX", "200", "INVITE", sdp=True),
        Step(1, "PBX", "ALICE", "ACK"),
        # ALICE puts BOB on hold,
        Step(2, "ALICE", "PBX", "INVITE", in_dialog=True, sdp=True),
        Step(2, "PBX", "ALICE", "100", "INVITE"),
        Step(2, "PBX", "ALICE", "200", "INVITE", sdp=True),
        Step(2, "ALICE", "PBX", "ACK"),
        # and asks the PBX to call PAUL for him (RFC 3515).
        Step(3, "ALICE", "PBX", "REFER", in_dialog=True),
        Step(3, "PBX", "ALICE", "202", "REFER"),
        Step(3, "PBX", "ALICE", "NOTIFY", sipfrag="100"),
        # Two contacts are registered for PAUL; both are called at once, without an offer.
        Step(4, "PBX", "PAUL", "INVITE", in_dialog=False, sdp=False),
        Step(4, "PBX", STALE, "INVITE", in_dialog=False, sdp=False),
        Step(5, "PAUL", "PBX", "100", "INVITE"),
        Step(5, "ALICE", "PBX", "200", "NOTIFY"),
        Step(5, "PAUL", "PBX", "180", "INVITE"),
        Step(5, "PBX", STALE, "INVITE", in_dialog=False, repeats=4),
        # PAUL's phone makes the offer in its 200.
        Step(6, "PAUL", "PBX", "200", "INVITE", sdp=True),
        Step(6, "PBX", "ALICE", "NOTIFY", sipfrag="200"),
        Step(6, "ALICE", "PBX", "200", "NOTIFY"),
        # The one who transfers says BYE; the ACK carries the answer to PAUL's offer.
        Step(7, "ALICE", "PBX", "BYE"),
        Step(7, "PBX", "PAUL", "ACK", sdp=True),
        Step(7, "PBX", "ALICE", "200", "BYE"),
        Step(8, "PAUL", "PBX", "BYE"),
        Step(8, "PBX", "PAUL", "200", "BYE"),
    ),
    anchor=_is_blind_refer,
    cast=_transfer_cast,
    beside={"BOB": "flow.one_machine", STALE: "flow.dead_contact"},
)

NO_ANSWER = Flow(
    "flow.no_answer",
    (
        Step(1, "PBX", "ALICE", "INVITE", in_dialog=False, at_s=0.0),
        Step(2, "ALICE", "PBX", "180", "INVITE", at_s=0.120354),
        Step(3, "PBX", "ALICE", "CANCEL", at_s=10.024868),
        Step(4, "ALICE", "PBX", "200", "CANCEL", at_s=10.143692),
        Step(5, "ALICE", "PBX", "487", "INVITE", at_s=10.143692),
        Step(6, "PBX", "ALICE", "ACK", at_s=10.144711),
    ),
    anchor=_is_cancel_of_the_server,
    cast=_no_answer_cast,
    beside={"BOB": "flow.one_machine", "PAUL": "flow.goes_on", STALE: "flow.goes_on"},
)

FLOWS = {"blind-transfer": BLIND_TRANSFER, "no-answer": NO_ANSWER}
