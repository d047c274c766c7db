"""Impairments: seeded, each with the share or the time that was asked for."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from labkit.errors import WireError
from labkit.net.impairment import REORDER_HOLD_MS, Impairment, Link

STEP_NS = 20_000_000
MS = 1_000_000


def run(impairment: Impairment, packets: int = 4000, size: int = 200) -> list[list[int]]:
    """The delays in ns of ``packets`` that enter every 20 ms."""
    link = Link(impairment, "BOB out")
    return [[due - n * STEP_NS for due in link.deliveries(n * STEP_NS, size)] for n in range(packets)]


def test_a_perfect_link_delivers_each_packet_once_and_at_once() -> None:
    assert run(Impairment(), 100) == [[0]] * 100


def test_the_same_seed_loses_the_same_packets_and_another_seed_others() -> None:
    lost = [not delays for delays in run(Impairment(loss=0.1, seed=7))]
    assert lost == [not delays for delays in run(Impairment(loss=0.1, seed=7))]
    assert lost != [not delays for delays in run(Impairment(loss=0.1, seed=8))]
    assert 0.08 < statistics.mean(lost) < 0.12


def test_adding_a_duplication_does_not_change_which_packets_are_lost() -> None:
    lost = [not delays for delays in run(Impairment(loss=0.1))]
    assert lost == [not delays for delays in run(Impairment(loss=0.1, duplicate=0.2, jitter_ms=5))]


def test_delay_and_jitter_are_milliseconds_around_the_delay() -> None:
    delays = [one[0] / MS for one in run(Impairment(delay_ms=80, jitter_ms=20))]
    assert 60 <= min(delays) < 61
    assert 99 < max(delays) <= 100
    assert statistics.mean(delays) == pytest.approx(80, abs=1)


def test_a_reordered_packet_is_overtaken_by_the_next() -> None:
    delays = run(Impairment(reorder=0.1))
    held = sum(one == [round(REORDER_HOLD_MS * MS)] for one in delays)
    assert held / len(delays) == pytest.approx(0.1, abs=0.02)
    assert REORDER_HOLD_MS * MS > STEP_NS


def test_a_duplicate_is_delivered_twice() -> None:
    assert statistics.mean(len(one) == 2 for one in run(Impairment(duplicate=0.3))) == pytest.approx(0.3, abs=0.03)


def test_a_rate_spreads_a_burst_and_drops_what_would_queue_more_than_a_second() -> None:
    link = Link(Impairment(rate_kbit_s=64))
    times = [link.deliveries(0, 1000) for _ in range(20)]
    assert times[0] == [125 * MS]
    assert times[1] == [250 * MS]
    assert [bool(one) for one in times] == [True] * 9 + [False] * 11


@pytest.mark.parametrize(
    "wrong", [{"loss": 10}, {"loss": -0.1}, {"delay_ms": -1}, {"rate_kbit_s": 1e-320}, {"duplicate": "x"}, {"loss": None}]
)
def test_a_share_or_a_time_out_of_range_is_refused_with_the_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(WireError, match=f"{next(iter(wrong))} is"):
        Impairment(**wrong)
