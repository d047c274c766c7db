"""The master secret of a TLS connection (RFC 5246 §8.1, RFC 7627): from a key log, a private key, or the session that it resumes.

TLS 1.3 has none; :mod:`labkit.capture.tls_session` takes its secrets from the key log as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from labkit.capture.tls_cipher import Suite, prf, session_hash
from labkit.capture.tls_keys import KeyLog, fits_certificate, premaster


@dataclass
class Secrets:
    """All that may open a connection; ``sessions`` remembers master secrets for connections that resume (by session id and ticket)."""

    log: KeyLog
    rsa: list[RSAPrivateKey] = field(default_factory=list)
    sessions: dict[bytes, bytes] = field(default_factory=dict)


@dataclass
class Handshake:
    """What client and server said."""

    offered: int = 0
    """The version in the ClientHello."""
    client_random: bytes = b""
    server_random: bytes = b""
    session_id: bytes = b""
    ticket: bytes = b""
    resumed: bool = False
    extended: bool = False
    """The master secret depends on the whole handshake (RFC 7627)."""
    certificate: bytes = b""
    """The server's, in DER."""
    encrypted_premaster: bytes = b""
    hashed: bytes = b""
    """All messages up to and with the ClientKeyExchange."""

    def master(self, secrets: Secrets, version: int, suite: Suite) -> bytes | None:
        """The master secret, or ``None`` when nothing at hand gives it."""
        log = secrets.log
        known = log.get("CLIENT_RANDOM", self.client_random) or log.get("SESSION_ID", self.session_id)
        if known is None and self.resumed:
            known = secrets.sessions.get(self.session_id) or secrets.sessions.get(self.ticket)
        if known is not None:
            return known
        secret = log.get("PMS_CLIENT_RANDOM", self.client_random)
        if secret is None and self.encrypted_premaster:
            secret = log.get("RSA", self.encrypted_premaster[:8])
            if secret is None and suite.exchange == "RSA":
                opened = (premaster(key, self.encrypted_premaster, self.offered) for key in secrets.rsa)
                secret = next((found for found in opened if found), None)
        if secret is None:
            return None
        if self.extended:
            seed = session_hash(version, suite.hash, self.hashed)
            return prf(version, suite.hash, secret, b"extended master secret", seed, 48)
        return prf(version, suite.hash, secret, b"master secret", self.client_random + self.server_random, 48)

    def why_not(self, secrets: Secrets, suite: Suite) -> str:
        """Why there is no master secret: a message id."""
        if secrets.rsa and suite.exchange != "RSA":
            return "decrypt.forward_secrecy"
        if secrets.rsa and self.resumed:
            return "decrypt.resumed"
        if secrets.rsa and not any(fits_certificate(key, self.certificate) for key in secrets.rsa):
            return "decrypt.other_certificate"
        return "decrypt.no_secret"
