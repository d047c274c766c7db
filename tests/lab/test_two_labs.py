"""A phone of one lab at the PBX of another, each in a kernel of its own; both wires record it."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from labkit import Capture, Lab, WireError
from labkit.media.correlation import correlation
from tests.kernel import kernel
from tests.lab.test_media import AUDIO, samples

OPEN = """
from labkit import Lab
lab = Lab(student={student!r}, addresses="pair", profile="rfc")
print(lab.pbx.config.advertised)
"""


def voice(capture: Capture, source: str, destination: str, folder: Path) -> np.ndarray:
    """The longest voice from one address to another."""
    found = [np.zeros(1)]
    for number, stream in enumerate(capture.streams):
        if (stream.source[0], stream.destination[0]) == (source, destination):
            capture.rtp_stream(number).wav(folder / f"{number}.wav")
            found.append(samples(folder / f"{number}.wav"))
    return max(found, key=len)


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems that join labs (SO_REUSEPORT)")
def test_a_program_that_only_looks_like_a_lab_is_not_heard() -> None:
    """It has a face's address, but its socket is not shared with us, as the socket of another user could never be."""
    with Lab(addresses="pair") as lab, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.249.254.5", 0))
        stranger.sendto(b"OPTIONS sip:x SIP/2.0\r\n\r\n", lab.pbx.config.advertised)
        lab.phone("BOB").register()  # comes after it on the same socket
        assert "127.249.254.5" not in {record.source[0] for record in lab.capture.open().messages}
        assert lab.wire.stats()["unopened"] == 1
    with (
        pytest.raises(WireError, match="cannot be reached"),
        Lab(addresses="pair") as lab,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        other.bind(("127.249.254.5", 5060))
        lab.phone("BOB").register(server=("127.249.254.5", 5060))


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems that join labs (SO_REUSEPORT)")
def test_bob_registers_and_calls_at_another_students_pbx(tmp_path: Path) -> None:
    with kernel(tmp_path) as mine, kernel(tmp_path) as theirs:
        mine.run(OPEN.format(student="first"))
        theirs.run(OPEN.format(student="second"))
        theirs.run("alice = lab.phone('ALICE'); alice.register()")
        pbx, password, alice = json.loads(
            theirs.run(
                "import json; print(json.dumps([lab.pbx.config.advertised, lab.extensions[2].auth_password, lab.phone('ALICE').address]))"
            )
        )
        bob = json.loads(mine.run("import json; bob = lab.phone('BOB'); print(json.dumps(bob.address))"))
        said = mine.run(
            f"bob.register(server=({pbx[0]!r}, {pbx[1]}), number='102', password={password!r}); print(bob.registered, bob.number)"
        )
        assert said.split() == ["True", "102"], said
        assert f"{bob[0]}:{bob[1]}" in theirs.run("print(lab.pbx.status()[2].contacts)")
        mine.run("call = bob.call('101')")
        theirs.run("answered = alice.answer()")
        audio = str(AUDIO / "hello.wav"), str(AUDIO / "hello-alice.wav")
        assert "connected" in mine.run(f"call.wait('connected'); bob.play({audio[0]!r}); print(call.state)")
        theirs.run(f"alice.play({audio[1]!r}); answered.wait_seconds(2.5)")
        mine.run("bob.hang_up()")
        theirs.run("answered.wait('ended'); lab.capture.save('theirs.pcapng')")
        # The other way round: the other PBX calls our phone.
        theirs.run("call = alice.call('102')")
        assert "ringing" in mine.run("print(bob.wait_ring().state)")
        theirs.run("call.cancel()")
        mine.run("lab.capture.save('mine.pcapng')")
        mine.run("lab.close()")
        theirs.run("lab.close()")
    for name in ("mine.pcapng", "theirs.pcapng"):
        capture = Capture.open(tmp_path / name)
        spoken = [
            str(record.status or record.method)
            for record in capture.messages
            if {record.source[0], record.destination[0]} == {bob[0], pbx[0]}
        ]
        steps = iter(spoken)
        wanted = ["REGISTER", "401", "REGISTER", "200", "INVITE", "401", "ACK", "INVITE", "100", "180", "200", "ACK", "BYE", "200"]
        assert all(step in steps for step in wanted), (name, spoken)
        for way, path in (((bob[0], alice[0]), audio[0]), ((alice[0], bob[0]), audio[1])):
            heard = voice(capture, *way, tmp_path)
            assert len(heard) > 8000 and correlation(heard, samples(Path(path))[: len(heard)]) > 0.95, (name, way)
