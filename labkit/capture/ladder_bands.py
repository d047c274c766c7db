"""What a ladder shows as bands: RTP and RTCP streams, keys pressed (telephone-event, RFC 4733), and TLS; each can be left out.

A band is one direction between two ends.  TLS of the web (port 443) is not drawn: it has nothing to do with telephony.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labkit.capture.info import shown
from labkit.capture.layers import TCP
from labkit.media.rtp import TelephoneEvent

if TYPE_CHECKING:
    from labkit.capture.capture import Capture
    from labkit.capture.ladder_filter import Filter
    from labkit.capture.rtp_stream import RtpStream
    from labkit.capture.sip_records import Address

WEB = (443, 8443)
RECORDS = {20: "Change Cipher Spec", 21: "Alert", 22: "Handshake", 23: "Application Data"}
"""Content types of TLS records (RFC 8446 §5.1)."""


@dataclass(frozen=True)
class Flow:
    """What a band needs to know.  Times in seconds since the first packet of the capture."""

    kind: str
    source: Address
    destination: Address
    number: int
    """Of the first packet."""
    start: float
    end: float
    packets: int


def bands(capture: Capture, wanted: Filter) -> list[Flow]:
    """The bands that ``wanted`` asks for."""
    streams = _streams(capture, wanted)
    found = [_rtp(stream) for stream in streams] if wanted.rtp else []
    found += [key for stream in streams for key in _keys(stream)] if wanted.dtmf else []
    found += _during(wanted, _rtcp(capture)) if wanted.rtcp else []
    found += _during(wanted, _tls(capture)) if wanted.tls else []
    return [flow for flow in found if wanted.holds(flow.start, flow.end)]


def _streams(capture: Capture, wanted: Filter) -> list[RtpStream]:
    """All streams, or those of the wanted call: what its SDP bodies announce, while it lasts."""
    if wanted.call is None:
        return capture.streams
    sessions = [record.sdp for record in wanted.call.messages if record.sdp]
    ports = {where for sdp in sessions for where in map(sdp.address, sdp.media) if where}
    start, stop = wanted.call.start, wanted.call.stop
    return [s for s in capture.streams if (s.source in ports or s.destination in ports) and s.end >= start and s.start <= stop]


def _during(wanted: Filter, flows: list[Flow]) -> list[Flow]:
    call = wanted.call
    return [flow for flow in flows if call is None or (flow.end >= call.start and flow.start <= call.stop)]


def _rtp(stream: RtpStream) -> Flow:
    first = int(stream.frame[0]) + 1
    return Flow(f"RTP {shown(stream.codec)}", stream.source, stream.destination, first, stream.start, stream.end, len(stream))


def _keys(stream: RtpStream) -> Iterator[Flow]:
    """One band a key: all reports of one timestamp (RFC 4733 §2.5.1.3)."""
    if not any(stream.payload_types.is_event(kind) for kind in np.unique(stream.payload_type).tolist()):
        return
    reports: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    packets = stream.packets()
    for place, kind in enumerate(stream.payload_type.tolist()):
        packet = packets[place]
        if stream.payload_types.is_event(kind) and packet is not None and len(packet[1]) >= 4:
            event, timestamp = TelephoneEvent.parse(packet[1]), packet[0].timestamp
            names.setdefault(timestamp, event.digit or f"event {event.event}")
            reports.setdefault(timestamp, []).append(place)
    for timestamp, places in reports.items():
        start, end = float(stream.time[places[0]]), float(stream.time[places[-1]])
        first = int(stream.frame[places[0]]) + 1
        yield Flow(f"DTMF {names[timestamp]}", stream.source, stream.destination, first, start, end, len(places))


def _rtcp(capture: Capture) -> list[Flow]:
    return [_flow(capture, "RTCP", *ends, indices) for ends, indices in _by_ends(capture, capture.rtp.rtcp.tolist()).items()]


def _tls(capture: Capture) -> list[Flow]:
    """One band a direction of a connection, with the kinds of records that begin its segments."""
    layers = capture.layers
    places = np.flatnonzero((layers.protocol == TCP) & (layers.size >= 5))
    heads = layers.heads(places, 3)
    web = np.isin(layers.source_port[places], WEB) | np.isin(layers.destination_port[places], WEB)
    record = (heads[:, 0] >= 20) & (heads[:, 0] <= 23) & (heads[:, 1] == 3) & (heads[:, 2] <= 4) & ~web
    kinds = dict(zip(places[record].tolist(), heads[record, 0].tolist(), strict=True))
    found = []
    for ends, indices in _by_ends(capture, list(kinds)).items():
        names = dict.fromkeys(RECORDS[kinds[index]] for index in indices)
        found.append(_flow(capture, f"TLS ({', '.join(names)})", *ends, indices))
    return found


def _by_ends(capture: Capture, indices: list[int]) -> dict[tuple[Address, Address], list[int]]:
    flows: dict[tuple[Address, Address], list[int]] = {}
    for index in indices:
        flows.setdefault(capture.layers.endpoints(index), []).append(index)
    return flows


def _flow(capture: Capture, kind: str, source: Address, destination: Address, indices: list[int]) -> Flow:
    times = (capture.records.time_ns[np.array(indices)] - capture.origin_ns) / 1e9
    return Flow(kind, source, destination, indices[0] + 1, float(times[0]), float(times[-1]), len(indices))
