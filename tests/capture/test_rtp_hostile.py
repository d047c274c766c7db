"""Whatever the packets of a stream say, its figures stay figures and its errors are one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labkit.capture.capture import Capture
from labkit.capture.rtp_record import record
from labkit.capture.rtp_stream import RtpStream
from labkit.capture.write import udp
from labkit.errors import LabkitError
from tests.capture.made import ALICE, BOB, pcapng, rtp
from tests.capture.test_rtp import CASES, OFFER, made

TYPES = [0, 8, 13, 34, 96, 97, 99, 101, 120, 9, 3]


def wild(seed: int) -> bytes:
    """Packets of any type, size, time, and in odd seeds of any timestamp; every third seed has any sequence number."""
    rng = np.random.default_rng(seed)
    packets = []
    for n in range(int(rng.integers(3, 30))):
        sequence = int(rng.integers(0, 65536)) if seed % 3 == 0 else n * int(rng.integers(1, 3))
        timestamp = int(rng.integers(0, 2**32)) if seed % 2 else 160 * n
        kind, marker, payload = int(rng.choice(TYPES)), bool(rng.random() < 0.2), rng.bytes(int(rng.integers(0, 50)))
        data = rtp(payload, sequence=sequence, timestamp=timestamp, kind=kind, marker=marker)
        packets.append((float(rng.random() * 5), udp((ALICE, 4002), (BOB, 4000), data)))
    return pcapng([(0.0, udp((BOB, 5060), (ALICE, 5060), OFFER)), *sorted(packets)])


def examine(stream: RtpStream, folder: Path) -> None:
    figures = record(stream)
    assert figures["mos"] is None or 1.0 <= figures["mos"] <= 4.5
    assert all(0 <= buffer.loss <= 100 and buffer.mean_delay_ms >= 0 for buffer in stream.jitter_buffers().buffers)
    own = stream.without_foreign()
    assert len(own) <= len(stream) and np.isfinite(own.figures.jitter).all()
    assert str(stream.explain_jitter()) and "<img" in stream.plot("skew", "loss", "bandwidth")._repr_html_()
    assert len(stream.reports) == 0
    attempts: list[Callable[[], object]] = [
        lambda: stream.decoded(buffer_ms=20, conceal=True),
        lambda: stream.waveform()._repr_html_(),
        lambda: stream.video(folder / "x.3gp"),
    ]
    for attempt in attempts:
        try:
            attempt()
        except LabkitError as error:
            assert str(error)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("seed", range(12))
def test_wild_streams(seed: int, tmp_path: Path) -> None:
    for stream in Capture.from_bytes(wild(seed)).streams:
        examine(stream, tmp_path)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_strange_streams(tmp_path: Path) -> None:
    streams = Capture.from_bytes(pcapng(made(CASES))).streams
    assert len(streams) == len(CASES)
    for stream in streams:
        examine(stream, tmp_path)
