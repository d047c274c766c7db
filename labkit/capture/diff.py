"""The difference of two SIP messages, header by header: what is the same, changed, added or removed; bodies line by line.

The two REGISTERs of one registration are the digest lesson (RFC 3261 §22), so the parameters of a challenge and of credentials are
compared one by one, and a challenge may be laid beside the credentials that answer it.  Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING

from labkit.capture.info import shown
from labkit.errors import CaptureError
from labkit.explanations import entries
from labkit.sip.fields import key_of
from labkit.sip.headers import split_commas, unquote
from labkit.texts import text

if TYPE_CHECKING:
    import pandas as pd

    from labkit.capture.capture import Capture
    from labkit.capture.sip_records import Message, SipRecord

SAME, CHANGED, ADDED, REMOVED = "same", "changed", "added", "removed"
SIGNS = {SAME: "=", CHANGED: "≠", ADDED: "+", REMOVED: "-"}
_TINTS = {SAME: "", CHANGED: "#F0E44266", ADDED: "#56B4E944", REMOVED: "#E69F0044"}
"""Okabe and Ito's yellow, sky blue and orange, thin; the sign and the word say the same."""
DIGEST = {"proxy-authenticate": "proxy-authorization", "www-authenticate": "authorization"}
"""A challenge and the header of the credentials that answer it (RFC 3261 §22.2, §22.3)."""
LONGEST_BODY = 1000
"""Lines; longer bodies are compared line by line in order, since finding moved lines takes the square of their number."""

Pair = tuple[str, str | None, str | None]
"""(field, value in the first message, value in the second); ``None`` where a message has no such field."""


@dataclass(frozen=True)
class Line:
    """One field of the two messages."""

    field: str
    before: str | None
    after: str | None

    @property
    def state(self) -> str:
        if self.before is None:
            return ADDED
        return REMOVED if self.after is None else SAME if self.before == self.after else CHANGED

    @property
    def note(self) -> str:
        """What a digest parameter is for; of other fields nothing is said."""
        header, _, parameter = self.field.rpartition(" ")
        entry = entries().get(f"digest_{parameter}") if "auth" in header.lower() else None
        return entry.meaning if entry else ""


@dataclass(frozen=True)
class Difference:
    """The lines of two messages side by side; ``names`` are the titles of the two columns."""

    names: tuple[str, str]
    lines: tuple[Line, ...]

    @property
    def changes(self) -> list[Line]:
        """The lines that are not the same."""
        return [line for line in self.lines if line.state != SAME]

    @cached_property
    def title(self) -> str:
        states = [line.state for line in self.lines]
        same, changed, added, removed = map(states.count, SIGNS)
        return text("diff.title", first=self.names[0], second=self.names[1], same=same, changed=changed, added=added, removed=removed)

    def text(self) -> str:
        """One line a field; a changed field has two, the second value below the first."""
        parts = [self.title]
        for line in self.lines:
            first, *more = [value for value in (line.before, line.after) if value is not None][: 1 if line.state == SAME else 2]
            parts.append(f"{SIGNS[line.state]} {line.field}: {first}")
            parts += [f"  {'→':>{len(line.field) + 1}} {value}" for value in more]
        return "\n".join(parts)

    def table(self) -> pd.DataFrame:
        """The lines under Field, State and the names of the two messages."""
        from labkit.capture.table import table

        rows = [(line.field, text(f"diff.state_{line.state}"), line.before, line.after, line.note) for line in self.lines]
        first, second = self.names
        columns = ("Field", "State", first, second if second != first else f"{second} (2)", "Note")
        return table(rows, columns, caption="diff.caption", first=first, second=second)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        columns = ("", text("diff.field"), *self.names, text("diff.note"))
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
        body = "".join(map(_html_row, self.lines))
        return f"<table><caption>{escape(self.title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_row(line: Line) -> str:
    tint = f' style="background:{_TINTS[line.state]}"' if _TINTS[line.state] else ""
    sign = f"{SIGNS[line.state]} {text(f'diff.state_{line.state}')}"
    marks = {CHANGED: ("<b>", "</b>"), ADDED: ("<ins>", "</ins>"), REMOVED: ("<del>", "</del>")}
    opened, closed = marks.get(line.state, ("", ""))
    cells = "".join(f"<td>{opened}{escape(v)}{closed}</td>" if v is not None else "<td></td>" for v in (line.before, line.after))
    return f'<tr{tint}><td>{escape(sign)}</td><th scope="row">{escape(line.field)}</th>{cells}<td>{escape(line.note)}</td></tr>'


