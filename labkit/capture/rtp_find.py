"""RTP and RTCP packets (RFC 3550) among the UDP datagrams, and the streams they form.

Datagrams to or from an address and port of an SDP body are RTP (or, on its RTCP port, or with an RTCP packet type, RTCP).  Others are RTP
when they look like it for three packets or more: version 2, one SSRC, sequence numbers that count on.  All in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from labkit.capture.layers import AT_ONCE, UDP, Layers
from labkit.capture.media_map import MediaMap, announced
from labkit.capture.records import Ints, Octets, big_endian

HEADER = 12
FEWEST_PACKETS = 3
"""Of a stream that no SDP announced."""
CLOSE_BY = 50
"""Two sequence numbers no further apart follow each other."""


@dataclass(frozen=True)
class RtpPackets:
    """Every RTP packet, in the order of the capture; and which frames are RTCP, or RTP of another version than 2."""

    frame: Ints
    """Index of the frame."""
    payload_type: Ints
    marker: Ints
    sequence: Ints
    timestamp: Ints
    ssrc: Ints
    size: Ints
    """Bytes of the RTP packet, header included."""
    streams: list[Ints]
    """Per stream the places of its packets in the arrays above, streams in order of appearance."""
    rtcp: Ints
    other_version: Ints


KNOWN, GUESSED, RTCP, STRAY_CONTROL, OTHER_VERSION = 1, 2, 4, 8, 16
"""What a datagram may be: RTP that SDP announced, RTP by its looks, RTCP, RTCP beside no announced port, RTP of another version than 2."""


@dataclass(frozen=True)
class _Datagrams:
    """The UDP datagrams, one entry each, dissected as RTP."""

    flags: Octets
    kind: Octets
    """Second byte: marker and payload type, or RTCP packet type."""
    bucket: NDArray[np.uint16]
    """Hash of source, destination and SSRC."""
    source: Ints
    destination: Ints
    """``address number << 16 | port``."""
    sequence: Ints
    timestamp: Ints
    ssrc: Ints


def find_rtp(layers: Layers, media: MediaMap) -> RtpPackets:
    """The RTP and RTCP packets of a capture."""
    frames = np.flatnonzero((layers.protocol == UDP) & (layers.size >= 4))
    data = _datagrams(layers, media, frames)
    places = np.flatnonzero(data.flags & (KNOWN | GUESSED))
    known = data.flags & KNOWN != 0
    streams = []
    for members in _streams(data, places):
        sure = members[known[members]]
        if len(sure):
            streams.append(sure)  # as Wireshark: what came before its SDP is not counted
        elif _plausible(data.sequence[members]):
            streams.append(members)

    taken = np.sort(np.concatenate(streams)) if streams else np.empty(0, np.int64)
    rank = np.empty(len(frames), np.int64)
    rank[taken] = np.arange(len(taken))
    streams = sorted((rank[members] for members in streams), key=lambda members: int(members[0]))
    firsts = np.array([members[0] for members in streams], np.int64)
    stray = np.flatnonzero(data.flags & STRAY_CONTROL)
    beside = stray[_beside(layers, frames[stray], frames[taken[firsts]])]
    kind = data.kind[taken]
    return RtpPackets(
        frame=frames[taken],
        payload_type=(kind & 127).astype(np.int64),
        marker=(kind >> 7).astype(np.int64),
        sequence=data.sequence[taken],
        timestamp=data.timestamp[taken],
        ssrc=data.ssrc[taken],
        size=layers.size[frames[taken]],
        streams=streams,
        rtcp=frames[np.union1d(np.flatnonzero(data.flags & RTCP), beside)],
        other_version=frames[np.flatnonzero(data.flags & OTHER_VERSION)],
    )


def _datagrams(layers: Layers, media: MediaMap, frames: Ints) -> _Datagrams:
    count = len(frames)
    small = np.empty(count, np.uint8), np.empty(count, np.uint8), np.empty(count, np.uint16)
    found = _Datagrams(*small, *(np.empty(count, np.int64) for _ in range(5)))
    for first in range(0, count, AT_ONCE):
        part = slice(first, first + AT_ONCE)
        _dissect(layers, media, frames[part], _Datagrams(*(getattr(found, each.name)[part] for each in fields(_Datagrams))))
    return found


def _dissect(layers: Layers, media: MediaMap, frames: Ints, out: _Datagrams) -> None:
    """Some datagrams, into ``out``."""
    source_port, destination_port, size = layers.source_port[frames], layers.destination_port[frames], layers.size[frames]
    source, destination = layers.source[frames] << 16 | source_port, layers.destination[frames] << 16 | destination_port
    head = layers.heads(frames, HEADER)
    kind = head[:, 1]
    version_2 = head[:, 0] >> 6 == 2
    on_rtp = announced(destination, frames, media.rtp) | announced(source, frames, media.rtp)
    on_rtcp = (announced(destination, frames, media.rtcp) | announced(source, frames, media.rtcp)) & ~on_rtp
    control = (kind >= 192) & (kind <= 223)  # RFC 5761 §4: types that an RTP packet never shows
    whole = ~control & (size >= HEADER)
    ports = np.minimum(source_port, destination_port)
    strange = ~on_rtp & ~on_rtcp & version_2

    out.flags[:] = KNOWN * (on_rtp & whole & version_2)
    out.flags[:] |= GUESSED * (strange & whole & (ports >= 1024)).astype(np.uint8)
    out.flags[:] |= RTCP * ((on_rtcp | on_rtp) & control & version_2).astype(np.uint8)
    out.flags[:] |= STRAY_CONTROL * (strange & control).astype(np.uint8)
    out.flags[:] |= OTHER_VERSION * (on_rtp & whole & ~version_2).astype(np.uint8)
    out.kind[:], out.source[:], out.destination[:] = kind, source, destination
    out.sequence[:], out.timestamp[:], out.ssrc[:] = big_endian(head, 2, 2), big_endian(head, 4, 4), big_endian(head, 8, 4)
    mixed = source.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= destination.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= out.ssrc.astype(np.uint64) * np.uint64(0x165667B19E3779F9)
    out.bucket[:] = (mixed ^ (mixed >> np.uint64(29))) & np.uint64(0xFFFF)


def _streams(data: _Datagrams, places: Ints) -> list[Ints]:
    """``places`` grouped by source, destination and SSRC; each group in order of arrival."""
    if not len(places):
        return []
    bucket = data.bucket[places]
    order = np.argsort(bucket, kind="stable")  # a radix sort: linear, and it keeps the order of arrival
    groups: list[Ints] = []
    for members in np.split(places[order], np.flatnonzero(np.diff(bucket[order].astype(np.int32))) + 1):
        keys = [each[members] for each in (data.source, data.destination, data.ssrc)]
        if all((key == key[0]).all() for key in keys):
            groups.append(members)
        else:  # two streams in one bucket
            _, which = np.unique(np.stack(keys), axis=1, return_inverse=True)
            which = np.ravel(which)
            sorted_ = np.argsort(which, kind="stable")
            groups += np.split(members[sorted_], np.flatnonzero(np.diff(which[sorted_])) + 1)
    return groups


def _plausible(sequence: Ints) -> bool:
    if len(sequence) < FEWEST_PACKETS:
        return False
    step = np.diff(sequence) & 0xFFFF
    return bool(np.mean((step <= CLOSE_BY) | (step >= 65536 - CLOSE_BY)) >= 0.8)


def _beside(layers: Layers, frames: Ints, rtp: Ints) -> NDArray[np.bool_]:
    """Frames between the ends of a stream, each port one higher (RFC 3550 §11); ``rtp`` holds one frame a stream."""
    taken = np.stack((layers.source[rtp], layers.source_port[rtp] + 1, layers.destination[rtp], layers.destination_port[rtp] + 1))
    mine = np.stack((layers.source[frames], layers.source_port[frames], layers.destination[frames], layers.destination_port[frames]))
    known = {tuple(column) for column in taken.T.tolist()}
    candidates = np.flatnonzero(np.isin(layers.source_port[frames], taken[1]))
    found = np.zeros(len(frames), np.bool_)
    found[candidates] = [tuple(column) in known for column in mine[:, candidates].T.tolist()]
    return found
