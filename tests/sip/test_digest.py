"""Digest: the printed examples of RFC 2617, RFC 7616 and RFC 8760's algorithm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit.errors import SipError
from labkit.sip.digest import ALGORITHMS, Challenge, Credentials, response


def test_printed_vectors(corpus: Path) -> None:
    checked = 0
    for v in json.loads((corpus / "digest-vectors" / "http-digest.json").read_text("utf-8")):
        if v["alg"] not in ALGORITHMS:
            continue  # SHA-512-256, whose printed value is wrong, is not spoken in SIP
        assert (
            response(v["meth"], v["uri"], v["user"], v["realm"], v["pw"], v["nonce"], v["alg"], v["cn"], v["nc"], v["qop"]) == v["response"]
        )
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("qop", [False, True])
def test_challenge_and_answer(algorithm: str, qop: bool) -> None:
    challenge = Challenge.parse(str(Challenge("pbx", "n0nce", algorithm, qop, opaque="o")))
    assert challenge == Challenge("pbx", "n0nce", algorithm, qop, False, "o")
    credentials = Credentials.parse(str(challenge.answer("REGISTER", "sip:pbx", "100", "1234", cnonce="c", count=2)))
    assert credentials.count == (2 if qop else None)
    assert credentials.opaque == "o"
    assert credentials.verify("REGISTER", "1234")
    assert not credentials.verify("REGISTER", "1235")
    assert not credentials.verify("INVITE", "1234")


def test_stale_and_odd_spacing() -> None:
    challenge = Challenge.parse('DIGEST  realm = "a, b" , nonce="x",stale=TRUE, qop="auth-int,auth"')
    assert (challenge.realm, challenge.nonce, challenge.stale, challenge.qop) == ("a, b", "x", True, True)


@pytest.mark.parametrize(
    "text", ["Basic abc", 'Digest realm="x', 'Digest nonce="n",algorithm=MD6', 'Digest nonce="n",qop="auth-int"', "NoOneKnows a=b"]
)
def test_unknown_challenges_are_refused(text: str) -> None:
    with pytest.raises(SipError):
        Challenge.parse(text)


def test_the_password_response_is_not_in_repr() -> None:
    credentials = Challenge("pbx", "n").answer("REGISTER", "sip:pbx", "100", "1234")
    assert credentials.response not in repr(credentials)
