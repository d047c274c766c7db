"""The TLS connections of a capture, opened: which frames carry which clear bytes, and what became of each connection."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from labkit.capture.layers import TCP, Layers
from labkit.capture.rewrite import Clear
from labkit.capture.streams import Key, pieces, reverse, sender_and_receiver
from labkit.capture.tls_master import Secrets
from labkit.capture.tls_session import TlsSession

Direction = tuple[Key, int]
"""Which way, and which connection between these ends."""
DECRYPTED = "decrypted: "
"""How the comment on a decrypted packet begins, in every language: files are read by programs too."""


@dataclass
class TlsConnection:
    """One connection; ``ends`` are the keys of its two directions."""

    session: TlsSession
    ends: tuple[Direction, Direction]
    clear: dict[int, bytes] = field(default_factory=dict)
    """By the frame that completes it."""
    read: dict[Direction, tuple[int, int]] = field(default_factory=dict)
    """For each direction its first frame with data, and how many octets followed on."""

    @property
    def client_first(self) -> tuple[Direction, Direction]:
        return self.ends if self.session.client in (-1, 0) else (self.ends[1], self.ends[0])

    @property
    def rewritten(self) -> bool:
        """Whether application data came out, so that it takes the place of the records."""
        return self.session.opened > 0

    def why(self) -> str:
        """Why not all is clear: a message id; empty when all is."""
        session = self.session
        if session.failed:
            return "decrypt.tampered" if session.opened else "decrypt.wrong_secret"
        return session.why or ("" if session.opened else "decrypt.no_data")


def open_connections(layers: Layers, secrets: Secrets) -> list[TlsConnection]:
    """Every TLS connection, in order of appearance."""
    found: dict[Direction, TlsConnection] = {}
    for piece in pieces(layers):
        here, back = (piece.key, piece.connection), (reverse(piece.key), piece.connection)
        connection = found.get(here)
        if connection is None:
            connection = found[here] = found[back] = TlsConnection(TlsSession(secrets), (here, back))
        clear = connection.session.feed(connection.ends.index(here), piece.data, after_gap=piece.after_gap)
        if clear:
            connection.clear[piece.index] = connection.clear.get(piece.index, b"") + clear
        first, octets = connection.read.get(here, (piece.index, 0))
        connection.read[here] = first, octets + len(piece.data)
    _mark_gaps(layers, found)
    unique = {id(connection): connection for connection in found.values()}
    return [connection for connection in unique.values() if connection.session.client >= 0 or connection.session.why == "decrypt.no_start"]


def _mark_gaps(layers: Layers, found: dict[Direction, TlsConnection]) -> None:
    """Say of which connections octets were captured that do not follow on, or the last record is cut."""
    tls = {here: connection for here, connection in found.items() if connection.session.client >= 0 and here in connection.read}
    keys = {key for key, _ in tls}
    frames: dict[Key, list[tuple[int, int, int]]] = {}
    for index in np.flatnonzero((layers.protocol == TCP) & (layers.size > 0)).tolist():
        key = sender_and_receiver(layers, index)
        if key in keys:
            sequence = int.from_bytes(layers.records.data[(at := int(layers.transport[index]) + 4) : at + 4], "big")
            frames.setdefault(key, []).append((index, sequence, int(layers.size[index])))
    for (key, number), connection in tls.items():
        first, octets = connection.read[key, number]
        following = found[key, number + 1].read.get((key, number + 1)) if (key, number + 1) in found else None
        mine = [frame for frame in frames[key] if first <= frame[0] and (following is None or frame[0] < following[0])]
        ends = [(sequence + size - mine[0][1]) & 0xFFFFFFFF for _, sequence, size in mine]
        if max(end for end in ends if end < 1 << 31) > octets or connection.session.sides[connection.ends.index((key, number))].buffer:
            connection.session.why = connection.session.why or "decrypt.gap"


def replacements(connections: list[TlsConnection]) -> tuple[list[Direction], dict[int, Clear]]:
    """The directions that are written anew, and their clear bytes by frame."""
    directions, segments = [], {}
    for connection in connections:
        if not connection.rewritten:
            continue
        comment = f"{DECRYPTED}{connection.session.version_name} {connection.session.suite_name}"
        directions += list(connection.ends)
        segments.update({index: Clear(data, f"{comment}, from packet {index + 1}") for index, data in connection.clear.items()})
    return directions, segments
