"""Phones that call each other directly: what a softphone's keys do, and one clear sentence for each mistake."""

from __future__ import annotations

import statistics
import wave
from pathlib import Path

import pytest

from labkit.errors import MediaError, PhoneError
from labkit.media.correlation import correlation
from labkit.media.wav import load_wav
from tests.phones.conftest import Pair

HELLO = "data/audio/hello.wav"
WINDOW = 4000
"""Half a second of samples."""


def likeness(heard: Path, spoken: Path) -> float:
    """The median correlation of half seconds: a phone's jitter buffer may drop some milliseconds, which shifts all that follows."""
    got, sent = load_wav(heard).samples, load_wav(spoken).samples
    return statistics.median(correlation(got, sent[start : start + WINDOW]) for start in range(0, len(sent) - WINDOW, WINDOW))


def test_a_direct_call_rings_connects_and_ends_for_both(pair: Pair) -> None:
    call = pair.bob.call_direct(pair.alice)
    ringing = pair.alice.wait_ring()
    assert (ringing.state, ringing.incoming) == ("ringing", True)
    assert '"BOB" <sip:100@' in ringing.peer
    assert call.wait("ringing").code == 180
    picked = pair.alice.answer()
    assert call.wait("connected").state == picked.state == "connected"
    assert call.call_id == picked.call_id, "one dialog, since nobody stands between"
    assert (pair.bob.status, pair.alice.status) == ("in a call", "in a call")
    call.hang_up()
    assert (call.state, picked.wait("ended").state) == ("ended", "ended")
    assert pair.bob.calls == []


def test_what_bob_plays_is_what_alice_records(pair: Pair, root: Path) -> None:
    call = pair.bob.call_direct(pair.alice)
    heard = pair.alice.answer()
    call.wait()
    heard.record(pair.folder / "heard.wav")
    pair.bob.play(HELLO).wait_played()
    path = pair.alice.stop_recording()
    assert likeness(path, root / HELLO) > 0.95
    assert call.statistics()["lost"] == 0


def test_hold_and_resume_are_seen_by_both(pair: Pair) -> None:
    call = pair.bob.call_direct(pair.alice)
    other = pair.alice.answer()
    call.wait()
    pair.bob.hold()
    pair.alice.await_event(lambda: other.held_by == "remote", 5)
    assert (call.held_by, other.held_by) == ("local", "remote")
    pair.bob.resume()
    pair.alice.await_event(lambda: other.held_by == "", 5)
    assert (call.held_by, other.held_by, call.state) == ("", "", "connected")


@pytest.mark.parametrize("method", ["rfc4733", "info"])
def test_digits_are_heard_in_their_order(pair: Pair, method: str) -> None:
    call = pair.bob.call_direct(pair.alice)
    other = pair.alice.answer()
    call.wait()
    pair.bob.send_digits("7978#", method=method)
    assert other.wait_digits(5) == "7978#"


