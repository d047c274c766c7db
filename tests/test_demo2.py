"""``labkit demo 2``: transfer and redirection, headless: the messages, the voices, the times, and the lab sheet's traces beside them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from labkit.capture.flow import STALE, Verdict
from tests.test_demo import Demo, likeness, run_demo, samples

AUDIO = Path(__file__).resolve().parent.parent / "data" / "audio"
BLIND, NO_ANSWER, ATTENDED, FAILED = range(4)
"""The calls in their order."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return run_demo(tmp_path_factory.mktemp("demo2") / "out", part=2)


def between(demo: Demo, call: int, one: str, other: str) -> list[str]:
    """The messages of a call between two hosts, without repeats and 100 Trying; ``>`` goes from ``one`` to ``other``."""
    capture = demo.capture
    found = []
    for record in capture.call_list[call].messages:
        ends = capture.host_of(*record.source), capture.host_of(*record.destination)
        if set(ends) == {one, other} and not record.retransmission and record.status != 100:
            found.append((">" if ends == (one, other) else "<") + (record.method if record.is_request else str(record.status)))
    return found


def test_it_leaves_the_promised_files(demo: Demo) -> None:
    names = {path.name for path in demo.folder.iterdir()}
    assert {"capture.pcapng", "ladder.svg", "ladder.txt", "rtp.csv", "summary.json", "config.json", "trace.txt"} <= names
    voices = {name.partition("-")[2].partition("-")[2] for name in names if name.endswith(".wav")}
    ends = ("ALICE-to-BOB", "BOB-to-ALICE", "PAUL-to-BOB", "BOB-to-PAUL", "ALICE-to-PAUL", "PAUL-to-ALICE")
    assert voices == {f"{way}.wav" for way in ends}


def test_each_step_has_its_line(demo: Demo) -> None:
    steps = [line for line in demo.printed.splitlines() if re.match(r"\[ *\d+\.\d{3} s\] ", line)]
    wanted = iter(
        [
            "PAUL has a second binding",
            "ALICE transferred BOB to PAUL",
            "when nobody answers within 10 s",
            "ALICE did not answer: CANCEL left 10.0",
            "ALICE spoke with PAUL first",
            "PAUL refused the transfer (486): the call is back with ALICE",
        ]
    )
    step: str | None = next(wanted)
    for line in steps:
        step = next(wanted, None) if step and step in line else step
    assert step is None, step


def test_the_blind_transfer_is_that_of_the_lab_sheet(demo: Demo) -> None:
    comparison = demo.capture.compare("blind-transfer")
    assert comparison.complete and not comparison[Verdict.DIFFERENT], comparison
    assert {line.why for line in comparison[Verdict.MOVED]} <= {"flow.crossed"}, comparison
    trace = (demo.folder / "trace.txt").read_text("utf-8")
    assert trace.startswith(comparison.title) and "PBX → PAUL (gone)  INVITE ×4" in trace
    assert between(demo, BLIND, "ALICE", "PBX")[:4] == ["<INVITE", ">180", ">200", "<ACK"]
    rest = between(demo, BLIND, "ALICE", "PBX")[4:]
    assert rest == [">INVITE", "<200", ">ACK", ">REFER", "<202", "<NOTIFY", ">200", "<NOTIFY", ">200", ">BYE", "<200"]


def test_the_stale_contact_gets_the_invite_again_and_again(demo: Demo) -> None:
    capture = demo.capture
    [gone] = [address for address, name in capture.compare("blind-transfer").cast.items() if name == STALE]
    to_gone = [record for record in capture.messages if record.destination == gone]
    assert {record.method for record in to_gone} == {"INVITE"} and not any(record.source == gone for record in capture.messages)
    waits = [after.time - before.time for before, after in pairwise(to_gone)]
    assert len(waits) >= 4 and waits[:4] == pytest.approx([0.5, 1, 2, 4], abs=0.3)
    assert all(record.sdp is None for record in to_gone)


