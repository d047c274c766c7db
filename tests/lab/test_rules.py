"""The lab's screen "Forwarding rules" with real softphones, and the gateway to the public telephone network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit import Lab
from labkit.pbx.rules import ExtensionRules, ForwardTo, StatusRules
from tests.phones.test_phone import HELLO, likeness


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(pstn=True) as opened:
        for phone in opened.phones:
            phone.register()
        yield opened


def test_alice_does_not_answer_and_paul_rings(lab: Lab) -> None:
    rule = ExtensionRules("101", StatusRules(no_answer=ForwardTo("extension", "102"), no_answer_after_s=1.0))
    lab.pbx.set_rules(rule)
    saved = lab.configuration()["rules"]
    assert saved[0]["extension"] == "101"
    assert saved[0]["available"]["no_answer"] == {"target": "extension", "number": "102"}
    call = lab.phone("BOB").call("101")
    alice = lab.phone("ALICE").wait_ring()
    lab.phone("PAUL").answer()
    call.wait("connected")
    assert alice.wait("ended", timeout=5) if alice.state != "ended" else True
    call.hang_up()
    packets = lab.capture.open().sip
    to_alice = packets[packets["Destination"] == lab.phone("ALICE").address[0]]
    invited = float(to_alice[to_alice["Info"].str.startswith("Request: INVITE")]["Time"].iloc[-1])
    cancelled = float(to_alice[to_alice["Info"].str.startswith("Request: CANCEL")]["Time"].iloc[-1])
    assert cancelled - invited == pytest.approx(1.0, abs=0.2)
    assert any(info.startswith("Status: 181 Call Is Being Forwarded") for info in packets["Info"])
    lab.pbx.set_rules(ExtensionRules("101"))


def test_out_to_the_public_network_and_in_from_it(lab: Lab, root: Path, tmp_path: Path) -> None:
    pstn, bob = lab.phone("PSTN"), lab.phone("BOB")
    assert [phone.name for phone in lab.phones] == ["BOB", "ALICE", "PAUL"]
    call = bob.call("0612345678")
    outside = pstn.answer()
    call.wait("connected")
    outside.record(tmp_path / "heard.wav")
    bob.play(HELLO).wait_played()
    assert likeness(pstn.stop_recording(), root / HELLO) > 0.9
    call.hang_up()
    inward = pstn.call("100")
    assert "0123456789" in bob.answer().peer
    inward.wait("connected")
    inward.hang_up()
