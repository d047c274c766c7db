"""The busy lamp: RFC 4235, one extension sees whether another one rings or talks, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from xml.sax.saxutils import escape, quoteattr

from labkit.pbx.call import Call, CallState, Side
from labkit.sip.subscription import Subscription

# What a call means for its two sides (§3.7.1); a phone that does not ring yet has no dialog.
STATES: dict[CallState, tuple[str, str]] = {
    CallState.TRYING: ("trying", ""),
    CallState.RINGING: ("early", "early"),
    CallState.CONNECTED: ("confirmed", "confirmed"),
    CallState.TRANSFERRING: ("confirmed", "confirmed"),
    CallState.WAITING: ("confirmed", "confirmed"),
    CallState.ENDED: ("", ""),
}


class DialogInfo:
    """The package ``dialog``: the calls of each extension.  ``exists(number)`` says whether there is one."""

    content_type = "application/dialog-info+xml"

    def __init__(self, host: str, calls: list[Call], exists: Callable[[str], bool]) -> None:
        self._host, self._calls, self._exists = host, calls, exists

    def refuses(self, subscriber: str, resource: str) -> int | None:
        return None if self._exists(resource) else 404

    def state(self, resource: str) -> tuple[tuple[str, str, str, str, str], ...]:
        """Call, direction, state, and the other side's number and name."""
        found = []
        for call in self._calls:
            for side, state in zip(Side, STATES[call.state], strict=True):
                other = call.parties[side.other]
                present = call.state is not CallState.WAITING or side in call.legs
                if state and present and call.parties[side].number == resource:
                    found.append((call.id, "initiator" if side is Side.CALLER else "recipient", state, other.number, other.name))
        return tuple(found)

    def body(self, subscription: Subscription) -> bytes:
        """§4.1: always the full state; the version counts the notifications from 0."""
        entity, version = quoteattr(f"sip:{subscription.resource}@{self._host}"), subscription.version
        lines = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{version}" state="full" entity={entity}>',
        ]
        for number, direction, state, other, name in self.state(subscription.resource):
            address = f"sip:{other}@{self._host}"
            lines += [
                f"<dialog id={quoteattr(number)} direction={quoteattr(direction)}><state>{state}</state>",
                f"<remote><identity display={quoteattr(name)}>{escape(address)}</identity></remote></dialog>",
            ]
        return "\n".join([*lines, "</dialog-info>", ""]).encode("utf-8", "replace")
