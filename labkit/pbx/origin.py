"""The ``o=`` line that one phone sees: RFC 3264 §8 lets only its version change, whoever the phone is joined with."""

from __future__ import annotations

import re

_ORIGIN = re.compile(rb"^o=(\S+) (\S+) (\d{1,19}) ([^\r\n]*)", re.MULTILINE)


class Origin:
    """What one leg has been shown.  A description passes unchanged until that of another session comes; then ``o=`` is rewritten.

    A version of more digits than a 64-bit number has (RFC 3264 §5) cannot be counted up, and such a description always passes unchanged.
    """

    def __init__(self) -> None:
        self.shown = b""
        """The last description that was sent, as it went out."""
        self._source = b""
        self._first: tuple[bytes, bytes, bytes] | None = None
        self._version = 0
        self._rewriting = False

    def show(self, body: bytes) -> bytes:
        """``body`` as this phone may see it."""
        if body in (self._source, self.shown):
            return self.shown
        match = _ORIGIN.search(body)
        if match is None:
            return body
        session = match[1], match[2], match[4]
        if self._first is None:
            self._first = session
        self._rewriting = self._rewriting or session != self._first
        self._source = body
        if self._rewriting:
            self._version += 1
            user, number, rest = self._first
            line = b"o=%b %b %d %b" % (user, number, self._version, rest)
            body = body[: match.start()] + line + body[match.end() :]
        else:
            self._version = int(match[3])
        self.shown = body
        return body
