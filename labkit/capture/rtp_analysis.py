"""RTP stream figures with the definitions of Wireshark 4.0 (RFC 3550 §6.4.1, A.3, A.8), for all packets of a stream at once.

Times in milliseconds.  Packet 0 has delta, jitter and skew 0.

=========  ==============================================================================================================
delta      arrival of packet i minus arrival of packet i-1, in order of arrival, late packets too
jitter     J(i) = J(i-1) + (\\|D(i)\\| - J(i-1)) / 16, where D is delta minus the difference of RTP timestamps
skew       (timestamp - first timestamp) / clock - (arrival - first arrival)
bandwidth  bits of IP, UDP and RTP in the last second, in kbit/s
lost       (last sequence number received - first + 1) - packets: duplicates lower it, below zero even
=========  ==============================================================================================================

Clock rates are taken in whole kHz, as Wireshark does (44 for 44.1).  Packets without a clock (telephone-event, unknown types) keep jitter
and skew as they were.  Minimum, mean and maximum leave out the first packet, packets with the marker, comfort noise and what follows it.

A timestamp before that of the first packet is "incorrect": the packet shows the figures of the one before and takes no part in them.
Wireshark before 4.0 subtracted it *unsigned* instead, so that one tick backwards was 2^32 - 1 ticks forwards and the jitter absurd;
``older=True`` does as it did.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labkit.capture.records import Ints

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

COMFORT_NOISE = (13, 19)
IP_AND_UDP = 28
"""Bytes of header that the bandwidth counts beside RTP, IPv6 or not."""


@dataclass(frozen=True)
class Spread:
    """Minimum, mean and maximum of a figure, as ``tshark -z rtp,streams`` prints them (-1, 0, 0 of nothing)."""

    minimum: float
    mean: float
    maximum: float


@dataclass(frozen=True)
class Analysis:
    """The figures of one stream; arrays have one entry a packet."""

    delta: Floats
    jitter: Floats
    skew: Floats
    bandwidth: Floats
    """kbit/s."""
    regular: Flags
    """Whether the packet counts in minimum, mean and maximum."""
    wrong_sequence: Flags
    wrong_timestamp: Flags
    expected: int
    lost: int
    lost_rfc: int
    """By RFC 3550 A.3 with the highest number received, each number counted once: duplicates and late packets do not change it."""
    duplicates: int
    deltas: Spread
    jitters: Spread
    max_delta_at: int
    """Place of the packet with the largest delta."""
    max_skew: float
    """The skew of largest magnitude, with its sign."""

    @property
    def sequence_errors(self) -> int:
        return int(self.wrong_sequence.sum())

    @property
    def problem(self) -> bool:
        """Wireshark's "Problems?" mark."""
        return bool(self.wrong_sequence.any() or self.wrong_timestamp.any())


def analyse(
    time_ms: Floats, sequence: Ints, timestamp: Ints, payload_type: Ints, marker: Ints, size: Ints, clock: Ints, *, older: bool = False
) -> Analysis:
    """The figures of one stream in order of arrival.

    ``time_ms`` counts from the first packet of the capture; ``size`` is that of the RTP packet in bytes; ``clock`` the rate in Hz of each
    packet's payload type, 0 for none.  ``older``: timestamps as Wireshark 3 took them.
    """
    count = len(sequence)
    ticks = (timestamp - timestamp[0]) & 0xFFFFFFFF
    incorrect = np.zeros(count, np.bool_) if older else ticks >= 1 << 31
    kept = np.flatnonzero(~incorrect)
    held = np.cumsum(~incorrect) - 1
    delta, jitter, skew = (values[held] for values in _delta_jitter_skew(time_ms[kept], ticks[kept], clock[kept]))

    noise = np.isin(payload_type, COMFORT_NOISE)
    after_noise = np.concatenate(([False], noise[:-1]))
    regular = (np.arange(count) > 0) & (marker == 0) & ~noise & ~after_noise & ~incorrect
    of_delta, of_jitter = np.flatnonzero(regular), np.flatnonzero(regular & (clock > 0))

    extended = extended_sequence(sequence)
    highest = np.maximum.accumulate(np.where(incorrect, extended.min(), extended))
    wrong_sequence = np.concatenate(([False], extended[1:] != highest[:-1] + 1))
    expected = _expected(sequence[kept], int(sequence[-1]))
    unique = 1 + int(np.count_nonzero(np.diff(np.sort(extended))))
    return Analysis(
        delta=delta,
        jitter=jitter,
        skew=skew,
        bandwidth=_bandwidth(time_ms, size + IP_AND_UDP),
        regular=regular,
        wrong_sequence=wrong_sequence,
        wrong_timestamp=incorrect,
        expected=expected,
        lost=expected - count,
        lost_rfc=int(extended.max() - extended[0]) + 1 - unique,
        duplicates=count - unique,
        deltas=_spread(delta, of_delta),
        jitters=_spread(jitter, of_jitter),
        max_delta_at=int(of_delta[np.argmax(delta[of_delta])]) if len(of_delta) else 0,
        max_skew=float(skew[np.argmax(np.abs(skew))]),
    )


