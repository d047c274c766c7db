"""Keys in a session description: the ``a=crypto`` line of RFC 4568 (SDES).

The key on a line is the one that its *sender* protects media with (§6.1).  Key derivation rates and forward error correction orders
are not followed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from labkit.errors import MediaError
from labkit.media.srtp import SUITES, Srtp, Suite

# Early drafts, and PJSIP among those that followed them, wrote the key length elsewhere in the name.
_ALIASES = {f"AES_CM_{bits}_HMAC_SHA1_{tag}": f"AES_{bits}_CM_HMAC_SHA1_{tag}" for bits in (192, 256) for tag in (80, 32)}


@dataclass(frozen=True, slots=True)
class CryptoLine:
    """One ``a=crypto`` line: its tag, suite, master key, master salt, length of the master key identifier, session parameters."""

    tag: str
    suite: Suite
    key: bytes
    salt: bytes
    mki: int = 0
    parameters: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: str) -> CryptoLine:
        """Read what follows ``a=crypto:``; :class:`MediaError` for an unknown suite or a key of the wrong length."""
        tag, _, rest = value.strip().partition(" ")
        name, _, rest = rest.strip().partition(" ")
        suite = SUITES.get(_ALIASES.get(name.upper(), name.upper()))
        if suite is None:
            raise MediaError("srtp.unknown_suite", suite=name[:60])
        words = rest.split()
        method, _, info = (words or [""])[0].partition(":")
        text, *fields = info.split(";")[0].split("|")
        try:
            # Some leave out the padding of base64.
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True) if method.lower() == "inline" else b""
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != suite.key + suite.salt:
            raise MediaError("srtp.key_length", suite=suite.name, needed=suite.key + suite.salt, found=len(key))
        return cls(tag, suite, key[: suite.key], key[suite.key :], _mki_length(fields), tuple(words[1:]))

    @property
    def authenticated(self) -> bool:
        return self.suite.gcm or "UNAUTHENTICATED_SRTP" not in self.parameters

    def srtp(self) -> Srtp:
        """A context that protects or unprotects with this key."""
        return Srtp(
            self.suite,
            self.key,
            self.salt,
            mki=self.mki,
            encrypt_rtp="UNENCRYPTED_SRTP" not in self.parameters,
            encrypt_rtcp="UNENCRYPTED_SRTCP" not in self.parameters,
            authenticate=self.authenticated,
        )

    def __str__(self) -> str:
        inline = base64.b64encode(self.key + self.salt).decode()
        return " ".join((self.tag, self.suite.name, f"inline:{inline}", *self.parameters))


def _mki_length(fields: Iterable[str]) -> int:
    """The length in ``|value:length`` (§6.1: 1 to 128 bytes)."""
    for entry in fields:
        _, colon, length = entry.partition(":")
        if colon and length.isascii() and length.isdecimal() and 0 < int(length[:4]) <= 128:
            return int(length)
    return 0


def crypto_lines(values: Iterable[str]) -> list[CryptoLine]:
    """The lines that can be used, in the order of preference."""
    found = []
    for value in values:
        try:
            found.append(CryptoLine.parse(value))
        except MediaError:
            continue
    return found
