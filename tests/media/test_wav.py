"""WAV files of every kind a student may bring, and one sentence for what is none."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import MediaError
from labkit.media import g711
from labkit.media.correlation import correlation
from labkit.media.wav import Sound, check_playable, load_wav, parse_wav, save_wav
from labkit.texts import language

TONE = (8000 * np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000)).astype(np.int16)


def wav(data: bytes, code: int, bits: int, *, channels: int = 1, rate: int = 16000, extensible: bool = False, before: bytes = b"") -> bytes:
    width = bits // 8 * channels
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else code, channels, rate, rate * width, width, bits)
    if extensible:
        form += struct.pack("<HHIH14s", 22, bits, 0, code, bytes(14))
    chunks = before + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = save_wav(tmp_path / "tone.wav", TONE, 16000)
    sound = load_wav(path)
    np.testing.assert_array_equal(sound.samples, TONE)
    assert sound.rate_hz == 16000 and sound.seconds == 1.0 and check_playable(path) == path
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)


def test_other_forms_are_brought_to_16_bit_mono() -> None:
    wide = TONE.astype(np.int32)
    forms = {
        "extensible": wav(TONE.tobytes(), 1, 16, extensible=True),
        "chunks before": wav(TONE.tobytes(), 1, 16, before=b"LIST\x03\0\0\0abc\0"),
        "24 bits": wav((wide << 8).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(), 1, 24),
        "32 bits": wav((wide << 16).astype("<i4").tobytes(), 1, 32),
        "stereo": wav(np.repeat(TONE, 2).tobytes(), 1, 16, channels=2),
    }
    for name, data in forms.items():
        np.testing.assert_array_equal(parse_wav(data).samples, TONE, err_msg=name)
    coarse = parse_wav(wav(((TONE >> 8) + 128).astype(np.uint8).tobytes(), 1, 8)).samples
    assert np.abs(coarse - TONE).max() < 256
    for code, encode, decode in ((7, g711.encode_mu_law, g711.decode_mu_law), (6, g711.encode_a_law, g711.decode_a_law)):
        np.testing.assert_array_equal(parse_wav(wav(encode(TONE), code, 8)).samples, decode(encode(TONE)))


def test_a_recording_cut_short_is_read_as_far_as_it_goes() -> None:
    assert len(parse_wav(wav(TONE.tobytes(), 1, 16)[:-1001]).samples) == 16000 - 501


def test_resampling_keeps_the_sound() -> None:
    lower = Sound(TONE, 16000).at(8000)
    expected = 8000 * np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000)
    assert lower.rate_hz == 8000 and len(lower.samples) == 8000
    assert np.abs(lower.samples[100:-100] - expected[100:-100]).max() < 20
    assert correlation(lower.at(16000).samples, TONE) > 0.999
    assert Sound(TONE, 16000).at(16000).samples is TONE


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty: there is no sound in it"),
        (b"Dear Sir,", "is not a WAV file"),
        (b"RIFF\x04\0\0\0WAVE", "is not a WAV file"),
        (wav(b"", 1, 16), "without a single sample"),
        (wav(bytes(64), 3, 32), r"not read here \(format 3, 32 bits"),
        (wav(bytes(64), 1, 16, channels=0), "not read here"),
        (wav(bytes(64), 1, 16, rate=0), "not read here"),
    ],
)
def test_one_sentence_for_what_cannot_be_read(data: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(data)
    for read in (load_wav, check_playable):
        with pytest.raises(MediaError, match=sentence) as caught:
            read(path)
        assert "sound.wav" in str(caught.value) and "\n" not in str(caught.value)
    language("fr")
    assert str(caught.value) != caught.value.message_id and "sound.wav" in str(caught.value)


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be read"):
        load_wav(tmp_path / "nothing.wav")
    with pytest.raises(MediaError, match="cannot be written"):
        save_wav(tmp_path / "no" / "folder.wav", TONE, 8000)


def test_a_wav_that_phones_do_not_play(tmp_path: Path) -> None:
    path = save_wav(tmp_path / "music.wav", TONE, 44100)
    with pytest.raises(MediaError, match=r"44100 Hz.*needs 16-bit PCM"):
        check_playable(path)
    path.write_bytes(wav(np.repeat(TONE, 2).tobytes(), 1, 16, channels=2))
    with pytest.raises(MediaError, match="2 channels"):
        check_playable(path)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_sound_or_an_error(data: bytes) -> None:
    for candidate in (data, b"RIFF\0\0\0\0WAVE" + data, wav(data, 1, 16)[:60] + data):
        try:
            assert len(parse_wav(candidate).samples)
        except MediaError as error:
            assert str(error)
