"""What a learner reads, in English and in French.

Every sentence has an id such as ``phone.refused``; the part before the first dot names the catalogue that holds it,
``locale/<language>/phone.po`` (GNU gettext's format, so that translators' tools open it).  Values are filled in
with ``str.format``.  Names of RFC fields and Wireshark's columns are not translated and never pass through here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

LANGUAGES = ("en", "fr")
LOCALE = Path(__file__).parent / "locale"

_current = "en"


def language(code: str | None = None) -> str:
    """Switch the language of everything a learner reads (``"en"`` or ``"fr"``); without a code, say which it is."""
    global _current
    if code is not None:
        if code not in LANGUAGES:
            raise ValueError(f"labkit speaks {' and '.join(LANGUAGES)}, not {code!r}: use labkit.language('en') or ('fr').")
        _current = code
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
