"""Labs come and go: nothing is left over, whatever ends them."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from labkit import Lab
from tests.kernel import kernel
from tests.processes import children_of, only_on_linux, wait_gone

OPEN = "from labkit import Lab\nlab = Lab()\nbob, alice = lab.phone('BOB'), lab.phone('ALICE')\nbob.register(); alice.register()\n"
CALL = OPEN + "call = bob.call('101'); alice.answer(); call.wait('connected')\nprint('connected')\n"
MINE = f"tests {os.getpid()}"
"""Addresses that no other lab of this machine asks for."""


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def labkit_children(pid: int) -> list[int]:
    return [child for child, command in children_of(pid).items() if "labkit" in command]


@only_on_linux
def test_twenty_labs_one_after_the_other_leave_no_process_and_no_descriptor() -> None:
    with Lab() as lab:
        assert repr(lab).startswith("<Lab: PBX at 127.")
    gc.collect()
    before = descriptors()
    places = set()
    for _ in range(20):
        with Lab(student=MINE) as lab:
            children = labkit_children(os.getpid())
            assert len(children) == 4
            places.add(lab.pbx.config.advertised)
        assert wait_gone(children) == []
    gc.collect()
    assert descriptors() == before
    assert len(places) == 1, "a closed lab frees its addresses, so the next one has the same"


def test_thirty_calls_one_after_the_other() -> None:
    with Lab() as lab:
        bob, alice = lab.phone("BOB"), lab.phone("ALICE")
        bob.register()
        alice.register()
        for number in range(30):
            caller, callee = (bob, alice) if number % 2 else (alice, bob)
            call = caller.call(callee.number)
            answered = callee.answer()
            call.wait("connected")
            (call if number % 3 else answered).hang_up()
            call.wait("ended")
            answered.wait("ended")
        assert bob.calls == alice.calls == []
        messages = lab.capture.open().messages
        assert [record.status for record in messages if record.method == "INVITE"].count(200) == 60, "two legs a call"
        assert not any(record.retransmission for record in messages)


@only_on_linux
def test_a_new_lab_closes_the_one_that_a_cell_left_open() -> None:
    first = Lab(student=MINE)
    children = labkit_children(os.getpid())
    with Lab(student=MINE) as second:
        assert wait_gone(children) == []
        assert first.closed
        assert second.pbx.config.advertised == first.pbx.config.advertised
        first.close()
        assert not second.closed


@only_on_linux
def test_a_cell_that_is_interrupted_or_run_again_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    with kernel(tmp_path) as running:
        assert running.run(CALL) == "connected\n"
        first = labkit_children(running.pid)
        assert running.run(CALL) == "connected\n"
        assert wait_gone(first) == []
        cell = running.send(OPEN + "print('waiting', flush=True)\nalice.answer(timeout=60)\n")
        running.wait_output("waiting")
        running.interrupt()
        assert "KeyboardInterrupt" in running.finish(cell)
        assert len(labkit_children(running.pid)) == 4, "the interrupt reached the cell only"
        assert running.run(CALL) == "connected\n"
        last = labkit_children(running.pid)
        running.run("lab.close()")
        assert wait_gone(last) == []


@only_on_linux
@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.08, 0.1, 0.12])
def test_a_lab_interrupted_while_it_starts_takes_down_what_it_had_begun(tmp_path: Path, moment: float) -> None:
    interrupted = (
        "import os, signal, threading\nfrom labkit import Lab\n"
        f"timer = threading.Timer({moment}, os.kill, (os.getpid(), signal.SIGINT))\n"
        "try:\n    timer.start()\n    lab = Lab()\n    threading.Event().wait(1)\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    )
    with kernel(tmp_path) as running:
        assert "interrupted" in running.run(interrupted)
        assert running.run(CALL) == "connected\n"
        assert len(labkit_children(running.pid)) == 4


@only_on_linux
def test_two_kernels_have_two_labs_and_one_that_is_killed_in_mid_call_leaves_only_its_capture(tmp_path: Path) -> None:
    where = "print(lab.pbx.config.advertised[0], lab.capture.path)"
    with kernel(tmp_path) as first, kernel(tmp_path) as second:
        assert first.run(CALL) == second.run(CALL) == "connected\n"
        (one, capture), (other, _) = first.run(where).split(), second.run(where).split()
        assert one != other
        children = labkit_children(first.pid)
        assert len(children) == 4
        first.run("call.wait_seconds(0.5)")
        os.kill(first.pid, 9)
        assert wait_gone(children, 5) == []
        assert second.run("call.wait_seconds(0.2); print(call.state, bob.hang_up())") == "connected None\n"
    from labkit import Capture

    left = Capture.open(capture)
    assert left.calls["State"].tolist() == ["IN CALL"]
    assert len(left.streams) == 2


@only_on_linux
@pytest.mark.parametrize("moment", [0.0, 0.002, 0.005, 0.02, 0.05])
@pytest.mark.parametrize("act", ["lab.close()", "lab = Lab()"])
def test_an_interrupt_while_a_lab_is_taken_down_waits_until_it_is_down(tmp_path: Path, moment: float, act: str) -> None:
    interrupted = (
        "import os, signal, threading\n"
        f"timer = threading.Timer({moment}, os.kill, (os.getpid(), signal.SIGINT))\n"
        f"try:\n    timer.start()\n    {act}\n    threading.Event().wait(1)\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    )
    with kernel(tmp_path) as running:
        assert running.run(CALL) == "connected\n"
        first = labkit_children(running.pid)
        assert running.run(interrupted) == "interrupted\n"
        running.run("lab.close()")
        assert wait_gone(first) == []
        assert running.run(CALL) == "connected\n"
        assert len(labkit_children(running.pid)) == 4


def test_a_closed_lab_keeps_its_capture_and_says_that_it_is_closed(tmp_path: Path) -> None:
    from labkit import LabkitError

    with Lab() as lab:
        lab.phone("BOB").register()
    assert {record.status for record in lab.capture.open().messages} >= {None, 407, 200}
    assert lab.capture.save(tmp_path / "after.pcapng").stat().st_size > 1000
    with pytest.raises(LabkitError, match="This lab is closed"):
        lab.phone("BOB").register()
    for act in (lab.wire.clear, lab.wire.stats, lab.wire.cut, lambda: lab.wire.set("BOB", loss=0.1), lab.capture.restart):
        with pytest.raises(LabkitError, match="This lab is closed"):
            act()
    assert repr(lab) == "<Lab, closed>"
