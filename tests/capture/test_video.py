"""Films are put together picture by picture from RTP that FFmpeg made, and play."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labkit.capture.capture import Capture
from labkit.capture.video import FILMS, pictures
from labkit.errors import MediaError
from tests.capture.film import FRAMES, KINDS, capture_of, picture, rtp_packets
from tests.capture.made import pcapng, rtp


def frames_of(path: Path) -> list[tuple[float, np.ndarray]]:
    import av

    with av.open(str(path)) as film:
        return [(float(frame.time or 0), frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(float) - second.astype(float)) ** 2)))


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_film_shows_what_was_filmed(kind: str, tmp_path: Path) -> None:
    stream = Capture.from_bytes(capture_of(kind, rtp_packets(kind))).rtp_stream(0)
    assert stream.codec == kind and len(pictures(stream)) == FRAMES
    for suffix in FILMS[kind].suffixes:
        shown = frames_of(stream.video(tmp_path / f"film{suffix}"))
        assert len(shown) == FRAMES
        assert shown[-1][0] - shown[0][0] == pytest.approx((FRAMES - 1) / 25, abs=0.002)
        for number in (0, 10, FRAMES - 1):
            _, image = shown[number]
            assert psnr(image, picture(number, image.shape[1], image.shape[0])) > 24, (suffix, number)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_picture_that_lacks_a_packet_is_left_out(kind: str, tmp_path: Path) -> None:
    packets = rtp_packets(kind)
    stamp = {packet[4:8] for packet in packets[len(packets) // 2 :][:1]}
    gap = next(n for n, packet in enumerate(packets) if packet[4:8] in stamp)
    stream = Capture.from_bytes(capture_of(kind, packets[:gap] + packets[gap + 1 :])).rtp_stream(0)
    shown = pictures(stream)
    assert FRAMES - 2 <= len(shown) < FRAMES
    assert len(frames_of(stream.video(tmp_path / f"film{FILMS[kind].suffixes[0]}"))) >= FRAMES - 3


def test_hostile_payloads_are_no_pictures() -> None:
    rng = np.random.default_rng(4)
    for kind in KINDS:
        packets = [packet[:12] + rng.bytes(int(rng.integers(0, 40))) for packet in rtp_packets(kind)]
        stream = Capture.from_bytes(capture_of(kind, packets)).rtp_stream(0)
        try:
            assert len(pictures(stream)) <= FRAMES
        except MediaError as error:
            assert "No whole picture" in str(error)


def test_what_is_no_film_is_said(tmp_path: Path) -> None:
    from labkit.capture.write import udp

    voice: list[Any] = [
        (0.02 * n, udp(("127.1.0.101", 4002), ("127.1.0.100", 4000), rtp(b"\x80" * 160, sequence=n, timestamp=160 * n))) for n in range(9)
    ]
    with pytest.raises(MediaError, match="no pictures"):
        Capture.from_bytes(pcapng(voice)).rtp_stream(0).video(tmp_path / "x.mp4")
    stream = Capture.from_bytes(capture_of("VP8", rtp_packets("VP8"))).rtp_stream(0)
    with pytest.raises(MediaError, match=r"for VP8 it must be one of \.webm, \.mkv"):
        stream.video(tmp_path / "x.mp4")
