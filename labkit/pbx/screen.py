"""The lab's screens: rows under translated headings, as text, as HTML for a notebook, and as a DataFrame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from labkit.capture.table import html_table
from labkit.texts import text

if TYPE_CHECKING:
    import pandas as pd


class Row(Protocol):
    """One line of a screen."""

    @property
    def cells(self) -> tuple[str, ...]:
        """What it shows, in the learner's language."""
        ...


R = TypeVar("R", bound=Row)


class Screen(list[R], Generic[R]):
    """Rows that show themselves.  ``headings`` and ``title`` are message ids."""

    def __init__(self, rows: Iterable[R], headings: Iterable[str], title: str) -> None:
        super().__init__(rows)
        self._ids, self._title_id = tuple(headings), title

    @property
    def headings(self) -> tuple[str, ...]:
        return tuple(text(message_id) for message_id in self._ids)

    @property
    def title(self) -> str:
        return text(self._title_id)

    def __str__(self) -> str:
        lines = [self.headings, *(row.cells for row in self)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self._ids))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        return html_table(self.headings, [row.cells for row in self], self.title)

    def table(self) -> pd.DataFrame:
        """The rows as a DataFrame."""
        import pandas as pd

        return pd.DataFrame([row.cells for row in self], columns=list(self.headings))
