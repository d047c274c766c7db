"""The parts of the lab played without a notebook: a line for each step, and files to look at.

Each part leaves ``capture.pcapng``, ``ladder.svg``, ``ladder.txt``, ``rtp.csv``, ``summary.json`` and a WAV for each voice that was
captured; part 2 also ``trace.txt``, its transfer and its forwarding beside the traces of the lab sheet.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import MediaError, PhoneError
from labkit.texts import text

if TYPE_CHECKING:
    from labkit.capture.capture import Capture
    from labkit.lab import Lab
    from labkit.phones.call import Call
    from labkit.phones.phone import Phone

TALK_S = 4.5
"""Longer than each of the greetings."""
RING_S = 3.5
"""How long PAUL lets it ring: with what he says then, four repeats of an unanswered INVITE leave before he hangs up."""
NO_ANSWER_S = 10.0
"""The lab sheet's "if the call is not answered within 10 seconds"."""
GREETINGS = {"BOB": "data/audio/hello.wav", "ALICE": "data/audio/hello-alice.wav", "PAUL": "data/audio/bonjour.wav"}
TRACES = {2: ("blind-transfer", "no-answer")}
"""The traces of the lab sheet that a part is compared with."""


def play(part: int, out: Path, *, codec: str = "PCMU", **options: Any) -> None:
    """Play ``part`` and write its files to ``out``; ``options`` are those of :class:`labkit.lab.Lab`."""
    from labkit.lab import Lab
    from labkit.phones.process import CODECS

    if codec.lower() not in {name.lower() for name in CODECS}:
        raise PhoneError("phone.no_such_codec", codec=codec, codecs=", ".join(CODECS))
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
    traces = [str(capture.compare(name)) for name in TRACES.get(part, ())]
    if traces:
        (out / "trace.txt").write_text("\n\n\n".join(traces) + "\n", "utf-8")
        steps.done("cli.step_trace", path=out / "trace.txt")
    voices = save_voices(capture, out)
    for path in voices:
        steps.done("cli.step_voice", path=path)
    _write_summary(capture, out, steps, voices)
    _say(f"\n{drawn}")


def _part_1(lab: Lab, codec: str, steps: _Steps) -> None:
    """Registration and a call: BOB calls ALICE through the PBX, both speak, BOB hangs up."""
    bob, alice = _registered(lab, codec, steps, "BOB", "ALICE")
    call, answered = _connected(bob, alice, steps)
    _talk(call, steps, bob, alice)
    call.hang_up()
    answered.wait("ended")
    steps.done("cli.step_up", caller=bob.name)


def _part_2(lab: Lab, codec: str, steps: _Steps) -> None:
    """Transfer and redirection: a blind transfer, forwarding on no answer, an attended transfer, and one that fails."""
    bob, alice, paul = _registered(lab, codec, steps, "BOB", "ALICE", "PAUL")
    _blind_transfer(lab, steps, bob, alice, paul)
    _no_answer(lab, steps, bob, alice, paul)
    _attended_transfer(steps, bob, alice, paul)
    _failed_transfer(steps, bob, alice, paul)


def _blind_transfer(lab: Lab, steps: _Steps, bob: Phone, alice: Phone, paul: Phone) -> None:
    """As in the lab sheet's trace, where PAUL had a phone that was there and one that had gone."""
    stale = lab.add_stale_binding(paul.number)
    steps.done("cli.step_stale", name=paul.name, contact=stale)
    call, leaving = _connected(bob, alice, steps)
    _talk(call, steps, bob, alice)
    leaving.transfer(paul.number)
    answered = paul.wait_ring().wait_seconds(RING_S).answer()
    leaving.wait_transferred()
    _await_resumed(bob, call)
    steps.done("cli.step_transferred", name=alice.name, caller=bob.name, target=paul.name)
    _talk(answered, steps, bob, paul)
    answered.hang_up()
    call.wait("ended")
    steps.done("cli.step_up", caller=paul.name)
    lab.remove_binding(paul.number, stale)


