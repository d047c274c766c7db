"""Where a message goes, or where it came from: host, port and transport (RFC 3261 §18).

Over UDP that is an address; over TCP it names a connection, since its other end has a port of its own.
"""

from __future__ import annotations


class Hop(tuple[str, int]):
    """An address with its transport, in capitals as in a Via.  Over UDP it equals the plain ``(host, port)``."""

    transport: str

    def __new__(cls, host: str, port: int, transport: str = "UDP") -> Hop:
        hop = super().__new__(cls, (host, port))
        hop.transport = transport
        return hop

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and tuple.__eq__(self, other) and self.transport == transport_of(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return tuple.__hash__(self) if self.transport == "UDP" else hash((self[0], self[1], self.transport))

    def __repr__(self) -> str:
        return f"Hop({self[0]!r}, {self[1]}, {self.transport!r})"


def transport_of(address: tuple[object, ...]) -> str:
    """The transport of a hop; a plain address is one over UDP."""
    return address.transport if isinstance(address, Hop) else "UDP"


def reliable(address: tuple[object, ...]) -> bool:
    """Whether this transport repeats what gets lost, so that SIP need not (§17)."""
    return transport_of(address) != "UDP"
