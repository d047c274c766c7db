"""What of a capture a ladder shows, as a learner asks for it: a call, hosts, methods, a span of time; strange wishes get one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, TypeGuard

from labkit.errors import CaptureError

if TYPE_CHECKING:
    from labkit.capture.calls import Call
    from labkit.capture.capture import Capture
    from labkit.capture.sip_records import SipRecord


@dataclass(frozen=True)
class Filter:
    """What is drawn; ``None`` is no limit.  Times in seconds since the first packet of the capture."""

    call: Call | None = None
    hosts: frozenset[str] | None = None
    methods: frozenset[str] | None = None
    start: float | None = None
    end: float | None = None
    rtp: bool = True
    rtcp: bool = False
    dtmf: bool = True
    tls: bool = True

    @classmethod
    def of(
        cls,
        capture: Capture,
        *,
        call: object = None,
        hosts: object = None,
        methods: object = None,
        start: object = None,
        end: object = None,
        rtp: bool = True,
        rtcp: bool = False,
        dtmf: bool = True,
        tls: bool = True,
    ) -> Filter:
        """Raises :class:`CaptureError` for a call or a method that is not in the capture, and for what is no name, number or time."""
        chosen = None
        if call is not None:
            count = len(capture.call_list)
            if not is_row(call) or not 0 <= call < count:
                raise CaptureError("capture.no_call", number=call, count=count)
            chosen = capture.call_list[call]
        wanted = _names(methods)
        if wanted is not None:
            wanted = frozenset(name.upper() for name in wanted)
            known = {method for record in capture.messages for method in methods_of(record)}
            for method in sorted(wanted - known):
                raise CaptureError("capture.no_method", method=method, known=", ".join(sorted(known)) or "-")
        return cls(chosen, _names(hosts), wanted, _seconds(start), _seconds(end), rtp, rtcp, dtmf, tls)

    def holds(self, start: float, end: float) -> bool:
        """Whether something between these times is drawn."""
        return (self.start is None or end >= self.start) and (self.end is None or start <= self.end)


def is_row(number: object) -> TypeGuard[int]:
    """Whether it can be the number of a row: 1 and numpy's integers, not "1" or 1.0."""
    return hasattr(number, "__index__") and not isinstance(number, bool)


def methods_of(record: SipRecord) -> set[str]:
    """The methods whose exchange a message belongs to: an ACK goes with its INVITE, too."""
    method = record.method.upper()
    return {method, "INVITE"} if method == "ACK" else {method}


def _names(given: object) -> frozenset[str] | None:
    """One name or several."""
    if given is None:
        return None
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    for name in names:
        if not isinstance(name, str):
            raise CaptureError("capture.not_a_name", given=name)
    return frozenset(str(name) for name in names)


def _seconds(given: object) -> float | None:
    if given is None or (isinstance(given, Real) and not isinstance(given, bool)):
        return None if given is None else float(given)
    raise CaptureError("capture.not_seconds", given=given)
