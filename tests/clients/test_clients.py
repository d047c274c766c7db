"""Softphones by others register at the PBX, call each other and a labkit phone, and transfer; each side hears the other's tone."""

from __future__ import annotations

import pytest

from tests.clients.conftest import PBX_IP, Office
from tests.clients.tones import heard, write_tone

TALK_S = 2.0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_baresip_calls_baresip(office: Office, transport: str) -> None:
    bob = office.baresip("102", transport=transport)
    alice = office.baresip("101", transport=transport)
    alice.dial(f"sip:102@{PBX_IP}")
    alice.wait("CALL_ESTABLISHED")
    bob.wait("CALL_ESTABLISHED")
    office.phone().await_event(lambda: False, TALK_S)
    alice.hang_up()
    bob.wait("CALL_CLOSED")
    for client in (alice, bob):
        client.close()
    assert [heard(path) for path in alice.recordings] == [{"bob"}]
    assert [heard(path) for path in bob.recordings] == [{"alice"}]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_baresip_transfers_baresip_to_baresip(office: Office, transport: str) -> None:
    """ALICE talks to BOB and sends him on to CAROL: he hears first the one, then the other."""
    alice, bob, carol = (office.baresip(number, transport=transport) for number in ("101", "102", "103"))
    watch = office.phone()
    alice.dial(f"sip:102@{PBX_IP}")
    alice.wait("CALL_ESTABLISHED")
    bob.wait("CALL_ESTABLISHED")
    watch.await_event(lambda: False, TALK_S)
    alice.command("transfer", f"sip:103@{PBX_IP}")
    carol.wait("CALL_ESTABLISHED")
    office.wait("transferred", "102")
    alice.wait("CALL_CLOSED")
    watch.await_event(lambda: False, TALK_S)
    assert repr(office.pbx.calls) == "[<Call 103 -> 102 connected>]"
    carol.hang_up()
    bob.wait("CALL_CLOSED")
    office.wait("ended", "103")
    for client in (alice, bob, carol):
        client.close()
    assert [heard(path) for path in alice.recordings] == [{"bob"}]
    assert set.union(*(heard(path) for path in bob.recordings)) == {"alice", "carol"}
    assert [heard(path) for path in carol.recordings] == [{"bob"}]
    assert [(r.caller, r.callee, r.status) for r in office.pbx.store.records()] == [("103", "102", 200)]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_linphonec_calls_linphonec(office: Office, transport: str) -> None:
    bob = office.linphonec("102", transport=transport, answer=True)
    alice = office.linphonec("101", transport=transport)
    alice.dial(f"sip:102@{PBX_IP}")
    office.wait("connected", "101")
    office.phone().await_event(lambda: False, TALK_S)
    alice.hang_up()
    office.wait("ended", "101")
    for client in (alice, bob):
        client.close()
    assert heard(alice.recording) == {"bob"}
    assert heard(bob.recording) == {"alice"}


def test_baresip_and_a_labkit_phone_call_each_other(office: Office) -> None:
    alice, phone = office.baresip("101"), office.phone()
    tone = write_tone(office.folder / "phone.wav", "phone")
    alice.dial(f"sip:104@{PBX_IP}")
    call = phone.answer()
    alice.wait("CALL_ESTABLISHED")
    call.play(tone).record(office.folder / "first.wav").wait_seconds(TALK_S)
    assert heard(call.stop_recording()) == {"alice"}
    alice.hang_up()
    call.wait("ended")
    back = phone.call("101").wait("connected")
    back.play(tone).record(office.folder / "second.wav").wait_seconds(TALK_S)
    assert heard(back.stop_recording()) == {"alice"}
    back.hang_up()
    alice.close()
    assert [heard(path) for path in alice.recordings] == [{"phone"}, {"phone"}]


def test_linphonec_and_a_labkit_phone_call_each_other(office: Office) -> None:
    alice, phone = office.linphonec("101", answer=True), office.phone()
    tone = write_tone(office.folder / "phone.wav", "phone")
    alice.dial(f"sip:104@{PBX_IP}")
    call = phone.answer()
    call.play(tone).record(office.folder / "first.wav").wait_seconds(TALK_S)
    assert heard(call.stop_recording()) == {"alice"}
    call.hang_up()
    office.wait("ended", "101")
    back = phone.call("101").wait("connected")
    back.play(tone).record(office.folder / "second.wav").wait_seconds(TALK_S)
    assert heard(back.stop_recording()) == {"alice"}
    back.hang_up()
    office.wait("ended", "104")
    alice.close()
    assert heard(alice.recording) == {"phone"}
