"""Who is asking: digest authentication on the server's side.  RFC 3261 §22, RFC 7616, RFC 8760.

The registrar and the calls ask :meth:`Authenticator.check`; it returns the extension, or the response to send instead.

* no credentials, another realm, or a nonce that is not ours: a new challenge (407 in the lab's profile, 401 by the book)
* right password, but the nonce is too old, its count was already used, or it was given to another host: a new challenge with
  ``stale=true``; the phone answers it without asking its user (RFC 7616 §3.3)
* no qop, though the challenge offered it: 400
* wrong password, or a user that does not exist: 403.  Both get the same answer, so nobody learns which numbers exist; and it is final, so a
  phone with a wrong password does not ask for ever (§22.1: a client may try again, and would be refused again)

A nonce carries its own birth time and is signed with a random key, so the PBX remembers nothing for those who never answer.  The host
that asked is signed too.  So nobody repeats from elsewhere what he heard on the wire, even where the lab's profile has no nonce count;
and a wrong password proves that its sender receives what is sent to his address, so that nobody gets another banned with forged datagrams
(:mod:`labkit.pbx.guard`).  The port is left out, since a NAT may change it between two messages.  A phone that moves to another network
pays with one more challenge; RFC 7616 §3.3 warns that servers behind several proxies would pay it often, and a PBX is not such a server.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from labkit.errors import SipError
from labkit.pbx.config import Extension, PbxConfig
from labkit.sip.digest import Challenge, Credentials
from labkit.sip.message import Request, Response
from labkit.sip.uri import SipUri


class Authenticator:
    """Challenges and checks for one PBX.  ``token(n)`` gives n random bytes as hexadecimal text."""

    def __init__(self, config: PbxConfig, token: Callable[[int], str]) -> None:
        self.config = config
        self._token = token
        self._key = token(32).encode()
        self._counts: dict[str, tuple[float, int]] = {}  # nonces used with qop: birth time and the highest count

    def check(self, request: Request, now: float, host: str = "") -> Extension | Response:
        """The extension whose password this request from ``host`` proves, or the response that refuses it."""
        credentials = self._credentials(request)
        if credentials is None:
            return self.challenge(request, now, host)
        if isinstance(credentials, Response):
            return credentials
        born = self._birth(credentials.nonce)
        if born is None or credentials.algorithm not in self.config.algorithms:
            return self.challenge(request, now, host)
        if self.config.profile == "rfc" and not credentials.qop:
            # RFC 7616 §3.4, RFC 3261 §22.4: qop MUST be there when it was offered.  Without it a proof is good again and again.
            return request.response(400, to_tag=self._token(4))
        if not self._is_of(credentials.nonce, host):
            return self.challenge(request, now, host, stale=True)
        extension = self.config.by_user_id(credentials.username)
        if extension is None or not credentials.verify(request.method, extension.auth_password):
            return request.response(403, to_tag=self._token(4))
        if not _same_target(credentials.uri, request.uri, self.config.advertised[0]):
            # RFC 7616 §3.4.6: the URI in the header must be that of the request, or the proof is for something else.
            return request.response(400, to_tag=self._token(4))
        if not 0 <= now - born <= self.config.nonce_lifetime_s or not self._fresh(credentials, born, now):
            return self.challenge(request, now, host, stale=True)
        return extension

    def challenge(self, request: Request, now: float, host: str = "", *, stale: bool = False) -> Response:
        """401 or 407 with one challenge for each algorithm, the preferred first (RFC 8760 §2.4)."""
        by_the_book = self.config.profile == "rfc"
        response = request.response(401 if by_the_book else 407, to_tag=self._token(4))
        for algorithm in self.config.algorithms:
            challenge = Challenge(self.config.realm, self._nonce(now, host), algorithm, qop=by_the_book, stale=stale)
            response.headers.append("WWW-Authenticate" if by_the_book else "Proxy-Authenticate", challenge)
        return response

    def _credentials(self, request: Request) -> Credentials | Response | None:
        for value in request.headers.get_all("Proxy-Authorization") + request.headers.get_all("Authorization"):
            if value[:7].lower() != "digest ":
                continue  # another scheme counts as none (RFC 4475 §3.3.7)
            try:
                credentials = Credentials.parse(value)
            except SipError:
                return request.response(400, to_tag=self._token(4))
            if credentials.realm == self.config.realm:
                return credentials
        return None

    def _nonce(self, now: float, host: str) -> str:
        body = f"{int(now * 1000):x}.{self._token(8)}"
        body += f".{self._sign(f'{body} {host}')}"
        return f"{body}.{self._sign(body)}"

    def _is_of(self, nonce: str, host: str) -> bool:
        """Whether this nonce, which is ours, was given to ``host``."""
        body, _, signature = nonce.rpartition(".")[0].rpartition(".")
        return hmac.compare_digest(self._sign(f"{body} {host}"), signature)

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, body.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:16]

    def _birth(self, nonce: str) -> float | None:
        """When this PBX made the nonce; ``None`` for one that it did not make."""
        body, _, signature = nonce.rpartition(".")
        if not hmac.compare_digest(self._sign(body).encode(), signature.encode("utf-8", "surrogateescape")):
            return None
        return int(body.partition(".")[0], 16) / 1000

    def _fresh(self, credentials: Credentials, born: float, now: float) -> bool:
        """With qop each use of a nonce must count up, or somebody replays what he heard (RFC 7616 §3.4)."""
        count = credentials.count
        if count is None:
            return True
        while self._counts:  # forget those that are too old, from the one that was used first
            oldest = next(iter(self._counts))
            if now - self._counts[oldest][0] <= self.config.nonce_lifetime_s:
                break
            del self._counts[oldest]
        if count <= self._counts.get(credentials.nonce, (born, 0))[1]:
            return False
        self._counts[credentials.nonce] = (born, count)
        return True


def _same_target(named: str, requested: str, own_host: str) -> bool:
    """Equal, or at least of one host: some phones put the domain alone into the digest's URI, and SIPp the address of this server."""
    if named == requested:
        return True
    try:
        return SipUri.parse(named).host.lower() in (SipUri.parse(requested).host.lower(), own_host)
    except SipError:
        return False
