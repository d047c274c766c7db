"""What can happen to a call: in which state, what came from which side, the state after it, and the method of :class:`Call` that does it.

The story that this table tells is in :mod:`labkit.pbx.call`.  What it does not know needs no work.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from labkit.pbx.events import (
    Acknowledge,
    CancelUpdate,
    Confirm,
    Connect,
    Disconnect,
    Fail,
    Forward,
    LegEvent,
    Refer,
    Ring,
    Update,
)


class CallState(Enum):
    TRYING = "trying"
    RINGING = "ringing"
    CONNECTED = "connected"
    TRANSFERRING = "transferring"
    """One of the two has asked for a transfer, and the third phone rings."""
    WAITING = "waiting"
    """Only one phone is in the call: it is parked, or its transfer rings and the other has left."""
    ENDED = "ended"


class Side(Enum):
    CALLER = "caller"
    CALLEE = "callee"

    @property
    def other(self) -> Side:
        return Side.CALLEE if self is Side.CALLER else Side.CALLER


TRYING, RINGING, CONNECTED, TRANSFERRING, WAITING, ENDED = CallState
CALLER, CALLEE = Side

Row: TypeAlias = "dict[tuple[Side, type[LegEvent]], tuple[CallState, str]]"


def _searching(state: CallState) -> Row:
    """The rows of a call that nobody has answered yet."""
    return {
        (CALLEE, Ring): (RINGING, "ring_caller"),
        (CALLEE, Forward): (TRYING, "forward"),
        (CALLEE, Connect): (CONNECTED, "connect"),
        (CALLEE, Fail): (ENDED, "refuse_caller"),
        (CALLEE, Disconnect): (ENDED, "picker_left"),
        (CALLER, Acknowledge): (state, "acknowledge"),
        (CALLER, Disconnect): (ENDED, "stop_ringing"),
        (CALLER, Update): (state, "refuse_update"),
    }


def _talking(state: CallState, refer: str, disconnect: str) -> Row:
    """The rows of a call with two phones: the same for both sides."""
    rows: Row = {}
    for side in Side:
        rows[side, Confirm] = (state, "confirm")
        rows[side, Update] = (state, "update")
        rows[side, CancelUpdate] = (state, "cancel_update")
        rows[side, Refer] = (TRANSFERRING, refer)
        rows[side, Disconnect] = (ENDED, disconnect)
    return rows


TABLE: dict[CallState, Row] = {
    TRYING: _searching(TRYING),
    RINGING: _searching(RINGING),
    CONNECTED: {
        **_talking(CONNECTED, "transfer_call", "disconnect_other"),
        (CALLER, Acknowledge): (CONNECTED, "acknowledge"),  # the 200 has waited for it
    },
    TRANSFERRING: _talking(TRANSFERRING, "refuse_transfer", "one_leaves"),
    WAITING: {
        (CALLER, Update): (WAITING, "update_alone"),
        (CALLEE, Update): (WAITING, "update_alone"),
        (CALLER, Disconnect): (ENDED, "last_leaves"),
        (CALLEE, Disconnect): (ENDED, "last_leaves"),
    },
    ENDED: {},
}
