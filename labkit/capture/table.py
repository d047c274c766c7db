"""Tables as a notebook shows them: escaped, with a caption, and with the scope of every header cell, for those who listen to a page.

:func:`table` makes DataFrames that do so (pandas itself writes neither caption nor scope), :func:`html_table` serves objects that are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

from labkit.texts import text

if TYPE_CHECKING:
    import pandas as pd


def table(data: Any, columns: Sequence[str] | None = None, *, caption: str, **values: object) -> pd.DataFrame:
    """A DataFrame whose HTML form has the caption with this message id; what is filtered from it keeps the caption."""
    made = _kind()(data, columns=None if columns is None else list(columns))
    made.caption = caption, values
    return made


@cache
def _kind() -> Any:
    """The class of these tables, made when the first one is, since pandas takes long to load."""
    import pandas as pd

    class Table(pd.DataFrame):  # type: ignore[misc]
        _metadata: ClassVar[list[str]] = ["caption"]
        caption: tuple[str, dict[str, object]]

        @property
        def _constructor(self) -> Any:
            return Table

        def _repr_html_(self) -> str | None:
            html = super()._repr_html_()
            message_id, values = getattr(self, "caption", None) or ("", {})
            return html and accessible(html, text(message_id, **values) if message_id else "")

    Table.__module__, Table.__qualname__ = __name__, "Table"  # so that it can be pickled
    return Table


def __getattr__(name: str) -> Any:
    if name == "Table":
        return _kind()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def accessible(html: str, caption: str) -> str:
    """The HTML table of pandas with a caption, and with a scope for each header of a column or a row."""
    head, opened, body = html.replace("<th></th>", "<td></td>").partition("<tbody>")
    head, body = head.replace("<th>", '<th scope="col">'), body.replace("<th>", '<th scope="row">')
    before, tag, rest = head.partition("<table")
    attributes, closed, rest = rest.partition(">")
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"{before}{tag}{attributes}{closed}{title}{rest}{opened}{body}"


def cell(value: object) -> str:
    """A value as a cell shows it: three decimals, nothing for ``None``."""
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)


def html_table(columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A table with a header row."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell(value))}</td>" for value in row) + "</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
