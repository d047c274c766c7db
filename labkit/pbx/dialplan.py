"""The dial plan: what a number means now.  An extension with its user status and rules, a ring group, or a number outside.

It answers with a :class:`Destination`, which says whom to ring and what comes after; :mod:`labkit.pbx.hunt` does the ringing.  The plan is
what changes while a PBX runs: rules, user status, do not disturb.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from labkit.errors import PbxError, SipError
from labkit.pbx.config import Extension, PbxConfig
from labkit.pbx.groups import RingGroup
from labkit.pbx.rules import USER_STATUSES, Cause, ExtensionRules, ForwardTo, StatusRules, check_rules
from labkit.sip.uri import SipUri


@dataclass(frozen=True, slots=True)
class Party:
    """Who calls or is called: what a display shows."""

    number: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """Phones that ring at once."""

    contacts: tuple[SipUri, ...]
    seconds: float
    """How long, counted from the INVITE."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a number leads: phones that ring, turn after turn, and what happens when nobody answers."""

    party: Party
    turns: tuple[Turn, ...] = ()
    refusal: int = 480
    """What a caller hears when there is nobody to ring, and why that is."""
    cause: Cause = Cause.NOT_REGISTERED
    at_once: ForwardTo | None = None
    """All calls go there instead."""
    rules: StatusRules | None = None
    otherwise: ForwardTo | None = None
    """A ring group's last resort, whatever the cause."""

    @property
    def one_user(self) -> bool:
        """Whether all these phones are of one user, so that each may speak for the others."""
        return self.rules is not None

    @property
    def rings(self) -> bool:
        """Whether there is anything to wait for; otherwise the refusal comes at once."""
        return bool(self.turns) or self.at_once is not None or self.after(self.cause) is not None

    def after(self, cause: Cause) -> ForwardTo | None:
        """Where the call goes on for this cause."""
        return self.otherwise or (self.rules.target(cause) if self.rules is not None else None)


class DialPlan:
    """The numbers of one PBX.  ``contacts(number)`` gives the live contacts of an extension in groups of equal q, the most wanted
    first; ``clock`` the local time."""

    def __init__(
        self, config: PbxConfig, contacts: Callable[[str], list[list[SipUri]]], clock: Callable[[], datetime] = datetime.now
    ) -> None:
        self.config = config
        self.do_not_disturb: set[str] = set()
        self.services = dict(config.services)
        self._contacts = contacts
        self._clock = clock
        self._rules = {rules.extension: rules for rules in config.rules}
        self._status: dict[str, str] = {}

    # -- what changes ---------------------------------------------------------------------------------------------------------------

    def rules(self, number: str) -> ExtensionRules:
        """The forwarding rules of an extension."""
        self.known(number)
        return self._rules.get(number, ExtensionRules(number))

    @property
    def all_rules(self) -> tuple[ExtensionRules, ...]:
        """The rules of every extension that has some."""
        return tuple(rules for rules in self._rules.values() if rules != ExtensionRules(rules.extension))

    def set_rules(self, rules: ExtensionRules) -> None:
        """Replace the rules of an extension; raises :class:`PbxError`, and changes nothing, when they make no sense."""
        changed = {**self._rules, rules.extension: rules}
        numbers = [e.number for e in self.config.extensions] + [g.number for g in self.config.groups]
        check_rules(changed.values(), numbers, self.services)
        self._rules = changed

    def status(self, number: str) -> str:
        return self._status.get(number, "available")

    def set_status(self, number: str, status: str) -> None:
        """Set the user status; raises :class:`PbxError` for one that does not exist."""
        self.known(number)
        if status not in USER_STATUSES:
            raise PbxError("pbx.bad_setting", setting="status", value=status, allowed=", ".join(USER_STATUSES))
        self._status[number] = status

    def known(self, number: str) -> Extension:
        """The extension; raises :class:`PbxError` when there is none of that number."""
        extension = self.config.extension(number)
        if extension is None:
            known = ", ".join(e.number for e in self.config.extensions) or "-"
            raise PbxError("rules.no_such_extension", number=number, known=known)
        return extension

    # -- what a number means --------------------------------------------------------------------------------------------------------

    def party(self, number: str) -> Party:
        """Who stands behind a number, known or not."""
        extension = self.config.extension(number)
        return Party(number, extension.name if extension is not None else "")

    def destination(self, number: str, caller: str) -> Destination | None:
        """Where ``number`` leads when ``caller`` dials it; ``None`` when nobody has it."""
        extension = self.config.extension(number)
        if extension is not None:
            return self._of_extension(extension, caller)
        group = next((group for group in self.config.groups if group.number == number), None)
        return self._of_group(group, caller) if group is not None else self._outside(number)

    def forwarded(self, target: ForwardTo, by: Party, caller: str) -> Destination | None:
        """Where a rule of ``by`` leads; ``None`` when that is nowhere (hang up, or a number that has gone)."""
        if target.target in ("voicemail", "receptionist"):
            return self._service(target, by)
        return self.destination(target.number, caller) if target.number else None

    def _of_extension(self, extension: Extension, caller: str) -> Destination:
        number, party = extension.number, Party(extension.number, extension.name)
        rules = self._rules.get(number, ExtensionRules(number))
        now = self._clock().time()
        at_once = next((e.forward_to for e in rules.exceptions if e.applies(caller, now)), None)
        of_status = rules.of(self.status(number))
        if number in self.do_not_disturb:
            return Destination(party, (), 486, Cause.BUSY, at_once or of_status.all_calls, of_status)
        seconds = of_status.no_answer_after_s if of_status.no_answer is not None else self.config.ring_timeout_s
        return Destination(party, self._by_preference(number, seconds), at_once=at_once or of_status.all_calls, rules=of_status)

    def _by_preference(self, number: str, seconds: float) -> tuple[Turn, ...]:
        """The phones of one user, those with the highest q first (RFC 3261 §16.6): all turns together ring for ``seconds``."""
        groups = self._contacts(number)
        if not groups:
            return ()
        each = min(self.config.serial_ring_s, seconds / len(groups))
        lasts = [each] * (len(groups) - 1) + [seconds - each * (len(groups) - 1)]
        return tuple(Turn(tuple(group), last) for group, last in zip(groups, lasts, strict=True))

    def _of_group(self, group: RingGroup, caller: str) -> Destination:
        """Members that are busy with something else still ring; those who do not want to be disturbed do not.

        All phones of a member ring at once, whatever their q: it compares the phones of one user, not those of several.
        """
        ringing = [m for m in group.members if m not in self.do_not_disturb and m != caller]
        members = [[contact for wanted in self._contacts(member) for contact in wanted] for member in ringing]
        if group.strategy == "all":
            members = [[contact for member in members for contact in member]]
        turns = tuple(Turn(tuple(member), group.ring_time_s) for member in members if member)
        return Destination(Party(group.number, group.name), turns, otherwise=group.otherwise)

    def _outside(self, number: str) -> Destination | None:
        rule = next((rule for rule in self.config.outbound if rule.fits(number)), None)
        if rule is None:
            return None
        host, port = next(gateway.address for gateway in self.config.gateways if gateway.name == rule.gateway)
        outside = SipUri(user=rule.outside(number), host=host, port=port)
        return Destination(Party(number), (Turn((outside,), self.config.ring_timeout_s),), refusal=503)

    def _service(self, target: ForwardTo, by: Party) -> Destination | None:
        try:
            answers_at = SipUri.parse(self.services.get(target.target, ""))
        except SipError:
            return None
        return Destination(Party(target.number or by.number, by.name), (Turn((answers_at,), self.config.ring_timeout_s),))
