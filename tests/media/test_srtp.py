"""SRTP against the vectors of its RFCs, against libsrtp, and against itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pylibsrtp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import MediaError
from labkit.media.rtp import RtpHeader
from labkit.media.srtp import SUITES, Srtp, Suite, derive, keystream

RTCP = bytes([0x80, 200, 0, 6, 0, 0, 0, 77]) + bytes(range(20))
PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": "SRTP_PROFILE_AES128_CM_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32": "SRTP_PROFILE_AES128_CM_SHA1_32",
    "AEAD_AES_128_GCM": "SRTP_PROFILE_AEAD_AES_128_GCM",
    "AEAD_AES_256_GCM": "SRTP_PROFILE_AEAD_AES_256_GCM",
}


def rtp(number: int, ssrc: int = 77) -> bytes:
    header = RtpHeader(0, number & 0xFFFF, number * 160 & 0xFFFFFFFF, ssrc, csrc=(5,), extension=(1, b"abcd"))
    return header.build(bytes([number & 255]) * 160)


def keys(suite: Suite) -> tuple[bytes, bytes]:
    return os.urandom(suite.key), os.urandom(suite.salt)


@pytest.fixture
def vectors(corpus: Path) -> dict:
    return json.loads((corpus / "crypto-vectors" / "srtp-rfc3711-rfc6188.json").read_text("utf-8"))


def test_key_streams_of_rfc_3711_and_rfc_6188(vectors: dict) -> None:
    for case in vectors["keystream"]:
        for block in case["keystream"]:
            assert keystream(bytes.fromhex(case["key"]), int(block["counter"], 16), 16) == bytes.fromhex(block["block"])


def test_key_derivation_of_rfc_3711_and_rfc_6188(vectors: dict) -> None:
    for case in vectors["kdf"]:
        values = {name: bytes.fromhex(case[name]) for name in ("master_key", "master_salt", "cipher_key", "cipher_salt", "auth_key")}
        for label, name in enumerate(("cipher_key", "auth_key", "cipher_salt")):
            assert derive(values["master_key"], values["master_salt"], label, len(values[name])) == values[name], case["name"]


@pytest.mark.parametrize("name", PROFILES)
def test_the_same_octets_as_libsrtp(name: str) -> None:
    """Both ways, across a rollover, RTP and RTCP."""
    suite = SUITES[name]
    key, salt = keys(suite)
    profile = getattr(pylibsrtp.Policy, PROFILES[name])
    ways = (pylibsrtp.Policy.SSRC_ANY_OUTBOUND, pylibsrtp.Policy.SSRC_ANY_INBOUND)
    outbound, inbound = (pylibsrtp.Session(pylibsrtp.Policy(key=key + salt, ssrc_type=way, srtp_profile=profile)) for way in ways)
    sender, receiver = Srtp(suite, key, salt), Srtp(suite, key, salt)
    for number in range(65530, 65545):
        theirs = outbound.protect(rtp(number))
        assert sender.protect(rtp(number)) == theirs
        assert receiver.unprotect(theirs) == rtp(number)
        assert inbound.unprotect(theirs) == rtp(number)
    for _ in range(3):
        assert receiver.unprotect_rtcp(outbound.protect_rtcp(RTCP)) == RTCP
        assert inbound.unprotect_rtcp(sender.protect_rtcp(RTCP)) == RTCP


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
@pytest.mark.parametrize("options", [{}, {"mki": 4}, {"encrypt_rtcp": False}])
def test_what_is_protected_comes_back(suite: Suite, options: dict) -> None:
    key, salt = keys(suite)
    sender, receiver = Srtp(suite, key, salt, **options), Srtp(suite, key, salt, **options)
    for number in range(3):
        secret = sender.protect(rtp(number))
        assert secret != rtp(number) and len(secret) == len(rtp(number)) + suite.tag + options.get("mki", 0)
        assert receiver.unprotect(secret) == rtp(number)
        control = sender.protect_rtcp(RTCP)
        assert len(control) == len(RTCP) + 4 + suite.rtcp_tag + options.get("mki", 0)
        assert (RTCP[8:] in control) == (options.get("encrypt_rtcp") is False)
        assert receiver.unprotect_rtcp(control) == RTCP


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_one_wrong_bit_anywhere_is_refused(suite: Suite) -> None:
    key, salt = keys(suite)
    sender, receiver = Srtp(suite, key, salt), Srtp(suite, key, salt)
    for protect, unprotect, packet in (
        (sender.protect, receiver.unprotect, rtp(1)),
        (sender.protect_rtcp, receiver.unprotect_rtcp, RTCP),
    ):
        secret = protect(packet)
        for place in range(2, len(secret)):
            wrong = bytearray(secret)
            wrong[place] ^= 1
            with pytest.raises(MediaError):
                unprotect(bytes(wrong))
        assert unprotect(secret) == packet
    other = Srtp(suite, *keys(suite))
    with pytest.raises(MediaError, match="another key"):
        other.unprotect(sender.protect(rtp(2)))


def test_a_stream_met_after_its_third_rollover() -> None:
    suite = SUITES["AES_256_CM_HMAC_SHA1_80"]
    key, salt = keys(suite)
    sender, receiver = Srtp(suite, key, salt), Srtp(suite, key, salt)
    secrets = {number: sender.protect(rtp(number)) for number in range(0, 3 * 65536 + 500, 100)}
    late = [number for number in secrets if number > 3 * 65536 - 1000]
    late[3], late[4] = late[4], late[3]  # one of them overtakes another
    assert [receiver.unprotect(secrets[number]) for number in late] == [rtp(number) for number in late]


def test_a_packet_from_before_the_rollover_comes_late() -> None:
    suite = SUITES["AEAD_AES_128_GCM"]
    key, salt = keys(suite)
    sender, receiver = Srtp(suite, key, salt), Srtp(suite, key, salt)
    secrets = [sender.protect(rtp(number)) for number in range(65530, 65545)]
    order = [0, 1, 2, 3, 7, 8, 5, 4, 6, 9, 10]
    assert [receiver.unprotect(secrets[place]) for place in order] == [rtp(65530 + place) for place in order]


@given(st.binary(max_size=120), st.sampled_from(sorted(SUITES)))
def test_any_octets_are_refused_in_one_sentence(data: bytes, name: str) -> None:
    suite = SUITES[name]
    context = Srtp(suite, bytes(suite.key), bytes(suite.salt))
    for unprotect in (context.unprotect, context.unprotect_rtcp):
        for packet in (data, b"\x80" + data):
            with pytest.raises(MediaError) as refused:
                unprotect(packet)
            assert str(refused.value)


def test_a_key_of_the_wrong_length() -> None:
    with pytest.raises(MediaError, match="46 bytes together, these are 30"):
        Srtp(SUITES["AES_256_CM_HMAC_SHA1_80"], bytes(16), bytes(14))
