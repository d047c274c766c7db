"""Figures of an RTP stream over time, drawn by matplotlib, with units, a text alternative and colours for all eyes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.capture.records import file_path, write_file
from labkit.capture.rtp_analysis import Floats, extended_sequence
from labkit.errors import CaptureError
from labkit.texts import text

if TYPE_CHECKING:
    from labkit.capture.jitter_buffer import JitterBuffers
    from labkit.capture.rtp_stream import RtpStream

BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
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


PANELS = {
    "delta": (BLUE, ".", "capture.delta_axis"),
    "jitter": (VERMILLION, "-", "capture.jitter_axis"),
    "skew": (GREEN, "-", "stream.axis_skew"),
    "bandwidth": (PURPLE, "-", "stream.axis_bandwidth"),
    "loss": (ORANGE, "steps", "stream.axis_loss"),
}
"""Colour, form and axis of each curve: packets that come one by one are dots, running values are lines, counts are steps."""


def plot(stream: RtpStream, panels: Sequence[str]) -> Plot:
    """The panels one below the other over one time axis; :class:`CaptureError` for one that does not exist."""
    unknown = [name for name in panels if name not in PANELS]
    if unknown or not panels:
        raise CaptureError("stream.no_panel", panel=", ".join(map(str, unknown)), known=", ".join(PANELS))
    figures = stream.figures
    curves: dict[str, Floats] = {
        "delta": figures.delta,
        "jitter": figures.jitter,
        "skew": figures.skew,
        "bandwidth": figures.bandwidth,
        "loss": lost_so_far(stream),
    }
    figure, axes = _figure(len(panels))
    for name, panel in zip(panels, axes, strict=True):
        colour, form, label = PANELS[name]
        first = 1 if name == "delta" else 0
        style = {"drawstyle": "steps-post"} if form == "steps" else {"linestyle": "none" if form == "." else "-"}
        marker = {"marker": ".", "markersize": 3} if form == "." else {}
        values = curves[name]
        panel.plot(stream.time[first:], values[first:], color=colour, linewidth=1.3, **style, **marker)
        panel.set_ylabel(text(label))
        low, high = float(values.min()), float(values.max())
        panel.set_ylim(min(0.0, low * 1.1), max(1.0 if name in ("delta", "jitter", "loss") else low + 1e-3, high * 1.1))
    axes[-1].set_xlabel(text("capture.time_axis"))
    axes[0].set_title(stream.title)
    sentences = {
        "skew": text("stream.plot_skew", max_skew=f"{figures.max_skew:.2f}"),
        "bandwidth": text("stream.plot_bandwidth", most=f"{float(figures.bandwidth.max()):.1f}"),
        "loss": text("stream.plot_loss", lost=figures.lost_rfc),
    }
    alt = text(
        "capture.plot_alt",
        stream=stream.title,
        packets=len(stream),
        start=f"{stream.start:.2f}",
        end=f"{stream.end:.2f}",
        max_delta=f"{figures.deltas.maximum:.2f}",
        mean_jitter=f"{figures.jitters.mean:.2f}",
        max_jitter=f"{figures.jitters.maximum:.2f}",
    )
    return Plot(figure, " ".join([alt, *(sentences[name] for name in panels if name in sentences)]))


def lost_so_far(stream: RtpStream) -> Floats:
    """Packets missing up to each packet, by the highest sequence number so far; a late packet takes its loss back."""
    extended = extended_sequence(stream.sequence)
    first_time = np.zeros(len(extended), np.int64)
    first_time[np.unique(extended, return_index=True)[1]] = 1
    missing: Floats = (np.maximum.accumulate(extended) - extended[0] + 1 - np.cumsum(first_time)).astype(np.float64)
    return np.maximum(missing, 0.0)


def plot_buffers(buffers: JitterBuffers) -> Plot:
    """Late loss (dots joined by a line) above mean delay (squares joined by dashes), over the size of the buffer."""
    figure, (upper, lower) = _figure(2)
    sizes = [buffer.size_ms for buffer in buffers.buffers]
    upper.plot(sizes, [buffer.late_loss for buffer in buffers.buffers], "o-", color=VERMILLION)
    upper.set_ylabel(text("stream.axis_late"))
    lower.plot(sizes, [buffer.mean_delay_ms for buffer in buffers.buffers], "s--", color=BLUE)
    lower.set_ylabel(text("stream.axis_wait"))
    lower.set_xlabel(text("stream.axis_buffer"))
    upper.set_title(buffers.stream.title)
    return Plot(figure, text("stream.plot_buffers", stream=buffers.stream.title) + " " + " ".join(map(str, buffers.buffers)))


def _figure(panels: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, max(2.25 * panels, 3.0)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    for panel in axes:
        panel.grid(alpha=0.3)
    return figure, axes
