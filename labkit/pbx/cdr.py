"""Call records: one row for each call that has ended, as a telephone system writes them for the bill (CDR, call detail record).

Times are seconds since 1970 (UTC).  A record is made once, when its call has ended; :mod:`labkit.pbx.store` keeps it.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from labkit.errors import PbxError
from labkit.pbx.dialplan import Party
from labkit.sip.status import reason

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call."""

    start: float
    """When its INVITE came."""
    answered: float | None
    """When it was answered; nothing when it was not."""
    end: float
    caller: str
    callee: str
    """Who was to answer at last."""
    forwarded_from: str = ""
    """Who was dialled, when the call went on from there to ``callee``."""
    status: int = 200
    """The SIP status that ended the call attempt; 200 for an answered call."""
    reason: str = ""
    talk_seconds: float = 0.0
    call_id: str = ""
    """The Call-ID of the caller's leg, by which the capture has it."""


class Ended(Protocol):
    """What a record needs to know of a call; its times are those of the PBX's clock."""

    started: float
    connected_at: float | None
    ended_at: float | None
    code: int | None

    @property
    def caller(self) -> Party: ...
    @property
    def callee(self) -> Party: ...


def record_of(call: Ended, now: float, *, forwarded_from: str = "", call_id: str = "") -> CallRecord:
    """The record of a call that has ended; ``now`` is the PBX's clock.  An answered call has status 200."""
    since = time.time() - now
    end = call.ended_at if call.ended_at is not None else now
    answered, code = call.connected_at, 200
    if answered is None:
        code = call.code or 487
    return CallRecord(
        start=since + call.started,
        answered=None if answered is None else since + answered,
        end=since + end,
        caller=call.caller.number,
        callee=call.callee.number,
        forwarded_from=forwarded_from,
        status=code,
        reason=reason(code),
        talk_seconds=0.0 if answered is None else round(end - answered, 3),
        call_id=call_id,
    )


def refused_record(caller: str, dialled: str, status: int, call_id: str) -> CallRecord:
    """The record of a call that was refused at once, with ``status``."""
    now = time.time()
    return CallRecord(now, None, now, caller, dialled, status=status, reason=reason(status), call_id=call_id)


COLUMNS = tuple(field.name for field in fields(CallRecord))
TIMES = ("start", "answered", "end")


def frame(records: Iterable[CallRecord]) -> DataFrame:
    """The records as a table; times are UTC timestamps, NaT for a call that nobody answered."""
    import pandas as pd

    table = pd.DataFrame([asdict(record) for record in records], columns=list(COLUMNS))
    for name in TIMES:
        table[name] = pd.to_datetime(table[name].astype("float64"), unit="s", utc=True)
    return table.astype({"status": "int64", "talk_seconds": "float64"})


def write_csv(records: Iterable[CallRecord], path: str | Path) -> Path:
    """Write the records to a CSV file, times in ISO 8601; raises :class:`PbxError` when it cannot be written."""
    from datetime import UTC, datetime

    target = Path(path).expanduser()

    def cell(name: str, value: object) -> object:
        if name in TIMES and isinstance(value, (int, float)):
            return datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds")
        if isinstance(value, str) and value[:1] in "=+-@\t\r" and value:
            return "'" + value  # a spreadsheet would run it as a formula
        return value

    try:
        with target.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(COLUMNS)
            for record in records:
                out.writerow(["" if value is None else cell(name, value) for name, value in asdict(record).items()])
    except OSError as error:
        raise PbxError("settings.unwritable", path=target, reason=error.strerror or error) from error
    return target
