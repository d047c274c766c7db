"""What RTCP reports (RFC 3550 §6.4) say of an RTP stream, beside what the capture itself shows at that moment.

A sender report tells what its sender has sent; a report block tells what the other end received.  The round trip is A - LSR - DLSR (§6.4.1)
where the capture holds the sender report that the block answers.  Encrypted RTCP is not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labkit.capture.rtp_analysis import extended_sequence
from labkit.errors import MediaError
from labkit.media.rtcp import ReceiverReport, ReportBlock, SenderReport, parse

if TYPE_CHECKING:
    import pandas as pd

    from labkit.capture.rtp_stream import RtpStream

COLUMNS = (
    "No.",
    "Time",
    "Source",
    "Report",
    "Packets",
    "Packets in capture",
    "Fraction lost (%)",
    "Lost",
    "Lost in capture",
    "Highest sequence",
    "Jitter (ms)",
    "Jitter in capture (ms)",
    "Round trip (ms)",
)


def reports(stream: RtpStream) -> pd.DataFrame:
    """One row a report about ``stream``: the sender's own (SR) and the receiver's blocks (RR)."""
    from labkit.capture.table import table

    rows: list[tuple[object, ...]] = []
    sent: dict[int, float] = {}
    extended = extended_sequence(stream.sequence)
    for index in _between(stream):
        time = float(stream.layers.records.time_ns[index] - stream.layers.records.time_ns[0]) / 1e9
        source = "{}:{}".format(*stream.layers.endpoints(index)[0])
        try:
            found = parse(stream.layers.bytes_of(index))
        except MediaError:
            continue
        seen = int(np.searchsorted(stream.time, time, "right"))
        for report in found:
            if isinstance(report, SenderReport) and report.ssrc == stream.ssrc:
                sent[int(report.ntp * 65536) & 0xFFFFFFFF] = time
                rows.append((index + 1, time, source, "SR", report.packets, seen, *[None] * 7))
            if isinstance(report, SenderReport | ReceiverReport):
                rows += [
                    (index + 1, time, source, "RR", *_beside(stream, block, extended[:seen], sent, time))
                    for block in report.reports
                    if block.ssrc == stream.ssrc
                ]
    return table(rows, COLUMNS, caption="stream.table_reports", stream=stream.title)


def _between(stream: RtpStream) -> list[int]:
    """RTCP frames between the two hosts of the stream, either way."""
    if not len(stream.rtcp):
        return []
    layers, first = stream.layers, int(stream.frame[0])
    ends = {int(layers.source[first]), int(layers.destination[first])}
    return [index for index in stream.rtcp.tolist() if {int(layers.source[index]), int(layers.destination[index])} == ends]


def _beside(
    stream: RtpStream, block: ReportBlock, extended: np.ndarray[tuple[int], np.dtype[np.int64]], sent: dict[int, float], time: float
) -> tuple[object, ...]:
    seen = len(extended)
    lost = int(extended.max() - extended[0]) + 1 - len(np.unique(extended)) if seen else None
    mine = float(stream.figures.jitter[seen - 1]) if seen else None
    clock = stream.payload_types.clock(int(np.bincount(stream.payload_type).argmax())) or 8000
    answered = sent.get(block.last_sr)
    trip = (time - answered - block.delay_since_last_sr) * 1000 if answered is not None and block.last_sr else None
    jitter = block.jitter * 1000 / clock
    return None, seen, 100 * block.fraction_lost, block.lost, lost, block.highest_sequence, jitter, mine, trip
