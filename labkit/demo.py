"""The parts of the lab played without a notebook: a line for each step, and files to look at.

Part 1 leaves ``capture.pcapng``, ``ladder.svg``, ``ladder.txt``, ``rtp.csv``, ``summary.json`` and a WAV for each voice that was captured.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import MediaError
from labkit.texts import text

if TYPE_CHECKING:
    from labkit.capture.capture import Capture
    from labkit.lab import Lab

TALK_S = 4.5
"""Longer than each of the two greetings."""


def play(part: int, out: Path, *, codec: str = "PCMU", **options: Any) -> None:
    """Play ``part`` and write its files to ``out``; ``options`` are those of :class:`labkit.lab.Lab`."""
    from labkit.lab import Lab

    out.mkdir(parents=True, exist_ok=True)
    steps = _Steps()
    with Lab(**options) as lab:
        host, port = lab.pbx.config.advertised
        steps.done("cli.step_lab", address=f"{host}:{port}")
        _PARTS[part](lab, codec, steps)
        lab.save_evidence(out)
        capture = lab.capture.open()
        steps.done("cli.step_saved", path=out / "capture.pcapng")
    drawn = capture.ladder()
    drawn.save(out / "ladder.svg")
    drawn.save(out / "ladder.txt")
    capture.rtp_streams.to_csv(out / "rtp.csv", index=False)
    voices = save_voices(capture, out)
    for path in voices:
        steps.done("cli.step_voice", path=path)
    _write_summary(capture, out, steps, voices)
    print(f"\n{drawn}")


def _part_1(lab: Lab, codec: str, steps: _Steps) -> None:
    """Registration and a call: BOB calls ALICE through the PBX, both speak, BOB hangs up."""
    bob, alice = lab.phone("BOB"), lab.phone("ALICE")
    for phone in (bob, alice):
        phone.codecs = (codec,)
        phone.register()
        steps.done("cli.step_registered", name=phone.name, number=phone.number)
    call = bob.call(alice.number)
    answered = alice.answer()
    call.wait("connected")
    steps.done("cli.step_connected", caller=bob.name, callee=alice.name)
    bob.play("data/audio/hello.wav")
    alice.play("data/audio/hello-alice.wav")
    call.wait_seconds(TALK_S)
    steps.done("cli.step_talked", seconds=TALK_S)
    call.hang_up()
    answered.wait("ended")
    steps.done("cli.step_up", caller=bob.name)


_PARTS = {1: _part_1}


class _Steps:
    """Says what has been done and how long it took."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def done(self, message_id: str, **values: object) -> None:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        name = message_id.rpartition("_")[2]
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 4)
        print(f"[{seconds:6.3f} s] {text(message_id, language=None, **values)}", flush=True)


def save_voices(capture: Capture, folder: Path) -> list[Path]:
    """Decode each RTP stream into ``folder``; the names say who spoke to whom.  One that cannot be decoded is named and left out."""
    paths = []
    for index, stream in enumerate(capture.streams):
        speaker, listener = capture.host_of(*stream.source), capture.host_of(*stream.destination)
        path = folder / f"voice-{index}-{_file_name(speaker)}-to-{_file_name(listener)}.wav"
        try:
            stream.wav(path)
        except MediaError as error:
            print(f"labkit: {error}", file=sys.stderr)
        else:
            paths.append(path)
    return paths


def _file_name(host: str) -> str:
    """The name of a host in letters that any file system takes."""
    return "".join(sign if sign.isalnum() or sign in ".-" else "_" for sign in host)


def _write_summary(capture: Capture, out: Path, steps: _Steps, voices: list[Path]) -> None:
    from labkit.cli import records

    summary = {
        "packets": len(capture.packets),
        "sip_messages": len(capture.sip),
        "seconds": steps.seconds,
        "calls": records(capture.calls),
        "rtp_streams": records(capture.rtp_streams),
        "voices": [path.name for path in voices],
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", "utf-8")
