"""The header fields that decide something: Via, From/To/Contact/Route (name-addr), CSeq.  RFC 3261 §7.3, §20, §25.

Each is a small frozen dataclass with ``parse`` and ``str``.  A header that nobody touches is never parsed: it stays bytes in
:class:`labkit.sip.message.Headers`.  Digest headers are in :mod:`labkit.sip.digest`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from labkit.errors import SipError
from labkit.sip.number import decimal
from labkit.sip.uri import HOST, Params, SipUri

TOKEN = r"A-Za-z0-9\-.!%*_+`'~"  # the characters of a token (§25.1), to be put in a character class
_QUOTED = r'"(?:[^"\\]|\\.)*"'
# Everywhere re.ASCII: digits and white space are those of §25.1.
_PARAM = re.compile(rf"\s*;\s*([{TOKEN}]+)(?:\s*=\s*({_QUOTED}|[^;,\"\s<>]+))?\s*", re.DOTALL | re.ASCII)
# The last two alternatives take what is never closed, at once: a hostile header must not cost quadratic time.
_PIECE = re.compile(rf"{_QUOTED}|<[^<>]*>|[^\",<]+|<|\".*", re.DOTALL)
_VIA = re.compile(rf"\s*SIP\s*/\s*2\.0\s*/\s*([{TOKEN}]+)\s+({HOST})(?:\s*:\s*(\d{{1,5}}))?\s*(?=;|$)", re.IGNORECASE | re.ASCII)
_CSEQ = re.compile(rf"\s*(\d{{1,20}})\s+([{TOKEN}]+)\s*", re.ASCII)
# "*+": white space is never tried again as part of a name, or spaces without a bracket would cost quadratic time.
_BRACKETS = re.compile(rf"\s*+(?:({_QUOTED})\s*|([^\"<>,;:@]*))<([^<>\s]+)>\s*", re.DOTALL | re.ASCII)
_BARE = re.compile(r"\s*([^<>\s;,?\"]+)\s*(?=;|$)", re.ASCII)


def split_commas(value: str) -> list[str]:
    """Split a list header at the commas that stand outside quotes and angle brackets (§7.3.1)."""
    if "," not in value:
        return [value.strip()]
    parts, current = [], ""
    position = 0
    while position < len(value):
        if value[position] == ",":
            parts.append(current.strip())
            current, position = "", position + 1
            continue
        piece = _PIECE.match(value, position)
        assert piece is not None  # the pattern covers every character but the comma
        current += piece[0]
        position = piece.end()
    return [*parts, current.strip()]


def parse_params(text: str, header: str) -> Params:
    """``;name=value;flag`` as pairs; a quoted value keeps its quotes so that it is written back as it came."""
    found: list[tuple[str, str | None]] = []
    position = 0
    while position < len(text):
        match = _PARAM.match(text, position)
        if match is None:
            raise SipError("sip.bad_header", header=header, value=text[:200])
        found.append((match[1], match[2]))
        position = match.end()
    return tuple(found)


def write_params(params: Params) -> str:
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in params)


def unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    return value


def quote(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _find(params: Params, name: str) -> str | None:
    for key, value in params:
        if key.lower() == name:
            return unquote(value) if value else ""
    return None


def _changed(params: Params, name: str, value: str | None) -> Params:
    """``params`` with ``name`` set where it stood, or at the end."""
    if any(key.lower() == name for key, _ in params):
        return tuple((key, value if key.lower() == name else old) for key, old in params)
    return (*params, (name, value))


@dataclass(frozen=True, slots=True)
class Via:
    """One hop of the way back (§18.2, §20.42): transport, sent-by, parameters."""

    transport: str
    host: str
    port: int | None = None
    params: Params = ()

    @classmethod
    def parse(cls, text: str) -> Via:
        match = _VIA.match(text)
        if match is None:
            raise SipError("sip.bad_header", header="Via", value=text[:200])
        return cls(match[1].upper(), match[2], int(match[3]) if match[3] else None, parse_params(text[match.end() :], "Via"))

    def param(self, name: str) -> str | None:
        return _find(self.params, name)

    @property
    def branch(self) -> str:
        """The transaction id chosen by the sender; ``""`` when an RFC 2543 client sent none."""
        return self.param("branch") or ""

    @property
    def sent_by(self) -> str:
        """Host and port as the sender wrote them, the host in lower case."""
        return f"{self.host.lower()}:{self.port}" if self.port else self.host.lower()

    def received_from(self, source: tuple[str, int]) -> Via:
        """This Via as the receiving server stamps it: ``received`` and ``rport`` (§18.2.1, RFC 3581 §4)."""
        params = self.params
        wants_port = self.param("rport") is not None
        if wants_port:
            params = _changed(params, "rport", str(source[1]))
        # RFC 3581 §4: with rport, received MUST be added even if it equals the sent-by host.
        if wants_port or self.host.strip("[]").lower() != source[0].lower():
            params = _changed(params, "received", source[0])
        return self if params is self.params else replace(self, params=params)

    @property
    def reply_address(self) -> tuple[str, int]:
        """Where the response goes over UDP: maddr, received and rport, or sent-by (§18.2.2, RFC 3581 §4)."""
        host = self.param("maddr") or self.param("received") or self.host.strip("[]")
        rport = decimal(self.param("rport"))
        if rport and rport < 65536:
            return host, rport
        return host, self.port or (5061 if self.transport == "TLS" else 5060)

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"SIP/2.0/{self.transport} {self.host}{port}{write_params(self.params)}"


@dataclass(frozen=True, slots=True)
class NameAddr:
    """``"BOB" <sip:100@pbx>;tag=…``: From, To, Contact, Route, Record-Route, Refer-To (§20.10).

    ``uri`` is kept as text, since it may have any scheme; :attr:`sip_uri` reads it.
    """

    uri: str
    display_name: str = ""
    params: Params = ()

    @classmethod
    def parse(cls, text: str, header: str = "Contact") -> NameAddr:
        match = _BRACKETS.match(text)
        if match is not None:
            name = unquote(match[1]) if match[1] else match[2].strip()
            return cls(match[3], name, parse_params(text[match.end() :], header))
        # §20: without angle brackets the URI may hold no comma, question mark or semicolon; what follows ";" belongs to the header.
        match = _BARE.match(text)
        if match is None:
            raise SipError("sip.bad_header", header=header, value=text[:200])
        return cls(match[1], "", parse_params(text[match.end() :], header))

    def param(self, name: str) -> str | None:
        return _find(self.params, name)

    @property
    def sip_uri(self) -> SipUri:
        return SipUri.parse(self.uri)

    @property
    def tag(self) -> str:
        return self.param("tag") or ""

    def with_tag(self, tag: str) -> NameAddr:
        return replace(self, params=_changed(self.params, "tag", tag))

    def with_param(self, name: str, value: str | None) -> NameAddr:
        return replace(self, params=_changed(self.params, name, value))

    @property
    def expires(self) -> int | None:
        """The ``expires`` of a Contact in seconds; ``None`` when absent or no number (then §10.3 takes the default)."""
        seconds = decimal(self.param("expires"))
        return min(seconds, 2**32 - 1) if seconds is not None else None

    @property
    def q(self) -> float:
        """The preference of a Contact, 0 to 1; 1 when absent or no number (§20.10)."""
        value = self.param("q")
        if value is None or not re.fullmatch(r"0?(\.[0-9]{0,3})?|1(\.0{0,3})?", value) or value in ("", "."):
            return 1.0
        return float(value)

    def __str__(self) -> str:
        name = f"{quote(self.display_name)} " if self.display_name else ""
        return f"{name}<{self.uri}>{write_params(self.params)}"


@dataclass(frozen=True, slots=True)
class CSeq:
    """Sequence number and method (§20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        match = _CSEQ.fullmatch(text)
        # §8.1.1.5: the number MUST be less than 2**31.
        if match is None or int(match[1]) >= 2**31:
            raise SipError("sip.bad_header", header="CSeq", value=text[:200])
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


def name_addrs(values: Iterable[str], header: str = "Contact") -> list[NameAddr]:
    """Every name-addr of a header that may be repeated and may hold a list."""
    return [NameAddr.parse(item, header) for value in values for item in split_commas(value)]
