"""A capture beside the traces of the lab sheet: captures written from the traces themselves, then with something changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.capture.capture import Capture
from labkit.capture.flow import STALE, Flow, Step, Verdict
from labkit.capture.sheet import BLIND_TRANSFER, NO_ANSWER
from labkit.capture.write import Address, PcapngWriter, udp
from labkit.errors import CaptureError
from labkit.texts import language

WHERE: dict[str, Address] = {
    "PBX": ("10.0.0.1", 5060),
    "BOB": ("10.0.0.2", 50001),
    "ALICE": ("10.0.0.3", 50002),
    "PAUL": ("10.0.0.4", 50003),
    STALE: ("10.0.0.4", 43974),
}
SDP = "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
SESSION = "1" * 32


def message(step: Step, number: int) -> bytes:
    """A message as a step describes it.  Each phone has one dialog with the PBX."""
    phone = step.target if step.source == "PBX" else step.source
    start = f"SIP/2.0 {step.what} X" if step.what.isdecimal() else f"{step.what} sip:x@10.0.0.9 SIP/2.0"
    tagged = step.in_dialog or step.what.isdecimal() or step.what not in ("INVITE", "CANCEL")
    body = SDP if step.sdp else f"SIP/2.0 {step.sipfrag} X\r\n" if step.sipfrag else ""
    kind = "message/sipfrag" if step.sipfrag else "application/sdp"
    headers = [
        f"From: <sip:a@x>;tag={phone}",
        "To: <sip:b@x>" + (";tag=b" if tagged else ""),
        f"Call-ID: {phone}",
        f"CSeq: {number} {step.of or step.what}",
        f"Session-ID: {SESSION}",
        *(["Refer-To: <sip:102@x>"] if step.what == "REFER" else []),
        *([f"Content-Type: {kind}"] if body else []),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([start, *headers, "", body]).encode()


def capture(steps: list[Step], tmp_path: Path, repeats: int = 4, delay_s: float = 0.01) -> Capture:
    path = tmp_path / "flow.pcapng"
    with path.open("wb") as file:
        writer, time_s = PcapngWriter(file), 0.0
        stale = b""
        for number, step in enumerate(steps):
            time_s = step.at_s if step.at_s is not None else time_s + delay_s
            data = message(step, number)
            if step.target == STALE and not step.repeats:
                stale = data
            for _ in range(repeats if step.repeats else 1):
                packet = udp(WHERE[step.source], WHERE[step.target], stale if step.repeats else data)
                writer.packet(1_700_000_000_000_000_000 + int(time_s * 1e9), packet)
    return Capture.open(path)


def verdicts(flow: Flow, found: Capture) -> list[Verdict]:
    [name] = [name for name, known in (("blind-transfer", BLIND_TRANSFER), ("no-answer", NO_ANSWER)) if known is flow]
    return [line.verdict for line in found.compare(name).lines]


@pytest.mark.parametrize("flow", [BLIND_TRANSFER, NO_ANSWER])
def test_the_trace_itself_is_as_in_the_sheet(flow: Flow, tmp_path: Path) -> None:
    assert set(verdicts(flow, capture(list(flow.steps), tmp_path))) == {Verdict.SAME}


@pytest.mark.parametrize("flow", [BLIND_TRANSFER, NO_ANSWER])
def test_each_message_that_is_left_out_is_missed(flow: Flow, tmp_path: Path) -> None:
    for place, step in enumerate(flow.steps):
        if place == 0 or (step.what in ("REFER", "CANCEL") and not step.of):
            continue  # without its INVITE there is no call, without the others nothing to compare
        found = verdicts(flow, capture([*flow.steps[:place], *flow.steps[place + 1 :]], tmp_path))
        # Without its INVITE the stale contact is unknown, and of two alike the later one is missed.
        later = [p for p, other in enumerate(flow.steps) if (other.what, other.of, other.source) == (step.what, step.of, step.source)]
        assert any(found[p] is not Verdict.SAME for p in later), step
        assert sum(verdict is Verdict.MISSING for verdict in found) >= 1, step


def test_roles_are_read_from_what_hosts_do(tmp_path: Path) -> None:
    comparison = capture(list(BLIND_TRANSFER.steps), tmp_path).compare("blind-transfer")
    assert dict(comparison.cast) == {WHERE[name]: name for name in ("PBX", "ALICE", "PAUL", STALE)}
    assert "PAUL (gone) 10.0.0.4:43974" in str(comparison)


def test_crossed_messages_are_no_mistake_and_disorder_in_a_dialog_is(tmp_path: Path) -> None:
    steps = list(BLIND_TRANSFER.steps)
    bye, ack = 20, 21
    steps[bye], steps[ack] = steps[ack], steps[bye]
    [moved] = capture(steps, tmp_path).compare("blind-transfer")[Verdict.MOVED]
    assert moved.why == "flow.crossed" and "two dialogs crossed" in moved.reason
    steps = list(BLIND_TRANSFER.steps)
    steps[18], steps[20] = steps[20], steps[18]  # BYE before the last NOTIFY
    moved_lines = capture(steps, tmp_path).compare("blind-transfer")[Verdict.MOVED]
    assert "flow.other_order" in {line.why for line in moved_lines}


def test_an_offer_where_the_sheet_has_none(tmp_path: Path) -> None:
    steps = [Step(s.group, s.source, s.target, s.what, in_dialog=False, sdp=True) if s.sdp is False else s for s in BLIND_TRANSFER.steps]
    different = capture(steps, tmp_path).compare("blind-transfer")[Verdict.DIFFERENT]
    assert {line.why for line in different} == {"flow.other_body"}
    assert [line.step.target for line in different] == ["PAUL", STALE]


def test_the_count_of_repeats_and_the_time_of_cancel(tmp_path: Path) -> None:
    [repeats] = capture(list(BLIND_TRANSFER.steps), tmp_path, repeats=6).compare("blind-transfer")[Verdict.DIFFERENT]
    assert "here 6 times" in repeats.reason
    early = [Step(s.group, s.source, s.target, s.what, s.of, at_s=(s.at_s or 0) / 5) for s in NO_ANSWER.steps]
    different = capture(early, tmp_path).compare("no-answer")[Verdict.DIFFERENT]
    assert {line.why for line in different} == {"flow.other_time"} and len(different) == 4


def test_what_the_sheet_does_not_have_is_counted_with_its_reason(tmp_path: Path) -> None:
    more = [Step(0, "BOB", "PBX", "INVITE", in_dialog=False), *BLIND_TRANSFER.steps, Step(9, "ALICE", "PBX", "INFO")]
    beside = dict(capture(more, tmp_path).compare("blind-transfer").beside)
    assert {why: len(found) for why, found in beside.items()} == {"flow.one_machine": 1, "flow.other": 1}


def test_it_shows_itself_in_two_languages(tmp_path: Path) -> None:
    comparison = capture(list(NO_ANSWER.steps), tmp_path).compare("no-answer")
    assert comparison.text().startswith("Forwarding on no answer: 6 of 6 messages")
    assert "10.0249" in repr(comparison) and comparison._repr_html_().count("<tr>") == 7
    assert list(comparison.table().columns) == ["Step", "Lab sheet", "Sheet (s)", "No.", "Here (s)", "Comparison"]
    language("fr")
    assert "comme dans l'énoncé" in comparison.text() and comparison.complete


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    found = capture(list(NO_ANSWER.steps), tmp_path)
    with pytest.raises(CaptureError, match="Blind transfer"):
        found.compare("blind-transfer")
    with pytest.raises(CaptureError, match="there are blind-transfer, no-answer"):
        found.compare("conference")
    with pytest.raises(CaptureError, match="7"):
        found.compare("no-answer", call=7)
