"""The a=crypto lines of RFC 4568."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import MediaError
from labkit.media.sdes import CryptoLine, crypto_lines

# RFC 4568 §9.1
EXAMPLE = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4"


def test_the_example_of_the_rfc() -> None:
    line = CryptoLine.parse(EXAMPLE + " FEC_ORDER=FEC_SRTP")
    assert (line.tag, line.suite.name, line.mki, line.parameters) == ("1", "AES_CM_128_HMAC_SHA1_80", 4, ("FEC_ORDER=FEC_SRTP",))
    assert (len(line.key), len(line.salt)) == (16, 14)
    assert line.key + line.salt == b"YS___semctl () {\t220;}\n}\nunles"
    assert str(line).startswith("1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz")
    assert line.srtp().mki == 4


def test_lifetime_without_mki_and_base64_without_padding() -> None:
    key = base64.b64encode(bytes(range(46))).decode()
    assert key.endswith("==")
    line = CryptoLine.parse(f"3 AES_CM_256_HMAC_SHA1_80 inline:{key.rstrip('=')}|2^31 UNENCRYPTED_SRTCP")
    assert (line.suite.name, line.key, line.salt, line.mki) == ("AES_256_CM_HMAC_SHA1_80", bytes(range(32)), bytes(range(32, 46)), 0)
    assert not line.srtp().encrypt_rtcp and line.srtp().encrypt_rtp


def test_what_cannot_be_used_is_said_or_left_out() -> None:
    for wrong, words in (
        ("1 F8_128_HMAC_SHA1_80 inline:AAAA", "does not know the SRTP suite"),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:AAAA", "30 bytes together, these are 3"),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:*", "these are 0"),
        ("1 AES_CM_128_HMAC_SHA1_80", "these are 0"),
        ("", "does not know the SRTP suite"),
    ):
        with pytest.raises(MediaError, match=words):
            CryptoLine.parse(wrong)
    assert [line.tag for line in crypto_lines(["2 NULL inline:x", EXAMPLE])] == ["1"]


@given(st.text(max_size=80))
def test_any_text_reads_or_is_refused(text: str) -> None:
    crypto_lines([text, EXAMPLE[:20] + text, EXAMPLE + text])
