"""What the parts of one PBX share: the stack, the configuration, the numbers, the dialogs, the live and the parked calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.pbx.config import PbxConfig
from labkit.pbx.dialplan import DialPlan
from labkit.pbx.events import PbxEvent
from labkit.pbx.stack import SipStack

if TYPE_CHECKING:
    from labkit.pbx.call import Call
    from labkit.pbx.leg import Leg


@dataclass
class Exchange:
    """One for each PBX."""

    stack: SipStack
    config: PbxConfig
    plan: DialPlan
    observe: Callable[[PbxEvent], None]
    book: dict[tuple[str, str], Leg] = field(default_factory=dict)
    """The legs by Call-ID and our tag."""
    calls: list[Call] = field(default_factory=list)
    """The live calls, the oldest first."""
    parked: dict[str, Call] = field(default_factory=dict)
    """Who waits in which orbit."""

    def leg(self, call_id: str, our_tag: str, their_tag: str) -> Leg | None:
        """The leg of a dialog (RFC 3261 §12.2.2)."""
        leg = self.book.get((call_id, our_tag)) if our_tag else None
        return leg if leg is not None and leg.dialog is not None and leg.dialog.remote.tag == their_tag else None
