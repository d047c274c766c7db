"""Messages in and out: the transaction layer of :mod:`labkit.sip` on real sockets, with asyncio's clock.

It knows nothing of calls.  A request for the user comes out of ``on_request(request, transaction, source)``; the response to a request
that was sent comes to the callback given with it, and ``None`` when nobody answered.  What is not SIP is dropped, what is bad SIP is
answered here.

Which way a message takes is decided here too (RFC 3261 §18):

* a response goes back the way of its request; over TCP on the same connection, or, when that has gone, on a new one to its Via (§18.2.2)
* a request goes where its Request-URI says, unless more is known of that Contact (:mod:`labkit.pbx.ways`)
* a request of more than 1300 octets goes over TCP, lest it be cut into fragments, and over UDP after all when TCP is refused (§18.1.1)

Via and Contact say what was chosen.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable
from functools import partial

from labkit.errors import SipError
from labkit.net.media_relay import MediaRelay
from labkit.net.tap import Tap
from labkit.net.tcp import TcpLimits
from labkit.net.udp import Address
from labkit.pbx.guard import Guard
from labkit.pbx.transport import SipTransport, is_literal
from labkit.pbx.ways import Ways
from labkit.sip.headers import quote
from labkit.sip.hop import Hop, reliable, transport_of
from labkit.sip.message import MalformedMessage, Request, Response, SipMessage, parse, validate
from labkit.sip.transaction import Output, Received, Send, TimedOut, Timers, Transaction
from labkit.sip.transactions import MAGIC, Transactions

Answered = Callable[[Response | None], None]
"""Called with each response, and with ``None`` when the request timed out or could not be sent."""

LONGEST_DATAGRAM = 1300
"""§18.1.1: where the MTU of the path is not known, a longer request MUST go over TCP."""

log = logging.getLogger("labkit.pbx")


class SipStack:
    """One SIP host: its sockets, its transactions, their timers."""

    def __init__(
        self,
        advertised: Address,
        on_request: Callable[[Request, Transaction | None, Address], None],
        *,
        timers: Timers | None = None,
        product: str = "labkit",
        token: Callable[[int], str] = secrets.token_hex,
        guard: Guard | None = None,
        limits: TcpLimits | None = None,
    ) -> None:
        self.advertised = advertised
        self.product = product
        self.token = token
        self.guard = guard
        self.transactions = Transactions(timers)
        self.relay: MediaRelay | None = None
        """Where the voices of calls go through, if they do not go from phone to phone."""
        self.tap: Tap | None = None
        """Records what this host sends and receives, if no wire does."""
        self._on_request = on_request
        self._transport = SipTransport(self._received, self._take, self._broken, self._lost, self._admits, limits)
        self.ways = Ways(self._transport.connected)
        self._alarm: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._own_contact = re.compile(rf"(<sips?:(?:[^@>]*@)?{re.escape(self.host)})(?:;transport=\w+)?(?=[;>])", re.IGNORECASE)

    async def start(self, bind: Address, transports: tuple[str, ...] = ("udp", "tcp")) -> None:
        self._loop = asyncio.get_running_loop()
        await self._transport.open(bind, transports, self.tap)

    async def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        await self._transport.close()

    @property
    def now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    @property
    def timers(self) -> Timers:
        return self.transactions.timers

    @property
    def host(self) -> str:
        """Host and port as they stand in our URIs; the port 5060 is written too, as the lab's phones do."""
        return f"{self.advertised[0]}:{self.advertised[1]}"

    def later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        assert self._loop is not None
        return self._loop.call_later(seconds, call)

    def soon(self, call: Callable[[], None]) -> None:
        """Have ``call`` run on the loop, whatever thread asks for it."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(call)

    # -- sending --------------------------------------------------------------------------------------------------------------------

    def send(self, request: Request, remote: Address, answered: Answered) -> Transaction:
        """Send a request in a client transaction.  An address that cannot be sent to counts as silence, at once.

        A CANCEL has the Via of its INVITE already, and takes its way; every other request gets one.
        """
        request.headers.append("User-Agent", self.product)
        fallback: Address | None = None
        if "Via" not in request.headers:
            way = self.ways.way(request, remote)
            remote = self._way_of_length(request, way)
            fallback = way if remote is not way else None
            self._address(request, transport_of(remote))
        transaction, outputs = self.transactions.send(request, remote, self.now, reliable=reliable(remote))
        transaction.user, transaction.fallback = answered, fallback
        self._do(outputs)
        return transaction

    def send_ack(self, ack: Request, remote: Address) -> bytes:
        """Send an ACK for a 2xx, which has no transaction; returns its octets, to be sent again for each copy of the 2xx."""
        remote = self.ways.way(ack, remote)
        self._address(ack, transport_of(remote))
        data = bytes(ack)
        self.send_bytes(data, remote)
        return data

    def send_bytes(self, data: bytes, remote: Address) -> None:
        self._transport.send(data, remote, lambda: None)

    def respond(self, transaction: Transaction, response: Response) -> None:
        """Answer in a server transaction."""
        if "Server" not in response.headers:
            response.headers.append("Server", self.product)
        self._stamp_contact(response, transport_of(transaction.source))
        self._do(self.transactions.respond(transaction, response, self.now))

    def trust(self, source: Address) -> None:
        """A request from ``source`` has shown who sent it (a password, a call of ours): its connection may stay idle."""
        if reliable(source):
            self._transport.trust(source)

    def way(self, request: Request, remote: Address) -> Address:
        """The way that a request to ``remote`` takes."""
        return self.ways.way(request, remote)

    def _way_of_length(self, request: Request, way: Address) -> Address:
        """§18.1.1: TCP for what is too long for a datagram, if that host did not refuse it lately."""
        if reliable(way) or "TCP" not in self._transport.streams or len(bytes(request)) + 100 <= LONGEST_DATAGRAM:
            return way
        return Hop(*way, "TCP") if self.ways.takes_tcp(way, self.now) else way

    def _address(self, request: Request, transport: str) -> None:
        """Our Via with a new branch, and the transport in our Contact."""
        via = f"SIP/2.0/{transport} {self.host};branch={MAGIC}{self.token(8)};rport"
        if "Via" in request.headers:
            request.headers.replace_first("Via", via)
        else:
            request.headers.insert("Via", via)
        self._stamp_contact(request, transport)

    def _stamp_contact(self, message: SipMessage, transport: str) -> None:
        contact = message.headers.get("Contact")
        if contact is not None and (transport != "UDP" or ";transport=" in contact):
            parameter = "" if transport == "UDP" else f";transport={transport.lower()}"
            changed = self._own_contact.sub(rf"\g<1>{parameter}", contact)
            if changed != contact:
                message.headers.replace_first("Contact", changed)

    def _undelivered(self, transaction: Transaction | None) -> None:
        """There is no way to where this transaction sent: try its other way, or tell its user that nobody answers."""
        if transaction is None:
            return
        other, transaction.fallback = transaction.fallback, None
        if not transaction.is_client:
            if other is not None:
                transaction.remote = other
                self._do(transaction.repeat())
        elif other is not None:
            self.ways.refused_tcp(other, self.now)
            self._address(transaction.request, transport_of(other))
            self._do(self.transactions.restart(transaction, other, self.now, reliable=reliable(other)))
        elif callable(transaction.user):
            user, transaction.user = transaction.user, None
            self.transactions.forget(transaction)
            user(None)

    # -- receiving ------------------------------------------------------------------------------------------------------------------

    def _admits(self, source: Address) -> bool:
        return self.guard is None or self.guard.admits(source, self.now)

    def _received(self, data: bytes, source: Address) -> None:
        """One datagram.  Nothing that a stranger sends may stop the PBX, so the last net catches everything and tells the log."""
        if len(data) <= 4:
            return  # a keep-alive: CRLF CRLF, or four zero bytes
        try:
            if self._admits(source):
                self._take(parse(data), source)
            elif self.guard is not None and self.guard.answers:
                self._forbid(parse(data), source)
        except MalformedMessage as error:
            self._broken(error, source)
        except Exception:
            log.exception("a message from %s:%d could not be handled", *source)

    def _take(self, message: Request | Response, source: Address) -> None:
        """One message, whole but perhaps wrong."""
        try:
            if isinstance(message, Response):
                validate(message)  # a bad response is dropped before it can move a transaction (RFC 4475 §3.1.2.5)
            elif self.guard is not None and not self.guard.inspects(message, source, self.now):
                return
            elif isinstance(source, Hop):
                self.ways.remember(message, source)
            self._do(self.transactions.receive(message, source, self.now, reliable=reliable(source)))
        except SipError as error:
            if isinstance(message, Request):
                self._refuse(message, error, source)
        except Exception:
            log.exception("a message from %s:%d could not be handled", *source)

    def _broken(self, error: MalformedMessage, source: Address) -> None:
        if isinstance(error.sip_message, Request):
            self._refuse(error.sip_message, error, source)

    def _refuse(self, request: Request, error: SipError, source: Address) -> None:
        """Answer a request that cannot even be matched to a transaction, without keeping anything (§8.2.7)."""
        if request.method != "ACK" and error.status is not None and "Via" in request.headers:
            response = request.response(error.status)
            response.headers.append("Warning", warning(error))
            response.headers.append("Server", self.product)
            self.send_bytes(bytes(response), source)

    def _forbid(self, message: Request | Response, source: Address) -> None:
        if isinstance(message, Request) and message.method != "ACK" and "Via" in message.headers:
            self.send_bytes(bytes(message.response(403)), source)

    def _lost(self, hop: Address) -> None:
        """A connection has ended: who waits for a first response on it is told, and its Contacts are reached as they say."""
        self.ways.forget(hop)
        if self._transport.is_open:
            for transaction in self.transactions.unanswered(hop):
                self._undelivered(transaction)

    def _do(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                self._send(output)
            elif isinstance(output, Received):
                self._deliver(output)
            elif isinstance(output, TimedOut):
                user, output.transaction.user = output.transaction.user, None
                if callable(user):
                    user(None)
        self._set_alarm()

    def _send(self, output: Send) -> None:
        remote = output.remote
        if not reliable(remote):
            self.send_bytes(output.data, remote)
            sent = is_literal(*remote)
        elif output.transaction is not None and not output.transaction.is_client and not self._transport.connected(remote):
            sent = output.transaction.fallback is None and self._transport.send(output.data, remote, lambda: None)
        else:
            sent = self._transport.send(output.data, remote, partial(self._undelivered, output.transaction))
        if not sent:
            assert self._loop is not None
            self._loop.call_soon(self._undelivered, output.transaction)

    def _deliver(self, received: Received) -> None:
        message, transaction = received.message, received.transaction
        if isinstance(message, Response):
            if transaction is not None and callable(transaction.user):
                transaction.user(message)
            return
        try:
            validate(message)
        except SipError as error:
            if transaction is not None and message.method != "ACK":
                response = message.response(error.status or 400)
                response.headers.append("Warning", warning(error))
                self.respond(transaction, response)
            return
        try:
            self._on_request(message, transaction, received.source)
        except Exception:
            log.exception("%s could not be handled", message.method)
            if transaction is not None and message.method != "ACK":
                self.respond(transaction, message.response(500, to_tag=self.token(4)))

    def _set_alarm(self) -> None:
        due = self.transactions.next_timer
        if self._alarm is not None:
            if due is not None and self._alarm.when() <= due and not self._alarm.cancelled():
                return
            self._alarm.cancel()
            self._alarm = None
        if due is not None and self._loop is not None and self._transport.is_open:
            self._alarm = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        try:
            self._do(self.transactions.timeout(self.now))
        except Exception:
            log.exception("a timer could not be handled")
            self._set_alarm()


def warning(error: SipError) -> str:
    """What is wrong with a message, in a Warning header (§20.43), so that the capture shows it."""
    return f"399 labkit {quote(''.join(c if c.isprintable() else '?' for c in str(error))[:200])}"
