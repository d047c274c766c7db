"""Softphones by others register at the PBX and call each other and a labkit phone; each side hears the other's tone."""

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
