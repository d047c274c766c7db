"""The ciphers of TLS records: suites, key derivation (RFC 2246 §5, RFC 5246 §5, RFC 8446 §7) and the opening of records.

Suites with AES-GCM, AES-CCM, AES-CBC (MAC before or after encryption, RFC 7366) and ChaCha20-Poly1305.  RC4, 3DES and Camellia are not
opened.  Nothing is encrypted here.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3 = 0x0301, 0x0302, 0x0303, 0x0304
VERSIONS = {TLS_1_0: "TLS 1.0", TLS_1_1: "TLS 1.1", TLS_1_2: "TLS 1.2", TLS_1_3: "TLS 1.3"}
BLOCK = 16

_NAMES = """
002F RSA_WITH_AES_128_CBC_SHA          0035 RSA_WITH_AES_256_CBC_SHA
003C RSA_WITH_AES_128_CBC_SHA256       003D RSA_WITH_AES_256_CBC_SHA256
009C RSA_WITH_AES_128_GCM_SHA256       009D RSA_WITH_AES_256_GCM_SHA384
C09C RSA_WITH_AES_128_CCM              C09D RSA_WITH_AES_256_CCM
C0A0 RSA_WITH_AES_128_CCM_8            C0A1 RSA_WITH_AES_256_CCM_8
0033 DHE_RSA_WITH_AES_128_CBC_SHA      0039 DHE_RSA_WITH_AES_256_CBC_SHA
0067 DHE_RSA_WITH_AES_128_CBC_SHA256   006B DHE_RSA_WITH_AES_256_CBC_SHA256
009E DHE_RSA_WITH_AES_128_GCM_SHA256   009F DHE_RSA_WITH_AES_256_GCM_SHA384
C09E DHE_RSA_WITH_AES_128_CCM          C09F DHE_RSA_WITH_AES_256_CCM
C0A2 DHE_RSA_WITH_AES_128_CCM_8        C0A3 DHE_RSA_WITH_AES_256_CCM_8
CCAA DHE_RSA_WITH_CHACHA20_POLY1305_SHA256
0034 DH_anon_WITH_AES_128_CBC_SHA      003A DH_anon_WITH_AES_256_CBC_SHA
C009 ECDHE_ECDSA_WITH_AES_128_CBC_SHA     C00A ECDHE_ECDSA_WITH_AES_256_CBC_SHA
C023 ECDHE_ECDSA_WITH_AES_128_CBC_SHA256  C024 ECDHE_ECDSA_WITH_AES_256_CBC_SHA384
C02B ECDHE_ECDSA_WITH_AES_128_GCM_SHA256  C02C ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
C0AC ECDHE_ECDSA_WITH_AES_128_CCM         C0AD ECDHE_ECDSA_WITH_AES_256_CCM
C0AE ECDHE_ECDSA_WITH_AES_128_CCM_8       C0AF ECDHE_ECDSA_WITH_AES_256_CCM_8
CCA9 ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
C013 ECDHE_RSA_WITH_AES_128_CBC_SHA       C014 ECDHE_RSA_WITH_AES_256_CBC_SHA
C027 ECDHE_RSA_WITH_AES_128_CBC_SHA256    C028 ECDHE_RSA_WITH_AES_256_CBC_SHA384
C02F ECDHE_RSA_WITH_AES_128_GCM_SHA256    C030 ECDHE_RSA_WITH_AES_256_GCM_SHA384
CCA8 ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
1301 AES_128_GCM_SHA256   1302 AES_256_GCM_SHA384   1303 CHACHA20_POLY1305_SHA256   1304 AES_128_CCM_SHA256   1305 AES_128_CCM_8_SHA256
""".split()


@dataclass(frozen=True, slots=True)
class Suite:
    """One cipher suite: its IANA name and what the name says."""

    name: str
    exchange: str
    """How the keys are agreed: ``RSA``, ``ECDHE_RSA``, ...; empty in TLS 1.3."""
    mode: str
    """``GCM``, ``CCM``, ``CCM_8``, ``CBC`` or ``CHACHA20``."""
    key: int
    """Bytes of the cipher key."""
    mac: str
    """The hash of a CBC suite's HMAC."""
    hash: str
    """The hash of the key derivation, from TLS 1.2 on."""

    @classmethod
    def named(cls, name: str) -> Suite:
        exchange, _, cipher = name.rpartition("_WITH_")
        digest = next((hash_ for hash_ in ("SHA384", "SHA256", "SHA") if cipher.endswith("_" + hash_)), "")
        mode = next(mode for mode in ("CHACHA20", "GCM", "CCM_8", "CCM", "CBC") if mode in cipher)
        mac = {"SHA": "sha1", "SHA256": "sha256", "SHA384": "sha384"}.get(digest, "") if mode == "CBC" else ""
        return cls("TLS_" + name, exchange, mode, 16 if "_128_" in cipher else 32, mac, "sha384" if digest == "SHA384" else "sha256")


