"""A call flow as data, and a capture compared with it step by step: what happened as there, what differs, and why.

A flow is a list of messages between *roles*.  Which host plays which role is read from what the hosts do in the capture, never from their
names, so that a capture by anyone can be compared.  The flows of the lab sheet are in :mod:`labkit.capture.sheet`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from html import escape
from typing import TYPE_CHECKING, Any

from labkit.capture.sip_records import Address, SipRecord
from labkit.capture.table import html_table
from labkit.errors import CaptureError
from labkit.texts import text

if TYPE_CHECKING:
    import pandas as pd

    from labkit.capture.capture import Capture

TIME_TOLERANCE_S = 0.5
"""How far a time may be from that of the flow and still be the same: network and phones differ by tenths of a second."""
STALE = "STALE"
"""The role of a contact whose phone has gone: it is called and says nothing."""
COLUMNS = ("step", "there", "time_there", "number", "time", "verdict")


@dataclass(frozen=True)
class Step:
    """One message of a flow."""

    group: int
    """The number of the step that it belongs to."""
    source: str
    target: str
    what: str
    """The method of a request or the code of a response."""
    of: str = ""
    """The method that a response answers."""
    in_dialog: bool | None = None
    sdp: bool | None = None
    """Whether it carries a session description; ``None`` when that does not matter."""
    sipfrag: str = ""
    """The code that a NOTIFY reports."""
    repeats: int = 0
    """How many retransmissions of the message before, to this target, stand here instead of a message."""
    at_s: float | None = None
    """Seconds since the first message of the flow, where they are known."""

    def fits(self, record: SipRecord, exactly: bool) -> bool:
        """Whether this is the message; not ``exactly``: whatever it carries."""
        kind = record.method == self.what if record.is_request else (str(record.status), record.method) == (self.what, self.of)
        if not kind or record.retransmission != bool(self.repeats):
            return False
        if self.in_dialog is not None and record.in_dialog != self.in_dialog:
            return False
        if not exactly:
            return True
        return (self.sdp is None or (record.sdp is not None) == self.sdp) and self.sipfrag in _sipfrag(record)

    def __str__(self) -> str:
        words = self.what + (f" ({self.of})" if self.of else "") + (" SDP" if self.sdp else "")
        words += f" sipfrag {self.sipfrag}" if self.sipfrag else ""
        words += f" ×{self.repeats}" if self.repeats else ""
        return f"{role(self.source)} → {role(self.target)}  {words}"


def role(name: str) -> str:
    return text("flow.stale") if name == STALE else name


def _sipfrag(record: SipRecord) -> str:
    return record.message.body.decode("utf-8", "replace").partition("\r\n")[0] if record.message.content_type == "message/sipfrag" else ""


@dataclass(frozen=True)
class Flow:
    """``anchor`` finds the message around which a call is compared; ``cast`` the roles of a call around it."""

    title: str
    """A message id."""
    steps: tuple[Step, ...]
    anchor: Callable[[SipRecord], bool]
    cast: Callable[[Sequence[SipRecord], SipRecord], dict[Address, str]]
    beside: Mapping[str, str] = field(default_factory=dict)
    """Why messages of a role are not in the flow: a message id for each role."""


class Verdict(Enum):
    SAME = "flow.same"
    MOVED = "flow.moved"
    DIFFERENT = "flow.different"
    MISSING = "flow.missing"


SIGNS = {Verdict.SAME: "✓", Verdict.MOVED: "↕", Verdict.DIFFERENT: "≠", Verdict.MISSING: "✗"}


@dataclass(frozen=True)
class Line:
    """What became of one step: its message in the capture, and why it is not as in the flow."""

    step: Step
    record: SipRecord | None
    verdict: Verdict
    why: str = ""
    """A message id; empty when all is as in the flow."""
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        return text(self.why, **self.values) if self.why else ""


@dataclass(frozen=True)
class Comparison:
    """A call beside a flow.  ``print`` shows it as text, a notebook as a table."""

    flow: Flow
    lines: tuple[Line, ...]
    beside: tuple[tuple[str, tuple[SipRecord, ...]], ...]
    """Messages that the flow does not have, by reason (a message id)."""
    cast: Mapping[Address, str]
    start: float

    def __getitem__(self, verdict: Verdict) -> list[Line]:
        return [line for line in self.lines if line.verdict is verdict]

    @property
    def complete(self) -> bool:
        """Whether every step happened."""
        return not self[Verdict.MISSING]

    @property
    def title(self) -> str:
        found = len(self.lines) - len(self[Verdict.MISSING])
        return text("flow.title", title=text(self.flow.title), found=found, steps=len(self.lines), same=len(self[Verdict.SAME]))

    @property
    def _columns(self) -> list[str]:
        timed = any(line.step.at_s is not None for line in self.lines)
        return [name for name in COLUMNS if timed or name != "time_there"]

    def _rows(self) -> list[tuple[object, ...]]:
        rows = []
        for line in self.lines:
            cells: dict[str, object] = {
                "step": line.step.group,
                "there": str(line.step),
                "time_there": line.step.at_s,
                "number": line.record.number if line.record else None,
                "time": round(line.record.time - self.start, 6) if line.record else None,
                "verdict": f"{SIGNS[line.verdict]} {text(line.verdict.value)}" + (f": {line.reason}" if line.reason else ""),
            }
            rows.append(tuple(cells[name] for name in self._columns))
        return rows

    def _notes(self) -> list[str]:
        """Who is who, and what else there was."""
        who = ", ".join(f"{role(name)} {ip}:{port}" for (ip, port), name in self.cast.items())
        return [text("flow.cast", cast=who), *(text("flow.beside", count=len(found), why=text(why)) for why, found in self.beside)]

    def text(self) -> str:
        """The comparison as plain text."""
        head = [text(f"flow.column_{name}") for name in self._columns]
        rows = [head, *([_cell(value) for value in row] for row in self._rows())]
        widths = [max(len(row[place]) for row in rows) for place in range(len(head) - 1)]
        table = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows]
        return "\n".join([self.title, "", *table, "", *self._notes()])

    def table(self) -> pd.DataFrame:
        """One row a step."""
        import pandas as pd

        return pd.DataFrame(self._rows(), columns=[text(f"flow.column_{name}") for name in self._columns])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        head = [text(f"flow.column_{name}") for name in self._columns]
        notes = "".join(f"<li>{escape(note)}</li>" for note in self._notes())
        return html_table(head, self._rows(), self.title) + f"<ul>{notes}</ul>"


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def compare(capture: Capture, flow: Flow, call: int | None = None) -> Comparison:
    """The call of ``capture`` (a row of its calls) beside ``flow``; without a number the one that is most like it.

    Raises :class:`CaptureError` when no call has what the flow is about.
    """
    calls = capture.call_list
    if call is not None and not 0 <= call < len(calls):
        raise CaptureError("capture.no_call", number=call, count=len(calls))
    found = []
    for candidate in calls if call is None else [calls[call]]:
        for anchor in filter(flow.anchor, candidate.messages):
            found.append(_beside(flow, candidate.messages, anchor))
    if not found:
        raise CaptureError("flow.not_in_capture", title=text(flow.title))
    return max(found, key=lambda comparison: -len(comparison[Verdict.MISSING]) - len(comparison[Verdict.DIFFERENT]))


def _beside(flow: Flow, messages: Sequence[SipRecord], anchor: SipRecord) -> Comparison:
    cast = flow.cast(messages, anchor)
    matched = _match(flow, messages, anchor, cast)
    taken = {record.number for record, _ in matched if record is not None}
    first = next((record for record, _ in matched if record is not None), anchor)
    lines = _judged(flow.steps, matched, messages, first.time)
    taken |= {
        again.number
        for line in lines
        if line.step.repeats and line.record
        for again in _repeats(line.record, messages, max(taken, default=0))
    }
    extra: dict[str, list[SipRecord]] = {}
    for record in messages:
        if record.number in taken:
            continue
        extra.setdefault(_why_beside(flow, record, cast), []).append(record)
    used = {name for step in flow.steps for name in (step.source, step.target)}
    shown = {address: name for address, name in cast.items() if name in used}
    return Comparison(flow, tuple(lines), tuple((why, tuple(found)) for why, found in extra.items()), shown, first.time)


def _match(
    flow: Flow, messages: Sequence[SipRecord], anchor: SipRecord, cast: Mapping[Address, str]
) -> list[tuple[SipRecord | None, bool]]:
    """The message of each step, and whether it is exactly the one: the last ones before the anchor, the first ones after it."""
    centre = next((place for place, step in enumerate(flow.steps) if step.fits(anchor, exactly=False)), 0)
    found: dict[int, tuple[SipRecord | None, bool]] = {}
    taken: set[int] = set()
    before = [record for record in messages if record.number < anchor.number][::-1]
    after = [record for record in messages if record.number >= anchor.number]
    places = [*((place, before) for place in reversed(range(centre))), *((place, after) for place in range(centre, len(flow.steps)))]
    for exactly in (True, False):
        for place, among in places:
            step = flow.steps[place]
            if place in found:
                continue
            for record in among:
                ends = cast.get(record.source), cast.get(record.destination)
                if record.number not in taken and ends == (step.source, step.target) and step.fits(record, exactly):
                    found[place] = record, exactly
                    taken.add(record.number)
                    break
    return [found.get(place, (None, False)) for place in range(len(flow.steps))]


def _judged(
    steps: Sequence[Step], matched: Sequence[tuple[SipRecord | None, bool]], messages: Sequence[SipRecord], start: float
) -> list[Line]:
    numbers = [record.number for record, _ in matched if record is not None]
    in_order = _rising(numbers)
    lines = []
    for step, (record, exactly) in zip(steps, matched, strict=True):
        if record is None:
            lines.append(Line(step, None, Verdict.MISSING, "flow.no_repeats" if step.repeats else "flow.not_seen"))
        elif not exactly:
            lines.append(Line(step, record, Verdict.DIFFERENT, "flow.other_body"))
        elif step.repeats:
            count = len(_repeats(record, messages, max(numbers, default=0)))
            same = count == step.repeats
            lines.append(Line(step, record, Verdict.SAME if same else Verdict.DIFFERENT, "" if same else "flow.repeats", {"count": count}))
        elif step.at_s is not None and abs(record.time - start - step.at_s) > TIME_TOLERANCE_S:
            lines.append(Line(step, record, Verdict.DIFFERENT, "flow.other_time"))
        elif record.number not in in_order:
            dialog = [other.number for other, _ in matched if other is not None and other.call_id == record.call_id]
            lines.append(Line(step, record, Verdict.MOVED, "flow.crossed" if dialog == sorted(dialog) else "flow.other_order"))
        else:
            lines.append(Line(step, record, Verdict.SAME))
    return lines


def _rising(numbers: Sequence[int]) -> set[int]:
    """The longest rising part of ``numbers``: the steps that came in the order of the flow."""
    ends: list[int] = []
    chains: list[list[int]] = []
    for number in numbers:
        place = bisect_left(ends, number)
        chain = [*(chains[place - 1] if place else []), number]
        ends[place : place + 1] = [number]
        chains[place : place + 1] = [chain]
    return set(chains[-1]) if chains else set()


def _repeats(one: SipRecord, messages: Sequence[SipRecord], last: int) -> list[SipRecord]:
    """The retransmissions of a message, up to the packet that ends the flow."""
    again = [record for record in messages if record.retransmission and record.number <= last]
    return [record for record in again if record.raw == one.raw and record.destination == one.destination]


def _why_beside(flow: Flow, record: SipRecord, cast: Mapping[Address, str]) -> str:
    ends = {cast.get(record.source, ""), cast.get(record.destination, "")}
    for name, why in flow.beside.items():
        if name in ends:
            return why
    return "flow.trying" if record.status == 100 else "flow.again" if record.retransmission else "flow.other"
