"""The ladder in characters: 100 columns wide at most for four hosts.  Requests are lines, responses dotted lines, RTP double lines."""

from __future__ import annotations

import textwrap

from labkit.capture.ladder import Arrow, Ladder, Row

TIME = 10
MARGIN = 7
WIDEST_GAP, NARROWEST_GAP, WIDTH = 34, 18, 100
_ASCII = str.maketrans({"│": "|", "─": "-", "┄": ".", "═": "=", "▶": ">", "◀": "<", "↻": "@", "…": "~", "–": "-"})


def render(ladder: Ladder, *, ascii: bool = False) -> str:
    """Two lines an arrow or more: what it says, then the arrow with the ports at its ends."""
    if not ladder.rows:
        return ladder.title
    count = len(ladder.columns)
    gap = max(NARROWEST_GAP, min(WIDEST_GAP, (WIDTH - TIME - 2 * MARGIN) // max(count - 1, 1)))
    columns = [TIME + MARGIN + number * gap for number in range(count)]
    room = 2 * MARGIN if count == 1 else gap - 1
    lines = [_centred(columns, [_short(column.name, room) for column in ladder.columns])]
    if any(column.name != column.address for column in ladder.columns):
        lines.append(_centred(columns, [_short(column.address, room) for column in ladder.columns]))
    for row in ladder.rows:
        lines += _row(row, columns)
    drawn = "\n".join(line.rstrip() for line in lines)
    return drawn.translate(_ASCII) if ascii else drawn


def _short(word: str, room: int) -> str:
    return word if len(word) <= room else word[: room - 1] + "…"


def _centred(columns: list[int], words: list[str]) -> str:
    line = ""
    for at, word in zip(columns, words, strict=True):
        line = line.ljust(max(at - len(word) // 2, len(line) + 1)) + word
    return line


def _bars(columns: list[int]) -> list[str]:
    line = [" "] * (columns[-1] + 1)
    for at in columns:
        line[at] = "│"
    return line


def _put(line: list[str], at: int, word: str) -> None:
    line[at : at + len(word)] = word


def _row(row: Row, columns: list[int]) -> list[str]:
    time = f"{row.time:{TIME - 1}.4f}"
    if row.source == row.target:
        return _to_itself(row, columns, time)
    left, right = sorted((columns[row.source], columns[row.target]))
    room = right - left - 3
    lines = []
    for number, words in enumerate(textwrap.wrap(row.label, room, break_on_hyphens=False) or [""]):
        line = _bars(columns)
        # A label lies over the hosts that its arrow passes.
        _put(line, left + 1, " " * (right - left - 1) if len(columns) > 2 else line[left + 1])
        _put(line, left + 2 + (room - len(words)) // 2, words)
        if number == 0:
            _put(line, 0, time)
        lines.append("".join(line))
    line = _bars(columns)
    _put(line, left + 1, _shaft(row, right - left - 1))
    return [*lines, "".join(line)]


def _shaft(row: Row, width: int) -> str:
    stroke = ("─" if row.request else "┄") if isinstance(row, Arrow) else "═"
    start, end = str(row.source_port), str(row.target_port)
    line = stroke * max(width - len(start) - len(end) - 3, 1)
    drawn = f"{start} {line}▶ {end}" if row.source < row.target else f"{end} ◀{line} {start}"
    return drawn if len(drawn) <= width else drawn[:width]


def _to_itself(row: Row, columns: list[int], time: str) -> list[str]:
    at = columns[row.source]
    words = f"↻ {row.source_port} – {row.target_port} {row.label}"
    lines = []
    for number, part in enumerate(textwrap.wrap(words, max(WIDTH - at - 3, 30), break_on_hyphens=False)):
        line = _bars(columns)
        line += [" "] * max(at + 2 + len(part) - len(line), 0)
        _put(line, at + 2, part)
        if number == 0:
            _put(line, 0, time)
        lines.append("".join(line))
    return lines