SUITES = {int(number, 16): Suite.named(name) for number, name in zip(_NAMES[::2], _NAMES[1::2], strict=True)}


# --- key derivation ----------------------------------------------------------------------------------------------------


def _p_hash(secret: bytes, seed: bytes, length: int, digest: str) -> bytes:
    out, a = b"", seed
    while len(out) < length:
        a = hmac.digest(secret, a, digest)
        out += hmac.digest(secret, a + seed, digest)
    return out[:length]


def prf(version: int, digest: str, secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """The pseudo-random function of TLS 1.2 (RFC 5246 §5), and before it that of MD5 and SHA-1 (RFC 2246 §5)."""
    if version >= TLS_1_2:
        return _p_hash(secret, label + seed, length, digest)
    half = (len(secret) + 1) // 2
    md5 = _p_hash(secret[:half], label + seed, length, "md5")
    sha1 = _p_hash(secret[len(secret) - half :], label + seed, length, "sha1")
    return bytes(a ^ b for a, b in zip(md5, sha1, strict=True))


def session_hash(version: int, digest: str, transcript: bytes) -> bytes:
    """The hash of the handshake for the extended master secret (RFC 7627 §3)."""
    if version >= TLS_1_2:
        return hashlib.new(digest, transcript).digest()
    return hashlib.md5(transcript).digest() + hashlib.sha1(transcript).digest()


def expand_label(digest: str, secret: bytes, label: str, length: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 §7.1)."""
    name = b"tls13 " + label.encode()
    info = struct.pack("!HB", length, len(name)) + name + b"\0"
    out, block = b"", b""
    for number in range(1, -(-length // hashlib.new(digest).digest_size) + 1):
        block = hmac.digest(secret, block + info + bytes([number]), digest)
        out += block
    return out[:length]


# --- records -----------------------------------------------------------------------------------------------------------


class BadRecord(Exception):
    """A record that fails its authentication, or is too short to have one."""


class Opener(Protocol):
    """Opens the records of one direction in their order."""

    sequence: int

    def open(self, kind: int, version: int, fragment: bytes) -> tuple[int, bytes]:
        """(content type, content); raises :class:`BadRecord`.  Each record counts, whether it opens or not."""


class _Aead(Protocol):
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes: ...


def _aead(suite: Suite, key: bytes) -> tuple[_Aead, int]:
    """The cipher and the length of its tag."""
    if suite.mode == "CHACHA20":
        return ChaCha20Poly1305(key), 16
    if suite.mode == "GCM":
        return AESGCM(key), 16
    return AESCCM(key, tag_length=8 if suite.mode == "CCM_8" else 16), 8 if suite.mode == "CCM_8" else 16


def _xor_nonce(iv: bytes, sequence: int) -> bytes:
    return (int.from_bytes(iv, "big") ^ sequence).to_bytes(len(iv), "big")


class AeadOpener:
    """TLS 1.2: GCM (RFC 5288) and CCM (RFC 6655) with half of the nonce in the record, ChaCha20 (RFC 7905) with none."""

    def __init__(self, suite: Suite, key: bytes, iv: bytes) -> None:
        self._cipher, self._tag = _aead(suite, key)
        self._iv, self._explicit = iv, 0 if suite.mode == "CHACHA20" else 8
        self.sequence = 0

    def open(self, kind: int, version: int, fragment: bytes) -> tuple[int, bytes]:
        sequence, self.sequence = self.sequence, self.sequence + 1
        size = len(fragment) - self._explicit - self._tag
        if size < 0:
            raise BadRecord
        nonce = self._iv + fragment[:8] if self._explicit else _xor_nonce(self._iv, sequence)
        try:
            return kind, self._cipher.decrypt(nonce, fragment[self._explicit :], struct.pack("!QBHH", sequence, kind, version, size))
        except InvalidTag:
            raise BadRecord from None


class Aead13Opener:
    """TLS 1.3 (RFC 8446 §5.2): the content type is the last byte inside that is not zero."""

    def __init__(self, suite: Suite, secret: bytes) -> None:
        self.suite, self.secret = suite, secret
        self._cipher, self._tag = _aead(suite, expand_label(suite.hash, secret, "key", suite.key))
        self._iv = expand_label(suite.hash, secret, "iv", 12)
        self.sequence = 0

    def open(self, kind: int, version: int, fragment: bytes) -> tuple[int, bytes]:
        sequence, self.sequence = self.sequence, self.sequence + 1
        if len(fragment) < self._tag:
            raise BadRecord
        try:
            inner = self._cipher.decrypt(_xor_nonce(self._iv, sequence), fragment, struct.pack("!BHH", kind, version, len(fragment)))
        except InvalidTag:
            raise BadRecord from None
        content = inner.rstrip(b"\0")
        if not content:
            raise BadRecord
        return content[-1], content[:-1]

    def updated(self) -> Aead13Opener:
        """The keys after a KeyUpdate (§7.2)."""
        length = hashlib.new(self.suite.hash).digest_size
        return Aead13Opener(self.suite, expand_label(self.suite.hash, self.secret, "traffic upd", length))


class CbcOpener:
    """TLS 1.0 to 1.2 with AES-CBC and HMAC: before encryption (RFC 5246 §6.2.3.2) or after it (RFC 7366)."""

    def __init__(self, suite: Suite, version: int, key: bytes, mac_key: bytes, iv: bytes, *, encrypt_then_mac: bool) -> None:
        self._suite, self._version, self._key, self._mac_key = suite, version, key, mac_key
        self._iv, self._encrypt_then_mac = iv, encrypt_then_mac
        self._mac_size = hashlib.new(suite.mac).digest_size
        self.sequence = 0

    def open(self, kind: int, version: int, fragment: bytes) -> tuple[int, bytes]:
        sequence, self.sequence = self.sequence, self.sequence + 1
        tag = b""
        if self._encrypt_then_mac:
            fragment, tag = fragment[: -self._mac_size], fragment[-self._mac_size :]
        iv, sealed = self._iv, fragment
        if self._version >= TLS_1_1:
            iv, sealed = fragment[:BLOCK], fragment[BLOCK:]
        if len(sealed) < BLOCK or len(sealed) % BLOCK or len(iv) < BLOCK:
            raise BadRecord
        self._iv = sealed[-BLOCK:]  # TLS 1.0 goes on with the last block of the record before
        if self._encrypt_then_mac:
            self._check(sequence, kind, version, fragment, tag)
        plain = Cipher(AES(self._key), CBC(iv)).decryptor().update(sealed)
        padding = plain[-1] + 1
        if padding > len(plain) or plain[-padding:] != bytes([plain[-1]]) * padding:
            raise BadRecord
        plain = plain[:-padding]
        if not self._encrypt_then_mac:
            if len(plain) < self._mac_size:
                raise BadRecord
            plain, tag = plain[: -self._mac_size], plain[-self._mac_size :]
            self._check(sequence, kind, version, plain, tag)
        return kind, plain

    def _check(self, sequence: int, kind: int, version: int, data: bytes, tag: bytes) -> None:
        head = struct.pack("!QBHH", sequence, kind, version, len(data))
        if not hmac.compare_digest(hmac.digest(self._mac_key, head + data, self._suite.mac), tag):
            raise BadRecord


def openers(
    suite: Suite, version: int, master: bytes, client_random: bytes, server_random: bytes, *, encrypt_then_mac: bool
) -> tuple[Opener, Opener]:
    """What opens the client's and the server's records up to TLS 1.2 (RFC 5246 §6.3)."""
    mac = hashlib.new(suite.mac).digest_size if suite.mac else 0
    iv = {"CBC": 0 if version >= TLS_1_1 else BLOCK, "CHACHA20": 12}.get(suite.mode, 4)
    block = prf(version, suite.hash, master, b"key expansion", server_random + client_random, 2 * (mac + suite.key + iv))
    parts = []
    for size in (mac, mac, suite.key, suite.key, iv, iv):
        parts.append(block[:size])
        block = block[size:]
    made: list[Opener] = []
    for side in (0, 1):
        mac_key, key, start = parts[side], parts[2 + side], parts[4 + side]
        if suite.mode == "CBC":
            made.append(CbcOpener(suite, version, key, mac_key, start, encrypt_then_mac=encrypt_then_mac))
        else:
            made.append(AeadOpener(suite, key, start))
    return made[0], made[1]
