"""HTML tables of plain values, everything escaped: what a notebook shows for objects that are no DataFrame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def cell(value: object) -> str:
    """A value as a cell shows it: three decimals, nothing for ``None``."""
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)


def html_table(columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A table with a header row."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell(value))}</td>" for value in row) + "</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
