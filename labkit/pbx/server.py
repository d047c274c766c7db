"""The PBX: what it does with each request that arrives.  RFC 3261 §8.2 gives the order of the checks.

Registration is in :mod:`labkit.pbx.registrar`, passwords in :mod:`labkit.pbx.auth`, calls in :mod:`labkit.pbx.call`.  Requests are for this
PBX whatever host their URI names, so that a test tool that calls it "localhost" is served too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import SipError
from labkit.net.media_relay import MediaRelay
from labkit.net.tap import Tap
from labkit.net.udp import Address
from labkit.pbx.asking import ALLOW, CAPABILITIES, SUPPORTED
from labkit.pbx.auth import Authenticator
from labkit.pbx.busy_lamp import DialogInfo
from labkit.pbx.call import Call
from labkit.pbx.cdr import frame, record_of, refused_record, write_csv
from labkit.pbx.config import Extension, PbxConfig
from labkit.pbx.dialplan import DialPlan
from labkit.pbx.events import PbxEvent
from labkit.pbx.exchange import Exchange
from labkit.pbx.guard import Guard
from labkit.pbx.incoming import IncomingLeg
from labkit.pbx.leg import Leg
from labkit.pbx.mwi import MessageSummary
from labkit.pbx.notifier import Notifier
from labkit.pbx.registrar import Registrar
from labkit.pbx.rules import ExtensionRules
from labkit.pbx.stack import SipStack, warning
from labkit.pbx.status import StatusTable
from labkit.pbx.store import Store
from labkit.pbx.switchboard import Switchboard, user_of
from labkit.sip.message import Request, Response
from labkit.sip.transaction import Transaction

if TYPE_CHECKING:
    from pandas import DataFrame

# Methods that have an RFC but no service here (405); others are unknown (501).
KNOWN = frozenset(
    {
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "PRACK",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "INFO",
        "REFER",
        "MESSAGE",
        "UPDATE",
    }
)


class Pbx:
    """One PBX at one address.  Made and used on an asyncio loop; ``observe`` is called there with each :class:`PbxEvent`."""

    def __init__(
        self,
        config: PbxConfig,
        *,
        observe: Callable[[PbxEvent], None] | None = None,
        relay: MediaRelay | None = None,
        tap: Tap | None = None,
    ) -> None:
        self.config = config
        self._observe = observe or (lambda event: None)
        self.guard = Guard(config.guard, config.advertised[0])
        """Who is banned, and what was tried (the tabs "Anti-Hacking" and "IP Blacklist")."""
        self._stack = SipStack(config.advertised, self._request, timers=config.timers, product=config.product, guard=self.guard)
        self._stack.relay, self._stack.tap = relay, tap
        self._auth = Authenticator(config, self._stack.token)
        self.plan = DialPlan(config, lambda number: [[b.uri for b in group] for group in self.registrar.by_preference(number)])
        """What numbers mean: forwarding rules, user status, do not disturb."""
        self.registrar = Registrar(config, lambda: self._stack.now, self._observe, self._activity, self._stack.later, self.plan.status)
        self._stack.ways.locate = self.registrar.locate
        self._exchange = Exchange(self._stack, config, self.plan, self._happened)
        self._switchboard = Switchboard(self._exchange, self._authenticated, self._ended, self._refused)
        self.calls = self._exchange.calls
        """The live calls, the oldest first."""
        self._legs = self._exchange.book
        self._messages = MessageSummary(self._stack.host)
        lamps = DialogInfo(self._stack.host, self.calls, lambda number: config.extension(number) is not None)
        self._notifier = Notifier(self._exchange, {"message-summary": self._messages, "dialog": lamps})
        self.store = Store(config.database)
        self.store.save(config)

    async def start(self) -> None:
        """Bind the address of the configuration; raises :class:`labkit.errors.WireError` when another program holds it."""
        await self._stack.start(self.config.bind, self.config.transports)

    async def close(self, wait_s: float = 0.0) -> None:
        """Hang up what is live, wait ``wait_s`` seconds at most until the phones have answered, and free the port."""
        for call in list(self.calls):
            call.hang_up(503)
        self._notifier.close()
        until = asyncio.get_running_loop().time() + wait_s
        while self._legs and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.02)
        self.registrar.close()
        await self._stack.close()
        self.store.close()

    def status(self) -> StatusTable:
        """The lab's screen "Extension status"."""
        return self.registrar.status()

    def rules(self, number: str) -> ExtensionRules:
        """The forwarding rules of an extension."""
        return self.plan.rules(number)

    def set_rules(self, rules: ExtensionRules | str, **changes: Any) -> None:
        """Replace the rules of an extension, or change some: ``set_rules("101", available=StatusRules(busy=ForwardTo(...)))``.

        Raises :class:`labkit.errors.PbxError`, and changes nothing, when they make no sense.
        """
        self.plan.set_rules(replace(self.plan.rules(rules) if isinstance(rules, str) else rules, **changes))
        self.store.save(replace(self.config, rules=self.plan.all_rules, services=self.plan.services))

    def set_status(self, number: str, status: str) -> None:
        """Set the user status of an extension: available, away, out_of_office, custom_1, custom_2."""
        self.plan.set_status(number, status)

    def set_do_not_disturb(self, number: str, on: bool = True) -> None:
        """Let every call find this extension busy, or let them ring again."""
        (self.plan.do_not_disturb.add if on else self.plan.do_not_disturb.discard)(self.plan.known(number).number)

    def set_messages(self, number: str, new: int, old: int = 0) -> None:
        """Say how many messages wait in the mailbox of an extension: its phones show it (RFC 3842).  Any thread may say it."""
        self._messages.counts[self.plan.known(number).number] = (new, old)
        self._stack.soon(lambda: self._happened(PbxEvent("messages", number, f"{new}/{old}")))

    def __repr__(self) -> str:
        host, port = self.config.advertised
        return f"<Pbx at {host}:{port}: {len(self.config.extensions)} extensions, {len(self.calls)} calls>"

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()

    def records(self) -> DataFrame:
        """The call records so far, a row a call (:class:`labkit.pbx.cdr.CallRecord`); any thread may ask."""
        return frame(self.store.records())

    def save_records(self, path: str | Path) -> Path:
        """Write the call records to a CSV file; raises :class:`labkit.errors.PbxError` when it cannot be written."""
        return write_csv(self.store.records(), path)

    # -- requests -------------------------------------------------------------------------------------------------------------------

    def _request(self, request: Request, transaction: Transaction | None, source: Address) -> None:
        leg = self._leg_of(request)
        if transaction is None or request.method == "ACK":
            if leg is not None:
                leg.take(request, None)
            return  # an ACK of nothing is absorbed (§17.2.3 leaves it to us, and nobody may answer it)
        if request.method == "CANCEL":
            self._cancel(request, transaction)
        elif leg is not None and request.method != "REGISTER":
            self._stack.trust(source)
            if not self._requires_more(request, transaction):
                leg.take(request, transaction)
        elif request.to.tag and request.method not in ("REGISTER", "OPTIONS", "SUBSCRIBE"):
            self._reply(transaction, 481)
        elif self._stack.transactions.merged(transaction):
            self._reply(transaction, 482)  # §8.2.2.2: the same request came on two paths
        elif not self._requires_more(request, transaction):
            self._outside(request, transaction, source)

    def _requires_more(self, request: Request, transaction: Transaction) -> bool:
        """§8.2.2.3: a request that requires what is not spoken here gets 420, inside a dialog too."""
        required = [item for item in request.headers.get_list("Require") if item.lower() not in SUPPORTED]
        if required:
            response = request.response(420, to_tag=self._stack.token(4))
            response.headers.append("Unsupported", ", ".join(required))
            self._stack.respond(transaction, response)
        return bool(required)

    def _outside(self, request: Request, transaction: Transaction, source: Address) -> None:
        """A request outside any dialog."""
        if request.method == "REGISTER":
            self._register(request, transaction, source)
        elif request.method == "INVITE":
            self._switchboard.invite(request, transaction)
        elif request.method == "OPTIONS":
            self._options(request, transaction)
        elif request.method == "SUBSCRIBE":
            self._subscribe(request, transaction)
        elif request.method == "MESSAGE":
            self._switchboard.message(request, transaction)
        elif request.method == "REFER":
            self._reply(transaction, 403)  # there is no call here that could be transferred (see labkit.pbx.transfer)
        elif request.method in ("BYE", "UPDATE", "INFO", "PRACK", "NOTIFY"):
            self._reply(transaction, 481)  # they are only spoken inside a dialog, or of a subscription
        else:
            response = request.response(405 if request.method in KNOWN else 501, to_tag=self._stack.token(4))
            response.headers.append("Allow", ALLOW)
            self._stack.respond(transaction, response)

    def _register(self, request: Request, transaction: Transaction, source: Address) -> None:
        try:
            number = request.to.sip_uri.user or ""
        except SipError:
            self._reply(transaction, 400)  # RFC 4475 §3.3.4: To of another scheme
            return
        extension = self._authenticated(request, transaction)
        if extension is None:
            return
        if extension.number != number:
            self._reply(transaction, 403)  # §10.3, step 4: nobody registers for another
            return
        self._stack.respond(transaction, self.registrar.register(request, number, source, self._stack.token(4)))

    def _subscribe(self, request: Request, transaction: Transaction) -> None:
        extension = self._authenticated(request, transaction)
        if extension is not None:
            self._notifier.subscribe(request, transaction, extension.number)

    def _options(self, request: Request, transaction: Transaction) -> None:
        """§11.2: the status that an INVITE would get; but a stranger hears 200 for every number, lest he learns which exist."""
        dialled = request.target.user or ""
        if dialled and ("Authorization" in request.headers or "Proxy-Authorization" in request.headers):
            extension = self._authenticated(request, transaction)
            if extension is None:
                return
            if not self.config.features.read(dialled) and self.plan.destination(dialled, extension.number) is None:
                self._reply(transaction, 404)
                return
        response = request.response(200, to_tag=self._stack.token(4))
        response.headers.append("Allow", ALLOW)
        for name, value in CAPABILITIES:
            response.headers.append(name, value)
        response.headers.append("Contact", f"<sip:{self._stack.host}>")
        self._stack.respond(transaction, response)

    def _cancel(self, request: Request, transaction: Transaction) -> None:
        invite = self._stack.transactions.cancelled(request)
        if invite is None:
            self._reply(transaction, 481)
            return
        leg = invite.user if isinstance(invite.user, Leg) else None  # none: the INVITE was refused before it became a call
        # §9.2: the To tag of the 200 to CANCEL is that of the INVITE's response.
        self._stack.respond(transaction, request.response(200, to_tag=leg.tag if leg is not None else self._stack.token(4)))
        if leg is not None:
            with leg.contained():
                leg.cancelled(request)

    # -- calls ----------------------------------------------------------------------------------------------------------------------

    def _ended(self, call: Call, call_id: str) -> None:
        self.calls.remove(call)
        dialled = call.dialled.number if call.dialled != call.callee else ""
        self.store.add(record_of(call, self._stack.now, call_id=call_id, forwarded_from=dialled))

    def _refused(self, leg: IncomingLeg, dialled: str, status: int) -> None:
        """A call that was over before it began: a wrong number."""
        self.store.add(refused_record(leg.number, dialled, status, leg.request.call_id))

    # -- helpers --------------------------------------------------------------------------------------------------------------------

    def _leg_of(self, request: Request) -> Leg | None:
        """The leg of a request inside a dialog (§12.2.2): Call-ID, our tag and theirs."""
        return self._exchange.leg(request.call_id, request.to.tag, request.from_.tag)

    def _authenticated(self, request: Request, transaction: Transaction) -> Extension | None:
        source = transaction.source
        verdict = self._auth.check(request, self._stack.now, source[0])
        if isinstance(verdict, Response):
            if verdict.status == 403:
                self.guard.failed_login(source, user_of(request.from_.uri), self._stack.now)
                self._observe(PbxEvent("refused", user_of(request.from_.uri), request.method, 403))
            self._stack.respond(transaction, verdict)
            return None
        self.guard.logged_in(source)
        self._stack.trust(source)
        return verdict

    def _reply(self, transaction: Transaction, status: int, reason: str = "", error: SipError | None = None) -> None:
        response = transaction.request.response(status, reason, to_tag=self._stack.token(4))
        if error is not None:
            response.headers.append("Warning", warning(error))
        self._stack.respond(transaction, response)

    def _happened(self, event: PbxEvent) -> None:
        """Something that others may watch has changed."""
        self._observe(event)
        self._notifier.changed()

    def _activity(self, number: str) -> str:
        states = {call.activity(number) for call in self.calls}
        return next((state for state in ("in_call", "ringing") if state in states), "")
