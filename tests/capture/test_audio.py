"""What is decoded from a capture is what was played, at the right moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labkit.capture.capture import Capture
from labkit.capture.write import udp
from labkit.errors import MediaError
from labkit.media import g711
from labkit.media.correlation import aligned_correlation, correlation
from labkit.media.rtp import TelephoneEvent
from labkit.media.wav import load_wav
from labkit.texts import language
from tests.capture.made import ALICE, BOB, pcapng, rtp, sdp, sip

CALLS = Path(__file__).parent / "calls"
MAPS = "a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
OFFER = (0.0, udp((BOB, 5060), (ALICE, 5060), sip("INVITE sip:b@x SIP/2.0", body=sdp(BOB, 4000, "0 8 9 96 101", MAPS))))


def speech(root: Path) -> np.ndarray:
    return load_wav(root / "data" / "audio" / "hello.wav").at(8000).samples


def stream(
    payloads: list[bytes], kind: int, step: int = 160, *, skip: tuple[int, ...] = (), seconds: float = 0.02
) -> list[tuple[float, bytes]]:
    return [
        (1.0 + seconds * n, udp((ALICE, 4002), (BOB, 4000), rtp(payload, sequence=n, timestamp=2**32 - 800 + step * n, kind=kind)))
        for n, payload in enumerate(payloads)
        if n not in skip
    ]


def pieces(data: bytes, size: int = 160) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data) // size * size, size)]


@pytest.mark.parametrize(("kind", "encode"), [(0, g711.encode_mu_law), (8, g711.encode_a_law)])
def test_g711_of_a_capture_is_what_was_played(kind: int, encode, root: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    played = speech(root)
    cap = Capture.from_bytes(pcapng([OFFER, *stream(pieces(encode(played)), kind)]))
    path = cap.rtp_stream(0).wav(tmp_path / "voice.wav")
    heard = load_wav(path)
    assert heard.rate_hz == 8000 and len(heard.samples) == len(played) // 160 * 160
    assert correlation(heard.samples, played) > 0.999
    assert correlation(heard.samples, np.zeros(8000)) == 0.0


def test_losses_silences_late_and_double_packets_keep_their_places(root: Path) -> None:
    played = speech(root)[: 160 * 100]
    packets = stream(pieces(g711.encode_mu_law(played)), 0, skip=(10, 11, 12))
    packets[40], packets[41] = (packets[40][0], packets[41][1]), (packets[41][0], packets[40][1])
    packets.insert(60, (packets[60][0] + 0.001, packets[60][1]))
    heard = Capture.from_bytes(pcapng([OFFER, *packets])).rtp_stream(0).samples()
    expected = g711.decode_mu_law(g711.encode_mu_law(played)).copy()
    expected[1600:2080] = 0
    np.testing.assert_array_equal(heard, expected)


def test_a_silence_of_three_seconds_lasts_three_seconds() -> None:
    tone = b"\x80" * 160
    later = [(4.0, udp((ALICE, 4002), (BOB, 4000), rtp(tone, sequence=3, timestamp=2**32 - 800 + 480 + 23520, marker=True)))]
    sound = Capture.from_bytes(pcapng([OFFER, *stream([tone] * 3, 0), *later])).rtp_stream(0).sound
    assert sound.seconds == pytest.approx(3.02)
    assert not sound.samples[480:24000].any() and sound.samples[24000:].all()


def test_a_clock_set_anew_does_not_make_hours_of_silence() -> None:
    packets = [
        (0.02 * n, udp((ALICE, 4002), (BOB, 4000), rtp(b"\x80" * 160, sequence=n, timestamp=160 * n + (n > 5) * 2**30))) for n in range(12)
    ]
    assert Capture.from_bytes(pcapng([OFFER, *packets])).rtp_stream(0).sound.seconds == pytest.approx(0.24)


@pytest.mark.parametrize(
    ("name", "rate", "least"),
    [("g722", 16000, 0.99), ("gsm", 8000, 0.95), ("ilbc", 8000, 0.93), ("speex", 8000, 0.92), ("speex-wideband", 16000, 0.92)],
)
def test_codecs_of_real_calls(name: str, rate: int, least: float, root: Path) -> None:
    (heard,) = [each.sound for each in Capture.open(CALLS / f"{name}.pcapng").streams]
    assert heard.rate_hz == rate
    assert aligned_correlation(heard.samples, load_wav(root / "data" / "audio" / "hello.wav").at(rate).samples) > least
    assert aligned_correlation(heard.samples, load_wav(root / "data" / "audio" / "hello-alice.wav").at(rate).samples) < 0.1


def test_opus(root: Path) -> None:
    import av

    played = load_wav(root / "data" / "audio" / "hello.wav").at(48000).samples
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = 48000, "mono", "s16", 32000  # type: ignore[attr-defined]
    payloads = []
    for at in range(0, len(played) // 960 * 960, 960):
        frame = av.AudioFrame.from_ndarray(played[None, at : at + 960], format="s16", layout="mono")
        frame.sample_rate = 48000
        payloads += [bytes(packet) for packet in encoder.encode(frame)]  # type: ignore[attr-defined]
    sound = Capture.from_bytes(pcapng([OFFER, *stream(payloads, 96, 960)])).rtp_stream(0).sound
    assert sound.rate_hz == 48000 and correlation(sound.samples, played) > 0.9


def test_digits_are_read_once_each() -> None:
    packets = []
    for number, key in enumerate((7, 9, 7, 11)):
        for report in range(5):
            payload = TelephoneEvent(key, report > 2, 10, 160 * report).build()
            place = 5 * number + report
            packets.append((place, udp((ALICE, 4002), (BOB, 4000), rtp(payload, sequence=place, timestamp=1000 * number, kind=101))))
    cap = Capture.from_bytes(pcapng([OFFER, *packets]))
    assert cap.rtp_stream(0).digits == "797#"
    with pytest.raises(MediaError, match="no voice"):
        cap.rtp_stream(0).samples()


def test_player_and_plot_for_the_notebook(tmp_path: Path) -> None:
    one = Capture.from_bytes(pcapng([OFFER, *stream([b"\x80" * 160] * 30, 0)])).rtp_stream(0)
    assert repr(one.audio()) == "<Player: 127.1.0.101 speaks to 127.1.0.100, PCMU, 0.6 s>"
    named = one.audio()._repr_html_()
    assert '<audio aria-label="127.1.0.101 speaks to 127.1.0.100, PCMU, 0.6 s" title=' in named and "data:audio/wav;base64," in named
    language("fr")
    assert 'aria-label="127.1.0.101 parle à 127.1.0.100, PCMU, 0.6 s"' in one.audio()._repr_html_()
    language("en")
    picture = one.plot()
    assert "30 packets from 1.00 s to 1.58 s" in picture.alt and picture.alt in picture._repr_html_().replace("&gt;", ">")
    assert picture.save(tmp_path / "jitter.png").read_bytes().startswith(b"\x89PNG")
