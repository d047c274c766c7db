"""Secure RTP and RTCP: RFC 3711 with the suites of RFC 4568 (AES-128), RFC 6188 (AES-192, AES-256) and RFC 7714 (AES-GCM).

:class:`Srtp` protects and unprotects packets under one master key.  It counts the rollovers of each SSRC; of one that it meets in
mid-stream it guesses them by authentication.  Not done: replay lists (a capture shows what came, twice if it came twice), a key derivation
rate other than zero, AES-f8, and encrypted header extensions (RFC 6904).
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from labkit.errors import MediaError

RTP_HEADER, RTCP_HEADER = 12, 8
HALF = 1 << 15
GUESSES = 32
"""Rollovers tried for a stream met in mid-stream: eleven hours of 20 ms packets."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A crypto-suite: lengths of master key, master salt and authentication tags in bytes."""

    name: str
    key: int
    salt: int = 14
    tag: int = 10
    rtcp_tag: int = 10
    gcm: bool = False


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("AES_CM_128_HMAC_SHA1_80", 16),
        Suite("AES_CM_128_HMAC_SHA1_32", 16, tag=4),  # RFC 4568 §6.2.2: RTCP keeps its 80 bits
        Suite("AES_192_CM_HMAC_SHA1_80", 24),
        Suite("AES_192_CM_HMAC_SHA1_32", 24, tag=4),
        Suite("AES_256_CM_HMAC_SHA1_80", 32),
        Suite("AES_256_CM_HMAC_SHA1_32", 32, tag=4),
        Suite("AEAD_AES_128_GCM", 16, 12, 16, 16, gcm=True),
        Suite("AEAD_AES_256_GCM", 32, 12, 16, 16, gcm=True),
    )
}


def keystream(key: bytes, counter: int, length: int) -> bytes:
    """AES in counter mode (RFC 3711 §4.1.1)."""
    return _counter_mode(key, counter, bytes(length))


def _counter_mode(key: bytes, counter: int, data: bytes) -> bytes:
    encryptor = Cipher(AES(key), CTR(counter.to_bytes(16, "big"))).encryptor()
    return encryptor.update(data)


def derive(master_key: bytes, master_salt: bytes, label: int, length: int) -> bytes:
    """A session key (RFC 3711 §4.3.1, key derivation rate zero): label 0 cipher, 1 authentication, 2 salt; 3, 4, 5 the same for RTCP."""
    # RFC 7714 §11: a salt of 96 bits is followed by 16 zero bits.
    salt = int.from_bytes(master_salt.ljust(14, b"\0"), "big")
    return keystream(master_key, (salt ^ label << 48) << 16, length)


@dataclass
class _Source:
    """What is known of one SSRC: rollover counter, highest sequence number, next SRTCP index."""

    rollovers: int = 0
    highest: int | None = None
    rtcp_index: int = 0

    def estimate(self, sequence: int) -> int:
        """The rollovers of a packet, from how near its number is to the highest (§3.3.1)."""
        if self.highest is None:
            return self.rollovers
        if self.highest < HALF:
            return self.rollovers - (1 if sequence - self.highest > HALF else 0)
        return self.rollovers + (1 if self.highest - HALF > sequence else 0)

    def seen(self, rollovers: int, sequence: int) -> None:
        if self.highest is None or (rollovers, sequence) > (self.rollovers, self.highest):
            self.rollovers, self.highest = rollovers, sequence


@dataclass(frozen=True, slots=True)
class _Keys:
    """The session keys of RTP or of RTCP."""

    cipher: bytes
    auth: bytes
    salt: int


