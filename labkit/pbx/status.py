"""The lab's screen "Extension status": state, extension, user status, queues, name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from labkit.pbx.screen import Screen
from labkit.texts import text

HEADINGS = ("pbx.column_state", "pbx.column_extension", "pbx.column_user_status", "pbx.column_queues", "pbx.column_name")
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
        """The row in the learner's language, in the order of :data:`HEADINGS`."""
        return (text(f"pbx.state_{self.state}"), self.extension, text(f"pbx.user_{self.user_status}"), self.queues, self.name)


class StatusTable(Screen[ExtensionStatus]):
    """The rows; in a notebook each state has its mark and colour."""

    def __init__(self, rows: Iterable[ExtensionStatus]) -> None:
        super().__init__(rows, HEADINGS, "pbx.status_title")

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in self.headings)
        rows = []
        for row in self:
            mark, colour = MARKS[row.state]
            state, *others = (escape(cell) for cell in row.cells)
            cells = "".join(f"<td>{cell}</td>" for cell in others)
            rows.append(f'<tr><td><span style="color:{colour}" aria-hidden="true">{mark}</span> {state}</td>{cells}</tr>')
        return f"<table><caption>{escape(self.title)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
