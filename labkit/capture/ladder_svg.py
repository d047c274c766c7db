"""The ladder as SVG, written by hand so that hundreds of messages are drawn in milliseconds.

Accessible: ``role="img"`` with title and description; a dialog is told by its number and its dashes, not by colour alone; the whole
message is in the tooltip of its arrow.  Every text from the network is escaped.
"""

from __future__ import annotations

from html import escape
from math import ceil
from zlib import crc32

from labkit.capture.ladder import Arrow, Band, Ladder, Row
from labkit.texts import text

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#C5679B", "#B08800", "#1D99E0", "#000000")
"""Okabe and Ito's hues, the pale ones darker, so that a line has a contrast of 3 to 1 on white (WCAG 2.1, 1.4.11); each with its dashes."""
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 2")
MEDIA = "#999999"

TIME, SIDE, HEAD, ROW, LEGEND = 90, 70, 58, 38, 20
NARROWEST_GAP, WIDEST_GAP = 180, 330
LETTER, ENDS = 6.4, 26
"""Pixels of a letter, about, and of what the two ends of an arrow take."""
SQUEEZED = 1.3
"""How much too long a label may be to be drawn whole, with its letters closer together."""


def colour(dialog: int) -> str:
    return COLOURS[dialog % len(COLOURS)]


def dashes(dialog: int) -> str:
    return DASHES[dialog % len(DASHES)]


def render(ladder: Ladder) -> str:
    """A stand-alone SVG document that may also be put into HTML."""
    gap = _gap(ladder)
    columns = [TIME + SIDE + number * gap for number in range(max(len(ladder.columns), 1))]
    bottom = HEAD + ROW * len(ladder.rows) + 12
    beyond = max((len(row.label) * 7 + 140 for row in ladder.rows if row.source == row.target), default=SIDE)
    width, height = columns[-1] + beyond, bottom + LEGEND * (len(ladder.dialogs) + 1) + 8
    key = f"ladder-{crc32(repr((ladder.columns, ladder.rows)).encode()):08x}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{key}-t {key}-d" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<title id="{key}-t">{_escape(ladder.title)}</title>',
        f'<desc id="{key}-d">{_escape(_description(ladder))}</desc>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for at, column in zip(columns, ladder.columns, strict=False):
        parts.append(
            f'<text x="{at}" y="20" text-anchor="middle" font-weight="bold" font-size="14" fill="#111111">{_escape(column.name)}</text>'
        )
        if column.name != column.address:
            parts.append(f'<text x="{at}" y="36" text-anchor="middle" fill="#444444">{_escape(column.address)}</text>')
        parts.append(f'<line x1="{at}" y1="44" x2="{at}" y2="{bottom}" stroke="#888888" stroke-width="1"/>')
    parts += [_row(row, HEAD + ROW * number, columns) for number, row in enumerate(ladder.rows)]
    parts += _legend(ladder, bottom + LEGEND)
    return "\n".join([*parts, "</svg>"])


def _gap(ladder: Ladder) -> int:
    """Between two hosts, so wide that the longest label fits between its ends."""
    needed = [(len(row.label) * LETTER + ENDS) / abs(row.source - row.target) for row in ladder.rows if row.source != row.target]
    return max(NARROWEST_GAP, min(WIDEST_GAP, ceil(max(needed, default=0.0)) + 1))


def _escape(words: str) -> str:
    """Escaped, and without the control characters that XML forbids."""
    return escape("".join(c if c >= " " or c in "\n\t" else "" if c == "\r" else "\ufffd" for c in words), quote=True)


def _description(ladder: Ladder) -> str:
    if not ladder.rows:
        return ladder.title
    names = [column.name for column in ladder.columns]
    return "; ".join(f"{names[row.source]} → {names[row.target]} {row.label}" for row in ladder.rows)


def _row(row: Row, top: int, columns: list[int]) -> str:
    time = f'<text x="{TIME - 12}" y="{top + 24}" text-anchor="end" fill="#444444">{row.time:.4f}</text>'
    shape = _arrow if isinstance(row, Arrow) else _band
    return f"<g><title>{_escape(row.detail)}</title>{time}{shape(row, top + 20, columns)}</g>"


