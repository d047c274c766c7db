"""Session descriptions: RFC 8866 (lines), RFC 3264 (offer and answer, hold), RFC 3551 (static payload types).

Lines keep their order, unknown ones too, so a description that is read and written is the same text.
No codec is run and no port is opened here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from labkit.errors import SipError
from labkit.sip.number import decimal

Line = tuple[str, str]
Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
DIRECTIONS: tuple[Direction, ...] = ("sendrecv", "sendonly", "recvonly", "inactive")
# RFC 3264 §6.1: the answer to each direction when the answerer wants all that is possible.
REVERSED: dict[Direction, Direction] = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}

MEDIA_MAX = 64
"""Sections of one description; each may cost its receiver a pair of ports."""

STATIC_TYPES: dict[int, tuple[str, int, int]] = {
    # RFC 3551 tables 4 and 5: payload type: name, clock rate in Hz, channels
    0: ("PCMU", 8000, 1),
    3: ("GSM", 8000, 1),
    4: ("G723", 8000, 1),
    5: ("DVI4", 8000, 1),
    6: ("DVI4", 16000, 1),
    7: ("LPC", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),  # it samples at 16 kHz; 8000 is a historical error that §4.5.2 keeps
    10: ("L16", 44100, 2),
    11: ("L16", 44100, 1),
    12: ("QCELP", 8000, 1),
    13: ("CN", 8000, 1),
    14: ("MPA", 90000, 1),
    15: ("G728", 8000, 1),
    16: ("DVI4", 11025, 1),
    17: ("DVI4", 22050, 1),
    18: ("G729", 8000, 1),
    25: ("CelB", 90000, 1),
    26: ("JPEG", 90000, 1),
    28: ("nv", 90000, 1),
    31: ("H261", 90000, 1),
    32: ("MPV", 90000, 1),
    33: ("MP2T", 90000, 1),
    34: ("H263", 90000, 1),
}


@dataclass(frozen=True, slots=True)
class Codec:
    """One format of a media line: payload type, encoding name, clock rate in Hz, channels, format parameters."""

    payload_type: int
    name: str
    clock_rate: int
    channels: int = 1
    fmtp: str = ""

    def same_as(self, other: Codec) -> bool:
        """Equal encoding, whatever payload type each side gave it (RFC 3264 §6.1)."""
        return (self.name.upper(), self.clock_rate, self.channels) == (other.name.upper(), other.clock_rate, other.channels)

    def __str__(self) -> str:
        return f"{self.name}/{self.clock_rate}" + (f"/{self.channels}" if self.channels > 1 else "")


@dataclass(frozen=True, slots=True)
class Media:
    """One ``m=`` section: what, where to send it, in which formats, and the lines below it."""

    kind: str
    port: int
    protocol: str = "RTP/AVP"
    formats: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    port_count: int = 1

    @property
    def codecs(self) -> list[Codec]:
        """The formats as codecs, in the order of preference; a dynamic type without rtpmap is left out."""
        maps, fmtps = dict(self._by_type("rtpmap")), dict(self._by_type("fmtp"))
        found = []
        for form in self.formats:
            number = decimal(form)
            if number is None or number > 127:  # the payload type of RTP has seven bits (RFC 3550 §5.1)
                continue
            if form in maps:
                name, _, rest = maps[form].partition("/")
                rate, _, channels = rest.partition("/")
                if (hertz := decimal(rate.strip())) is not None:
                    found.append(Codec(number, name.strip(), hertz, decimal(channels.strip()) or 1, fmtps.get(form, "")))
            elif number in STATIC_TYPES:
                found.append(Codec(number, *STATIC_TYPES[number], fmtps.get(form, "")))
        return found

    def _by_type(self, attribute: str) -> Iterable[tuple[str, str]]:
        for value in self.attributes(attribute):
            number, _, rest = value.partition(" ")
            yield number, rest.strip()

    def attributes(self, name: str) -> list[str]:
        """The values of every ``a=name`` line; ``""`` for one without a value."""
        return _attributes(self.lines, name)

    @property
    def direction(self) -> Direction | None:
        """The direction written in this section, ``None`` when the session level decides (:meth:`Sdp.direction`)."""
        return _direction(self.lines)

    @property
    def connection(self) -> str | None:
        """The address of this section's own ``c=`` line."""
        return _connection(self.lines)

    def with_direction(self, direction: Direction) -> Media:
        others = tuple(line for line in self.lines if not (line[0] == "a" and line[1] in DIRECTIONS))
        return replace(self, lines=(*others, ("a", direction)))

    def with_codecs(self, codecs: Sequence[Codec]) -> Media:
        """This section with exactly these codecs; other lines stay."""
        kept = tuple(line for line in self.lines if not (line[0] == "a" and line[1].startswith(("rtpmap:", "fmtp:"))))
        described: list[Line] = []
        for codec in codecs:
            described.append(("a", f"rtpmap:{codec.payload_type} {codec}"))
            if codec.fmtp:
                described.append(("a", f"fmtp:{codec.payload_type} {codec.fmtp}"))
        return replace(self, formats=tuple(str(c.payload_type) for c in codecs), lines=(*described, *kept))

    def __str__(self) -> str:
        port = f"{self.port}/{self.port_count}" if self.port_count != 1 else str(self.port)
        head = " ".join(("m=" + self.kind, port, self.protocol, *self.formats))
        return "".join(f"{line}\r\n" for line in (head, *(f"{t}={v}" for t, v in self.lines)))


