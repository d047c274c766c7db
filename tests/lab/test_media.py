"""Who carries the voices: the phones themselves, or the PBX ("PBX delivers audio")."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labkit import Capture, Lab
from labkit.media.correlation import correlation
from labkit.net.media_relay import MediaRelay

AUDIO = Path(__file__).resolve().parents[2] / "data" / "audio"
BOB_TO_PBX, PBX_TO_ALICE, ALICE_TO_PBX, PBX_TO_BOB = ("BOB", "PBX"), ("PBX", "ALICE"), ("ALICE", "PBX"), ("PBX", "BOB")


def samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)


def heard(capture: Capture, folder: Path) -> dict[tuple[str, str], np.ndarray]:
    """The voices of a capture by the hosts at their ends; a pair of hosts that had several streams has the longest."""
    found: dict[tuple[str, str], np.ndarray] = {}
    for number, stream in enumerate(capture.streams):
        path = folder / f"{number}.wav"
        capture.rtp_stream(number).wav(path)
        ends = capture.host_of(*stream.source), capture.host_of(*stream.destination)
        voice = samples(path)
        if len(voice) > len(found.get(ends, ())):
            found[ends] = voice
    return found


def talk(lab: Lab) -> None:
    """Bob calls Alice; each speaks for two seconds."""
    bob, alice = lab.phone("BOB"), lab.phone("ALICE")
    bob.register()
    alice.register()
    call = bob.call("101")
    alice.answer()
    call.wait("connected")
    bob.play(AUDIO / "hello.wav")
    alice.play(AUDIO / "hello-alice.wav")
    call.wait_seconds(2.5)


async def freed(relay: MediaRelay) -> None:
    """Wait for the end of the call to free the ports."""
    while relay.ports_in_use:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("addresses", ["pair", "single"])
def test_relayed_voices_go_through_the_pbx_and_arrive_intact(addresses: str, tmp_path: Path, figure: Callable[[str], None]) -> None:
    with Lab(media="relayed", addresses=addresses) as lab:
        talk(lab)
        relay = lab._relay
        assert relay is not None and len(relay.ports_in_use) == 2
        inside = lab._background.run(relay.stats())
        lab.phone("BOB").hang_up()
        lab._background.run(asyncio.wait_for(freed(relay), 5))
        capture = lab.capture.open()
    voices = heard(capture, tmp_path)
    assert set(voices) == {BOB_TO_PBX, PBX_TO_ALICE, ALICE_TO_PBX, PBX_TO_BOB}, "nothing goes from phone to phone"
    for way, name in ((BOB_TO_PBX, "hello"), (PBX_TO_ALICE, "hello"), (ALICE_TO_PBX, "hello-alice"), (PBX_TO_BOB, "hello-alice")):
        voice = voices[way]
        assert correlation(voice, samples(AUDIO / f"{name}.wav")[: len(voice)]) > 0.95, way
    if addresses == "pair":
        pbx = lab.pbx.config.advertised[0]
        descriptions = [message for message in capture.messages if message.message.body.startswith(b"v=0")]
        to_phones = [message for message in descriptions if message.source[0] == pbx]
        assert len(to_phones) == 2 and all(f"c=IN IP4 {pbx}\r\n".encode() in message.message.body for message in to_phones)
    assert inside["rtp"] > 200 and not inside.get("unsent")
    figure(f"media relay in a lab ({addresses}): p50 {inside['latency_us']['p50']:.0f} µs, p99 {inside['latency_us']['p99']:.0f} µs")


def test_direct_voices_go_from_phone_to_phone(tmp_path: Path) -> None:
    with Lab() as lab:
        talk(lab)
        lab.phone("BOB").hang_up()
        voices = heard(lab.capture.open(), tmp_path)
    assert set(voices) == {("BOB", "ALICE"), ("ALICE", "BOB")}
    assert correlation(voices["BOB", "ALICE"], samples(AUDIO / "hello.wav")[: len(voices["BOB", "ALICE"])]) > 0.95


def test_hold_and_resume_through_the_relay(tmp_path: Path) -> None:
    """While Alice holds, she and Bob hear nothing of each other; afterwards both hear each other by the same relay ports as before."""
    with Lab(media="relayed") as lab:
        talk(lab)
        assert lab._relay is not None
        ports = lab._relay.ports_in_use
        alice, bob = lab.phone("ALICE"), lab.phone("BOB")
        alice.hold()
        bob.await_event(lambda: bob.current.held_by == "remote", 5)
        assert bob.current.held_by == "remote"
        alice.resume()
        bob.await_event(lambda: bob.current.held_by == "", 5)
        lab.capture.restart()
        bob.play(AUDIO / "hello.wav")
        bob.current.wait_seconds(2.0)
        assert lab._relay.ports_in_use == ports
        voices = heard(lab.capture.open(), tmp_path)
        bob.hang_up()
    assert set(voices) == {BOB_TO_PBX, PBX_TO_ALICE, ALICE_TO_PBX, PBX_TO_BOB}
    assert correlation(voices[PBX_TO_ALICE], samples(AUDIO / "hello.wav")[: len(voices[PBX_TO_ALICE])]) > 0.95


def test_a_transfer_through_the_relay(tmp_path: Path) -> None:
    """Alice transfers Bob to Paul: their voices go through the PBX too."""
    with Lab(media="relayed") as lab:
        talk(lab)
        assert lab._relay is not None
        bob, alice, paul = lab.phone("BOB"), lab.phone("ALICE"), lab.phone("PAUL")
        paul.register()
        alice.ask("transfer", call=1, uri=f"sip:102@{lab.pbx.config.advertised[0]}")
        joined = paul.answer()
        alice.await_event(lambda: not alice.calls, 10)
        lab.capture.restart()
        joined.play(AUDIO / "hello-alice.wav")
        bob.play(AUDIO / "hello.wav")
        joined.wait_seconds(2.5)
        voices = heard(lab.capture.open(), tmp_path)
        assert len(lab._relay.ports_in_use) == 2, "Alice's leg has freed its port"
        bob.hang_up()
    assert set(voices) == {BOB_TO_PBX, PBX_TO_BOB, ("PAUL", "PBX"), ("PBX", "PAUL")}
    for way, name in ((("PBX", "PAUL"), "hello"), (PBX_TO_BOB, "hello-alice")):
        assert correlation(voices[way], samples(AUDIO / f"{name}.wav")[: len(voices[way])]) > 0.95, way
