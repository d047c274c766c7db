"""The lab's screen "Forwarding rules" of one extension, as text and as HTML.  It draws; what the rules do is in :mod:`labkit.pbx.rules`."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from labkit.texts import text

if TYPE_CHECKING:
    from labkit.pbx.rules import ExtensionRules, ForwardTo

COLUMNS = ("status", "all_calls", "no_answer", "busy", "not_registered")
STATUSES = ("available", "away", "out_of_office", "custom_1", "custom_2")


def rows(rules: ExtensionRules) -> list[tuple[str, ...]]:
    """A row a user status, and a row an exception; the cells in the learner's language."""
    found: list[tuple[str, ...]] = []
    for status in STATUSES:
        of = rules.of(status)
        answer = text("rules.after", target=phrase(of.no_answer), seconds=of.no_answer_after_s) if of.no_answer else phrase(None)
        found.append((text(f"pbx.user_{status}"), phrase(of.all_calls), answer, phrase(of.busy), phrase(of.not_registered)))
    for exception in rules.exceptions:
        name = text("rules.exception", caller=exception.caller, hours=exception.hours or "24 h")
        found.append((name, phrase(exception.forward_to), *[phrase(None)] * 3))
    return found


def phrase(target: ForwardTo | None) -> str:
    """A target as the screen says it."""
    return text(f"rules.to_{target.target}", number=target.number).strip() if target is not None else "–"


def as_text(rules: ExtensionRules) -> str:
    lines = [tuple(text(f"rules.column_{name}") for name in COLUMNS), *rows(rules)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def as_html(rules: ExtensionRules) -> str:
    head = "".join(f'<th scope="col">{escape(text(f"rules.column_{name}"))}</th>' for name in COLUMNS)
    body = ""
    for name, *cells in rows(rules):
        body += f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
    caption = escape(text("rules.title", extension=rules.extension))
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
