"""The media relay, seen from the kernel: voices through the PBX's address ("PBX delivers audio").

Each leg of a call sees a relay port of its own.  A session description that goes from one leg to another passes through
:meth:`MediaRelay.pass_on`: it leaves with the PBX's address and the relay port of the leg that gets it, and the relay process learns where
the phone that wrote it receives.  It is not told anything else, so a call, a hold, a re-INVITE and a transfer are all the same to it.

Legs are named by their Call-ID.  ICE candidates are taken out (they would lead around the relay); SRTP passes as it is.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit.errors import SipError, WireError
from labkit.net.child import Child
from labkit.net.plan import Address, Host
from labkit.sip.message import SipMessage
from labkit.sip.number import decimal
from labkit.sip.sdp import Line, Media, Sdp

HELD = "0.0.0.0"
"""The connection address of a phone that wants to hear nothing (RFC 2543); it is passed on."""
ICE = ("candidate:", "remote-candidates:", "end-of-candidates", "ice-")

log = logging.getLogger("labkit.net")


class MediaRelay:
    """The relay at one host's address; its RTP ports must be open on the wire.  All methods belong to the labkit thread."""

    def __init__(self, host: Host, log_file: Path) -> None:
        self.host = host
        self._log_file = log_file
        self._child: Child | None = None
        first = host.rtp_ports.start + host.rtp_ports.start % 2
        self._free = deque(range(first, host.rtp_ports.stop - 1, 2))
        self._ports: dict[str, dict[int, int]] = {}
        """By Call-ID and number of the media section: the relay port that this leg's phone is shown."""
        self._told: dict[tuple[int, str], object] = {}

    async def start(self) -> None:
        """Start the process.  Ports that another program holds are left out; raises :class:`WireError` when that leaves none."""
        config = {"host": self.host.back, "shift": self.host.shift, "ports": list(self._free)}
        self._child = await Child.start("media relay", "labkit.net.media_relay_process", config, self._log_file)
        self._free = deque(self._child.ready["ports"])
        if not self._free:
            address = f"{self.host.back}:{self.host.rtp_ports.start}-{self.host.rtp_ports.stop - 1}"
            raise WireError("net.port_taken", address=address, reason="RTP")

    async def close(self) -> None:
        if self._child is not None:
            await self._child.close()

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def ports_in_use(self) -> list[int]:
        return sorted(port for ports in self._ports.values() for port in ports.values())

    async def stats(self) -> dict[str, Any]:
        """Packets passed on, dropped from strangers, and how long they took through the relay in µs."""
        assert self._child is not None
        answer: dict[str, Any] = await self._child.request("stats")
        return answer

    def pass_on(self, source: SipMessage, message: SipMessage) -> bytes:
        """The body of ``source``, which one leg sent, as ``message`` is to take it to another leg.

        What is no session description passes unchanged, and so does one without a Call-ID, which is the PBX's own.  When every port is in
        use, its media are refused (port 0).
        """
        body, giver = source.body, source.headers.get("Call-ID")
        if not body.startswith(b"v=0") or giver is None:
            return body
        try:
            sdp = Sdp.parse(body)
        except SipError:
            return body
        orders: list[dict[str, object]] = []
        sections = enumerate(sdp.media)
        media = tuple(self._section(sdp, section, number, giver, message.call_id, orders) for number, section in sections)
        if orders and self._child is not None:
            self._child.tell("set", channels=orders)
        return bytes(replace(sdp, lines=self._lines(sdp.lines), media=media))

    def release(self, leg: str) -> None:
        """The leg has ended: its ports are free again."""
        ports = list(self._ports.pop(leg, {}).values())
        if ports and self._child is not None:
            self._child.tell("release", ports=ports)
        for port in ports:
            self._free.append(port)
            self._told.pop((port, "peers"), None)
            self._told.pop((port, "to"), None)

    def _section(self, sdp: Sdp, media: Media, number: int, giver: str, taker: str, orders: list[dict[str, object]]) -> Media:
        """One ``m=`` section as the taker is to see it."""
        shown, own = self._port(taker, number), self._port(giver, number)
        if not media.port or shown is None or own is None:
            self._tell(orders, own, "peers", [None, None])
            return replace(media, port=0)
        peer = sdp.address(media)
        hears = peer is not None and peer[0] != HELD
        self._tell(orders, own, "peers", [peer, _rtcp(media, peer)] if peer is not None and hears else [None, None])
        self._tell(orders, shown, "to", own)
        return replace(media, port=shown, lines=self._lines(media.lines, shown))

    def _tell(self, orders: list[dict[str, object]], port: int | None, what: str, value: object) -> None:
        if port is not None and self._told.get((port, what)) != value:
            self._told[port, what] = value
            orders.append({"port": port, what: value})

    def _port(self, leg: str, number: int) -> int | None:
        """The relay port of a leg's section; None when all are in use."""
        ports = self._ports.setdefault(leg, {})
        if number not in ports:
            if not self._free:
                log.warning("every RTP port of the relay is in use")
                return None
            ports[number] = self._free.popleft()
        return ports[number]

    def _lines(self, lines: tuple[Line, ...], port: int = 0) -> tuple[Line, ...]:
        """The lines of a session or section with the relay's address, without ICE."""
        changed: list[Line] = []
        for kind, value in lines:
            if kind == "c" and not value.endswith(HELD):
                value = f"IN IP4 {self.host.face}"
            elif kind == "o":
                value = " ".join([*value.split(" ")[:-3], "IN", "IP4", self.host.face])
            elif kind == "a" and value.startswith("rtcp:"):
                value = f"rtcp:{port + 1}"
            elif kind == "a" and value.startswith(ICE):
                continue
            changed.append((kind, value))
        return tuple(changed)


def _rtcp(media: Media, rtp: Address) -> Address:
    """Where a section's RTCP is received: the next port, or what ``a=rtcp`` says (RFC 3605)."""
    for value in media.attributes("rtcp"):
        first, *rest = value.split() or [""]
        port = decimal(first)
        if port and port < 65536:
            return (rest[2] if len(rest) == 3 else rtp[0]), port
    return rtp[0], rtp[1] + 1