def _delta_jitter_skew(time_ms: Floats, ticks: Ints, clock: Ints) -> tuple[Floats, Floats, Floats]:
    count = len(ticks)
    place = np.arange(count)
    arrival = time_ms - time_ms[0]
    delta = time_ms - time_ms[np.maximum(place - 1, 0)]
    clocked = clock >= 1000
    clocked[0] = False
    nominal = ticks / np.where(clocked, clock // 1000, 8).astype(np.float64)
    last_clocked = np.maximum.accumulate(np.where(clocked, place, 0))
    before = np.concatenate(([0], last_clocked[:-1]))
    difference = np.abs(delta - (nominal - nominal[before]))
    jitter = np.zeros(count)
    measured = np.flatnonzero(clocked)
    if len(measured):
        jitter[measured] = decaying_sum(difference[measured] / 16.0)
        jitter = np.where(last_clocked > 0, jitter[last_clocked], 0.0)
    return delta, jitter, (nominal - arrival)[last_clocked]


def _expected(sequence: Ints, last: int) -> int:
    """Wireshark's count: a cycle of 65536 begins whenever a number is below the first one after one above it, a late packet's too."""
    first = int(sequence[0])
    side = np.sign(sequence - first)
    if first == 0:  # nothing is below it: the step from 65535 to 0 tells
        side[1:][(sequence[1:] == 0) & (sequence[:-1] == 65535)] = -1
    side = side[side != 0]
    cycles = int(np.count_nonzero((side == -1) & (np.concatenate(([1], side[:-1])) == 1)))
    return last + 65536 * cycles - first + 1


def extended_sequence(sequence: Ints) -> Ints:
    """Sequence numbers continued past 65535 (RFC 3550 A.1)."""
    step = ((np.diff(sequence) + 0x8000) & 0xFFFF) - 0x8000
    extended: Ints = sequence[0] + np.concatenate((np.zeros(1, np.int64), np.cumsum(step)))
    return extended


def _bandwidth(time_ms: Floats, octets: Ints) -> Floats:
    total = np.concatenate((np.zeros(1, np.int64), np.cumsum(octets)))
    ordered = np.maximum.accumulate(time_ms)
    first = np.searchsorted(ordered + 1000.0, ordered, "left")
    inside: Floats = (total[1:] - total[np.minimum(first, np.arange(len(octets)))]) * 8 / 1000.0
    return inside


def _spread(values: Floats, counted: Ints) -> Spread:
    if not len(counted):
        return Spread(-1.0, 0.0, 0.0)
    chosen = values[counted]
    return Spread(float(chosen.min()), running_mean(counted.astype(np.float64), chosen), float(chosen.max()))


def running_mean(number: Floats, values: Floats) -> float:
    """Wireshark's mean M = (M * (n - 1) + x) / n where n counts all packets, those left out too: a gap in n weighs what follows less.

    In closed form: value i counts 1/n(i), times (n(j) - 1)/n(j) for every later j.
    """
    shrink = np.ones(len(number))
    shrink[1:] = (number[1:] - 1) / number[:-1]
    product = np.cumprod(shrink)
    return float(product[-1] * np.sum(values / product) / number[-1])


_NOTHING = 1e-30
"""A weight that changes no sum of doubles."""


def decaying_sum(values: Floats, factor: float = 15 / 16) -> Floats:
    """y(i) = factor * y(i-1) + x(i), in steps that double: a sum of 2k terms is the one of k terms and, k places earlier, another."""
    sums = np.array(values, np.float64)
    lag, weight = 1, factor
    while lag < len(sums) and weight > _NOTHING:
        sums[lag:] += weight * sums[:-lag]
        lag, weight = 2 * lag, weight * weight
    return sums
