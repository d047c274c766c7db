"""What goes wrong in a lab gets one clear sentence, nothing is lost, and the lab stays usable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit import CaptureError, Lab, LabkitError, PhoneError, WireError
from tests.kernel import kernel
from tests.lab.test_lifetime import CALL, OPEN


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as opened:
        opened.phone("BOB").register()
        opened.phone("ALICE").register()
        yield opened


def usable(lab: Lab) -> bool:
    """Does a call go through?"""
    call = lab.phone("BOB").call("101")
    lab.phone("ALICE").answer()
    call.wait("connected")
    call.hang_up()
    return True


def test_a_wrong_password_is_403_with_its_meaning_and_the_right_one_works_afterwards(lab: Lab) -> None:
    paul = lab.phone("PAUL")
    with pytest.raises(PhoneError, match="PAUL could not register at .*: 403 Forbidden. .*wrong password") as refused:
        paul.register(password="0000")
    assert refused.value.code == 403
    assert not paul.registered
    right = next(extension for extension in lab.extensions if extension.number == "102").auth_password
    assert paul.register(password=right).registered
    assert usable(lab)


def test_an_unknown_number_is_404(lab: Lab) -> None:
    with pytest.raises(PhoneError, match="404 Not Found. Nobody has this number") as refused:
        lab.phone("BOB").call("199").wait("connected")
    assert refused.value.code == 404
    assert usable(lab)


def test_a_phone_that_is_not_registered_is_480(lab: Lab) -> None:
    lab.phone("PAUL").unregister()
    with pytest.raises(PhoneError, match="480 Temporarily Unavailable") as refused:
        lab.phone("BOB").call("102").wait("connected")
    assert refused.value.code == 480


@pytest.mark.parametrize(("code", "phrase"), [(486, "Busy Here"), (603, "Decline")])
def test_a_refusal_reaches_the_caller_through_the_pbx(lab: Lab, code: int, phrase: str) -> None:
    call = lab.phone("BOB").call("101")
    lab.phone("ALICE").reject(code)
    with pytest.raises(PhoneError, match=f"{code} {phrase}"):
        call.wait("connected")


def test_phones_without_a_common_codec_are_told_488_through_the_pbx(lab: Lab) -> None:
    bob, alice = lab.phone("BOB"), lab.phone("ALICE")
    bob.codecs, alice.codecs = ["GSM"], ["PCMA"]
    with pytest.raises(PhoneError, match="488 Not Acceptable Here"):
        bob.call("101").wait("connected")
    bob.codecs = alice.codecs = ["PCMU", "PCMA", "GSM"]
    assert usable(lab)


def test_registering_twice_refreshes(lab: Lab) -> None:
    bob = lab.phone("BOB")
    assert bob.register().register().registered
    assert usable(lab)


def test_an_unplugged_phone_is_named_and_comes_back(lab: Lab) -> None:
    alice = lab.phone("ALICE")
    alice.unplug()
    with pytest.raises(PhoneError, match="ALICE is unplugged"):
        alice.register()
    alice.start().register()
    assert usable(lab)


def test_a_name_that_nobody_has_lists_those_that_exist(lab: Lab) -> None:
    with pytest.raises(LabkitError, match="no phone 'EVE' in this lab. Its phones are: BOB 100, ALICE 101, PAUL 102"):
        lab.phone("EVE")
    with pytest.raises(LabkitError, match="no host 'EVE' in this lab. Its hosts are: PBX, BOB, ALICE, PAUL"):
        lab.wire.set("EVE", loss=0.1)
    with pytest.raises(LabkitError, match="does not know all of: lost. It knows: delay_ms, jitter_ms, loss"):
        lab.wire.set("BOB", lost=0.1)
    with pytest.raises(LabkitError, match="loss is a share between 0 and 1"):
        lab.wire.set("BOB", loss=10)
    with pytest.raises(LabkitError, match='"in", "out" or "both", not \'up\''):
        lab.wire.set("BOB", "up", loss=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: /dev/full is the disk that is always full")
def test_a_full_disk_refuses_the_copy_and_the_capture_stays(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="could not be saved to /dev/full .No space left on device.*Nothing is lost"):
        lab.capture.save("/dev/full")
    assert lab.capture.save(tmp_path / "elsewhere.pcapng").stat().st_size > 1000
    with pytest.raises(CaptureError, match="could not be saved to .*nowhere"):
        lab.capture.save(tmp_path / "nowhere" / "x.pcapng")


def test_a_mistake_in_a_notebook_shows_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    with kernel(tmp_path) as running:
        running.run(OPEN)
        for code, says in (
            ("bob.register(password='1')", "PhoneError: BOB could not register"),
            ("alice.answer(timeout=0.2)", "PhoneError: Nothing rings at ALICE"),
            ("bob.play('nothing.wav')", "PhoneError: BOB is not in a call"),
            ("lab.phone('EVE')", "LabError: There is no phone 'EVE'"),
        ):
            shown = running.run(code)
            assert shown.startswith(says), shown
            assert "Traceback" not in shown
            assert len(shown.splitlines()) == 1
        assert "Rien ne sonne chez ALICE" in running.run("import labkit; labkit.language('fr'); alice.answer(timeout=0.2)")


def test_a_cut_wire_is_said_and_the_capture_so_far_opens(tmp_path: Path) -> None:
    with kernel(tmp_path) as running:
        assert running.run(CALL) == "connected\n"
        running.run("call.wait_seconds(0.5); lab.wire.cut()")
        assert "WireError: The wire process has ended (killed)" in running.run("bob.register()")
        assert "WireError: The wire process has ended (killed)" in running.run("bob.call('101')")
        assert running.run("print(len(lab.capture.open().streams))") == "2\n"
        assert running.run(CALL) == "connected\n", "a new lab works at once"


def test_a_cut_wire_leaves_a_capture_that_can_be_saved(tmp_path: Path) -> None:
    with Lab() as lab:
        lab.phone("BOB").register()
        before = len(lab.capture.open())  # brings to disk what a kill would lose: the last tenth of a second
        lab.wire.cut()
        with pytest.raises(WireError, match="no packet passes any more"):
            lab.phone("BOB").register()
        assert len(lab.capture.open()) >= before > 3
        assert lab.capture.save(tmp_path / "rescued.pcapng").stat().st_size > 1000
        assert (tmp_path / "evidence" / "config.json") in lab.save_evidence(tmp_path / "evidence")


@pytest.mark.parametrize(
    ("extensions", "says"),
    [
        (
            [{"number": "100", "first_name": "BOB"}, {"number": "101", "first_name": "bob"}],
            "The name 'bob' is taken|The name 'BOB' is taken",
        ),
        ([{"number": "100", "first_name": "PBX"}], "The name 'PBX' is taken"),
        ([{"number": "100", "first_name": "A/B"}], "'A/B' cannot be the name of a phone"),
        ([{"number": "100", "first_name": 'X"<script>'}], "cannot be the name of a phone"),
        ([{"number": "100", "first_name": "bob\n"}], "first_name of the PBX cannot be"),
        ([{}], "does not describe an extension"),
        (["BOB"], "'BOB' does not describe an extension"),
        ("BOB", "'BOB' does not describe an extension"),
        ([{"number": "100", "first_name": "BOB", "age": 3}], "does not describe an extension"),
    ],
)
def test_extensions_that_cannot_be_are_named_before_anything_starts(extensions: Any, says: str) -> None:
    with pytest.raises(LabkitError, match=says):
        Lab(extensions=extensions)


def test_a_number_may_be_a_number_and_a_name_in_any_language() -> None:
    with Lab(extensions=[{"number": 103, "first_name": "Zoé"}]) as lab:
        assert lab.phone(103).register().registered
