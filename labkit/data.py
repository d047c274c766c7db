"""The sounds and captures that come with labkit, wherever it was installed.

In a checkout they are the folder ``data/`` beside the package; in a wheel they are inside it.  This module only finds them.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
DATA = _PACKAGE / "_data" if (_PACKAGE / "_data").is_dir() else _PACKAGE.parent / "data"


def locate(path: str | Path) -> Path:
    """``path`` as it stands if it exists; else, for one that begins with ``data/``, the file of that name that comes with labkit.

    So ``"data/audio/hello.wav"`` means the same in a notebook, in a test and in a program anywhere.  A path that
    is found nowhere is returned unchanged, for the caller to complain about.
    """
    path = Path(path)
    if not path.exists() and path.parts[:1] == ("data",):
        shipped = DATA.joinpath(*path.parts[1:])
        if shipped.exists():
            return shipped
    return path
