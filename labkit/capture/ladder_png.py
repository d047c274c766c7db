"""The ladder as PNG, drawn by matplotlib: for documents that take no SVG."""

from __future__ import annotations

import io
import warnings

from labkit.capture.ladder import Arrow, Ladder, Row
from labkit.capture.ladder_svg import MEDIA, colour

MOST_ROWS = 400
"""A picture with more would be larger than programs open; the rows after them are left out, and it says so."""
_LINES = ("-", "--", ":", "-.")


def render(ladder: Ladder) -> bytes:
    """The picture, 100 dots to the inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = ladder.rows[:MOST_ROWS]
    width, height = 1.2 + 2.6 * max(len(ladder.columns), 1), 1.0 + 0.36 * len(rows)
    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.85, max(len(ladder.columns), 1) - 0.4)
    axes.set_ylim(len(rows) + 0.7, -2.0)
    axes.axis("off")
    for number, column in enumerate(ladder.columns):
        name = column.name if column.name == column.address else f"{column.name}\n{column.address}"
        axes.text(number, -1.2, _plain(name), ha="center", va="center", fontsize=9, fontweight="bold", parse_math=False)
        axes.plot([number, number], [-0.6, len(rows)], color="#888888", linewidth=0.8, zorder=0)
    for number, row in enumerate(rows):
        _row(axes, row, number)
    if len(rows) < len(ladder.rows):
        axes.text(-0.8, len(rows) + 0.2, f"… +{len(ladder.rows) - len(rows)}", fontsize=8)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # letters that the font lacks are drawn as boxes
        figure.savefig(buffer, format="png", metadata={"Description": ladder.title})
    return buffer.getvalue()


def _plain(words: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in words)


def _row(axes: object, row: Row, y: int) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    axes.text(-0.8, y, f"{row.time:.4f}", fontsize=7, color="#444444", va="center")
    if row.source == row.target:
        words = f"⟲ {row.source_port} → {row.target_port} {row.label}"
        axes.text(row.source + 0.05, y, _plain(words), fontsize=7, va="center", parse_math=False)
        return
    if isinstance(row, Arrow):
        style = {"color": colour(row.dialog), "linewidth": 1.4, "linestyle": _LINES[row.dialog % len(_LINES)]}
    else:
        style = {"color": MEDIA, "linewidth": 4.0, "linestyle": "-"}
    axes.annotate(
        "", xy=(row.target, y + 0.15), xytext=(row.source, y + 0.15), arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **style}
    )
    room = int(abs(row.target - row.source) * 46)
    words = row.label if len(row.label) <= room else row.label[: room - 1] + "…"
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.85}
    axes.text((row.source + row.target) / 2, y - 0.18, _plain(words), fontsize=7, ha="center", va="center", bbox=box, parse_math=False)
