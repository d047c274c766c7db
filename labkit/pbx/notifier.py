"""Subscriptions: phones that want to be told of something (RFC 6665 §4.2).  What there is to tell is a package's:

* ``message-summary`` (RFC 3842): how many messages wait in the mailbox (:mod:`labkit.pbx.mwi`)
* ``dialog`` (RFC 4235): whether another extension rings or talks, the busy lamp (:mod:`labkit.pbx.busy_lamp`)

Every other package gets 489.  Nobody is told without having asked.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from labkit.errors import SipError
from labkit.pbx.exchange import Exchange
from labkit.sip.message import Request, Response
from labkit.sip.subscription import EventType, Subscription
from labkit.sip.transaction import Transaction

EXPIRES_S = 3600
"""The time of a subscription when none is asked for, and the longest."""
EXPIRES_MIN_S = 10


class Package(Protocol):
    """What can be subscribed to."""

    content_type: str

    def refuses(self, subscriber: str, resource: str) -> int | None:
        """The status for a subscriber who may not, or for a resource that is not there."""

    def state(self, resource: str) -> object:
        """Something that changes when there is something to tell."""

    def body(self, subscription: Subscription) -> bytes:
        """What a NOTIFY says now."""


class Notifier:
    """All subscriptions of one PBX."""

    def __init__(self, exchange: Exchange, packages: dict[str, Package]) -> None:
        self._exchange = exchange
        self._packages = packages
        self._subscriptions: dict[tuple[str, str], Subscription] = {}  # by Call-ID and our tag
        self._told: dict[tuple[str, str], object] = {}
        self._alarms: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._looking = False

    def __len__(self) -> int:
        return len(self._subscriptions)

    def close(self) -> None:
        for alarm in self._alarms.values():
            alarm.cancel()

    def changed(self) -> None:
        """Something may have changed: look soon, once for all that happens now, and tell those whom it concerns."""
        if not self._looking and self._subscriptions:
            self._looking = True
            self._exchange.stack.later(0, self._look)

    # -- SUBSCRIBE ------------------------------------------------------------------------------------------------------------------

    def subscribe(self, request: Request, transaction: Transaction, subscriber: str) -> None:
        """A SUBSCRIBE whose sender is known."""
        try:
            event = EventType.parse(request.headers.get("Event") or "")
        except SipError:
            self._refuse(transaction, 489)  # §8.2.1: without a readable Event it is a package that nobody knows
            return
        if request.to.tag:
            self._renew(request, transaction)
            return
        package, resource = self._packages.get(event.package), request.target.user or ""
        status = package.refuses(subscriber, resource) if package is not None else 489
        accept = [item.partition(";")[0].strip().lower() for item in request.headers.get_list("Accept")]
        if status is None and package is not None and accept and not {package.content_type, "*/*"} & set(accept):
            status = 406
        stack = self._exchange.stack
        try:
            expires = _expires(request)
            made = Subscription(request, stack.token(6), resource, f"<sip:{resource}@{stack.host}>") if status is None else None
        except SipError as error:
            status, made = error.status or 400, None
        if made is None:
            self._refuse(transaction, status or 400)
            return
        self._subscriptions[made.dialog.call_id, made.dialog.local.tag] = made
        self._accept(made, transaction, expires)

    def _renew(self, request: Request, transaction: Transaction) -> None:
        known = self._subscriptions.get((request.call_id, request.to.tag))
        if known is None or known.dialog.remote.tag != request.from_.tag:
            self._refuse(transaction, 481)
            return
        try:
            expires = _expires(request)
            known.renew(request)
        except SipError as error:
            self._refuse(transaction, error.status or 400)
            return
        self._accept(known, transaction, expires)

    def _accept(self, subscription: Subscription, transaction: Transaction, expires: int) -> None:
        """200, and the state at once (§4.2.1.2); ``Expires: 0`` is answered by the last NOTIFY."""
        stack = self._exchange.stack
        response = transaction.request.response(200, to_tag=subscription.dialog.local.tag)
        response.headers.append("Contact", subscription.contact)
        response.headers.append("Expires", expires)
        stack.respond(transaction, response)
        subscription.ends_at = stack.now + expires
        self._set_alarm(subscription, expires)
        self._notify(subscription, ended="" if expires else "timeout")

    def _refuse(self, transaction: Transaction, status: int) -> None:
        lab = status == 489 and self._exchange.config.profile == "3cx"
        response = transaction.request.response(status, "Event Package Not Supported" if lab else "", to_tag=self._exchange.stack.token(4))
        if status == 489:
            response.headers.append("Allow-Events", ", ".join(self._packages))
        if status == 423:
            response.headers.append("Min-Expires", EXPIRES_MIN_S)
        self._exchange.stack.respond(transaction, response)

    # -- NOTIFY ---------------------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._looking = False
        for key, subscription in list(self._subscriptions.items()):
            if self._packages[subscription.event.package].state(subscription.resource) != self._told.get(key):
                self._notify(subscription)

    def _notify(self, subscription: Subscription, *, ended: str = "") -> None:
        package, stack, dialog = self._packages[subscription.event.package], self._exchange.stack, subscription.dialog
        key = dialog.call_id, dialog.local.tag
        self._told[key] = package.state(subscription.resource)
        request = subscription.notify(stack.now, package.content_type, package.body(subscription), ended=ended)
        if ended:
            self._forget(subscription)

        def answered(response: Response | None) -> None:
            if response is None or response.status >= 400:
                self._forget(subscription)  # §4.2.2: who does not take a NOTIFY is not subscribed any more

        try:
            stack.send(request, dialog.next_hop, answered)
        except SipError:
            self._forget(subscription)  # a Contact that cannot be sent to

    def _set_alarm(self, subscription: Subscription, seconds: int) -> None:
        key = subscription.dialog.call_id, subscription.dialog.local.tag
        if key in self._alarms:
            self._alarms.pop(key).cancel()
        if seconds:
            self._alarms[key] = self._exchange.stack.later(seconds, lambda: self._notify(subscription, ended="timeout"))

    def _forget(self, subscription: Subscription) -> None:
        key = subscription.dialog.call_id, subscription.dialog.local.tag
        self._subscriptions.pop(key, None)
        self._told.pop(key, None)
        if key in self._alarms:
            self._alarms.pop(key).cancel()


def _expires(request: Request) -> int:
    """How long the subscription is to last (§4.2.1.1); raises :class:`SipError` (423) when that is too short."""
    value = request.headers.get("Expires") or ""
    asked = int(value) if value.isascii() and value.isdecimal() and len(value) < 11 else EXPIRES_S
    if 0 < asked < EXPIRES_MIN_S:
        raise SipError("sip.bad_header", status=423, header="Expires", value=value)
    return min(asked, EXPIRES_S)
