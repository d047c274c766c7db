"""Decoders: what comes out, and what happens to payloads that are none.  Speech is compared in tests/capture/test_audio.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import MediaError
from labkit.media.codecs import CODECS, Decoder, supported

FRAMES = {
    "PCMU": (b"\xff" * 160, 8000, 160),
    "PCMA": (b"\xd5" * 160, 8000, 160),
    "L16": (b"\0\1" * 160, 8000, 160),
    "GSM": (b"\xd0" + bytes(32), 8000, 160),
    "G722": (b"\xfa" * 160, 16000, 320),
    "iLBC": (bytes(50), 8000, 240),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_gives_its_samples(name: str) -> None:
    payload, rate, samples = FRAMES[name]
    decoder = Decoder(name, 8000)
    assert decoder.rate == rate and supported(name.lower())
    decoded = decoder.decode(payload)
    assert decoded.dtype == np.int16 and len(decoded) == samples
    assert len(decoder.decode(b"")) == 0


def test_several_frames_in_one_payload() -> None:
    assert len(Decoder("GSM", 8000).decode((b"\xd0" + bytes(32)) * 3)) == 480
    assert len(Decoder("iLBC", 8000).decode(bytes(100))) == 480
    assert len(Decoder("iLBC", 8000).decode(bytes(38))) == 160


def test_stereo_l16_gives_its_first_channel() -> None:
    assert Decoder("L16", 44100, 2).decode(b"\0\1\0\2\0\3\0\4\0").tolist() == [1, 3]


@pytest.mark.parametrize("rate", [0, 4_000_000_000])
def test_an_absurd_clock_is_refused(rate: int) -> None:
    assert not supported("PCMU", rate)
    with pytest.raises(MediaError, match=f"PCMU/{rate} cannot be decoded"):
        Decoder("PCMU", rate)


def test_an_unknown_codec_is_named() -> None:
    assert not supported("G729")
    with pytest.raises(MediaError, match=r"G729/8000 cannot be decoded here\. Known are: G722, GSM"):
        Decoder("G729", 8000)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CODECS)), st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_decode_to_something(name: str, payloads: list[bytes]) -> None:
    decoder = Decoder(name, 48000 if name == "OPUS" else 8000)
    for payload in payloads:
        assert decoder.decode(payload).dtype == np.int16
