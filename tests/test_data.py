"""The files that come with labkit are found from anywhere."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from labkit.data import locate


def test_a_shipped_file_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with wave.open(str(locate("data/audio/hello.wav"))) as speech:
        assert (speech.getframerate(), speech.getsampwidth(), speech.getnchannels()) == (8000, 2, 1)
        assert 3 < speech.getnframes() / 8000 < 5


def test_the_users_own_file_wins_and_a_missing_one_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "data" / "audio" / "hello.wav"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    assert locate("data/audio/hello.wav").read_bytes() == b"mine"
    assert locate("nowhere.wav") == Path("nowhere.wav")
    assert locate("data/nowhere.wav") == Path("data/nowhere.wav")
