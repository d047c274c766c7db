"""SDP: every description of the corpus survives; offer and answer; hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.errors import SipError
from labkit.sip.sdp import Codec, Media, Sdp, answer

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=x\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 0 8 96 101\r\na=rtpmap:96 iLBC/8000\r\na=fmtp:96 mode=30\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
    "m=video 4002 RTP/AVP 34\r\n"
)


def test_corpus_is_written_back_as_it_came(corpus: Path) -> None:
    files = [path for path in sorted((corpus / "sdp").glob("*.sdp")) if path.stem != "invalid"]
    assert len(files) > 10
    for path in files:
        text = "".join(line + "\r\n" for line in path.read_text("utf-8").splitlines() if line.strip())
        assert str(Sdp.parse(text)) == text, path.name


def test_codecs() -> None:
    sdp = Sdp.parse(OFFER)
    audio, video = sdp.media
    assert [str(c) for c in audio.codecs] == ["PCMU/8000", "PCMA/8000", "iLBC/8000", "telephone-event/8000"]
    assert audio.codecs[2].fmtp == "mode=30"
    assert [c.name for c in video.codecs] == ["H263"]
    assert sdp.address(audio) == ("127.0.0.2", 4000)
    assert sdp.direction(audio) == "sendrecv"


def test_answer_keeps_order_and_mirrors_direction() -> None:
    offer = Sdp.parse(OFFER.replace("m=video", "a=sendonly\r\nm=video"))
    mine = [Codec(8, "PCMA", 8000), Codec(99, "iLBC", 8000), Codec(100, "telephone-event", 8000)]
    reply = Sdp.parse(bytes(answer(offer, "127.0.0.3", {"audio": (4010, mine)}, session_id=7)))
    audio, video = reply.media
    assert [(c.payload_type, c.name) for c in audio.codecs] == [(8, "PCMA"), (96, "iLBC"), (101, "telephone-event")]
    assert audio.direction == "recvonly"
    assert reply.address(audio) == ("127.0.0.3", 4010)
    assert video.port == 0


def test_answer_without_common_codec_is_488() -> None:
    with pytest.raises(SipError) as caught:
        answer(Sdp.parse(OFFER), "127.0.0.3", {"audio": (4010, [Codec(9, "G722", 8000)])})
    assert caught.value.status == 488


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ("", False),
        ("a=sendonly", True),
        ("a=inactive", True),
        ("a=recvonly", False),
        ("c=IN IP4 0.0.0.0", True),
    ],
)
def test_hold_in_all_forms(change: str, held: bool) -> None:
    text = OFFER.partition("m=video")[0] + (change + "\r\n" if change else "")
    assert Sdp.parse(text).on_hold is held


def test_session_level_direction() -> None:
    assert Sdp.parse(OFFER.replace("t=0 0\r\n", "t=0 0\r\na=inactive\r\n")).on_hold


def test_hold_and_resume_by_direction() -> None:
    audio = Sdp.parse(OFFER).media[0]
    assert audio.with_direction("sendonly").direction == "sendonly"
    assert str(audio.with_direction("sendonly").with_direction("sendrecv")).count("send") == 1


def test_port_count_and_tcp() -> None:
    media = Sdp.parse("v=0\r\ns=-\r\nm=audio 5000/2 RTP/AVP 0\r\n").media[0]
    assert (media.port, media.port_count) == (5000, 2)
    assert str(media) == "m=audio 5000/2 RTP/AVP 0\r\n"
    assert Media("audio", 4000, formats=("0",)).codecs == [Codec(0, "PCMU", 8000)]


@pytest.mark.parametrize(
    "text", ["", "hello", "v=1\r\n", "v=0\r\nm=audio\r\n", "v=0\r\nm=audio x RTP/AVP 0\r\n", "v=0\r\nm=audio 70000 RTP/AVP 0\r\n"]
)
def test_refused(text: str) -> None:
    with pytest.raises(SipError):
        Sdp.parse(text)