def test_alice_rings_for_ten_seconds_and_then_paul(demo: Demo) -> None:
    lines = {line.step.what: line for line in demo.capture.compare("no-answer").lines if not line.step.of}
    invite, cancel = lines["INVITE"].record, lines["CANCEL"].record
    assert invite and cancel and cancel.time - invite.time == pytest.approx(10.0, abs=0.5)
    assert between(demo, NO_ANSWER, "ALICE", "PBX") == ["<INVITE", ">180", "<CANCEL", ">200", ">487", "<ACK"]
    assert between(demo, NO_ANSWER, "PAUL", "PBX") == ["<INVITE", ">180", ">200", "<ACK", "<BYE", ">200"]
    assert "<181" in between(demo, NO_ANSWER, "BOB", "PBX")
    [rule] = json.loads((demo.folder / "config.json").read_text("utf-8"))["rules"]
    assert (rule["extension"], rule["available"]["no_answer_after_s"]) == ("101", 10)
    assert rule["available"]["no_answer"] == {"target": "extension", "number": "102"}


def test_the_attended_transfer_names_the_call_that_it_replaces(demo: Demo) -> None:
    capture = demo.capture
    refers = [record for record in capture.messages if record.method == "REFER" and record.is_request]
    assert ["Replaces" in (record.message.headers.get("Refer-To") or "") for record in refers] == [False, True, False]
    assert between(demo, ATTENDED, "BOB", "PBX")[-2:] == [">BYE", "<200"]
    assert between(demo, ATTENDED, "PAUL", "PBX")[-2:] == ["<BYE", ">200"]


def test_the_failed_transfer_comes_back(demo: Demo) -> None:
    frags = [r.message.body.decode().strip() for r in demo.capture.call_list[FAILED].messages if r.is_request and r.method == "NOTIFY"]
    assert frags[0] == "SIP/2.0 100 Trying" and frags[-1].startswith("SIP/2.0 486")
    assert between(demo, FAILED, "ALICE", "PBX")[-2:] == ["<BYE", ">200"], "BOB hangs up on ALICE herself"


def heard(demo: Demo, speaker: str, listener: str) -> list[float]:
    """How much each captured stream from ``speaker`` to ``listener`` is like the speaker's greeting."""
    spoken = samples(AUDIO / {"BOB": "hello.wav", "ALICE": "hello-alice.wav", "PAUL": "bonjour.wav"}[speaker])
    files = sorted(demo.folder.glob(f"*-{speaker}-to-{listener}.wav"), key=lambda path: int(path.name.split("-")[1]))
    return [likeness(found, spoken) for path in files if len(found := samples(path)) > len(spoken)]


def test_bob_hears_alice_and_after_the_transfer_paul(demo: Demo) -> None:
    assert heard(demo, "ALICE", "BOB")[0] > 0.95
    assert heard(demo, "PAUL", "BOB")[0] > 0.95 and heard(demo, "BOB", "PAUL")[0] > 0.95
    capture = demo.capture
    refer = next(record for record in capture.messages if record.method == "REFER")
    first = next(s for s in capture.streams if (capture.host_of(*s.source), capture.host_of(*s.destination)) == ("PAUL", "BOB"))
    assert first.start > refer.time


def test_wireshark_finds_nothing_wrong(demo: Demo, tool: Callable[[str], str]) -> None:
    wrong = "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0"
    command = [tool("tshark"), "-r", str(demo.folder / "capture.pcapng"), "-oip.check_checksum:TRUE", "-oudp.check_checksum:TRUE"]
    assert subprocess.run([*command, "-Y", wrong], capture_output=True, text=True, check=True).stdout == ""


def test_on_one_address_and_as_in_the_sheet_without_a_challenge(tmp_path: Path) -> None:
    demo = run_demo(tmp_path / "out", "--no-challenge", "--codec", "PCMA", part=2, LABKIT_ADDRESSES="single")
    assert demo.capture.compare("blind-transfer").complete and demo.capture.compare("no-answer").complete
    assert {address[0] for address in demo.capture.compare("blind-transfer").cast} == {"127.0.0.1"}
    assert heard(demo, "PAUL", "BOB")[0] > 0.95
    assert "407" not in between(demo, BLIND, "BOB", "PBX")
