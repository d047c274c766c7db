"""Delta and jitter of an RTP stream over time, drawn by matplotlib, with units, a text alternative and colours for all eyes."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.capture.records import file_path, write_file
from labkit.errors import CaptureError
from labkit.texts import text

if TYPE_CHECKING:
    from labkit.capture.rtp_stream import RtpStream

BLUE, VERMILLION = "#0072B2", "#D55E00"
"""Of Okabe and Ito's palette."""
SUFFIXES = (".png", ".svg", ".pdf")


class Plot:
    """A figure with its text alternative.  ``figure`` is matplotlib's, for whoever wants to change it."""

    def __init__(self, figure: Any, alt: str) -> None:
        self.figure = figure
        self.alt = alt

    def png(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()

    def save(self, path: str | Path) -> Path:
        """Save as ``.png``, ``.svg`` or ``.pdf``; :class:`CaptureError` for another suffix or a place that cannot be written."""
        path = file_path(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise CaptureError("capture.unknown_suffix", path=str(path), known=", ".join(SUFFIXES))
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format=suffix[1:])
        return write_file(path, buffer.getvalue())

    def __repr__(self) -> str:
        return f"<Plot: {self.alt}>"

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png()).decode()
        return f'<img alt="{escape(self.alt, quote=True)}" src="data:image/png;base64,{data}">'


def plot(stream: RtpStream) -> Plot:
    """Two curves over one time axis: delta (dots, since packets come one by one) and jitter (a line, since it is a running value)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figures, title = stream.figures, stream.title
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(stream.time[1:], figures.delta[1:], ".", markersize=3, color=BLUE)
    upper.set_ylabel(text("capture.delta_axis"))
    lower.plot(stream.time, figures.jitter, "-", linewidth=1.3, color=VERMILLION)
    lower.set_ylabel(text("capture.jitter_axis"))
    lower.set_xlabel(text("capture.time_axis"))
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    upper.set_ylim(min(0.0, float(figures.delta.min()) * 1.1), max(1.0, float(figures.delta.max()) * 1.1))
    lower.set_ylim(0.0, max(1.0, float(figures.jitter.max()) * 1.1))
    upper.set_title(title)
    alt = text(
        "capture.plot_alt",
        stream=title,
        packets=len(stream),
        start=f"{stream.start:.2f}",
        end=f"{stream.end:.2f}",
        max_delta=f"{figures.deltas.maximum:.2f}",
        mean_jitter=f"{figures.jitters.mean:.2f}",
        max_jitter=f"{figures.jitters.maximum:.2f}",
    )
    return Plot(figure, alt)
