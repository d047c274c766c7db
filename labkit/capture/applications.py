"""What frames carry besides SIP, RTP and RTCP: STUN, TURN and DTLS in datagrams; TLS and mail in TCP streams, also TLS after STARTTLS.

A protocol is known by its octets, not by its port, except that mail is looked for on mail's ports when its greeting was not recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from labkit.capture import stun
from labkit.capture.dtls import DtlsSession, looks_like_dtls
from labkit.capture.layers import UDP, Layers
from labkit.capture.mail import PORTS, MailSession, greeting
from labkit.capture.node import Node
from labkit.capture.records import big_endian
from labkit.capture.sip_streams import unfinished
from labkit.capture.streams import Key, Piece, pieces, reverse, sender_and_receiver
from labkit.capture.tls_records import TlsSession, looks_like_tls


class Unit(Protocol):
    """A message, a record or some lines, as the dissectors make them."""

    @property
    def column(self) -> str:
        """Its Protocol column."""

    @property
    def info(self) -> str:
        """What it adds to the Info column."""

    def tree(self) -> Node:
        """Its lines in the packet's tree."""


@dataclass
class Applications:
    """By index of the frame."""

    units: dict[int, list[Unit]] = field(default_factory=dict)
    segments: dict[int, bool] = field(default_factory=dict)
    """Frames that complete nothing, of a stream that is known; whether something begins at their first octet."""

    def column(self, index: int) -> str:
        """The Protocol column of a frame."""
        return self.units[index][-1].column

    def info(self, index: int) -> str:
        """The Info column of a frame."""
        return ", ".join(unit.info for unit in self.units[index])


def find_applications(layers: Layers, taken: Collection[int] = ()) -> Applications:
    """Everything of a capture; ``taken`` are the frames that are known to be something else."""
    found = Applications()
    for index, unit in _datagrams(layers, frozenset(taken)):
        found.units.setdefault(index, []).append(unit)
    others = _streams(layers, found)
    found.segments |= {index: False for index in unfinished(layers) if index in others}
    return found


def _datagrams(layers: Layers, taken: frozenset[int]) -> Iterator[tuple[int, Unit]]:
    frames = np.flatnonzero((layers.protocol == UDP) & (layers.size >= 4))
    head = layers.heads(frames, 8)
    first, second = head[:, 0], head[:, 1]
    length, size = big_endian(head, 2, 2), layers.size[frames]
    perhaps = (first < 0x40) & (length + stun.HEADER == size)
    perhaps |= (first >= 20) & (first <= 24) & ((second == 0xFE) | (second == 1))
    perhaps |= (first >= 0x40) & (first <= 0x4F) & (length + 4 <= size)
    spoken: set[Key] = set()
    sessions: dict[Key, DtlsSession] = {}
    for index in frames[perhaps].tolist():
        if index in taken:
            continue
        data, key = layers.bytes_of(index), sender_and_receiver(layers, index)
        message = stun.parse(data)
        if message:
            spoken |= {key, reverse(key)}
            yield index, message
        elif looks_like_dtls(data):
            ends = max(key, reverse(key))
            for record in sessions.setdefault(ends, DtlsSession()).feed(key == ends, data):
                yield index, record
        elif key in spoken or stun.PORT in (key[1], key[3]):
            channel = stun.parse_channel(data)
            if channel:
                yield index, channel


@dataclass
class _Connection:
    """What both ends of a TCP connection speak."""

    number: int
    tls: TlsSession | None = None
    mail: MailSession | None = None
    server: Key | None = None
    """The direction that a mail server sends in."""


def _streams(layers: Layers, found: Applications) -> set[int]:
    """Reads every TCP stream; returns the frames of those that are neither TLS nor mail."""
    others: set[int] = set()
    connections: dict[Key, _Connection] = {}
    for piece in pieces(layers):
        ends = max(piece.key, reverse(piece.key))
        connection = connections.get(ends)
        if connection is None or piece.connection > connection.number:
            connection = connections[ends] = _opened(piece)
        if connection.tls is not None:
            _tls(connection.tls, piece, found)
        elif connection.mail is not None:
            _mail(connection, piece, found)
        else:
            others.add(piece.index)
    return others


def _opened(piece: Piece) -> _Connection:
    """What the first octets of a connection say of it."""
    connection = _Connection(piece.connection)
    if looks_like_tls(piece.data):
        connection.tls = TlsSession()
        return connection
    protocol = greeting(piece.data)
    if protocol:
        connection.server, connection.mail = piece.key, MailSession(protocol)
        return connection
    for key in (piece.key, reverse(piece.key)):
        if key[1] in PORTS:
            connection.server, connection.mail = key, MailSession(PORTS[key[1]])
    return connection


def _tls(session: TlsSession, piece: Piece, found: Applications) -> None:
    side = piece.key > reverse(piece.key)
    begins = not session.waiting(side)
    records = list(session.feed(side, piece.data, after_gap=piece.after_gap))
    if records:
        found.units.setdefault(piece.index, []).extend(records)
    elif not session.broken:
        found.segments[piece.index] = begins


def _mail(connection: _Connection, piece: Piece, found: Applications) -> None:
    assert connection.mail is not None
    part = connection.mail.feed(piece.key != connection.server, piece.data)
    if part:
        found.units.setdefault(piece.index, []).append(part)
    else:
        found.segments[piece.index] = False
    if connection.mail.secured:
        connection.mail, connection.tls = None, TlsSession()
