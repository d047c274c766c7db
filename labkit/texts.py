"""What a learner reads, in English and in French.

Every sentence has an id such as ``phone.refused``; the part before the first dot names the catalogue that holds it,
``locale/<language>/phone.po`` (GNU gettext's format, so that translators' tools open it).  Values are filled in
with ``str.format``.  Names of RFC fields and Wireshark's columns are not translated and never pass through here.
A sentence that is raised is a :class:`LabkitError`; its family is in :mod:`labkit.errors`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "fr")
LOCALE = Path(__file__).parent / "locale"

_current = "en"


def language(code: str | None = None) -> str:
    """Switch the language of everything a learner reads (``"en"`` or ``"fr"``); without a code, say which it is.

    ``"FR"`` and ``"fr_FR.UTF-8"`` are French too.  Raises :class:`LanguageError` for a language that labkit does not speak.
    """
    global _current
    if code is not None:
        wanted = re.split(r"[-_.@]", code.strip().lower())[0] if isinstance(code, str) else ""
        if wanted not in LANGUAGES:
            raise LanguageError("language.unknown", given=code)
        _current = wanted
    return _current


@cache
def catalogue(domain: str, code: str) -> dict[str, str]:
    """The sentences of one catalogue, by message id."""
    from babel.messages.pofile import read_po

    with (LOCALE / code / f"{domain}.po").open("rb") as file:
        messages = read_po(file, locale=code)
    return {str(m.id): str(m.string) for m in messages if m.id and m.string}


def text(message_id: str, /, *, language: str | None = None, **values: object) -> str:
    """The sentence ``message_id`` in the current language (or in ``language``), its ``{names}`` filled in.

    Raises ``KeyError`` when the catalogue has no such message: a missing text is a mistake in labkit, and a test looks for it.
    """
    domain = message_id.partition(".")[0]
    template = catalogue(domain, language or _current)[message_id]
    return template.format(**values) if values else template


class LabkitError(Exception):
    """One sentence that a student understands.  ``message_id`` is its id, ``values`` fills its blanks."""

    def __init__(self, message_id: str, /, **values: Any) -> None:
        super().__init__(message_id)
        self.message_id = message_id
        self.values = values

    def __str__(self) -> str:
        return text(self.message_id, **self.values)

    def __reduce__(self) -> tuple[object, ...]:
        return (rebuild, (type(self), self.message_id, self.values))

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class LanguageError(LabkitError):
    """A language that labkit does not speak."""


def rebuild(kind: type[LabkitError], message_id: str, values: dict[str, Any]) -> LabkitError:
    """An error that crosses a pipe, on the other side."""
    return kind(message_id, **values)
