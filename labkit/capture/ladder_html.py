"""The ladder in a notebook: the picture, and below it every message whole, opened by a click (HTML's own details, no script)."""

from __future__ import annotations

from html import escape

from labkit.capture.info import shown
from labkit.capture.ladder import Arrow, Ladder
from labkit.texts import text

MOST_MESSAGES = 200
"""Of a longer ladder the picture alone is shown: a notebook file should not hold every message twice."""


def render(ladder: Ladder) -> str:
    """HTML whose every text from the network is escaped."""
    picture = f'<div style="overflow-x:auto">{ladder.svg()}</div>'
    if not 0 < len(ladder.arrows) <= MOST_MESSAGES:
        return picture
    messages = "".join(_message(ladder, arrow) for arrow in ladder.arrows)
    return f"{picture}<details><summary>{escape(text('capture.messages_whole'))}</summary>{messages}</details>"


def _message(ladder: Ladder, arrow: Arrow) -> str:
    ends = f"{ladder.columns[arrow.source].name} → {ladder.columns[arrow.target].name}"
    lines = "\n".join(shown(line) for line in arrow.detail.replace("\r\n", "\n").split("\n"))
    title = f"{arrow.number} · {arrow.time:.4f} s · {ends} · {arrow.label}"
    return f'<details style="margin-left:1em"><summary>{escape(title)}</summary><pre>{escape(lines)}</pre></details>'
