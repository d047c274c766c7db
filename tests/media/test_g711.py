"""G.711 against ITU-T's vectors (a sweep through every sample value) and against FFmpeg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labkit.media import g711

LAWS = {
    "u": (g711.encode_mu_law, g711.decode_mu_law, "pcm_mulaw"),
    "a": (g711.encode_a_law, g711.decode_a_law, "pcm_alaw"),
}


@pytest.mark.parametrize("law", LAWS)
def test_itu_vectors(law: str, corpus: Path) -> None:
    encode, decode, _ = LAWS[law]
    folder = corpus / "g711" / "test_data"
    samples = np.fromfile(folder / "sweep.src", "<i2").astype(np.int16)
    codes = np.fromfile(folder / f"sweep-r.{law}", "<i2").astype(np.uint8).tobytes()
    assert len(samples) == 65536
    assert encode(samples) == codes
    np.testing.assert_array_equal(decode(codes), np.fromfile(folder / f"sweep-r.{law}-{law}", "<i2"))


@pytest.mark.parametrize("law", LAWS)
def test_every_code_as_ffmpeg_decodes_it(law: str) -> None:
    import av

    _, decode, name = LAWS[law]
    decoder = av.CodecContext.create(name, "r")
    decoder.sample_rate, decoder.layout = 8000, "mono"  # type: ignore[attr-defined]
    (frame,) = decoder.decode(av.Packet(bytes(range(256))))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(decode(bytes(range(256))), frame.to_ndarray().ravel())


@pytest.mark.parametrize("law", LAWS)
def test_decoding_and_coding_again_changes_nothing(law: str) -> None:
    encode, decode, _ = LAWS[law]
    values = decode(bytes(range(256)))
    np.testing.assert_array_equal(decode(encode(values)), values)
    assert encode(np.empty(0, np.int16)) == b"" and len(decode(b"")) == 0
