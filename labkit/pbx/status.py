"""The lab's screen "Extension status": state, extension, user status, queues, name."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from labkit.texts import text

COLUMNS = ("state", "extension", "user_status", "queues", "name")
# A mark beside the word, so that the state never hangs on colour alone (Okabe-Ito colours).
MARKS = {"registered": ("●", "#009E73"), "in_call": ("▶", "#0072B2"), "ringing": ("♪", "#E69F00"), "not_registered": ("○", "#666666")}


@dataclass(frozen=True, slots=True)
class ExtensionStatus:
    """One row.  ``state`` is registered (idle), ringing, in_call or not_registered."""

    state: str
    extension: str
    user_status: str
    name: str
    contacts: tuple[str, ...] = ()
    queues: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row in the learner's language, in the order of :data:`COLUMNS`."""
        return (text(f"pbx.state_{self.state}"), self.extension, text(f"pbx.user_{self.user_status}"), self.queues, self.name)


class StatusTable(list[ExtensionStatus]):
    """The rows; a notebook shows them as a table."""

    def __str__(self) -> str:
        lines = [tuple(text(f"pbx.column_{name}") for name in COLUMNS), *(row.cells for row in self)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{escape(text(f"pbx.column_{name}"))}</th>' for name in COLUMNS)
        rows = []
        for row in self:
            mark, colour = MARKS[row.state]
            state, *others = (escape(cell) for cell in row.cells)
            cells = "".join(f"<td>{cell}</td>" for cell in others)
            rows.append(f'<tr><td><span style="color:{colour}" aria-hidden="true">{mark}</span> {state}</td>{cells}</tr>')
        caption = escape(text("pbx.status_title"))
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
