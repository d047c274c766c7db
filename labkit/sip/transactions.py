"""Which transaction a message belongs to: RFC 3261 §17.1.3 (client), §17.2.3 (server), §8.2.2.2 (merged requests), §9.2 (CANCEL).

:class:`Transactions` holds all transactions of one host.  It stamps ``received`` and ``rport`` into requests (§18.2.1, RFC 3581), and sends
responses back by them (§18.2.2).  It owns no socket: feed it messages and the time, do what the returned outputs say.
"""

from __future__ import annotations

import heapq
from itertools import count

from labkit.sip.headers import split_commas
from labkit.sip.hop import Hop, transport_of
from labkit.sip.message import Request, Response
from labkit.sip.transaction import (
    ACK,
    CALLING,
    CLIENT,
    COMPLETED,
    INVITE_CLIENT,
    INVITE_SERVER,
    REQUEST,
    SERVER,
    START,
    TERMINATED,
    TRYING,
    Address,
    Output,
    Received,
    TimedOut,
    Timers,
    Transaction,
    event_of,
)

MAGIC = "z9hG4bK"  # §8.1.1.7: the branch of everyone who follows RFC 3261 begins with it


class Transactions:
    """The transaction layer of one host."""

    def __init__(self, timers: Timers | None = None) -> None:
        self.timers = timers or Timers()
        self._clients: dict[tuple[str, ...], Transaction] = {}
        self._servers: dict[tuple[str, ...], Transaction] = {}
        self._origins: dict[tuple[str, ...], Transaction] = {}
        self._heap: list[tuple[float, int, Transaction]] = []
        self._order = count()

    def __len__(self) -> int:
        """Transactions that still live."""
        return len(self._clients) + len(self._servers)

    def send(self, request: Request, remote: Address, now: float, *, reliable: bool = False) -> tuple[Transaction, list[Output]]:
        """Start a client transaction.  The request has its own Via with a fresh branch; an ACK for a 2xx is none (§13.2.2.4)."""
        table = INVITE_CLIENT if request.method == "INVITE" else CLIENT
        transaction = Transaction(table, request, remote, reliable=reliable, timers=self.timers)
        transaction.key = (request.via.branch, request.method)
        self._clients[transaction.key] = transaction
        return transaction, self._after(transaction, transaction.fire(START, now))

    def restart(self, transaction: Transaction, remote: Address, now: float, *, reliable: bool = False) -> list[Output]:
        """Begin a client transaction again on another way (§18.1.1: over UDP, when TCP was refused); its request has a new Via."""
        if self._clients.get(transaction.key) is transaction:
            del self._clients[transaction.key]
        transaction.key = (transaction.request.via.branch, transaction.request.method)
        self._clients[transaction.key] = transaction
        return self._after(transaction, transaction.restart(remote, now, reliable=reliable))

    def unanswered(self, remote: Address) -> list[Transaction]:
        """The client transactions that wait for a first response from ``remote``, whose connection was lost."""
        return [t for t in self._clients.values() if t.remote == remote and t.state in (CALLING, TRYING)]

    def respond(self, transaction: Transaction, response: Response, now: float) -> list[Output]:
        """Answer in a server transaction."""
        return self._after(transaction, transaction.respond(response, now))

    def receive(self, message: Request | Response, source: Address, now: float, *, reliable: bool = False) -> list[Output]:
        """Take in a message; copies are absorbed or answered here, the rest comes out as :class:`Received`.

        Raises :class:`labkit.errors.SipError` when the headers that match (Via, CSeq, From, To, Call-ID) cannot be read.
        """
        if isinstance(message, Response):
            return self._response(message, source, now)
        via = message.via
        stamped = via.received_from(source)
        if stamped is not via:
            _restamp(message, str(stamped))
        # Everything that may be unreadable is read before anything is remembered.
        key, origin, outside_dialog = server_key(message), _origin(message), not message.to.tag
        transaction = self._servers.get(key)
        if transaction is not None:
            event = ACK if message.method == "ACK" else REQUEST
            return self._after(transaction, transaction.fire(event, now, message))
        if message.method == "ACK":
            refused = self._origins.get((*origin[:3], "INVITE"))
            if refused is not None and refused.state is COMPLETED:
                # Some clients give the ACK of a refusal a branch of its own, against §17.1.1.3.  Whose it is can still be told, and a
                # refusal that nobody ever acknowledges would be sent again eleven times.
                return self._after(refused, refused.fire(ACK, now, message))
            return [Received(message, None, source)]
        remote = source if reliable else stamped.reply_address
        transaction = Transaction(
            INVITE_SERVER if message.method == "INVITE" else SERVER, message, remote, reliable=reliable, timers=self.timers
        )
        transaction.key, transaction.source = key, source
        if reliable:
            # §18.2.2: when the connection is gone, the response goes over a new one to received and the port of sent-by.
            host, port = stamped.param("received") or stamped.host, stamped.port or (5061 if stamped.transport == "TLS" else 5060)
            transaction.fallback = Hop(host, port, transport_of(source))
        self._servers[key] = transaction
        if outside_dialog:
            self._origins.setdefault(origin, transaction)
        outputs = transaction.fire(REQUEST, now, message)
        return [Received(o.message, o.transaction, source) if isinstance(o, Received) else o for o in outputs]

    def _response(self, response: Response, source: Address, now: float) -> list[Output]:
        # §8.1.3.3: more than one Via means that the response went astray.  §17.1.3: top branch and the method of CSeq.
        if len(response.headers.get_list("Via")) != 1:
            return []
        transaction = self._clients.get((response.via.branch, response.cseq.method))
        if transaction is None:
            return [Received(response, None, source)]
        return self._after(transaction, transaction.fire(event_of(response.status), now, response))

    def merged(self, transaction: Transaction) -> bool:
        """Whether the same request already came on another path: From tag, Call-ID and CSeq equal, another branch (482, §8.2.2.2)."""
        first = self._origins.get(_origin(transaction.request))
        return first is not None and first is not transaction and not transaction.request.to.tag

    def cancelled(self, cancel: Request) -> Transaction | None:
        """The INVITE that a CANCEL is for (§9.2): its branch and sent-by with the method INVITE."""
        return self._servers.get(server_key(cancel, method="INVITE"))

    def forget(self, transaction: Transaction) -> None:
        """Drop a transaction that its user no longer waits for (§9.1: a cancelled INVITE without a final response)."""
        transaction.state = TERMINATED
        transaction.due.clear()
        self._after(transaction, [])

    @property
    def next_timer(self) -> float | None:
        """When :meth:`timeout` has something to do, or ``None``."""
        return self._heap[0][0] if self._heap else None

    def timeout(self, now: float) -> list[Output]:
        """Let the timers go off that are due."""
        outputs: list[Output] = []
        while self._heap and self._heap[0][0] <= now:
            due, _, transaction = heapq.heappop(self._heap)
            if transaction.scheduled == due:
                transaction.scheduled = None
            outputs += self._after(transaction, transaction.timeout(now))
        return outputs

    def _after(self, transaction: Transaction, outputs: list[Output]) -> list[Output]:
        """Keep the books: note the next timer, forget a transaction that has ended."""
        if transaction.state is TERMINATED:
            for book in (self._clients, self._servers):
                if book.get(transaction.key) is transaction:
                    del book[transaction.key]
            origin = _origin(transaction.request)
            if self._origins.get(origin) is transaction:
                del self._origins[origin]
            if not any(isinstance(output, TimedOut) for output in outputs):
                transaction.user = None  # the user and its transaction know each other, and nothing else may keep them alive now
            return outputs
        due = transaction.next_timer
        if due is not None and (transaction.scheduled is None or due < transaction.scheduled):
            # The entry of a timer that was stopped stays in the heap and wakes us for nothing; that is cheaper than searching it.
            transaction.scheduled = due
            heapq.heappush(self._heap, (due, next(self._order), transaction))
        return outputs


def server_key(request: Request, method: str = "") -> tuple[str, ...]:
    """What identifies a server transaction (§17.2.3): branch, sent-by and method, ACK counting as INVITE."""
    via = request.via
    method = method or ("INVITE" if request.method == "ACK" else request.method)
    if via.branch.startswith(MAGIC) and len(via.branch) > len(MAGIC):
        return via.branch, via.sent_by, method
    # A client of RFC 2543: everything that identifies the request.  The To tag is left out, since the ACK carries ours.
    return "2543", request.uri, request.from_.tag, request.call_id, str(request.cseq.number), via.sent_by, via.branch, method


def _origin(request: Request) -> tuple[str, ...]:
    return request.from_.tag, request.call_id, str(request.cseq.number), request.method


def _restamp(request: Request, top: str) -> None:
    """Put the stamped Via where the top one stood; others in the same header line stay behind it."""
    rest = split_commas(request.headers.get("Via") or "")[1:]
    request.headers.replace_first("Via", ", ".join([top, *rest]))
