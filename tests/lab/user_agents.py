"""Two hosts full of phones, on a real SIP stack with real timers: those on one call, those on the other answer.

They do what RFC 3261 asks of a user agent when messages get lost: an ACK for every copy of a 200 (§13.2.2.4), a 200 until its ACK comes
(§13.3.1.4).  What the transactions repeat, the stack repeats.
"""

from __future__ import annotations

import asyncio

from labkit.net.udp import Address
from labkit.pbx.repeat import Repeater
from labkit.pbx.stack import SipStack
from labkit.sip.dialog import Dialog
from labkit.sip.digest import Challenge
from labkit.sip.message import Headers, Request, Response
from labkit.sip.transaction import Timers, Transaction

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\n"


class UserAgents:
    """One host: bound at its back, known by its face."""

    def __init__(self, back: Address, face: Address, pbx: Address, timers: Timers) -> None:
        self.back, self.pbx = back, pbx
        self.stack = SipStack(face, self.asked, timers=timers, product="phones")

    async def start(self) -> None:
        await self.stack.start(self.back, ("udp",))

    async def close(self) -> None:
        await self.stack.close()

    def asked(self, request: Request, transaction: Transaction | None, source: Address) -> None:
        if transaction is not None:
            self.stack.respond(transaction, request.response(481, to_tag="none"))

    def first(self, method: str, number: str, to: str, *extra: tuple[str, str], body: bytes = b"") -> Request:
        """A request outside a dialog, of the phone ``number``."""
        pbx, token = f"{self.pbx[0]}:{self.pbx[1]}", self.stack.token
        headers = Headers([("Max-Forwards", "70")])
        headers.append("From", f"<sip:{number}@{pbx}>;tag={token(6)}")
        headers.append("To", f"<sip:{to}@{pbx}>")
        headers.append("Call-ID", token(8))
        headers.append("CSeq", f"1 {method}")
        headers.append("Contact", f"<sip:{number}@{self.stack.host}>")
        for name, value in extra:
            headers.append(name, value)
        if body:
            headers.append("Content-Type", "application/sdp")
        return Request(method, f"sip:{to}@{pbx}" if method != "REGISTER" else f"sip:{pbx}", headers, body)

    def again(self, request: Request, challenge: Response, password: str) -> Request:
        """The same request, with credentials."""
        user = request.from_.sip_uri.user or ""
        value = challenge.headers.get("Proxy-Authenticate") or ""
        headers = request.headers.copy()
        for name in ("Via", "User-Agent"):
            headers.remove(name)
        headers.set("CSeq", f"2 {request.method}")
        headers.append("Proxy-Authorization", Challenge.parse(value).answer(request.method, request.uri, user, password, cnonce="c"))
        return Request(request.method, request.uri, headers, request.body)


class Callers(UserAgents):
    """Each call ends by itself: INVITE, 407, INVITE with credentials, 200, ACK, BYE, 200."""

    def call(self, number: str, password: str, to: str) -> asyncio.Future[str]:
        """Call; the future tells how it went: ``""`` when everything came, or what did not."""
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        acks: dict[str, bytes] = {}

        def tell(text: str) -> None:
            if not outcome.done():
                outcome.set_result(text)

        def ended(response: Response | None) -> None:
            tell("" if response is not None and response.status == 200 else f"BYE: {response}")

        def answered(request: Request, response: Response | None) -> None:
            if response is None:
                tell(f"no response to INVITE {request.cseq.number}")
            elif response.status == 407 and request.cseq.number == 1:
                second = self.again(request, response, password)
                self.stack.send(second, self.pbx, lambda then: answered(second, then))
            elif response.status >= 300:
                tell(f"refused: {response.status}")
            elif response.status >= 200:
                dialog = Dialog.from_response(request, response)
                if response.to.tag in acks:
                    self.stack.send_bytes(acks[response.to.tag], dialog.next_hop)
                    return
                acks[response.to.tag] = self.stack.send_ack(dialog.request("ACK", cseq=request.cseq.number), dialog.next_hop)
                self.stack.send(dialog.request("BYE"), dialog.next_hop, ended)

        invite = self.first("INVITE", number, to, body=SDP)
        self.stack.send(invite, self.pbx, lambda response: answered(invite, response))
        return outcome


class Callees(UserAgents):
    """Whoever is called answers at once.  ``ended`` has the numbers of those who called and have hung up."""

    def __init__(self, back: Address, face: Address, pbx: Address, timers: Timers) -> None:
        super().__init__(back, face, pbx, timers)
        self.ended: set[str] = set()
        self.changed = asyncio.Event()
        self._answers: dict[str, Repeater] = {}

    async def register(self, number: str, password: str) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        register = self.first("REGISTER", number, number, ("Expires", "3600"))

        def challenged(response: Response | None) -> None:
            assert response is not None and response.status == 407, response
            self.stack.send(self.again(register, response, password), self.pbx, registered)

        def registered(response: Response | None) -> None:
            assert response is not None and response.status == 200, response
            done.set_result(None)

        self.stack.send(register, self.pbx, challenged)
        await asyncio.wait_for(done, 5)

    def asked(self, request: Request, transaction: Transaction | None, source: Address) -> None:
        if request.method == "INVITE" and transaction is not None:
            self._answer(request, transaction)
            return
        repeater = self._answers.pop(request.call_id, None)
        if repeater is not None:
            repeater.stop()
        if request.method == "BYE" and transaction is not None:
            self.ended.add(request.from_.sip_uri.user or "")
            self.stack.respond(transaction, request.response(200))
            self.changed.set()

    def _answer(self, request: Request, transaction: Transaction) -> None:
        tag = self.stack.token(6)

        def response(status: int) -> Response:
            made = request.response(status, to_tag=tag)
            made.headers.append("Contact", f"<sip:{request.target.user}@{self.stack.host}>")
            if status == 200:
                made.headers.append("Content-Type", "application/sdp")
                made.body = SDP
            return made

        def send() -> None:
            self.stack.respond(transaction, response(200))

        def give_up() -> None:
            dialog = Dialog.from_request(request, tag)
            self.stack.send(dialog.request("BYE"), dialog.next_hop, lambda response: None)

        self.stack.respond(transaction, response(180))
        send()
        self._answers[request.call_id] = Repeater(self.stack, send, give_up, self.stack.timers.t2)
