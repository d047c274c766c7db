"""The way to a Contact: the address that it names, or a better one that is known.  RFC 3261 §18.1.1, RFC 5923.

The registrar knows the way to a phone behind a NAT.  A phone that came over a connection is reached on that connection, whether it listens
at its Contact or not.  And a host that refused TCP is remembered for a while, so that a long message does not knock in vain each time.
"""

from __future__ import annotations

from collections.abc import Callable

from labkit.errors import SipError
from labkit.net.udp import Address
from labkit.sip.hop import Hop, reliable
from labkit.sip.message import Request
from labkit.sip.uri import SipUri

ContactKey = tuple[str | None, str, int]

NO_TCP_S = 300.0
"""How long a host that refused TCP is not asked again."""
ALIASES_MAX = 100
"""Contacts that one connection may stand for."""
REFUSALS_MAX = 1000


def contact_key(uri: SipUri) -> ContactKey:
    """What makes two Contacts the same place: user, host and port."""
    host, port = uri.address
    return uri.user, host.lower(), port


class Ways:
    """What one SIP host knows of the ways to others.  ``connected(hop)`` says whether a connection lives."""

    def __init__(self, connected: Callable[[Address], bool]) -> None:
        self.locate: Callable[[SipUri], Address | None] = lambda contact: None
        """Knows the way to a registered Contact, if it is another than the Contact says."""
        self._connected = connected
        self._aliases: dict[ContactKey, Hop] = {}
        self._by_hop: dict[Address, list[ContactKey]] = {}
        self._no_tcp: dict[Address, float] = {}

    def way(self, request: Request, remote: Address) -> Address:
        """The way to ``remote``, the address that the request names."""
        if "Route" in request.headers:
            return remote
        try:
            contact = request.target
        except SipError:
            return remote
        known = self.locate(contact) or self._aliases.get(contact_key(contact))
        return known if known is not None and (not reliable(known) or self._connected(known)) else remote

    def remember(self, request: Request, source: Hop) -> None:
        """A Contact that came over a connection is reached on it, if it is of the same host: nobody takes the calls of another."""
        known = self._by_hop.get(source, [])
        try:
            contacts = [contact.sip_uri for contact in request.contacts[: ALIASES_MAX - len(known)] if contact.uri != "*"]
        except SipError:
            return
        for uri in contacts:
            where, key = uri.address, contact_key(uri)
            if where.transport == source.transport and where[0] == source[0] and key not in self._aliases:
                self._aliases[key] = source
                self._by_hop.setdefault(source, []).append(key)

    def forget(self, hop: Address) -> None:
        """A connection has gone: its Contacts are reached as they say."""
        for contact in self._by_hop.pop(hop, ()):
            del self._aliases[contact]

    def refused_tcp(self, address: Address, now: float) -> None:
        self._no_tcp[address] = now
        if len(self._no_tcp) > REFUSALS_MAX:
            del self._no_tcp[next(iter(self._no_tcp))]

    def takes_tcp(self, address: Address, now: float) -> bool:
        """Whether it is worth trying."""
        refused = self._no_tcp.get(address)
        return refused is None or now - refused >= NO_TCP_S
