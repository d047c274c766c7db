"""RTP and RTCP packets (RFC 3550) among the UDP datagrams, and the streams they form.

Datagrams to or from an address and port of an SDP body are RTP (or, on its RTCP port, or with an RTCP packet type, RTCP).  Others are RTP
when they look like it for three packets or more: version 2, one SSRC, sequence numbers that count on.  All in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labkit.capture.layers import UDP, Layers
from labkit.capture.media_map import MediaMap, announced
from labkit.capture.records import Ints, big_endian

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


def find_rtp(layers: Layers, media: MediaMap) -> RtpPackets:
    """The RTP and RTCP packets of a capture."""
    frames = np.flatnonzero((layers.protocol == UDP) & (layers.size >= 4))
    source = layers.source[frames] << 16 | layers.source_port[frames]
    destination = layers.destination[frames] << 16 | layers.destination_port[frames]
    head = layers.heads(frames, HEADER)
    size = layers.size[frames]
    version, kind = head[:, 0] >> 6, head[:, 1].astype(np.int64)

    on_rtp = announced(destination, frames, media.rtp) | announced(source, frames, media.rtp)
    on_rtcp = (announced(destination, frames, media.rtcp) | announced(source, frames, media.rtcp)) & ~on_rtp
    control = (kind >= 192) & (kind <= 223)  # RFC 5761 §4: types that an RTP packet never shows
    rtcp = (on_rtcp | on_rtp) & control & (version == 2)
    ours = on_rtp & ~control & (size >= HEADER)
    known = ours & (version == 2)

    ports = np.minimum(layers.source_port[frames], layers.destination_port[frames])
    guess = ~on_rtp & ~on_rtcp & ~control & (version == 2) & (size >= HEADER) & (ports >= 1024)
    places = np.flatnonzero(known | guess)
    sequence, ssrc = big_endian(head[places], 2, 2), big_endian(head[places], 8, 4)
    streams = []
    for members in _streams(source[places], destination[places], ssrc):
        sure = members[known[places[members]]]
        if len(sure):
            streams.append(sure)  # as Wireshark: what came before its SDP is not counted
        elif _plausible(sequence[members]):
            streams.append(members)

    taken = np.sort(np.concatenate(streams)) if streams else np.empty(0, np.int64)
    rank = np.empty(len(places), np.int64)
    rank[taken] = np.arange(len(taken))
    streams = sorted((rank[members] for members in streams), key=lambda members: int(members[0]))
    firsts = np.array([members[0] for members in streams], np.int64)
    chosen = head[places[taken]]
    others = np.flatnonzero(control & (version == 2) & ~on_rtp & ~on_rtcp)
    rtcp[others[_beside(layers, frames[others], frames[places[taken[firsts]]])]] = True
    return RtpPackets(
        frame=frames[places[taken]],
        payload_type=(chosen[:, 1] & 127).astype(np.int64),
        marker=(chosen[:, 1] >> 7).astype(np.int64),
        sequence=sequence[taken],
        timestamp=big_endian(chosen, 4, 4),
        ssrc=ssrc[taken],
        size=size[places[taken]],
        streams=streams,
        rtcp=frames[rtcp],
        other_version=frames[ours & (version != 2)],
    )


def _streams(source: Ints, destination: Ints, ssrc: Ints) -> list[Ints]:
    """Packets grouped by source, destination and SSRC; each group in order of arrival."""
    if not len(source):
        return []
    mixed = source.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= destination.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= ssrc.astype(np.uint64) * np.uint64(0x165667B19E3779F9)
    bucket = ((mixed ^ (mixed >> np.uint64(29))) & np.uint64(0xFFFF)).astype(np.uint16)
    order = np.argsort(bucket, kind="stable")  # a radix sort: linear, and it keeps the order of arrival
    groups: list[Ints] = []
    for members in np.split(order, np.flatnonzero(np.diff(bucket[order].astype(np.int32))) + 1):
        keys = np.stack((source[members], destination[members], ssrc[members]))
        if (keys == keys[:, :1]).all():
            groups.append(members)
        else:  # two streams in one bucket
            _, which = np.unique(keys, axis=1, return_inverse=True)
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
