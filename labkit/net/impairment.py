"""What a bad network does to packets: delay, jitter, loss, reordering, duplication, a limited rate.  Seeded, so it can be repeated.

This module decides when a packet is delivered, if at all; it moves nothing and reads no clock.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from labkit.errors import WireError

REORDER_HOLD_MS = 30.0
"""A reordered packet is held this long: one RTP packet of 20 ms overtakes it."""
LONGEST_MS = 60_000
FASTEST_KBIT_S = 10_000_000
QUEUE_MS = 1000.0
"""A link with a limited rate queues up to this much and drops the rest."""


@dataclass(frozen=True)
class Impairment:
    """How one direction of one host's link behaves.  Shares are between 0 and 1."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """Each packet's delay is drawn evenly from ``delay_ms`` ± ``jitter_ms`` (never below zero)."""
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    rate_kbit_s: float | None = None
    """Kilobits a second of IP packets."""
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("loss", "reorder", "duplicate"):
            if not _within(getattr(self, name), 0, 1):
                raise WireError("net.bad_share", name=name, given=getattr(self, name))
        for name in ("delay_ms", "jitter_ms"):
            if not _within(getattr(self, name), 0, LONGEST_MS):
                raise WireError("net.bad_milliseconds", name=name, given=getattr(self, name), most=LONGEST_MS)
        if self.rate_kbit_s is not None and not _within(self.rate_kbit_s, 1, FASTEST_KBIT_S):
            raise WireError("net.bad_rate", given=self.rate_kbit_s, most=FASTEST_KBIT_S)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise WireError("net.bad_seed", given=self.seed)


def _within(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


class Link:
    """One direction of one host's link: the impairment and its memory."""

    def __init__(self, impairment: Impairment, salt: str = "") -> None:
        self.impairment = impairment
        self._random = random.Random(f"{impairment.seed} {salt}")
        self._free_ns = 0

    def deliveries(self, now_ns: int, size_bytes: int) -> list[int]:
        """When a packet that enters at ``now_ns`` leaves: no time when it is lost, two when it is doubled."""
        it, draw = self.impairment, self._random.random
        # Every packet draws the same four numbers, so that changing one share does not shift the others' luck.
        lost, late, twice, spread = draw(), draw(), draw(), draw()
        if lost < it.loss:
            return []
        time_ns = now_ns
        if it.rate_kbit_s is not None:
            start = max(now_ns, self._free_ns)
            if start - now_ns > QUEUE_MS * 1e6:
                return []
            time_ns = self._free_ns = start + round(size_bytes * 8e6 / it.rate_kbit_s)
        time_ns += round(1e6 * max(0.0, it.delay_ms + (2 * spread - 1) * it.jitter_ms))
        if late < it.reorder:
            time_ns += round(REORDER_HOLD_MS * 1e6)
        return [time_ns, time_ns] if twice < it.duplicate else [time_ns]

    def stream_delay_ns(self) -> int:
        """What a byte stream suffers: the delay alone, since TCP itself mends the rest."""
        return round(self.impairment.delay_ms * 1e6)
