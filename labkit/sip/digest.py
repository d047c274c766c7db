"""Digest authentication: RFC 2617 and RFC 7616 as SIP uses them (RFC 3261 §22, RFC 8760): MD5 and SHA-256, with and without qop=auth.

The password never travels: both sides hash it with the server's nonce.  A hash is not encryption; who has the capture can try passwords.
Nonces are made and remembered by the server (:mod:`labkit.pbx`), not here.  ``auth-int`` and ``-sess`` are not spoken.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from labkit.errors import SipError
from labkit.sip.headers import TOKEN, quote, unquote

ALGORITHMS: dict[str, Callable[[bytes], hashlib._Hash]] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_ITEM = re.compile(rf"\s*([{TOKEN}]+)\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^\s,\"]+)\s*(?:,|$)", re.DOTALL)


def _read(text: str, header: str) -> dict[str, str]:
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != "digest":
        raise SipError("sip.auth_scheme", scheme=scheme[:40])
    found: dict[str, str] = {}
    position = 0
    while position < len(rest):
        match = _ITEM.match(rest, position)
        if match is None:
            raise SipError("sip.bad_header", header=header, value=text[:200])
        found[match[1].lower()] = unquote(match[2])
        position = match.end()
    return found


@dataclass(frozen=True, slots=True)
class Challenge:
    """``WWW-Authenticate`` (401) or ``Proxy-Authenticate`` (407)."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: bool = False
    stale: bool = False
    opaque: str | None = None

    @classmethod
    def parse(cls, text: str) -> Challenge:
        """Raises :class:`SipError` for another scheme, an unknown algorithm, or a qop without ``auth``."""
        items = _read(text, "WWW-Authenticate")
        algorithm = items.get("algorithm", "MD5").upper()
        offered = [q.strip().lower() for q in items.get("qop", "").split(",") if q.strip()]
        if algorithm not in ALGORITHMS or "nonce" not in items or (offered and "auth" not in offered):
            raise SipError("sip.auth_scheme", scheme=algorithm[:40])
        return cls(
            items.get("realm", ""), items["nonce"], algorithm, bool(offered), items.get("stale", "").lower() == "true", items.get("opaque")
        )

    def answer(self, method: str, uri: str, username: str, password: str, *, cnonce: str = "", count: int = 1) -> Credentials:
        """The credentials that answer this challenge; ``cnonce`` is the caller's random text, ``count`` how often the nonce was used."""
        nc = f"{count:08x}" if self.qop else ""
        cnonce = cnonce if self.qop else ""
        value = response(method, uri, username, self.realm, password, self.nonce, self.algorithm, cnonce, nc, "auth" if self.qop else "")
        return Credentials(
            username, self.realm, self.nonce, uri, value, self.algorithm, "auth" if self.qop else "", cnonce, nc, self.opaque
        )

    def __str__(self) -> str:
        out = f"Digest nonce={quote(self.nonce)},algorithm={self.algorithm},realm={quote(self.realm)}"
        return (
            out
            + (',qop="auth"' if self.qop else "")
            + (f",opaque={quote(self.opaque)}" if self.opaque is not None else "")
            + (",stale=true" if self.stale else "")
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """``Authorization`` or ``Proxy-Authorization``."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str = field(repr=False)
    algorithm: str = "MD5"
    qop: str = ""
    cnonce: str = ""
    nc: str = ""
    opaque: str | None = None

    @classmethod
    def parse(cls, text: str) -> Credentials:
        items = _read(text, "Authorization")
        try:
            known = {name: items[name] for name in ("username", "realm", "nonce", "uri", "response")}
        except KeyError as missing:
            raise SipError("sip.bad_header", header="Authorization", value=f"without {missing.args[0]}") from None
        return cls(
            **known,
            algorithm=items.get("algorithm", "MD5").upper(),
            qop=items.get("qop", "").lower(),
            cnonce=items.get("cnonce", ""),
            nc=items.get("nc", ""),
            opaque=items.get("opaque"),
        )

    @property
    def count(self) -> int | None:
        """The nonce count, ``None`` without qop or when it is not eight hexadecimal digits."""
        return int(self.nc, 16) if self.qop and re.fullmatch(r"[0-9A-Fa-f]{8}", self.nc) else None

    def verify(self, method: str, password: str) -> bool:
        """Whether the response was made with this password for this method and the URI in the header."""
        if self.algorithm not in ALGORITHMS or self.qop not in ("", "auth") or (self.qop and self.count is None):
            return False
        right = response(method, self.uri, self.username, self.realm, password, self.nonce, self.algorithm, self.cnonce, self.nc, self.qop)
        return hmac.compare_digest(right.encode(), self.response.lower().encode("utf-8", "surrogateescape"))

    def __str__(self) -> str:
        out = (
            f"Digest username={quote(self.username)},realm={quote(self.realm)},nonce={quote(self.nonce)},"
            f"uri={quote(self.uri)},response={quote(self.response)},algorithm={self.algorithm}"
        )
        if self.qop:
            out += f",cnonce={quote(self.cnonce)},qop={self.qop},nc={self.nc}"
        return out + (f",opaque={quote(self.opaque)}" if self.opaque is not None else "")


def response(
    method: str,
    uri: str,
    username: str,
    realm: str,
    password: str,
    nonce: str,
    algorithm: str = "MD5",
    cnonce: str = "",
    nc: str = "",
    qop: str = "",
) -> str:
    """The response of RFC 7616 §3.4.1 in hexadecimal: ``H(HA1:nonce:nc:cnonce:qop:HA2)``, or ``H(HA1:nonce:HA2)`` without qop."""
    hashing = ALGORITHMS[algorithm]

    def h(text: str) -> str:
        return hashing(text.encode("utf-8", "surrogateescape")).hexdigest()

    ha1 = h(f"{username}:{realm}:{password}")
    ha2 = h(f"{method}:{uri}")
    return h(f"{ha1}:{nonce}:{nc}:{cnonce}:{qop}:{ha2}" if qop else f"{ha1}:{nonce}:{ha2}")
