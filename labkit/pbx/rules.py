"""Forwarding rules: where a call goes when its user does not take it.  The tab "Forwarding rules" of the lab's PBX.

Every extension has one set of rules for each user status (Available, Away, Out of office, Custom 1, Custom 2), and exceptions, which count
whatever the status is.  A set says what happens to all calls at once, or when nobody answers, the phone is busy, or no phone is registered.
Without a rule the caller hears the refusal itself.

How a call is forwarded is in :mod:`labkit.pbx.hunt`; the causes are named as in Diversion (RFC 5806).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import time
from enum import Enum
from typing import Literal, get_args

from labkit.errors import PbxError
from labkit.pbx.rules_screen import as_html, as_text

UserStatus = Literal["available", "away", "out_of_office", "custom_1", "custom_2"]
USER_STATUSES: tuple[str, ...] = get_args(UserStatus)
TargetKind = Literal["voicemail", "extension", "receptionist", "external", "hang_up"]
TARGETS: tuple[str, ...] = get_args(TargetKind)
NO_SERVICE = {"voicemail": "rules.no_voicemail", "receptionist": "rules.no_receptionist"}
"""Targets that are a service of the PBX, and what is said when it is not there."""
_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-3]):([0-5]\d)")


class Cause(Enum):
    """Why a call goes on to somebody else, in the words of Diversion (RFC 5806 §4)."""

    ALL_CALLS = "unconditional"
    NO_ANSWER = "no-answer"
    BUSY = "user-busy"
    NOT_REGISTERED = "unavailable"
    DEFLECTION = "deflection"
    """The phone itself said 302."""

    @property
    def status(self) -> int:
        """The SIP status that stands for it in the Reason of a History-Info entry (RFC 7044 §5)."""
        return _STATUS[self]


_STATUS = {Cause.ALL_CALLS: 302, Cause.NO_ANSWER: 408, Cause.BUSY: 486, Cause.NOT_REGISTERED: 480, Cause.DEFLECTION: 302}


@dataclass(frozen=True)
class ForwardTo:
    """One choice on the screen: "send the call to my voicemail", "to extension 102", "disconnect the call" ..."""

    target: TargetKind
    number: str = ""
    """The extension, group or external number; for voicemail and receptionist the one meant, empty for the user's own."""

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise PbxError("pbx.bad_setting", setting="target", value=self.target, allowed=", ".join(TARGETS))
        if self.target in ("extension", "external") and not self.number:
            raise PbxError("rules.without_number", target=self.target)

    def __str__(self) -> str:
        return f"{self.target} {self.number}".strip()


@dataclass(frozen=True)
class StatusRules:
    """What happens to a call while the user has one status; ``None``: nothing is done, the caller hears the refusal."""

    all_calls: ForwardTo | None = None
    """At once, without ringing."""
    no_answer: ForwardTo | None = None
    no_answer_after_s: float = 10.0
    """Seconds from the INVITE to the phone; only used when there is a ``no_answer``."""
    busy: ForwardTo | None = None
    not_registered: ForwardTo | None = None

    def __post_init__(self) -> None:
        if not 0 < self.no_answer_after_s < math.inf:
            raise PbxError("pbx.bad_setting", setting="no_answer_after_s", value=self.no_answer_after_s, allowed="> 0")

    def target(self, cause: Cause) -> ForwardTo | None:
        return {
            Cause.ALL_CALLS: self.all_calls,
            Cause.NO_ANSWER: self.no_answer,
            Cause.BUSY: self.busy,
            Cause.NOT_REGISTERED: self.not_registered,
        }.get(cause)

    @property
    def targets(self) -> list[ForwardTo]:
        return [target for target in (self.all_calls, self.no_answer, self.busy, self.not_registered) if target is not None]


@dataclass(frozen=True)
class RuleException:
    """A row of the tab "Exceptions": calls of this caller, in these hours, go there at once."""

    forward_to: ForwardTo
    caller: str = "*"
    """The number that calls; a ``*`` at its end stands for the rest of it."""
    hours: str = ""
    """Local time, "18:00-08:00" (may pass midnight); empty for always."""

    def __post_init__(self) -> None:
        if self.hours and not _HOURS.fullmatch(self.hours):
            raise PbxError("pbx.bad_setting", setting="hours", value=self.hours, allowed="18:00-08:00")

    def applies(self, caller: str, now: time) -> bool:
        wanted = caller.startswith(self.caller[:-1]) if self.caller.endswith("*") else caller == self.caller
        if not wanted or not self.hours:
            return wanted
        first, last = (time.fromisoformat(part.zfill(5)) for part in self.hours.split("-"))
        return first <= now < last if first <= last else now >= first or now < last


@dataclass(frozen=True)
class ExtensionRules:
    """All rules of one extension."""

    extension: str
    available: StatusRules = field(default_factory=StatusRules)
    away: StatusRules = field(default_factory=StatusRules)
    out_of_office: StatusRules = field(default_factory=StatusRules)
    custom_1: StatusRules = field(default_factory=StatusRules)
    custom_2: StatusRules = field(default_factory=StatusRules)
    exceptions: tuple[RuleException, ...] = ()

    def of(self, status: str) -> StatusRules:
        """The set of one user status."""
        rules: StatusRules = getattr(self, status)
        return rules

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    @property
    def targets(self) -> list[ForwardTo]:
        """Every target, whatever the status."""
        found = [target for f in fields(self) if f.name in USER_STATUSES for target in self.of(f.name).targets]
        return found + [exception.forward_to for exception in self.exceptions]


def check_rules(
    rules: Iterable[ExtensionRules], numbers: Collection[str], services: Collection[str], groups: Mapping[str, ForwardTo] | None = None
) -> None:
    """Raise :class:`PbxError` for a rule whose target does not exist, or for rules that send a call round in a circle.

    ``groups`` says where the calls go on that nobody of a ring group takes.
    A circle counts even if it takes two user statuses to close it: one day both will hold.
    """
    edges: dict[str, list[str]] = {}
    onward = {number: [target.number] for number, target in (groups or {}).items() if target.target == "extension"}
    for rule in rules:
        if rule.extension not in numbers:
            raise PbxError("rules.unknown_number", extension=rule.extension, number=rule.extension)
        if rule.extension in edges:
            raise PbxError("rules.twice", extension=rule.extension)
        edges[rule.extension] = []
        for target in rule.targets:
            check_target(rule.extension, target, numbers, services)
            if target.target == "extension":
                edges[rule.extension].append(target.number)
    circle = _circle(edges | onward)
    if circle:
        raise PbxError("rules.loop", loop=" -> ".join(circle), first=circle[0])


def check_target(extension: str, target: ForwardTo, numbers: Collection[str], services: Collection[str]) -> None:
    """Raise :class:`PbxError` for a target that does not exist."""
    if target.target in NO_SERVICE and target.target not in services:
        raise PbxError(NO_SERVICE[target.target], extension=extension)
    if target.target == "extension" and target.number not in numbers:
        raise PbxError("rules.unknown_number", extension=extension, number=target.number)


def _circle(edges: Mapping[str, list[str]]) -> list[str]:
    """One way round, such as 101, 102, 101; empty when there is none."""
    done: set[str] = set()

    def walk(number: str, path: list[str]) -> list[str]:
        if number in path:
            return [*path[path.index(number) :], number]
        if number in done:
            return []
        for following in edges.get(number, ()):
            if found := walk(following, [*path, number]):
                return found
        done.add(number)
        return []

    return next((found for number in edges if (found := walk(number, []))), [])
