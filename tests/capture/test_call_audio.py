"""A call in stereo: who says what, when; what was lost is silent or concealed; the waveform's strokes are the packets."""

from __future__ import annotations

import json
import re
import wave
from pathlib import Path

import numpy as np
import pytest

from labkit.capture.capture import Capture
from labkit.capture.write import udp
from labkit.errors import CaptureError, MediaError
from labkit.media import g711
from labkit.media.correlation import correlation
from labkit.media.rtp import TelephoneEvent
from labkit.media.wav import load_wav
from labkit.texts import language
from tests.capture.made import ALICE, BOB, NAMES, leg, pcapng, rtp

Packets = list[tuple[float, bytes]]
HERE, THERE = (BOB, 4000), (ALICE, 4002)


def voice(
    samples: np.ndarray, start: float, ends: tuple[tuple[str, int], tuple[str, int]], ssrc: int, lost: tuple[int, ...] = ()
) -> Packets:
    data = g711.encode_mu_law(samples)
    return [
        (start + 0.02 * n, udp(*ends, rtp(data[160 * n : 160 * n + 160], sequence=n, timestamp=160 * n, ssrc=ssrc)))
        for n in range(len(data) // 160)
        if n not in lost
    ]


def speech(root: Path, name: str) -> np.ndarray:
    return load_wav(root / "data" / "audio" / f"{name}.wav").at(8000).samples[:16000]


def the_call(root: Path, names: tuple[tuple[str, str], ...] = NAMES) -> bytes:
    signalling = leg("c1", (BOB, 5060), (ALICE, 5060), (HERE, THERE), 0.0)
    said = voice(speech(root, "hello"), 1.1, (HERE, THERE), 1)
    heard = voice(speech(root, "hello-alice"), 1.6, (THERE, HERE), 2)
    key = TelephoneEvent(5, True, 10, 800).build()
    keys = [(3.5, udp(HERE, THERE, rtp(key, sequence=100, timestamp=20000, kind=101, ssrc=1)))]
    return pcapng(sorted([*signalling, *said, *heard, *keys]), hosts=names)


def test_left_is_the_caller_and_right_the_called(root: Path, tmp_path: Path) -> None:
    recording = Capture.from_bytes(the_call(root)).call_audio()
    assert (recording.caller, recording.called, recording.digits) == ("BOB", "ALICE", "5")
    assert correlation(recording.left, speech(root, "hello")) > 0.99
    assert correlation(recording.right, speech(root, "hello-alice")) > 0.99
    assert correlation(recording.left, speech(root, "hello-alice")) < 0.3
    assert not recording.right[: round(0.5 * 8000)].any(), "ALICE begins half a second later"
    expected = g711.decode_mu_law(g711.encode_mu_law(speech(root, "hello-alice")))
    np.testing.assert_array_equal(recording.right[4000 : 4000 + len(expected)], expected)
    with wave.open(str(recording.save(tmp_path / "call.wav"))) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        assert file.getnframes() == len(recording.left)


def test_calls_that_cannot_be_heard(root: Path, tmp_path: Path) -> None:
    silent = Capture.from_bytes(pcapng(leg("c1", (BOB, 5060), (ALICE, 5060), (HERE, THERE), 0.0)))
    with pytest.raises(MediaError, match="Call 0 has no voice"):
        silent.call_audio(0)
    with pytest.raises(CaptureError, match="There is no call 3"):
        silent.call_audio(3)
    with pytest.raises(MediaError, match="cannot be written"):
        Capture.from_bytes(the_call(root)).call_audio().save(tmp_path / "no" / "such" / "call.wav")


def test_losses_are_silent_or_concealed(root: Path) -> None:
    samples = speech(root, "hello")
    packets = voice(samples, 1.0, (THERE, HERE), 3, lost=(40, 41, 42, 43, 44))
    stream = Capture.from_bytes(pcapng(packets)).rtp_stream(0)
    decoded = g711.decode_mu_law(g711.encode_mu_law(samples))
    gap = slice(6400, 7200)
    assert not stream.decoded().samples[gap].any()
    concealed = stream.decoded(conceal=True).samples
    np.testing.assert_array_equal(np.delete(concealed, np.r_[gap]), np.delete(decoded, np.r_[gap]))
    before = decoded[6240:6400].astype(float)
    np.testing.assert_allclose(concealed[6400:6560], before * (1 - np.arange(160) / 480), atol=0.51)
    np.testing.assert_allclose(concealed[6560:6720], before * (1 - np.arange(160, 320) / 480), atol=0.51)
    assert not concealed[6880:7200].any(), "after 60 ms it has faded away"


def test_what_is_late_for_the_buffer_is_not_heard(root: Path) -> None:
    packets = voice(speech(root, "hello"), 1.0, (THERE, HERE), 3)
    packets[50] = (packets[50][0] + 0.07, packets[50][1])
    stream = Capture.from_bytes(pcapng(sorted(packets))).rtp_stream(0)
    whole = stream.decoded().samples
    np.testing.assert_array_equal(stream.decoded(buffer_ms=100).samples, whole)
    cut = stream.decoded(buffer_ms=40).samples
    assert whole[8000:8160].any() and not cut[8000:8160].any()
    np.testing.assert_array_equal(np.delete(cut, np.s_[8000:8160]), np.delete(whole, np.s_[8000:8160]))
    assert stream.decoded(buffer_ms=40, conceal=True).samples[8000:8160].any()


def test_the_waveform_follows_the_packets(root: Path) -> None:
    cap = Capture.from_bytes(the_call(root))
    html = cap.call_audio()._repr_html_()
    (island,) = re.findall(r'<script type="application/json">(.*?)</script>', html)
    data = json.loads(island)
    frames = np.array(data["packets"])
    expected = (cap.records.time_ns[frames - 1] - cap.records.time_ns[frames[0] - 1]) / 1e9
    np.testing.assert_allclose(data["times"], expected, atol=1e-4)
    assert len(frames) == 201 and data["seconds"] == pytest.approx(cap.call_audio().seconds)
    assert '<svg xmlns="http://www.w3.org/2000/svg" role="img"' in html and "<title>Waveform of Call of BOB with ALICE" in html
    assert 'aria-label="Call of BOB with ALICE: left what BOB says' in html and "data:audio/wav;base64,UklGR" in html
    assert "http" not in html.replace("http://www.w3.org/2000/svg", ""), "self-contained"
    assert ">BOB says</text>" in html and ">BOB hears</text>" in html
    one = cap.rtp_stream(1).waveform()
    assert one._repr_html_().count('stroke="#0072B2"') == 1 and one.packets[0] == cap.rtp_stream(1).frame[0] + 1
    language("fr")
    assert "Forme d&#x27;onde de Appel de BOB" in cap.call_audio()._repr_html_()


def test_hostile_names_stay_text(root: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    recording = Capture.from_bytes(the_call(root, ((BOB, evil),))).call_audio()
    assert recording.caller == evil and "<img" not in recording._repr_html_()
    assert "&lt;/script&gt;" in recording._repr_html_() and recording._repr_html_().count("</script>") == 2
