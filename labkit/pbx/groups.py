"""Numbers that are not one person: ring groups, and the outside world behind a gateway."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from labkit.errors import PbxError
from labkit.net.udp import Address
from labkit.pbx.rules import ForwardTo


@dataclass(frozen=True)
class RingGroup:
    """A number that rings several extensions ("Sales", 800)."""

    number: str
    name: str
    members: tuple[str, ...]
    strategy: Literal["all", "one_after_the_other"] = "all"
    """Ring them all at once, or the next one when the one before does not answer."""
    ring_time_s: float = 20.0
    """How long each turn rings."""
    otherwise: ForwardTo | None = None
    """Where the call goes when nobody of the group takes it."""

    def __post_init__(self) -> None:
        if self.strategy not in ("all", "one_after_the_other"):
            raise PbxError("pbx.bad_setting", setting="strategy", value=self.strategy, allowed="all, one_after_the_other")
        if not self.members or not 0 < self.ring_time_s < math.inf:
            raise PbxError("rules.bad_group", number=self.number)


@dataclass(frozen=True)
class Gateway:
    """The way to the public telephone network (PSTN): a SIP host that takes calls, and from which calls come."""

    name: str
    address: Address


@dataclass(frozen=True)
class OutboundRule:
    """A line of "Outbound rules": which dialled numbers leave by which gateway.  The first rule that fits is taken."""

    gateway: str
    prefix: str = ""
    """What a number must begin with, such as "0"."""
    strip_digits: int = 0
    """How many digits are taken off its front."""
    prepend: str = ""
    """What is put before it then."""
    length: int = 0
    """How many digits the dialled number must have; 0 for any number of them."""

    def __post_init__(self) -> None:
        if self.strip_digits < 0 or self.length < 0:
            raise PbxError("pbx.bad_setting", setting="strip_digits, length", value=min(self.strip_digits, self.length), allowed=">= 0")

    def fits(self, number: str) -> bool:
        long_enough = len(number) == self.length if self.length else len(number) > self.strip_digits
        return number.startswith(self.prefix) and long_enough and all(c in "0123456789+*#" for c in number)

    def outside(self, number: str) -> str:
        """The number as the gateway gets it."""
        return self.prepend + number[self.strip_digits :]