def _label(row: Row, middle: float, baseline: int, room: float) -> str:
    words, squeeze = row.label, ""
    if len(words) > room * SQUEEZED / LETTER:
        words = words[: max(int(room * SQUEEZED / LETTER) - 1, 1)] + "…"
    if len(words) * LETTER > room * 1.1:  # never for a label that may fit: it would be stretched
        squeeze = f' textLength="{room:.0f}" lengthAdjust="spacingAndGlyphs"'
    # The white rim keeps a label readable where it crosses the line of a host.
    rim = 'stroke="#ffffff" stroke-width="3" paint-order="stroke"'
    return f'<text x="{middle:.0f}" y="{baseline}" text-anchor="middle" fill="#111111" {rim}{squeeze}>{_escape(words)}</text>'


def _port(at: int, y: int, port: int, anchor: str) -> str:
    return f'<text x="{at}" y="{y + 12}" text-anchor="{anchor}" font-size="9" fill="#444444">{port}</text>'


def _head(tip: int, y: int, way: int, fill: str) -> str:
    return f'<polygon points="{tip},{y} {tip - 9 * way},{y - 4} {tip - 9 * way},{y + 4}" fill="{fill}"/>'


def _ends(row: Row, y: int, columns: list[int]) -> tuple[int, int, int, str]:
    """x of start and tip, direction, and the ports."""
    start, tip = columns[row.source], columns[row.target]
    way = 1 if tip >= start else -1
    near, far = ("start", "end") if way == 1 else ("end", "start")
    return start, tip, way, _port(start + 4 * way, y, row.source_port, near) + _port(tip - 4 * way, y, row.target_port, far)


def _arrow(row: Row, y: int, columns: list[int]) -> str:
    assert isinstance(row, Arrow)
    stroke = colour(row.dialog)
    style = f'stroke="{stroke}" stroke-width="{1.2 if row.retransmission else 2}" stroke-dasharray="{dashes(row.dialog)}" fill="none"'
    if row.source == row.target:
        at = columns[row.source]
        return (
            f'<path d="M{at},{y - 8} h26 v12 h-18" {style}/>{_head(at, y + 4, -1, stroke)}'
            f'<text x="{at + 32}" y="{y + 2}" fill="#111111">{row.source_port} → {row.target_port} {_escape(row.label)}</text>'
        )
    start, tip, way, ports = _ends(row, y, columns)
    number = f'<circle cx="{start}" cy="{y}" r="7" fill="#ffffff" stroke="{stroke}"/>'
    number += f'<text x="{start}" y="{y + 3}" text-anchor="middle" font-size="9" fill="#111111">{row.dialog + 1}</text>'
    line = f'<line x1="{start}" y1="{y}" x2="{tip - 6 * way}" y2="{y}" {style}/>'
    return line + _head(tip, y, way, stroke) + number + ports + _label(row, (start + tip) / 2, y - 5, abs(tip - start) - ENDS)


def _band(row: Row, y: int, columns: list[int]) -> str:
    assert isinstance(row, Band)
    if row.source == row.target:
        at = columns[row.source]
        mark = f'<rect x="{at - 5}" y="{y - 8}" width="10" height="14" fill="{MEDIA}"/>'
        return f'{mark}<text x="{at + 32}" y="{y + 2}" fill="#111111">{row.source_port} → {row.target_port} {_escape(row.label)}</text>'
    start, tip, way, ports = _ends(row, y, columns)
    left, right = sorted((start, tip - 9 * way))
    body = f'<rect x="{left}" y="{y - 3}" width="{right - left}" height="6" fill="{MEDIA}" stroke="#555555" stroke-width="0.5"/>'
    head = f'<polygon points="{tip},{y} {tip - 12 * way},{y - 7} {tip - 12 * way},{y + 7}" fill="#555555"/>'
    return body + head + ports + _label(row, (start + tip) / 2, y - 6, abs(tip - start) - ENDS)


def _legend(ladder: Ladder, top: int) -> list[str]:
    if not ladder.dialogs:
        return []
    parts = [f'<text x="12" y="{top + 4}" font-weight="bold" fill="#111111">{_escape(text("capture.dialogs"))}</text>']
    for number, call_id in enumerate(ladder.dialogs):
        y = top + LEGEND * (number + 1)
        style = f'stroke="{colour(number)}" stroke-width="2" stroke-dasharray="{dashes(number)}"'
        parts.append(
            f'<text x="12" y="{y + 4}" fill="#111111">{number + 1}</text><line x1="34" y1="{y}" x2="{TIME - 8}" y2="{y}" {style}/>'
        )
        parts.append(f'<text x="{TIME}" y="{y + 4}" fill="#444444">Call-ID: {_escape(call_id)}</text>')
    return parts
