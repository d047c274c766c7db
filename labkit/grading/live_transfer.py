"""What a capture says about transfer and redirection: the facts of the learner's own calls, as :mod:`labkit.grading.live` has them.

The one who transfers is who sent REFER; the server is who got it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit.grading.live import Seen
from labkit.grading.verdict import Feedback

if TYPE_CHECKING:
    from labkit.capture.capture import Capture
    from labkit.capture.sip_records import SipRecord

NO_ANSWER_S, TOLERANCE_S = 10.0, 0.5
"""When CANCEL must leave, counted from the INVITE to the phone."""


def _missing(message_id: str, **values: object) -> Seen:
    return Seen(missing=(Feedback(message_id, values),))


def _is(record: SipRecord, method: str) -> bool:
    return record.is_request and record.method == method


def _refers(messages: list[SipRecord]) -> list[tuple[SipRecord, SipRecord]]:
    """Each REFER inside a dialog with the 2xx that accepted it."""
    found = []
    for refer in messages:
        if _is(refer, "REFER") and refer.in_dialog and not refer.retransmission:
            cseq = refer.message.headers.get("CSeq")
            answers = (
                r
                for r in messages
                if r.status is not None and (r.call_id, r.message.headers.get("CSeq")) == (refer.call_id, cseq) and r.status // 100 == 2
            )
            accepted = next(answers, None)
            if accepted is not None:
                found.append((refer, accepted))
    return found


def transfer(capture: Capture) -> Seen:
    """Hold, REFER, 202, NOTIFYs up to 200, a new INVITE, and the BYE of the one who transferred (RFC 3515, RFC 5589 §6)."""
    messages = [record for record in capture.messages if not record.retransmission]
    refers = _refers(messages)
    if not refers:
        return _missing("grading.q2_1.no_refer")
    return min((_judge_transfer(capture, messages, *pair) for pair in refers), key=lambda seen: len(seen.missing))


def _judge_transfer(capture: Capture, messages: list[SipRecord], refer: SipRecord, accepted: SipRecord) -> Seen:
    dialog = [record for record in messages if record.call_id == refer.call_id]
    asker, server = refer.source, refer.destination
    held = any(_is(r, "INVITE") and r.source == asker and r.sdp and r.sdp.on_hold and r.number < refer.number for r in dialog)
    reports = [
        r.message.body.decode("utf-8", "replace").partition("\r\n")[0].removeprefix("SIP/2.0 ")
        for r in dialog
        if _is(r, "NOTIFY") and r.source == server and r.message.content_type == "message/sipfrag"
    ]
    attended = "replaces=" in (refer.message.headers.get("Refer-To") or "").lower()
    called = [r for r in messages if _is(r, "INVITE") and r.source == server and r.number > refer.number and r.destination != asker]
    bye = next((r for r in dialog if _is(r, "BYE") and r.source == asker and r.number > refer.number), None)
    missing = []
    if not held:
        missing.append(Feedback("grading.q2_1.no_hold"))
    if len(reports) < 2 or not reports[-1].startswith("200"):
        missing.append(Feedback("grading.q2_1.no_success", {"reports": ", ".join(reports) or "-"}))
    if not called or (not attended and all(r.in_dialog for r in called)):
        missing.append(Feedback("grading.q2_1.no_invite"))
    if bye is None:
        missing.append(Feedback("grading.q2_1.no_bye"))
        return Seen(missing=tuple(missing))
    values = {"name": capture.host_of(*asker), "number": refer.number, "target": refer.message.headers.get("Refer-To") or "-"}
    told = {"code": accepted.status or 0, "reports": ", ".join(reports), "bye": bye.number}
    return Seen(facts=(Feedback("grading.q2_1.fact", {**values, **told}),), missing=tuple(missing))


def refer_status(capture: Capture) -> Seen:
    """The code that accepted REFER: 202, or 200 from a server that follows RFC 7647."""
    refers = _refers(capture.messages)
    if not refers:
        return _missing("grading.q2_1.no_refer")
    accepted = refers[0][1]
    code = accepted.status or 0
    reason = "Accepted" if code == 202 else "OK"
    return Seen(accepted=(code, reason), facts=(Feedback("grading.q2_2.fact", {"number": accepted.number, "code": code}),))


def no_answer(capture: Capture) -> Seen:
    """A phone that rings until the server's CANCEL, ten seconds after the INVITE to it; then another phone is called."""
    messages = [record for record in capture.messages if not record.retransmission]
    servers = {record.destination for record in messages if _is(record, "REGISTER")}
    if not servers:
        return _missing("grading.no_register")
    waits: list[tuple[float, SipRecord]] = []
    for cancel in messages:
        if not _is(cancel, "CANCEL") or cancel.source not in servers:
            continue
        of_call = [r for r in messages if r.call_id == cancel.call_id]
        invite = next((r for r in of_call if _is(r, "INVITE")), None)
        if invite is not None and any(r.status == 180 for r in of_call):
            waits.append((cancel.time - invite.time, cancel))
    if not waits:
        return _missing("grading.q2_3.no_cancel")
    wait, cancel = min(waits, key=lambda found: abs(found[0] - NO_ANSWER_S))
    if abs(wait - NO_ANSWER_S) > TOLERANCE_S:
        return _missing("grading.q2_3.other_wait", seconds=f"{wait:.2f}")
    following = (r for r in messages if _is(r, "INVITE") and r.source == cancel.source and r.number > cancel.number and not r.in_dialog)
    after = next((r for r in following if r.destination != cancel.destination), None)
    if after is None:
        return _missing("grading.q2_3.nobody_next")
    names = {"name": capture.host_of(*cancel.destination), "next": capture.host_of(*after.destination)}
    return Seen(facts=(Feedback("grading.q2_3.fact", {**names, "number": cancel.number, "seconds": f"{wait:.2f}"}),))


CHECKS: dict[str, Callable[[Capture], Seen]] = {"no_answer": no_answer, "refer_status": refer_status, "transfer": transfer}