def compare(first: SipRecord, second: SipRecord) -> Difference:
    """The difference of two messages of one capture or of two."""
    pairs: list[Pair] = [(text("diff.start_line"), first.message.start_line, second.message.start_line)]
    pairs += _headers(first.message, second.message)
    pairs += _bodies(first.message.body, second.message.body)
    names = tuple(f"{record.number} {shown(_name(record))}" for record in (first, second))
    return Difference((names[0], names[1]), tuple(Line(shown(field), _shown(old), _shown(new)) for field, old, new in pairs))


def _name(record: SipRecord) -> str:
    return record.method if record.status is None else f"{record.status} ({record.method})"


def _shown(value: str | None) -> str | None:
    return None if value is None else shown(value)


def _headers(first: Message, second: Message) -> Iterator[Pair]:
    """Headers of one name are paired in their order; what only the second message has stands after its neighbour there."""
    ours, theirs = _numbered(first), _numbered(second)
    order = list(ours)
    place = 0
    for key in theirs:
        if key in ours:
            place = order.index(key) + 1
        else:
            order.insert(place, key)
            place += 1
    for key in order:
        (name, old), (other, new) = ours.get(key, ("", None)), theirs.get(key, ("", None))
        if key[0] in DIGEST.values():
            yield from _digest(" → ".join(dict.fromkeys(filter(None, (name, other)))), old, new)
        else:
            yield name or other, old, new


def _numbered(message: Message) -> dict[tuple[str, int], tuple[str, str | None]]:
    """(name as written, value) by (key, how many of that key came before)."""
    found: dict[tuple[str, int], tuple[str, str | None]] = {}
    seen: dict[str, int] = {}
    for name, value in message.headers:
        key = DIGEST.get(key_of(name), key_of(name))
        seen[key] = seen.get(key, -1) + 1
        found[key, seen[key]] = name, value
    return found


def _digest(name: str, old: str | None, new: str | None) -> Iterator[Pair]:
    ours, theirs = _parameters(old), _parameters(new)
    for key in dict.fromkeys([*ours, *theirs]):
        yield f"{name} {key}".rstrip(), ours.get(key), theirs.get(key)


def _parameters(value: str | None) -> dict[str, str]:
    """The scheme under ``""``, then the parameters, without their quotation marks."""
    if value is None:
        return {}
    scheme, _, rest = value.partition(" ")
    items = [item.partition("=") for item in split_commas(rest)]
    return {"": scheme, **{key.strip().lower(): unquote(found.strip()) for key, _, found in items if key.strip()}}


def _bodies(first: bytes, second: bytes) -> Iterator[Pair]:
    ours, theirs = (body.decode("utf-8", "replace").splitlines() for body in (first, second))
    if max(len(ours), len(theirs)) > LONGEST_BODY:
        blocks = [("replace", 0, len(ours), 0, len(theirs))]
    else:
        blocks = [tuple(block) for block in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()]  # type: ignore[misc]
    name = text("diff.body")
    for _, start, stop, begin, end in blocks:
        for old, new in zip_longest(ours[start:stop], theirs[begin:end]):
            if old is not None and new is not None and old[:2] != new[:2]:  # an SDP line of another type is another line
                yield name, old, None
                yield name, None, new
            else:
                yield name, old, new


# --- as a capture offers it --------------------------------------------------------------------------------------------


def message(capture: Capture, number: int) -> SipRecord:
    """The SIP message in packet ``number`` (the No. column); ``print`` shows it whole.  :class:`CaptureError` when there is none."""
    for record in capture.messages:
        if record.number == number:
            return record
    known = ", ".join(str(record.number) for record in capture.messages[:20]) or "-"
    raise CaptureError("diff.no_message", number=number, known=known + (", …" if len(capture.messages) > 20 else ""))


def difference(capture: Capture, first: int, second: int) -> Difference:
    """The difference of the SIP messages in packets ``first`` and ``second`` (the No. column), header by header."""
    return compare(message(capture, first), message(capture, second))