@dataclass(frozen=True, slots=True)
class Sdp:
    """A session description: the lines of the session, then its media."""

    lines: tuple[Line, ...] = ()
    media: tuple[Media, ...] = ()

    @classmethod
    def parse(cls, body: bytes | str) -> Sdp:
        """Read a description; raises :class:`SipError` (400) for a line that is not ``type=value`` or a bad ``m=``."""
        text = body.decode("utf-8", "surrogateescape") if isinstance(body, bytes) else body
        session: list[Line] = []
        media: list[Media] = []
        lines = session
        for raw in text.replace("\r\n", "\n").split("\n"):
            if not raw.strip():
                continue
            kind, equals, value = raw.partition("=")
            if not equals or len(kind) != 1:
                raise SipError("sip.bad_sdp", line=raw[:100])
            if kind == "m":
                if len(media) == MEDIA_MAX:
                    raise SipError("sip.bad_sdp", line=raw[:100])
                if media:
                    media[-1] = replace(media[-1], lines=tuple(lines))
                media.append(_media(value))
                lines = []
            else:
                lines.append((kind, value))
        if media:
            media[-1] = replace(media[-1], lines=tuple(lines))
        if not session or session[0] != ("v", "0"):
            raise SipError("sip.bad_sdp", line=(text.splitlines() or [""])[0][:100])
        return cls(tuple(session), tuple(media))

    @classmethod
    def make(
        cls, address: str, media: Sequence[Media], *, user: str = "-", session_id: int = 0, version: int = 0, name: str = "labkit"
    ) -> Sdp:
        """A plain description for media that are received at ``address``."""
        family = "IP6" if ":" in address else "IP4"
        origin = f"{user} {session_id} {version} IN {family} {address}"
        return cls((("v", "0"), ("o", origin), ("s", name), ("c", f"IN {family} {address}"), ("t", "0 0")), tuple(media))

    @property
    def connection(self) -> str | None:
        """The address of the session's ``c=`` line."""
        return _connection(self.lines)

    def address(self, media: Media) -> tuple[str, int] | None:
        """Where this section is received; ``None`` without any ``c=`` line or for a refused section (port 0)."""
        host = media.connection or self.connection
        return (host, media.port) if host and media.port else None

    def direction(self, media: Media) -> Direction:
        """The direction of a section: its own, else the session's, else sendrecv (RFC 8866 §6.7)."""
        return media.direction or _direction(self.lines) or "sendrecv"

    def holds(self, media: Media) -> bool:
        """Whether the sender puts this section on hold: sendonly, inactive (RFC 3264 §8.4), or the old c=0.0.0.0 (RFC 2543)."""
        unreachable = (media.connection or self.connection) in ("0.0.0.0", "::")
        return media.port != 0 and (unreachable or self.direction(media) in ("sendonly", "inactive"))

    @property
    def on_hold(self) -> bool:
        """Whether every open audio section is held."""
        audio = [m for m in self.media if m.kind == "audio" and m.port]
        return bool(audio) and all(self.holds(m) for m in audio)

    def __str__(self) -> str:
        return "".join(f"{t}={v}\r\n" for t, v in self.lines) + "".join(str(m) for m in self.media)

    def __bytes__(self) -> bytes:
        return str(self).encode("utf-8", "surrogateescape")


def answer(offer: Sdp, address: str, supported: dict[str, tuple[int, Sequence[Codec]]], *, session_id: int = 0) -> Sdp:
    """The answer of RFC 3264 §6 to an offer.

    ``supported`` gives, per media kind, the local port and the codecs in order.  Codecs keep the offerer's order and payload types; a
    section of another kind or protocol, or without a common codec, is refused with port 0 (§6).  The direction mirrors the offer's.
    Raises :class:`SipError` (488) when nothing is left.
    """
    sections = []
    for media in offer.media:
        port, codecs = supported.get(media.kind, (0, ()))
        common = [c for c in media.codecs if any(c.same_as(mine) for mine in codecs)] if media.protocol == "RTP/AVP" else []
        if not media.port or not port or all(c.name.lower() in ("telephone-event", "cn") for c in common):
            sections.append(Media(media.kind, 0, media.protocol, media.formats[:1] or ("0",)))
            continue
        section = Media(media.kind, port).with_codecs(common)
        sections.append(section.with_direction(REVERSED[offer.direction(media)]))
    if not any(section.port for section in sections):
        raise SipError("sip.no_common_codec", status=488)
    return Sdp.make(address, sections, session_id=session_id)


def _media(value: str) -> Media:
    parts = value.split()
    if len(parts) < 3:
        raise SipError("sip.bad_sdp", line=f"m={value}"[:100])
    first, slash, count = parts[1].partition("/")
    port, ports = decimal(first), decimal(count) if slash else 1
    if port is None or ports is None or max(port, ports) > 65535:
        raise SipError("sip.bad_sdp", line=f"m={value}"[:100])
    return Media(parts[0], port, parts[2], tuple(parts[3:]), (), ports)


def _attributes(lines: Iterable[Line], name: str) -> list[str]:
    found = []
    for kind, value in lines:
        if kind == "a":
            key, _, rest = value.partition(":")
            if key == name:
                found.append(rest)
    return found


def _direction(lines: Iterable[Line]) -> Direction | None:
    for kind, value in lines:
        if kind == "a":
            for direction in DIRECTIONS:
                if value.strip() == direction:
                    return direction
    return None


def _connection(lines: Iterable[Line]) -> str | None:
    for kind, value in lines:
        if kind == "c":
            parts = value.split()
            if len(parts) == 3:
                return parts[2].partition("/")[0]
    return None
