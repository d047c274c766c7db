"""Transfers by real softphones through the PBX, and what the capture shows of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit import Lab, PhoneError
from labkit.phones.phone import Phone
from tests.phones.test_phone import HELLO, likeness

# What ALICE's phone sends and gets in the lab's trace, from the hold to her BYE.
TRACE = [
    *("> INVITE", "< 100", "< 200", "> ACK"),
    *("> REFER", "< 202", "< NOTIFY", "> 200", "< NOTIFY", "> 200"),
    *("> BYE", "< 200"),
]


def steps_at(lab: Lab, phone: Phone) -> list[str]:
    """The messages of a phone since its second INVITE, as ``> REFER`` or ``< 202``."""
    steps = []
    for packet in lab.capture.open().sip.itertuples():
        what = str(packet.Info).split(" ")[1]
        if phone.address[0] in (packet.Source, packet.Destination):
            steps.append(("> " if packet.Source == phone.address[0] else "< ") + what)
    return steps[steps.index("> INVITE") :]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as opened:
        for phone in opened.phones:
            phone.register()
        yield opened


def talking(lab: Lab) -> None:
    lab.phone("BOB").call("101")
    lab.phone("ALICE").answer()
    lab.phone("BOB").current.wait("connected")


def test_blind_transfer_and_bob_hears_paul(lab: Lab, root: Path, tmp_path: Path) -> None:
    bob, alice, paul = (lab.phone(name) for name in ("BOB", "ALICE", "PAUL"))
    talking(lab)
    leaving = alice.transfer("102")
    answered = paul.answer()
    leaving.wait_transferred()
    assert leaving.state == "ended"
    assert alice.calls == []
    assert bob.await_event(lambda: bob.current.held_by == "", 5)
    assert "100" in answered.peer
    bob.record(tmp_path / "heard.wav")
    paul.play(HELLO).wait_played()
    assert likeness(bob.stop_recording(), root / HELLO) > 0.9
    assert repr(lab.pbx.calls) == "[<Call 100 -> 102 connected>]"
    paul.hang_up()
    bob.await_event(lambda: bob.calls == [], 5)
    assert bob.calls == []
    assert steps_at(lab, alice) == TRACE


def test_a_failed_transfer_says_why_and_the_call_comes_back(lab: Lab) -> None:
    bob, alice, paul = (lab.phone(name) for name in ("BOB", "ALICE", "PAUL"))
    talking(lab)
    call = alice.transfer("102")
    paul.reject(486)
    with pytest.raises(PhoneError, match=r"could not transfer the call to 102: 486 Busy Here.*call\.resume\(\)") as refused:
        call.wait_transferred()
    assert refused.value.code == 486
    assert (call.state, call.held_by) == ("connected", "local")
    call.resume()
    assert bob.await_event(lambda: bob.current.held_by == "", 5)
    with pytest.raises(PhoneError, match="404 Not Found"):
        call.transfer("199").wait_transferred()
    with pytest.raises(PhoneError, match="was not decided within 0.3 s"):
        call.transfer("102").wait_transferred(timeout=0.3)


def test_attended_transfer(lab: Lab, root: Path, tmp_path: Path) -> None:
    bob, alice, paul = (lab.phone(name) for name in ("BOB", "ALICE", "PAUL"))
    talking(lab)
    first = alice.hold()
    second = alice.call("102")
    paul.answer()
    second.wait("connected")
    first.transfer_attended(second).wait_transferred()
    second.wait("ended")
    assert (first.state, second.state) == ("ended", "ended")
    assert repr(lab.pbx.calls) == "[<Call 100 -> 102 connected>]"
    assert bob.await_event(lambda: bob.current.held_by == "", 5)
    paul.record(tmp_path / "heard.wav")
    bob.play(HELLO).wait_played()
    assert likeness(paul.stop_recording(), root / HELLO) > 0.9


def test_mistakes(lab: Lab) -> None:
    alice = lab.phone("ALICE")
    talking(lab)
    with pytest.raises(PhoneError, match="both must be calls of ALICE"):
        alice.current.transfer_attended(alice.current)
    with pytest.raises(PhoneError, match="has transferred nothing"):
        alice.current.wait_transferred()
    with pytest.raises(PhoneError, match="is not a number that can be dialled"):
        alice.transfer("no number")


def test_a_stale_binding_is_rung_and_says_nothing(lab: Lab) -> None:
    contact = lab.add_stale_binding("102")
    assert lab.add_stale_binding("PAUL") == contact, "the same phone has gone"
    host, _, port = contact.rpartition("@")[2].partition(":")
    [paul] = [row for row in lab.pbx.status() if row.extension == "102"]
    assert len(paul.contacts) == 2 and contact in paul.contacts
    call = lab.phone("BOB").call("102")
    lab.phone("PAUL").answer()
    call.wait("connected").hang_up()
    packets = lab.capture.open().sip
    at_stale = packets[(packets["Destination"] == host) & (packets["Dst Port"] == int(port))]
    assert list(at_stale["Method"])[:1] == ["INVITE"] and not len(packets[(packets["Source"] == host) & (packets["Src Port"] == int(port))])
    lab.remove_binding("102", contact)
    assert [len(row.contacts) for row in lab.pbx.status() if row.extension == "102"] == [1]
