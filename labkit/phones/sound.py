"""The sound files that a phone plays: found, checked, and converted when the phone cannot take them as they are."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from labkit.errors import MediaError

RATE_HZ = 8000
"""The rate of the phones' own sound: telephone band."""
SHORTEST = 800
"""Samples; the engine refuses a shorter file, so silence is put behind it."""
PROJECT = Path(__file__).resolve().parents[2]
PLACES = (PROJECT, PROJECT / "labkit" / "_data")
"""Where ``data/audio/hello.wav`` is looked for when the notebook's folder has no such file: a checkout, or an installed wheel."""


def find(path: str | Path) -> Path:
    """The file that ``path`` names, seen from the current folder or else from the project; raises :class:`MediaError`."""
    if not isinstance(path, str | os.PathLike) or not str(path) or "\0" in str(path):
        raise MediaError("phone.no_sound_file", path=path, folder=Path.cwd())
    given = Path(path).expanduser()
    for place in (Path.cwd(), *PLACES):
        if (place / given).is_file():
            return (place / given).resolve()
    # An installed wheel carries the folder data/ under another name.
    if given.parts[:1] == ("data",) and PLACES[1].joinpath(*given.parts[1:]).is_file():
        return PLACES[1].joinpath(*given.parts[1:])
    raise MediaError("phone.no_sound_file", path=given, folder=Path.cwd())


def playable(path: str | Path, folder: Path) -> Path:
    """A mono 16-bit WAV of 8 kHz with the sound of ``path``, in ``folder``: the engine plays nothing else without surprises.

    Raises :class:`MediaError` when it is not a WAV, or empty.
    """
    import numpy as np

    from labkit.media.wav import load_wav, save_wav

    file = find(path)
    sound = load_wav(file).at(RATE_HZ)
    samples = np.pad(sound.samples, (0, max(0, SHORTEST - len(sound.samples))))
    copy = folder / f"{file.stem}-{hashlib.sha256(str(file).encode()).hexdigest()[:8]}.wav"
    return save_wav(copy, samples, RATE_HZ)
