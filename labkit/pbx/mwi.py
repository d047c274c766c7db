"""Messages waiting: RFC 3842, the lamp of a phone whose mailbox has new messages.

Until an extension has a mailbox, its SUBSCRIBE gets 489, as in the lab's trace.
"""

from __future__ import annotations

from labkit.sip.subscription import Subscription


class MessageSummary:
    """The package ``message-summary``: new and old messages by extension."""

    content_type = "application/simple-message-summary"

    def __init__(self, host: str) -> None:
        self._host = host
        self.counts: dict[str, tuple[int, int]] = {}

    def refuses(self, subscriber: str, resource: str) -> int | None:
        if resource != subscriber:
            return 403  # everybody hears of his own mailbox only
        return None if resource in self.counts else 489

    def state(self, resource: str) -> object:
        return self.counts.get(resource)

    def body(self, subscription: Subscription) -> bytes:
        """§3.5: waiting or not, whose mailbox, new/old messages; none of them urgent."""
        new, old = self.counts.get(subscription.resource, (0, 0))
        return (
            f"Messages-Waiting: {'yes' if new else 'no'}\r\n"
            f"Message-Account: sip:{subscription.resource}@{self._host}\r\n"
            f"Voice-Message: {new}/{old} (0/0)\r\n"
        ).encode()
