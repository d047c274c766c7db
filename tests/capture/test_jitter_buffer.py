"""A fixed buffer loses what comes after its size, and the larger it is, the less it loses and the longer it delays."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.capture.capture import Capture
from labkit.errors import CaptureError
from labkit.texts import language
from tests.capture.made import pcap
from tests.capture.test_rtp import Packet, noisy, regular, silence, stream_of


def delayed(late_ms: dict[int, float], count: int = 20) -> list[Packet]:
    """Packets every 20 ms, some of them late, in order of arrival."""
    packets = [(0.02 * n + late_ms.get(n, 0.0) / 1000, 100 + n, 160 * n, 0, 0) for n in range(count)]
    return sorted(packets)


def test_what_is_late_depends_on_the_size() -> None:
    stream = stream_of(delayed({3: 15.0, 8: 35.0, 12: 95.0}))
    buffers = stream.jitter_buffers(0, 10, 20, 40, 100)
    assert [buffer.late_packets for buffer in buffers.buffers] == [3, 3, 2, 1, 0]
    assert buffers.buffers[3].late_loss == pytest.approx(5.0)
    (late,) = np.flatnonzero(buffers.buffers[3].late)
    assert stream.sequence[late] == 112, "the flag stands at the packet, wherever it arrived"
    assert buffers.buffers[0].mean_delay_ms == pytest.approx(0.0, abs=0.01)
    assert buffers.buffers[4].mean_delay_ms == pytest.approx(100 - (15 + 35 + 95) / 20, abs=0.01)


def test_lost_and_double_packets() -> None:
    packets = [packet for n, packet in enumerate(delayed({})) if n not in (4, 5)]
    packets.insert(10, (packets[10][0], *packets[9][1:]))
    buffer = stream_of(packets).jitter_buffer(20)
    assert (buffer.packets, buffer.lost, buffer.late_packets) == (18, 2, 0)
    assert (buffer.late_loss, buffer.loss) == (0.0, 10.0)


def test_a_talk_spurt_begins_anew() -> None:
    shifted = [(t + (0.05 if n >= 8 else 0), s, ts, k, m) for n, (t, s, ts, k, m) in enumerate(silence(delayed({}), 8, 1))]
    assert stream_of(shifted).jitter_buffer(20).late_packets == 0
    unmarked = [(*packet[:4], 0) for packet in shifted]
    assert stream_of(unmarked).jitter_buffer(20).late_packets == 12
    jumped = [(t, s, ts + (10**6 if n >= 8 else 0), k, m) for n, (t, s, ts, k, m) in enumerate(delayed({}))]
    assert stream_of(jumped).jitter_buffer(0).late_packets <= 1


def test_larger_buffers_lose_less_and_delay_more() -> None:
    for stream in Capture.from_bytes(pcap(noisy(4, 600))).streams:
        buffers = stream.jitter_buffers(*range(0, 200, 5)).buffers
        late, delay = [b.late_packets for b in buffers], [b.mean_delay_ms for b in buffers]
        assert late == sorted(late, reverse=True) and delay == sorted(delay)
        assert late[0] > 0 and buffers[-1].loss >= buffers[-1].late_loss


def test_keys_and_foreign_packets_are_no_voice() -> None:
    packets = [(t, s, ts, {4: 101, 9: 120}.get(n, k), m) for n, (t, s, ts, k, m) in enumerate(regular())]
    assert stream_of(packets).jitter_buffer(60).packets == 18


@pytest.mark.parametrize("size", [-1, 1e9, float("nan"), "60", None, True])
def test_a_strange_size_is_refused(size: object) -> None:
    with pytest.raises(CaptureError, match="is no size of a jitter buffer"):
        stream_of(regular()).jitter_buffer(size)  # type: ignore[arg-type]


def test_sentences_tables_and_plot() -> None:
    buffers = stream_of(delayed({3: 15.0})).jitter_buffers(0, 20)
    assert str(buffers.buffers[0]).startswith("Buffer of 0 ms: 1 of 20 packets late (5.00 %)")
    assert list(buffers.table["Late"]) == [1, 0]  # type: ignore[index]
    assert "<caption>Fixed jitter buffers" in buffers._repr_html_() and "5.000" in buffers._repr_html_()
    picture = buffers.plot()
    assert "by the size of a fixed jitter buffer" in picture.alt and "(5.00 %)" in picture.alt and picture.png()[:4] == b"\x89PNG"
    language("fr")
    assert "Tampon de 0 ms : 1 paquets sur 20" in str(buffers)
