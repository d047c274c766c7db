"""Numbers in messages: ``1*DIGIT`` of RFC 3261 §25.1, which is ASCII digits and nothing else.

Python's own ``isdigit`` takes ``²`` and ``٣`` for digits, and ``int`` raises for five thousand of them; a stranger sends both.
"""

from __future__ import annotations

LONGEST = 20
"""Digits of the largest number that a message needs: 64 bits, as in the ``o=`` line (RFC 8866 §5.2)."""


def decimal(text: str | None) -> int | None:
    """The number that ``text`` is, whatever zeros lead it; ``None`` for anything else, and for more than :data:`LONGEST` digits."""
    if not text or not (text.isascii() and text.isdecimal()):
        return None
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) <= LONGEST else None
