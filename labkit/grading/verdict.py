"""What ``labkit.check`` gives back: right, wrong, partly or not answered yet, with its reasons in both languages."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING

from labkit.texts import text

if TYPE_CHECKING:
    import pandas as pd


class Outcome(StrEnum):
    RIGHT = "right"
    PARTLY = "partly"
    WRONG = "wrong"
    UNANSWERED = "not answered yet"


# Okabe-Ito; the sign says the same without colour.
_LOOK = {
    Outcome.RIGHT: ("✓", "#009E73"),
    Outcome.PARTLY: ("◐", "#E69F00"),
    Outcome.WRONG: ("✗", "#D55E00"),
    Outcome.UNANSWERED: ("…", "#0072B2"),
}


@dataclass(frozen=True)
class Feedback:
    """One sentence: its message id and what fills its blanks."""

    message_id: str
    values: dict[str, object] = field(default_factory=dict)

    def text(self, language: str | None = None) -> str:
        return text(self.message_id, language=language, **self.values)


@dataclass(frozen=True, repr=False)
class Verdict:
    """The verdict on one answer.  ``str(verdict)`` is in the current language, ``verdict.text("fr")`` in the one that is named."""

    question: str
    outcome: Outcome
    feedback: tuple[Feedback, ...] = ()
    points: float | None = 0.0
    """Points earned; ``None`` where a teacher decides."""
    out_of: float = 0.0
    source: str = ""
    """Where the right answer is written: RFC and section."""

    def _head(self, language: str | None) -> str:
        outcome = text(f"grading.outcome_{self.outcome.name.lower()}", language=language)
        if self.points is None:
            return f"{self.question} {outcome}"
        return f"{self.question} {outcome} ({self.points:g}/{self.out_of:g})"

    def text(self, language: str | None = None) -> str:
        """The verdict as plain text, one line for the outcome and one for each reason."""
        lines = [f"{_LOOK[self.outcome][0]} {self._head(language)}", *(f"  {item.text(language)}" for item in self.feedback)]
        if self.source and self.outcome is Outcome.RIGHT:
            lines.append(f"  {self.source}")
        return "\n".join(lines)

    def table(self) -> pd.DataFrame:
        """One row a reason, English and French side by side."""
        import pandas as pd

        rows = [(self.question, self.outcome.value, item.text("en"), item.text("fr")) for item in self.feedback]
        return pd.DataFrame(rows, columns=["Question", "Outcome", "en", "fr"])

    def __repr__(self) -> str:
        return self.text()

    __str__ = __repr__

    def _repr_html_(self) -> str:
        sign, colour = _LOOK[self.outcome]
        reasons = "".join(f"<br>{escape(item.text())}" for item in self.feedback)
        source = f"<br><small>{escape(self.source)}</small>" if self.source and self.outcome is Outcome.RIGHT else ""
        head = f"<b><span aria-hidden='true'>{sign}</span> {escape(self._head(None))}</b>"
        style = f"border-left:5px solid {colour};padding:2px 10px;margin:4px 0"
        return f"<div class='labkit-verdict' style='{style}'>{head}{reasons}{source}</div>"
