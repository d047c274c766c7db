"""The TLS connections of a capture, opened: which frames carry which clear bytes, and what became of each connection."""

from __future__ import annotations

from dataclasses import dataclass, field

from labkit.capture.layers import Layers
from labkit.capture.rewrite import Clear
from labkit.capture.streams import Key, pieces, reverse
from labkit.capture.tls_master import Secrets
from labkit.capture.tls_session import TlsSession

Address = tuple[str, int]
DECRYPTED = "decrypted: "
"""How the comment on a decrypted packet begins, in every language: files are read by programs too."""


@dataclass
class TlsConnection:
    """One connection; ``ends`` are the keys of its two directions."""

    session: TlsSession
    ends: tuple[tuple[Key, int], tuple[Key, int]]
    clear: dict[int, bytes] = field(default_factory=dict)
    """By the frame that completes it."""

    @property
    def client_first(self) -> tuple[tuple[Key, int], tuple[Key, int]]:
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
    found: dict[tuple[Key, int], TlsConnection] = {}
    for piece in pieces(layers):
        here, back = (piece.key, piece.connection), (reverse(piece.key), piece.connection)
        connection = found.get(here)
        if connection is None:
            connection = found[here] = found[back] = TlsConnection(TlsSession(secrets), (here, back))
        clear = connection.session.feed(connection.ends.index(here), piece.data, after_gap=piece.after_gap)
        if clear:
            connection.clear[piece.index] = connection.clear.get(piece.index, b"") + clear
    unique = {id(connection): connection for connection in found.values()}
    return [connection for connection in unique.values() if connection.session.client >= 0 or connection.session.why == "decrypt.no_start"]


def replacements(connections: list[TlsConnection]) -> tuple[list[tuple[Key, int]], dict[int, Clear]]:
    """The directions that are written anew, and their clear bytes by frame."""
    directions, segments = [], {}
    for connection in connections:
        if not connection.rewritten:
            continue
        comment = f"{DECRYPTED}{connection.session.version_name} {connection.session.suite_name}"
        directions += list(connection.ends)
        segments.update({index: Clear(data, f"{comment}, from packet {index + 1}") for index, data in connection.clear.items()})
    return directions, segments
