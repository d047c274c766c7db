"""Messages in and out: the transaction layer of :mod:`labkit.sip` on one UDP socket, with asyncio's clock.

It knows nothing of calls.  A request for the user comes out of ``on_request(request, transaction, source)``; the response to a request
that was sent comes to the callback given with it, and ``None`` when nobody answered.  What is not SIP is dropped, what is bad SIP is
answered here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
from collections.abc import Callable
from functools import lru_cache

from labkit.errors import SipError
from labkit.net.udp import Address, UdpEndpoint
from labkit.sip.headers import quote
from labkit.sip.message import MalformedMessage, Request, Response, parse, validate
from labkit.sip.transaction import Output, Received, Send, TimedOut, Timers, Transaction
from labkit.sip.transactions import MAGIC, Transactions

Answered = Callable[[Response | None], None]
"""Called with each response, and with ``None`` when the request timed out."""

log = logging.getLogger("labkit.pbx")


class SipStack:
    """One SIP host: a socket, its transactions, their timers."""

    def __init__(
        self,
        advertised: Address,
        on_request: Callable[[Request, Transaction | None, Address], None],
        *,
        timers: Timers | None = None,
        product: str = "labkit",
        token: Callable[[int], str] = secrets.token_hex,
    ) -> None:
        self.advertised = advertised
        self.product = product
        self.token = token
        self.transactions = Transactions(timers)
        self._on_request = on_request
        self._endpoint: UdpEndpoint | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, bind: Address) -> None:
        self._loop = asyncio.get_running_loop()
        self._endpoint = await UdpEndpoint.open(bind, self._received)

    async def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._endpoint is not None:
            endpoint, self._endpoint = self._endpoint, None
            await endpoint.close()

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

    def send(self, request: Request, remote: Address, answered: Answered) -> Transaction:
        """Send a request in a client transaction.  An address that is no IPv4 address counts as silence, at once.

        A CANCEL has the Via of its INVITE already; every other request gets one.
        """
        if "Via" not in request.headers:
            self._add_via(request)
        request.headers.append("User-Agent", self.product)
        transaction, outputs = self.transactions.send(request, remote, self.now)
        transaction.user = answered
        if not _sendable(remote):
            assert self._loop is not None
            transaction.user = None
            self._loop.call_soon(answered, None)
            return transaction
        self._do(outputs)
        return transaction

    def send_ack(self, ack: Request, remote: Address) -> bytes:
        """Send an ACK for a 2xx, which has no transaction; returns its octets, to be sent again for each copy of the 2xx."""
        self._add_via(ack)
        data = bytes(ack)
        self.send_bytes(data, remote)
        return data

    def send_bytes(self, data: bytes, remote: Address) -> None:
        if self._endpoint is not None and _sendable(remote):
            self._endpoint.send(data, remote)

    def respond(self, transaction: Transaction, response: Response) -> None:
        """Answer in a server transaction."""
        if "Server" not in response.headers:
            response.headers.append("Server", self.product)
        self._do(self.transactions.respond(transaction, response, self.now))

    def _add_via(self, request: Request) -> None:
        request.headers.insert("Via", f"SIP/2.0/UDP {self.host};branch={MAGIC}{self.token(8)};rport")

    def _received(self, data: bytes, source: Address) -> None:
        """One datagram.  Nothing that a stranger sends may stop the PBX, so the last net catches everything and tells the log."""
        message: Request | Response | None = None
        try:
            message = parse(data)
            if isinstance(message, Response):
                validate(message)  # a bad response is dropped before it can move a transaction (RFC 4475 §3.1.2.5)
            self._do(self.transactions.receive(message, source, self.now))
        except MalformedMessage as error:
            if isinstance(error.sip_message, Request):
                self._refuse(error.sip_message, error, source)
        except SipError as error:
            if isinstance(message, Request):
                self._refuse(message, error, source)
        except Exception:
            log.exception("a message from %s:%d could not be handled", *source)

    def _refuse(self, request: Request, error: SipError, source: Address) -> None:
        """Answer a request that cannot even be matched to a transaction, without keeping anything (§8.2.7)."""
        if request.method != "ACK" and error.status is not None and "Via" in request.headers:
            response = request.response(error.status)
            response.headers.append("Warning", warning(error))
            response.headers.append("Server", self.product)
            self.send_bytes(bytes(response), source)

    def _do(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                self.send_bytes(output.data, output.remote)
            elif isinstance(output, Received):
                self._deliver(output)
            elif isinstance(output, TimedOut) and callable(output.transaction.user):
                output.transaction.user(None)
        self._set_alarm()

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
        if due is not None and self._loop is not None and self._endpoint is not None:
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


@lru_cache(maxsize=1024)
def _sendable(remote: Address) -> bool:
    """Only literal addresses: a name would make the socket ask the resolver, and the whole PBX wait."""
    try:
        return ipaddress.ip_address(remote[0]).version == 4 and 0 < remote[1] < 65536
    except ValueError:
        return False