def _no_answer(lab: Lab, steps: _Steps, bob: Phone, alice: Phone, paul: Phone) -> None:
    from labkit.pbx.rules import ExtensionRules, ForwardTo, StatusRules

    to_paul = StatusRules(no_answer=ForwardTo("extension", paul.number), no_answer_after_s=NO_ANSWER_S)
    lab.pbx.set_rules(ExtensionRules(alice.number, available=to_paul))
    steps.done("cli.step_rule", name=alice.name, target=paul.name, seconds=NO_ANSWER_S)
    call = bob.call(alice.number)
    alice.wait_ring()
    answered = paul.answer(timeout=NO_ANSWER_S + 5)
    call.wait("connected")
    lines = lab.capture.open().compare("no-answer").lines
    cancel = next(line.record for line in lines if line.record and line.step.what == "CANCEL")
    invite = next(line.record for line in lines if line.record)
    steps.done("cli.step_forwarded", name=alice.name, target=paul.name, seconds=cancel.time - invite.time)
    _talk(call, steps, bob, paul, 2.0)
    call.hang_up()
    answered.wait("ended")
    steps.done("cli.step_up", caller=bob.name)


def _attended_transfer(steps: _Steps, bob: Phone, alice: Phone, paul: Phone) -> None:
    call, leaving = _connected(bob, alice, steps)
    leaving.hold()
    question = alice.call(paul.number)
    answered = paul.answer()
    question.wait("connected").wait_seconds(1)
    leaving.transfer_attended(question).wait_transferred()
    _await_resumed(bob, call)
    steps.done("cli.step_attended", name=alice.name, caller=bob.name, target=paul.name)
    _talk(call, steps, bob, paul, 2.0)
    call.hang_up()
    answered.wait("ended")
    steps.done("cli.step_up", caller=bob.name)


def _failed_transfer(steps: _Steps, bob: Phone, alice: Phone, paul: Phone) -> None:
    call, kept = _connected(bob, alice, steps)
    kept.transfer(paul.number)
    paul.reject(486)
    try:
        kept.wait_transferred()
    except PhoneError as error:
        kept.resume()
        steps.done("cli.step_back", name=alice.name, target=paul.name, code=error.code)
    _await_resumed(bob, call)
    _talk(call, steps, bob, alice, 2.0)
    call.hang_up()
    kept.wait("ended")
    steps.done("cli.step_up", caller=bob.name)


_PARTS = {1: _part_1, 2: _part_2}


def _registered(lab: Lab, codec: str, steps: _Steps, *names: str) -> list[Phone]:
    phones = [lab.phone(name) for name in names]
    for phone in phones:
        phone.codecs = (codec,)
        phone.register()
        steps.done("cli.step_registered", name=phone.name, number=phone.number)
    return phones


def _connected(caller: Phone, callee: Phone, steps: _Steps) -> tuple[Call, Call]:
    """The two ends of a call that is answered."""
    call = caller.call(callee.number)
    answered = callee.answer()
    call.wait("connected")
    steps.done("cli.step_connected", caller=caller.name, callee=callee.name)
    return call, answered


def _talk(call: Call, steps: _Steps, one: Phone, other: Phone, seconds: float = TALK_S) -> None:
    for phone in (one, other):
        phone.play(GREETINGS[phone.name])
    call.wait_seconds(seconds)
    steps.done("cli.step_talked", seconds=seconds)


def _await_resumed(phone: Phone, call: Call) -> None:
    """Wait until nobody holds the call any more."""
    phone.await_event(lambda: not call.held_by or call.state == "ended", 5)


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
        _say(f"[{seconds:6.3f} s] {text(message_id, language=None, **values)}")


def _say(line: str) -> None:
    """Print a line.  When nobody reads any more, the files are made all the same."""
    from labkit.cli import without_reader

    try:
        print(line, flush=True)
    except OSError as error:
        without_reader(error)


def save_voices(capture: Capture, folder: Path, *, buffer_ms: float | None = None, conceal: bool = False) -> list[Path]:
    """Decode each RTP stream into ``folder``; the names say who spoke to whom.  One that cannot be decoded is named and left out.

    ``buffer_ms`` and ``conceal`` as in :meth:`RtpStream.decoded`; pictures become a film.
    """
    from labkit.media.wav import save_wav

    paths = []
    for index, stream in enumerate(capture.streams):
        speaker, listener = capture.host_of(*stream.source), capture.host_of(*stream.destination)
        path = folder / f"voice-{index}-{_file_name(speaker)}-to-{_file_name(listener)}.wav"
        try:
            if stream.film_suffix:
                path = stream.video(path.with_name(path.name.replace("voice", "film", 1)).with_suffix(stream.film_suffix))
            else:
                sound = stream.decoded(buffer_ms=buffer_ms, conceal=conceal)
                save_wav(path, sound.samples, sound.rate_hz)
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