class TestOnePlan:
    """What does not depend on the addresses is tried with one plan."""

    @pytest.fixture
    def mode(self) -> str:
        return "pair"

    @pytest.mark.parametrize(("code", "says"), [(486, "486 Busy Here. The called phone is"), (603, "603 Decline. The person declined")])
    def test_a_refusal_names_the_code_and_its_meaning(self, pair: Pair, code: int, says: str) -> None:
        call = pair.bob.call_direct(pair.alice)
        pair.alice.reject(code)
        with pytest.raises(PhoneError, match=says) as refused:
            call.wait("connected")
        assert refused.value.code == code

    def test_a_call_given_up_while_it_rings_is_487_for_both(self, pair: Pair) -> None:
        call = pair.bob.call_direct(pair.alice)
        ringing = pair.alice.wait_ring()
        pair.bob.cancel()
        ringing.wait("ended")
        assert (call.code, ringing.code) == (487, 487)

    @pytest.mark.parametrize("codec", ["PCMU", "PCMA", "GSM", "G722", "iLBC", "speex"])
    def test_each_codec_of_the_list_carries_the_voice(self, pair: Pair, root: Path, codec: str) -> None:
        pair.bob.codecs = [codec]
        pair.alice.codecs = [codec, "PCMU"] if codec != "PCMU" else ["PCMA", "PCMU"]
        call = pair.bob.call_direct(pair.alice)
        heard = pair.alice.answer()
        call.wait()
        heard.record(pair.folder / "heard.wav")
        pair.bob.play(HELLO).wait_played()
        assert str(call.statistics()["codec"]).upper().startswith(codec.upper())
        assert likeness(heard.stop_recording(), root / HELLO) > (0.95 if codec in ("PCMU", "PCMA") else 0.7)

    def test_phones_without_a_common_codec_are_told_488(self, pair: Pair) -> None:
        pair.bob.codecs = ["GSM"]
        pair.alice.codecs = ["PCMA"]
        call = pair.bob.call_direct(pair.alice)
        with pytest.raises(PhoneError, match="488 Not Acceptable Here") as refused:
            call.wait("connected")
        assert refused.value.code == 488

    def test_a_phone_whose_process_dies_says_so_and_can_be_plugged_in_again(self, pair: Pair) -> None:
        call = pair.bob.call_direct(pair.alice)
        pair.alice.answer()
        call.wait()
        pair.alice.unplug()
        assert (pair.alice.alive, pair.alice.status) == (False, "unplugged")
        with pytest.raises(PhoneError, match=r'ALICE is unplugged.*killed.*lab\.phone\("ALICE"\)\.start\(\)'):
            pair.alice.hang_up()
        with pytest.raises(PhoneError, match="ALICE is unplugged"):
            pair.alice.answer(timeout=1)
        pair.alice.start()
        again = pair.bob.call_direct(pair.alice)
        pair.alice.answer()
        again.wait()
        assert len(pair.bob.calls) == 2, "BOB still believes in the first call: nobody said goodbye"

    def test_five_calls_are_one_too_many(self, pair: Pair) -> None:
        for _ in range(4):
            pair.bob.call_direct(pair.alice)
        with pytest.raises(PhoneError, match="already has four calls"):
            pair.bob.call_direct(pair.alice)

    def test_quick_calls_wait_for_the_sockets_of_those_before(self, pair: Pair) -> None:
        for _ in range(70):  # the engine has sockets for 32 legs and keeps those of ended legs for half a second
            call = pair.bob.call_direct(pair.alice)
            pair.alice.answer()
            call.wait("connected").hang_up()
        assert pair.bob.alive and pair.alice.alive

    def test_a_call_of_a_phone_that_was_plugged_out_is_over_and_touches_no_later_call(self, pair: Pair) -> None:
        pair.bob.call_direct(pair.alice)
        old = pair.alice.answer()
        pair.alice.unplug()
        assert old.state == "ended"
        pair.alice.start()
        new = pair.bob.call_direct(pair.alice).wait("ringing")
        pair.alice.answer()
        old.hang_up()
        assert new.wait("connected").state == "connected"

    def test_hanging_up_races_with_nobody(self, pair: Pair) -> None:
        for _ in range(15):
            call = pair.bob.call_direct(pair.alice)
            other = pair.alice.answer()
            call.wait("connected")
            call.hang_up()
            other.hang_up()
            call = pair.bob.call_direct(pair.alice)
            pair.alice.reject()
            call.hang_up()
            pair.bob.call_direct(pair.alice)
            ring = pair.alice.wait_ring()
            pair.bob.cancel()
            ring.wait("ended")
            ring.hang_up()

    def test_both_may_hold_and_each_resumes_for_itself(self, pair: Pair) -> None:
        call = pair.bob.call_direct(pair.alice)
        other = pair.alice.answer()
        call.wait("connected").hold()
        other.hold()
        assert call.resume().held_by != "local"
        assert other.resume().held_by != "local"
        assert call.state == other.state == "connected"

    def test_a_recording_or_a_sound_that_fails_leaves_the_phone_alive(self, pair: Pair, tmp_path: Path) -> None:
        call = pair.bob.call_direct(pair.alice)
        pair.alice.answer()
        call.wait("connected")
        for wrong in (str(tmp_path), "/proc/x.wav", tmp_path / "music.mp3", None, "", "a\0.wav"):
            with pytest.raises(PhoneError):
                call.record(wrong)  # type: ignore[arg-type]
        with wave.open(str(tmp_path / "short.wav"), "wb") as short:
            short.setparams((1, 2, 8000, 1, "NONE", ""))
            short.writeframes(b"\1\1")
        call.play(tmp_path / "short.wav").wait_played()
        for wrong in (None, "", 5):
            with pytest.raises(MediaError):
                call.play(wrong)  # type: ignore[arg-type]
        call.record(tmp_path / "good.wav").hold()
        assert call.resume().wait_seconds(0.2).stop_recording().stat().st_size > 44

    def test_the_right_key_at_the_wrong_moment_says_so(self, pair: Pair) -> None:
        call = pair.bob.call_direct(pair.alice).wait("ringing")
        for act in (call.hold, lambda: call.send_digits("1"), call.answer, call.reject):
            with pytest.raises(PhoneError, match='"ringing"'):
                act()
        pair.alice.answer()
        call.wait("connected")
        with pytest.raises(PhoneError, match="neither answered nor refused"):
            call.reject()
        with pytest.raises(PhoneError, match="40 digits at once are too many"):
            call.send_digits("1" * 40)
        for wrong in (None, True, "é", "1 2"):
            with pytest.raises(PhoneError, match="not a number that can be dialled"):
                pair.bob.call(wrong)  # type: ignore[arg-type]
        for wrong in (5, "a b", ("x", 5060, 1), "host:99999", ("pbx é", 5060)):
            with pytest.raises(PhoneError, match="not the address of a PBX"):
                pair.bob.register(server=wrong)  # type: ignore[arg-type]
        for wrong in ("x", None, -1):
            with pytest.raises(PhoneError, match="not a number of seconds"):
                call.wait_seconds(wrong)  # type: ignore[arg-type]
        with pytest.raises(PhoneError, match="is not a phone"):
            pair.bob.call_direct("ALICE")  # type: ignore[arg-type]
        assert call.state == "connected"

    def test_mistakes_get_one_sentence_each_and_change_nothing(self, pair: Pair, tmp_path: Path) -> None:
        bob, alice = pair.bob, pair.alice
        with pytest.raises(PhoneError, match="Nothing rings at ALICE"):
            alice.answer(timeout=0.2)
        with pytest.raises(PhoneError, match="BOB is not in a call"):
            bob.hang_up()
        with pytest.raises(PhoneError, match="BOB cannot call itself"):
            bob.call_direct(bob)
        with pytest.raises(PhoneError, match="'one zero one' is not a number that can be dialled"):
            bob.call("one zero one")
        with pytest.raises(PhoneError, match="no codec MP3. Choose one or more of: PCMU, PCMA"):
            bob.codecs = ["MP3"]
        call = bob.call_direct(alice)
        with pytest.raises(PhoneError, match="no voice in this call of BOB yet"):
            bob.play(HELLO)
        with pytest.raises(PhoneError, match='was not "connected" within 0.1 s'):
            call.wait("connected", timeout=0.1)
        with pytest.raises(PhoneError, match='never "happy"'):
            call.wait("happy")
        alice.answer()
        call.wait()
        with pytest.raises(MediaError, match="There is no sound file nothing.wav"):
            bob.play("nothing.wav")
        fake = tmp_path / "song.wav"
        fake.write_bytes(b"ID3 this is an MP3 under another name")
        with pytest.raises(MediaError, match="song.wav"):
            bob.play(fake)
        with pytest.raises(PhoneError, match="a keypad has the digits"):
            bob.send_digits("12x")
        with pytest.raises(PhoneError, match="The folder .* does not exist"):
            bob.record(tmp_path / "no" / "where.wav")
        with pytest.raises(PhoneError, match="ALICE is not recording"):
            alice.stop_recording()
        assert call.state == "connected"
        bob.hang_up()
        with pytest.raises(PhoneError, match="This call of BOB is over"):
            call.hold()
        call.hang_up()

    def test_phones_show_themselves_without_trusting_what_they_show(self, pair: Pair) -> None:
        call = pair.bob.call_direct(pair.alice)
        assert repr(pair.bob) == f"<Phone BOB 100 at {pair.bob.address[0]}:{pair.bob.address[1]}, ringing>"
        assert "<b>BOB</b> 100" in pair.bob._repr_html_()
        html = call._repr_html_()
        assert "Call of BOB to sip:101@" in html
        assert "<sip" not in html
