"""The header lines of one message, in order, as bytes: RFC 3261 §7.3 (folding, repetition, compact forms).

A header that nobody touches stays the bytes that came.  What the values mean is in :mod:`labkit.sip.headers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

from labkit.sip.headers import split_commas

T = TypeVar("T")

# RFC 3261 §7.3.3 and the IANA registry of header fields (RFC 3515, 3841, 3892, 4028, 4474, 6665).
COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}


def decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_keys: dict[str | bytes, str] = {}


def key_of(name: str | bytes) -> str:
    """The long name in lower case: the key by which a header is found."""
    key = _keys.get(name)
    if key is None:
        text = (name if isinstance(name, str) else decode(name)).strip().lower()
        key = COMPACT.get(text, text)
        if len(_keys) < 1000:  # a cache that a stranger's header names cannot fill without end
            _keys[name] = key
    return key


class Headers:
    """The headers of one message, in order.  Names are compared without case, compact and long forms alike."""

    __slots__ = ("lines", "_parsed")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self.lines: list[tuple[str, bytes]] = [(key_of(name), _line(name, value)) for name, value in items]
        self._parsed: dict[str, Any] = {}

    def get(self, name: str) -> str | None:
        """The value of the first header of that name, unfolded and stripped; ``None`` when there is none."""
        key = key_of(name)
        for k, raw in self.lines:
            if k == key:
                return _value(raw)
        return None

    def get_all(self, name: str) -> list[str]:
        """The values of every header line of that name, in order; a comma list stays one value (see :meth:`get_list`)."""
        key = key_of(name)
        return [_value(raw) for k, raw in self.lines if k == key]

    def get_list(self, name: str) -> list[str]:
        """Every element of a list header, over repeated lines and commas; empty elements are left out."""
        return [item for value in self.get_all(name) for item in split_commas(value) if item]

    def set(self, name: str, value: object) -> None:
        """Give the header this one value, at the place of the first of that name, or at the end."""
        key = key_of(name)
        at = next((i for i, (k, _) in enumerate(self.lines) if k == key), None)
        if at is None:
            self.append(name, value)
            return
        self.lines[at] = (key, _line(name, str(value)))
        self.lines[at + 1 :] = [item for item in self.lines[at + 1 :] if item[0] != key]
        self._parsed.pop(key, None)

    def append(self, name: str, value: object) -> None:
        key = key_of(name)
        self.lines.append((key, _line(name, str(value))))
        self._parsed.pop(key, None)

    def insert(self, name: str, value: object) -> None:
        """Put the header before every other one (a Via, a Route)."""
        key = key_of(name)
        self.lines.insert(0, (key, _line(name, str(value))))
        self._parsed.pop(key, None)

    def replace_first(self, name: str, value: object) -> None:
        """Change the first header of that name and keep the others (the top Via)."""
        key = key_of(name)
        for i, (k, _) in enumerate(self.lines):
            if k == key:
                self.lines[i] = (key, _line(name, str(value)))
                self._parsed.pop(key, None)
                return
        self.append(name, value)

    def remove(self, name: str) -> None:
        key = key_of(name)
        self.lines = [item for item in self.lines if item[0] != key]
        self._parsed.pop(key, None)

    def copy_from(self, other: Headers, *names: str) -> None:
        """Append the headers of these names from another message, byte for byte, in its order."""
        keys = {key_of(name) for name in names}
        for key, raw in other.lines:
            if key in keys:
                self.lines.append((key, raw))
                self._parsed.pop(key, None)

    def copy(self) -> Headers:
        twin = Headers()
        twin.lines = list(self.lines)
        return twin

    def parsed(self, key: str, read: Callable[[Headers], T]) -> T:
        """``read(self)``, remembered until a header of that name (long, in lower case) changes."""
        if key not in self._parsed:
            self._parsed[key] = read(self)
        return cast(T, self._parsed[key])

    def __contains__(self, name: str) -> bool:
        key = key_of(name)
        return any(k == key for k, _ in self.lines)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Names as they were written, values unfolded."""
        for _, raw in self.lines:
            yield decode(raw.partition(b":")[0]).strip(), _value(raw)

    def __len__(self) -> int:
        return len(self.lines)

    def __bytes__(self) -> bytes:
        return b"".join([raw + b"\r\n" for _, raw in self.lines])

    def __repr__(self) -> str:
        return f"Headers({list(self)!r})"


def _line(name: str, value: str) -> bytes:
    if "\r" in value or "\n" in value:
        raise ValueError(f"a line break in the value of {name} would start another header")
    return encode(f"{name}: {value}")


def _value(raw: bytes) -> str:
    text = decode(raw.partition(b":")[2])
    if "\n" in text:
        # §7.3.1: a fold with the white space around it is one space.  (A pattern for it would be tried at each of many spaces.)
        text = " ".join(line.strip(" \t") for line in text.split("\r\n"))
    return text.strip(" \t\r\n")
