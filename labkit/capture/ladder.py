"""The ladder of a capture: an abstract drawing first (columns, arrows, bands), which each renderer then puts into its own form.

A column is a host; an arrow a SIP message; a band a stream of RTP, RTCP or TLS, or a key pressed.  The renderers are
:mod:`~labkit.capture.ladder_text`, :mod:`~labkit.capture.ladder_svg`, :mod:`~labkit.capture.ladder_mermaid` and
:mod:`~labkit.capture.ladder_png`; they decide nothing about what is drawn.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.capture.records import file_path, write_file
from labkit.errors import CaptureError
from labkit.texts import text

if TYPE_CHECKING:
    import pandas as pd

TABLE = ("No.", "Time", "From", "To", "From Port", "To Port", "Message", "Dialog")


@dataclass(frozen=True)
class Column:
    """One host."""

    name: str
    address: str


@dataclass(frozen=True)
class Arrow:
    """One message from column ``source`` to column ``target``."""

    number: int
    """Of the packet."""
    time: float
    source: int
    target: int
    source_port: int
    target_port: int
    label: str
    detail: str
    """The whole message."""
    request: bool
    dialog: int
    """Place of its Call-ID among those drawn."""
    retransmission: bool = False


@dataclass(frozen=True)
class Band:
    """One stream from its first packet to its last."""

    number: int
    time: float
    stop: float
    source: int
    target: int
    source_port: int
    target_port: int
    label: str
    packets: int
    codec: str

    @property
    def detail(self) -> str:
        return f"{self.label}, {self.time:.6f} s – {self.stop:.6f} s"


Row = Arrow | Band


@dataclass(frozen=True)
class Ladder:
    """What is drawn.  A notebook shows it as a picture; ``print`` as text."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    """Arrows and bands in order of time."""
    dialogs: tuple[str, ...] = ()
    """Call-IDs."""

    @property
    def arrows(self) -> list[Arrow]:
        return [row for row in self.rows if isinstance(row, Arrow)]

    @property
    def bands(self) -> list[Band]:
        return [row for row in self.rows if isinstance(row, Band)]

    @cached_property
    def title(self) -> str:
        """One sentence that stands for the picture."""
        if not self.rows:
            return text("capture.ladder_empty")
        hosts = ", ".join(column.name for column in self.columns)
        streams = sum(band.codec.startswith("RTP ") for band in self.bands)
        return text("capture.ladder_title", hosts=hosts, messages=len(self.arrows), bands=streams)

    def text(self, *, ascii: bool = False) -> str:
        """The ladder in characters; 100 columns wide at most for four hosts.  ``ascii`` for terminals that know nothing else."""
        from labkit.capture.ladder_text import render

        return render(self, ascii=ascii)

    def svg(self) -> str:
        from labkit.capture.ladder_svg import render

        return render(self)

    def mermaid(self) -> str:
        """A Mermaid sequence diagram."""
        from labkit.capture.ladder_mermaid import render

        return render(self)

    def png(self) -> bytes:
        from labkit.capture.ladder_png import render

        return render(self)

    def csv(self) -> str:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(TABLE)
        writer.writerows(self._cells())
        return buffer.getvalue()

    def table(self) -> pd.DataFrame:
        """The messages and streams, one a row."""
        from labkit.capture.table import table

        return table(self._cells(), TABLE, caption="capture.table_ladder")

    def _cells(self) -> list[tuple[object, ...]]:
        names = [column.name for column in self.columns]
        return [
            (
                row.number,
                row.time,
                names[row.source],
                names[row.target],
                row.source_port,
                row.target_port,
                row.label,
                self.dialogs[row.dialog] if isinstance(row, Arrow) else "",
            )
            for row in self.rows
        ]

    def save(self, path: str | Path) -> Path:
        """Save as ``.svg``, ``.png``, ``.mmd`` (Mermaid), ``.txt`` or ``.csv``; :class:`CaptureError` for anything else."""
        path = file_path(path)
        render = _FORMATS.get(path.suffix.lower())
        if render is None:
            raise CaptureError("capture.unknown_suffix", path=str(path), known=", ".join(_FORMATS))
        return write_file(path, render(self))

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        from labkit.capture.ladder_html import render

        return render(self)


_FORMATS: dict[str, Callable[[Ladder], bytes]] = {
    ".svg": lambda ladder: ladder.svg().encode(),
    ".png": Ladder.png,
    ".mmd": lambda ladder: ladder.mermaid().encode(),
    ".txt": lambda ladder: (ladder.text() + "\n").encode(),
    ".csv": lambda ladder: ladder.csv().encode(),
}
