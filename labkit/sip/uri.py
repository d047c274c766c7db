"""SIP and SIPS URIs: RFC 3261 §19.1 (parts, escaping, comparison).

``tel:`` and other schemes are not read here; a server answers 416 to them (:attr:`SipError.status`).  Nothing is resolved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import quote, unquote

from labkit.errors import SipError
from labkit.sip.hop import Hop

LONGEST_REMEMBERED = 300

Params = tuple[tuple[str, str | None], ...]
"""Parameters in their order; ``None`` for one without a value (``;lr``)."""

_ESCAPED = "%[0-9A-Fa-f]{2}"
_UNRESERVED = "A-Za-z0-9\\-_.!~*'()"
HOST = r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9_.\-]*"
# "#" should be escaped in a user part, but phones send it raw when one is dialled, so it is let in.
_URI = re.compile(
    rf"(?P<scheme>sips?):"
    rf"(?:(?P<user>(?:[{_UNRESERVED}&=+$,;?/#]|{_ESCAPED})+)(?P<password>:(?:[{_UNRESERVED}&=+$,]|{_ESCAPED})*)?@)?"
    rf"(?P<host>{HOST})(?::(?P<port>\d{{1,5}}))?"
    rf"(?P<params>(?:;(?:[{_UNRESERVED}\[\]/:&+$=]|{_ESCAPED})+)*)"
    rf"(?:\?(?P<headers>(?:[{_UNRESERVED}\[\]/?:+$=&]|{_ESCAPED})+))?",
    re.IGNORECASE | re.ASCII,
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_KEEP_IN_USER = "!*'()&=+$,;?/"
_KEEP_IN_PASSWORD = "!*'()&=+$,"
_KEEP_IN_PARAM = "!*'()[]/:&+$"
_KEEP_IN_HEADER = "!*'()[]/?:+$"
# RFC 3261 §19.1.4: these make two URIs differ even when only one of them has the parameter.
_NEVER_IGNORED = frozenset({"user", "ttl", "method", "maddr", "transport"})


def _escape(text: str, keep: str) -> str:
    return quote(text, safe=keep, encoding="utf-8", errors="surrogateescape")


def _unescape(text: str) -> str:
    """Each %XX is decoded once: ``value%2541`` is ``value%41`` (RFC 4475 §3.1.1.3)."""
    return unquote(text, encoding="utf-8", errors="surrogateescape") if "%" in text else text


@dataclass(frozen=True, slots=True)
class SipUri:
    """``sip:user:password@host:port;params?headers``, every part unescaped; ``str()`` escapes again what needs it."""

    scheme: str = "sip"
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    params: Params = ()
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> SipUri:
        """Read a URI; raises :class:`SipError` (400, or 416 for a scheme that is neither sip nor sips)."""
        # What is long is not remembered: a stranger must not fill the memory with it.
        return _parse(text) if len(text) <= LONGEST_REMEMBERED else _parse.__wrapped__(text)

    def param(self, name: str) -> str | None:
        """The value of a parameter, ``""`` when it stands without a value, ``None`` when it is absent."""
        name = name.lower()
        for key, value in self.params:
            if key.lower() == name:
                return value or ""
        return None

    @property
    def address(self) -> Hop:
        """Host (an IPv6 address without its brackets), port and transport; 5060, 5061 and UDP when nothing is written (§19.1.2)."""
        transport = "TLS" if self.scheme == "sips" else (self.param("transport") or "UDP").upper()
        return Hop(self.host.strip("[]"), self.port or (5061 if transport == "TLS" else 5060), transport)

    @property
    def aor(self) -> SipUri:
        """The address of record: this URI without password, port, parameters and headers (§10.3, step 5)."""
        return SipUri(self.scheme, self.user, None, self.host.lower())

    def without_headers(self) -> SipUri:
        return replace(self, headers=())

    def matches(self, other: SipUri) -> bool:
        """Whether both name the same resource by the comparison of §19.1.4 (which is not plain equality)."""
        if (self.scheme, self.user, self.password, self.port) != (other.scheme, other.user, other.password, other.port):
            return False
        if self.host.lower() != other.host.lower():
            return False
        mine, theirs = _folded(self.params), _folded(other.params)
        for name in mine.keys() | theirs.keys():
            if name in mine and name in theirs:
                if mine[name] != theirs[name]:
                    return False
            elif name in _NEVER_IGNORED:
                return False
        return sorted((k.lower(), v) for k, v in self.headers) == sorted((k.lower(), v) for k, v in other.headers)

    def __str__(self) -> str:
        out = [self.scheme, ":"]
        if self.user is not None:
            out.append(_escape(self.user, _KEEP_IN_USER))
            if self.password is not None:
                out += [":", _escape(self.password, _KEEP_IN_PASSWORD)]
            out.append("@")
        out.append(self.host)
        if self.port is not None:
            out.append(f":{self.port}")
        for name, value in self.params:
            out.append(";" + _escape(name, _KEEP_IN_PARAM))
            if value is not None:
                out.append("=" + _escape(value, _KEEP_IN_PARAM))
        if self.headers:
            out.append("?" + "&".join(f"{_escape(k, _KEEP_IN_HEADER)}={_escape(v, _KEEP_IN_HEADER)}" for k, v in self.headers))
        return "".join(out)


def _folded(params: Params) -> dict[str, str]:
    return {name.lower(): (value or "").lower() for name, value in params}


@lru_cache(maxsize=4096)
def _parse(text: str) -> SipUri:
    match = _URI.fullmatch(text)
    if match is None:
        scheme = _SCHEME.match(text)
        if scheme and scheme[0].lower() not in ("sip:", "sips:"):
            raise SipError("sip.uri_scheme", status=416, scheme=scheme[0][:40])
        raise SipError("sip.bad_uri", uri=text[:200])
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        raise SipError("sip.bad_uri", uri=text[:200])
    params: list[tuple[str, str | None]] = []
    for item in match["params"].split(";")[1:]:
        name, equals, value = item.partition("=")
        params.append((_unescape(name), _unescape(value) if equals else None))
    headers: list[tuple[str, str]] = []
    for item in (match["headers"] or "").split("&") if match["headers"] else ():
        name, _, value = item.partition("=")
        headers.append((_unescape(name), _unescape(value)))
    return SipUri(
        scheme=match["scheme"].lower(),
        user=_unescape(match["user"]) if match["user"] else None,
        password=_unescape(match["password"][1:]) if match["password"] else None,
        host=match["host"],
        port=port,
        params=tuple(params),
        headers=tuple(headers),
    )
