"""Feature codes ("Codes de raccourcis"): numbers that do something instead of calling somebody.  Defaults are those of the lab's PBX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from labkit.errors import PbxError
from labkit.pbx.rules import USER_STATUSES

Feature: TypeAlias = Literal["dnd_on", "dnd_off", "status", "pickup", "park", "unpark"]


@dataclass(frozen=True)
class FeatureCodes:
    """What a user dials.  An empty code switches its feature off."""

    dnd_on: str = "*60"
    """Do not disturb: every call finds the extension busy."""
    dnd_off: str = "*61"
    status: str = "*3"
    """Followed by 0 Available, 1 Away, 2 Out of office, 3 Custom 1, 4 Custom 2."""
    pickup: str = "*20*"
    """Followed by the extension that rings; alone: whichever rings."""
    park: str = "*0"
    """Followed by the orbit, 0 to 9: transfer a call to this number, and it waits there."""
    unpark: str = "*1"
    """Followed by the orbit: take the call that waits there."""

    def __post_init__(self) -> None:
        digits = "0123456789"
        owner: dict[str, str] = {}
        for name, follow in (("dnd_on", ""), ("dnd_off", ""), ("status", digits), ("park", digits), ("unpark", digits)):
            code = getattr(self, name)
            for number in [code + digit for digit in follow] or [code]:
                if not code:
                    continue
                if self.pickup and (number.startswith(self.pickup) or number + "*" == self.pickup):
                    raise PbxError("pbx.same_code", code=number, first=name, second="pickup")
                if owner.setdefault(number, name) != name:
                    raise PbxError("pbx.same_code", code=number, first=owner[number], second=name)

    def read(self, dialled: str) -> tuple[Feature, str] | None:
        """The feature that a dialled number means, and what stands after its code; ``None`` for an ordinary number."""
        if dialled and dialled == self.dnd_on:
            return "dnd_on", ""
        if dialled and dialled == self.dnd_off:
            return "dnd_off", ""
        if self.pickup and (dialled.startswith(self.pickup) or dialled + "*" == self.pickup):
            return "pickup", dialled[len(self.pickup) :]
        rest = self._digit(self.status, dialled)
        if rest and int(rest) < len(USER_STATUSES):
            return "status", USER_STATUSES[int(rest)]
        if rest := self._digit(self.park, dialled):
            return "park", rest
        if rest := self._digit(self.unpark, dialled):
            return "unpark", rest
        return None

    @staticmethod
    def _digit(code: str, dialled: str) -> str:
        rest = dialled[len(code) :]
        return rest if code and dialled.startswith(code) and len(rest) == 1 and rest in "0123456789" else ""