class Srtp:
    """One direction under one master key.  ``mki`` is the master key identifier's length in bytes (RFC 3711 §3.1), which is stepped over.

    ``encrypt_rtp`` and ``encrypt_rtcp`` are false for UNENCRYPTED_SRTP and UNENCRYPTED_SRTCP (RFC 4568 §6.3), ``authenticate`` for
    UNAUTHENTICATED_SRTP.  Packets that fail raise :class:`MediaError` and change nothing.
    """

    def __init__(
        self,
        suite: Suite,
        key: bytes,
        salt: bytes,
        *,
        mki: int = 0,
        encrypt_rtp: bool = True,
        encrypt_rtcp: bool = True,
        authenticate: bool = True,
    ) -> None:
        if len(key) != suite.key or len(salt) != suite.salt:
            raise MediaError("srtp.key_length", suite=suite.name, needed=suite.key + suite.salt, found=len(key) + len(salt))
        self.suite, self.mki = suite, mki
        self.encrypt_rtp, self.encrypt_rtcp = encrypt_rtp, encrypt_rtcp
        self.tag = suite.tag if authenticate or suite.gcm else 0
        self._rtp, self._rtcp = (
            _Keys(
                derive(key, salt, label, suite.key),
                derive(key, salt, label + 1, 20),
                int.from_bytes(derive(key, salt, label + 2, suite.salt), "big"),
            )
            for label in (0, 3)
        )
        self._gcm, self._gcm_rtcp = (AESGCM(keys.cipher) for keys in (self._rtp, self._rtcp))
        self._sources: dict[int, _Source] = {}

    # --- RTP -----------------------------------------------------------------------------------------------------------

    def protect(self, packet: bytes) -> bytes:
        """RTP to SRTP; an SSRC begins with zero rollovers."""
        start, sequence, ssrc = _rtp_head(packet)
        source = self._sources.setdefault(ssrc, _Source())
        rollovers = max(source.estimate(sequence), 0)
        source.seen(rollovers, sequence)
        head, payload = packet[:start], packet[start:]
        mki = bytes(self.mki)
        if self.suite.gcm:
            return head + self._gcm.encrypt(self._gcm_iv(ssrc, rollovers, sequence), payload, head) + mki
        body = head + self._crypt_rtp(payload, ssrc, rollovers, sequence)
        return body + mki + self._mac(self._rtp, body + struct.pack("!I", rollovers & 0xFFFFFFFF), self.tag)

    def unprotect(self, packet: bytes) -> bytes:
        """SRTP to RTP; :class:`MediaError` when the packet is cut, or was not made with this key."""
        start, sequence, ssrc = _rtp_head(packet)
        if start + self.tag + self.mki > len(packet):
            raise MediaError("srtp.cut", size=len(packet))
        source = self._sources.get(ssrc) or _Source()
        for rollovers in self._candidates(source, sequence):
            clear = self._open(packet, start, ssrc, rollovers, sequence)
            if clear is not None:
                source.seen(rollovers, sequence)
                self._sources[ssrc] = source
                return clear
        raise MediaError("srtp.not_authentic", suite=self.suite.name)

    def _candidates(self, source: _Source, sequence: int) -> list[int]:
        """The rollovers to try, the likeliest first."""
        first = max(source.estimate(sequence), 0)
        if not self.tag:  # nothing tells a wrong guess
            return [first]
        if source.highest is not None:
            return [first, first + 1] + ([first - 1] if first else [])
        return list(range(GUESSES))

    def _open(self, packet: bytes, start: int, ssrc: int, rollovers: int, sequence: int) -> bytes | None:
        head = packet[:start]
        if self.suite.gcm:
            sealed = packet[start : len(packet) - self.mki]
            try:
                return head + self._gcm.decrypt(self._gcm_iv(ssrc, rollovers, sequence), sealed, head)
            except InvalidTag:
                return None
        body, tag = packet[: len(packet) - self.tag - self.mki], packet[len(packet) - self.tag :]
        # §4.2: the tag covers the packet and the rollover counter.
        if self.tag and not hmac.compare_digest(tag, self._mac(self._rtp, body + struct.pack("!I", rollovers), self.tag)):
            return None
        return head + self._crypt_rtp(body[start:], ssrc, rollovers, sequence)

    def _crypt_rtp(self, payload: bytes, ssrc: int, rollovers: int, sequence: int) -> bytes:
        if not self.encrypt_rtp:
            return payload
        return _counter_mode(self._rtp.cipher, self._cm_iv(self._rtp, ssrc, rollovers << 16 | sequence), payload)

    # --- RTCP ----------------------------------------------------------------------------------------------------------

    def protect_rtcp(self, packet: bytes) -> bytes:
        """RTCP to SRTCP (§3.4)."""
        ssrc = _rtcp_head(packet)
        source = self._sources.setdefault(ssrc, _Source())
        source.rtcp_index += 1
        word = struct.pack("!I", self.encrypt_rtcp << 31 | source.rtcp_index)
        head, body, mki = packet[:RTCP_HEADER], packet[RTCP_HEADER:], bytes(self.mki)
        if self.suite.gcm:
            iv = self._gcm_rtcp_iv(ssrc, source.rtcp_index)
            if self.encrypt_rtcp:
                return head + self._gcm_rtcp.encrypt(iv, body, head + word) + word + mki
            return packet + self._gcm_rtcp.encrypt(iv, b"", packet + word) + word + mki
        if self.encrypt_rtcp:
            body = _counter_mode(self._rtcp.cipher, self._cm_iv(self._rtcp, ssrc, source.rtcp_index), body)
        return head + body + word + mki + self._mac(self._rtcp, head + body + word, self.suite.rtcp_tag)

    def unprotect_rtcp(self, packet: bytes) -> bytes:
        """SRTCP to RTCP; :class:`MediaError` when the packet is cut, or was not made with this key."""
        ssrc = _rtcp_head(packet)
        tag = self.suite.rtcp_tag
        if len(packet) < RTCP_HEADER + 4 + tag + self.mki:
            raise MediaError("srtp.cut", size=len(packet))
        end = len(packet) - self.mki - (4 if self.suite.gcm else 4 + tag)
        word = packet[end : end + 4]
        encrypted, index = word[0] >> 7, int.from_bytes(word, "big") & 0x7FFFFFFF
        head, body = packet[:RTCP_HEADER], packet[RTCP_HEADER:end]
        if self.suite.gcm:
            sealed, known = (body, head + word) if encrypted else (body[-tag:], head + body[:-tag] + word)
            try:
                clear = self._gcm_rtcp.decrypt(self._gcm_rtcp_iv(ssrc, index), sealed, known)
            except InvalidTag:
                raise MediaError("srtp.not_authentic", suite=self.suite.name) from None
            return head + (clear if encrypted else body[:-tag])
        if not hmac.compare_digest(packet[-tag:], self._mac(self._rtcp, packet[: end + 4], tag)):
            raise MediaError("srtp.not_authentic", suite=self.suite.name)
        return head + (_counter_mode(self._rtcp.cipher, self._cm_iv(self._rtcp, ssrc, index), body) if encrypted else body)

    # --- initialisation vectors and tags ---------------------------------------------------------------------------------

    @staticmethod
    def _cm_iv(keys: _Keys, ssrc: int, index: int) -> int:
        return keys.salt << 16 ^ ssrc << 64 ^ index << 16  # §4.1.1

    def _gcm_iv(self, ssrc: int, rollovers: int, sequence: int) -> bytes:
        return (self._rtp.salt ^ (ssrc << 48 | rollovers << 16 | sequence)).to_bytes(12, "big")  # RFC 7714 §8.1

    def _gcm_rtcp_iv(self, ssrc: int, index: int) -> bytes:
        return (self._rtcp.salt ^ (ssrc << 48 | index)).to_bytes(12, "big")  # RFC 7714 §9.1

    @staticmethod
    def _mac(keys: _Keys, data: bytes, length: int) -> bytes:
        return hmac.digest(keys.auth, data, "sha1")[:length]


def _rtp_head(packet: bytes) -> tuple[int, int, int]:
    """(offset of the payload, sequence number, SSRC)."""
    if len(packet) < RTP_HEADER or packet[0] >> 6 != 2:
        raise MediaError("media.not_rtp", size=len(packet))
    start = RTP_HEADER + 4 * (packet[0] & 15)
    if packet[0] & 0x10:
        if start + 4 > len(packet):
            raise MediaError("media.rtp_cut", size=len(packet))
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
    if start > len(packet):
        raise MediaError("media.rtp_cut", size=len(packet))
    return start, int.from_bytes(packet[2:4], "big"), int.from_bytes(packet[8:12], "big")


def _rtcp_head(packet: bytes) -> int:
    """The sender's SSRC."""
    if len(packet) < RTCP_HEADER or packet[0] >> 6 != 2:
        raise MediaError("srtp.cut", size=len(packet))
    return int.from_bytes(packet[4:8], "big")
