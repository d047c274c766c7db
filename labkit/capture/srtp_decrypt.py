"""The SRTP and SRTCP packets of a capture, opened with the keys in its SDP bodies (``a=crypto``, RFC 4568).

A packet is tried with the keys that its sender announced, then with the others of the capture: the authentication tag says which is right.
Keys of DTLS-SRTP, ZRTP and MIKEY are not in the SDP, so such streams stay closed; so do packets in IP fragments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from labkit.capture.addresses import NONE, Addresses
from labkit.capture.layers import UDP, Layers
from labkit.capture.rewrite import Clear
from labkit.capture.sip_records import SipRecord
from labkit.capture.tls_decrypt import DECRYPTED
from labkit.errors import MediaError
from labkit.media.sdes import CryptoLine, crypto_lines
from labkit.media.srtp import Srtp

MOST_KEYS = 32
"""Tried on one packet."""
PATIENCE = 40
"""Packets of a stream on which all keys are tried in vain; after them only the key that has worked, if any."""
FAILED = "not decrypted: authentication failed"
End = tuple[int, int]
"""Address number and port."""


@dataclass
class Announced:
    """What the SDP bodies say of each end: its keys, and whether it spoke of media without any."""

    keys: dict[End, list[CryptoLine]] = field(default_factory=dict)
    secure: set[End] = field(default_factory=set)
    """Ends of a secure profile (RTP/SAVP...), with keys in the SDP or not."""
    plain: set[End] = field(default_factory=set)

    @classmethod
    def of(cls, messages: Iterable[SipRecord], addresses: Addresses) -> Announced:
        found = cls()
        for record in messages:
            sdp = record.sdp
            for media in sdp.media if sdp else ():
                where = sdp.address(media) if sdp else None
                number = addresses.number(where[0]) if where else NONE
                if where is None or number == NONE:
                    continue
                lines = crypto_lines(media.attributes("crypto"))
                for port in (where[1], _rtcp_port(media.attributes("rtcp"), where[1])):
                    end = number, port
                    if lines:
                        held = found.keys.setdefault(end, [])
                        held += [line for line in lines if line not in held]
                    if "SAVP" in media.protocol.upper():
                        found.secure.add(end)
                    elif not lines:
                        found.plain.add(end)
        return found

    def concerns(self, source: End, destination: End) -> bool:
        """Whether a packet between two ends is SRTP, as far as the SDP bodies tell."""
        marked = self.secure | self.keys.keys()
        if source not in marked and destination not in marked:
            return False
        # A call that offered keys and was answered without them is plain RTP.
        return not any(end in self.plain and end not in marked for end in (source, destination))


def _rtcp_port(values: list[str], rtp: int) -> int:
    """RFC 3605, else the next port."""
    port = (values or [""])[0].split(" ")[0]
    return int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else rtp + 1


@dataclass
class SrtpStream:
    """The packets of one SSRC between two ends."""

    source: tuple[str, int]
    destination: tuple[str, int]
    ssrc: int
    rtcp: bool
    opened: int = 0
    failed: int = 0
    suites: list[str] = field(default_factory=list)
    vain: int = 0
    """Packets in a row on which all keys were tried in vain."""
    keys: int = 0
    """How many there were to try."""
    line: CryptoLine | None = None
    """The one that worked last."""

    def why(self) -> str:
        """Why not all is clear: a message id; empty when all is."""
        if not self.failed:
            return ""
        return "decrypt.tampered" if self.opened else "decrypt.wrong_key" if self.keys else "decrypt.no_sdes"


@dataclass
class SrtpResult:
    streams: list[SrtpStream]
    clear: dict[int, Clear]
    """By frame."""
    failed: dict[int, str]
    """Comments on the frames that stay closed."""


def open_srtp(layers: Layers, messages: list[SipRecord]) -> SrtpResult:
    """Every packet of an end that announced secure media."""
    announced = Announced.of(messages, layers.addresses)
    result = SrtpResult([], {}, {})
    if not (announced.secure or announced.keys):
        return result
    streams: dict[tuple[End, End, int, bool], SrtpStream] = {}
    contexts: dict[tuple[End, CryptoLine], Srtp] = {}
    concerns: dict[tuple[End, End], bool] = {}
    # Without authentication nothing tells a wrong key: such a key is for its own sender only.
    everything = list(dict.fromkeys(line for lines in announced.keys.values() for line in lines if line.authenticated))
    for index in np.flatnonzero((layers.protocol == UDP) & (layers.size >= 12) & (layers.fragment == 0)).tolist():
        source = int(layers.source[index]), int(layers.source_port[index])
        destination = int(layers.destination[index]), int(layers.destination_port[index])
        pair = source, destination
        if pair not in concerns:
            concerns[pair] = announced.concerns(source, destination)
        if not concerns[pair] or layers.records.comments.get(index, "").startswith(DECRYPTED):
            continue
        packet = layers.bytes_of(index)
        if packet[0] >> 6 != 2:  # STUN or DTLS on the same port (RFC 7983)
            continue
        rtcp = 192 <= packet[1] <= 223
        ssrc = int.from_bytes(packet[4:8] if rtcp else packet[8:12], "big")
        stream = streams.get((source, destination, ssrc, rtcp))
        if stream is None:
            stream = streams[source, destination, ssrc, rtcp] = SrtpStream(*layers.endpoints(index), ssrc, rtcp)
        own = announced.keys.get(source, [])
        lines = [*own, *(line for line in everything if line not in own)][:MOST_KEYS] if stream.vain < PATIENCE else []
        stream.keys = max(stream.keys, len(lines))
        clear = _open(stream, source, packet, lines, contexts)
        if clear is None:
            stream.failed += 1
            result.failed[index] = FAILED
        else:
            assert stream.line is not None
            stream.opened += 1
            name = stream.line.suite.name
            if name not in stream.suites:
                stream.suites.append(name)
            result.clear[index] = Clear(clear, f"{DECRYPTED}{'SRTCP' if rtcp else 'SRTP'} {name}")
    result.streams = list(streams.values())
    return result


def _open(
    stream: SrtpStream, source: End, packet: bytes, lines: list[CryptoLine], contexts: dict[tuple[End, CryptoLine], Srtp]
) -> bytes | None:
    """The clear packet, or ``None`` when no key fits; the key that worked last comes first."""
    first = [stream.line] if stream.line else []
    for line in (*first, *(line for line in lines if line != stream.line)):
        context = contexts.get((source, line))
        if context is None:
            context = contexts[source, line] = line.srtp()
        try:
            clear = context.unprotect_rtcp(packet) if stream.rtcp else context.unprotect(packet)
        except MediaError:
            continue
        stream.line, stream.vain = line, 0
        return clear
    stream.vain += 1
    return None
