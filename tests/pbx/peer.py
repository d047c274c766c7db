"""A scripted SIP phone for tests: a socket, a mailbox, and the messages it is told to send.  No transaction of its own: nothing is
repeated or absorbed behind the test's back, so a test sees exactly what the PBX sends."""

from __future__ import annotations

import asyncio
import itertools

from labkit.net.udp import Address, UdpEndpoint
from labkit.sip.digest import Challenge
from labkit.sip.message import Request, Response, parse

SDP = "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {1} RTP/AVP 8 0\r\na=sendrecv\r\n"
_numbers = itertools.count(1)


class Peer:
    """One phone.  ``log`` is everything it sent (``> INVITE``) and received (``< 180``), in order."""

    def __init__(self, number: str, password: str, pbx: Address) -> None:
        self.number, self.password, self.pbx = number, password, pbx
        self.log: list[str] = []
        self.inbox: asyncio.Queue[Request | Response] = asyncio.Queue()
        self.drop_in = 0
        """How many of the next datagrams from the PBX get lost."""
        self._cseq = itertools.count(1)

    async def start(self, host: str) -> Peer:
        self._endpoint = await UdpEndpoint.open((host, 0), self._received)
        self.address = self._endpoint.address
        self.contact = f"<sip:{self.number}@{self.address[0]}:{self.address[1]}>"
        self.sdp = SDP.format(host, 4000 + int(self.number or 0) * 2 % 1000).encode()
        return self

    async def close(self) -> None:
        await self._endpoint.close()

    def _received(self, data: bytes, source: Address) -> None:
        message = parse(data)
        if self.drop_in:
            self.drop_in -= 1
            self.log.append("x " + self._name(message))
            return
        self.log.append("< " + self._name(message))
        self.inbox.put_nowait(message)

    @staticmethod
    def _name(message: Request | Response) -> str:
        return message.method if isinstance(message, Request) else str(message.status)

    def send(self, message: Request | Response, *, lost: bool = False) -> None:
        self.log.append(("* " if lost else "> ") + self._name(message))
        if not lost:
            self._endpoint.send(bytes(message), self.pbx)

    def send_raw(self, data: bytes) -> None:
        self._endpoint.send(data, self.pbx)

    # -- building -------------------------------------------------------------------------------------------------------------------

    def via(self) -> str:
        return f"SIP/2.0/UDP {self.address[0]}:{self.address[1]};branch=z9hG4bKpeer{next(_numbers)};rport"

    def request(self, method: str, to: str, *, body: bytes = b"", uri: str = "") -> Request:
        """A request outside a dialog from this phone to the number ``to``."""
        host = f"{self.pbx[0]}:{self.pbx[1]}"
        number = next(_numbers)
        request = Request(
            method,
            uri or f"sip:{to}@{host}",
            [
                ("Via", self.via()),
                ("Max-Forwards", "70"),
                ("From", f'"{self.number}" <sip:{self.number}@{host}>;tag=p{number}'),
                ("To", f"<sip:{to}@{host}>"),
                ("Call-ID", f"peer{number}@{self.address[0]}"),
                ("CSeq", f"{next(self._cseq)} {method}"),
                ("Contact", self.contact),
            ],
            body,
        )
        if body:
            request.headers.append("Content-Type", "application/sdp")
        return request

    def again(self, request: Request, challenge: Response, password: str | None = None) -> Request:
        """The same request with credentials for the challenge, the next CSeq and a new branch."""
        proxy = challenge.status == 407
        value = challenge.headers.get("Proxy-Authenticate" if proxy else "WWW-Authenticate")
        assert value is not None
        answer = Challenge.parse(value).answer(
            request.method, request.uri, self.number, self.password if password is None else password, cnonce="c"
        )
        copy = Request(request.method, request.uri, request.headers.copy(), request.body)
        copy.headers.set("Via", self.via())
        copy.headers.set("CSeq", f"{next(self._cseq)} {request.method}")
        copy.headers.set("Proxy-Authorization" if proxy else "Authorization", answer)
        return copy

    def ack(self, request: Request, response: Response, *, body: bytes = b"") -> Request:
        """The ACK for any final response: same branch for a refusal, to the Contact with a new one for a 2xx."""
        success = response.status < 300
        ack = Request(
            "ACK", response.contacts[0].uri if success else request.uri, [("Via", self.via() if success else str(request.via))], body
        )
        ack.headers.copy_from(request.headers, "From", "Call-ID")
        ack.headers.append("To", response.to)
        ack.headers.append("CSeq", f"{request.cseq.number} ACK")
        if body:
            ack.headers.append("Content-Type", "application/sdp")
        return ack

    def cancel(self, request: Request) -> Request:
        cancel = Request("CANCEL", request.uri, [("Via", str(request.via))])
        cancel.headers.copy_from(request.headers, "From", "To", "Call-ID")
        cancel.headers.append("CSeq", f"{request.cseq.number} CANCEL")
        return cancel

    def in_dialog(self, method: str, invite: Request, response: Response | None = None, *, tag: str = "", body: bytes = b"") -> Request:
        """A request inside the call: as the caller (with the 200 of our INVITE), or as the callee (with our own To ``tag``)."""
        if response is not None:
            request = Request(method, response.contacts[0].uri, [("Via", self.via())], body)
            request.headers.copy_from(invite.headers, "From")
            request.headers.append("To", response.to)
        else:
            request = Request(method, invite.contacts[0].uri, [("Via", self.via())], body)
            request.headers.append("From", invite.to.with_tag(tag))
            request.headers.append("To", invite.from_)
        request.headers.copy_from(invite.headers, "Call-ID")
        request.headers.append("CSeq", f"{next(self._cseq) + 100} {method}")
        request.headers.append("Contact", self.contact)
        if body:
            request.headers.append("Content-Type", "application/sdp")
        return request

    def reply(self, request: Request, status: int, *, tag: str = "", body: bytes = b"") -> Response:
        response = request.response(status, to_tag=tag or f"t{self.number}")
        if status != 100:
            response.headers.append("Contact", self.contact)
        if body:
            response.headers.append("Content-Type", "application/sdp")
            response.body = body
        self.send(response)
        return response

    # -- waiting --------------------------------------------------------------------------------------------------------------------

    async def expect(self, what: str | int, timeout: float = 5.0) -> Request | Response:
        message = await asyncio.wait_for(self.inbox.get(), timeout)
        assert self._name(message) == str(what), f"{self.number} got {message!r} instead of {what}; {self.log}"
        return message

    async def response(self, status: int, timeout: float = 5.0) -> Response:
        message = await self.expect(status, timeout)
        assert isinstance(message, Response)
        return message

    async def ask(self, method: str, timeout: float = 5.0) -> Request:
        message = await self.expect(method, timeout)
        assert isinstance(message, Request)
        return message

    async def silent(self, seconds: float) -> None:
        """Nothing comes for this long."""
        try:
            message = await asyncio.wait_for(self.inbox.get(), seconds)
        except TimeoutError:
            return
        raise AssertionError(f"{self.number} got {message!r}; {self.log}")

    # -- scenes ---------------------------------------------------------------------------------------------------------------------

    async def register(self, expires: int | None = 120, contact: str | None = None) -> Response:
        """REGISTER, 401 or 407, REGISTER, 200."""
        request = self.request("REGISTER", self.number, uri=f"sip:{self.pbx[0]}:{self.pbx[1]}")
        if contact is not None:
            request.headers.set("Contact", contact)
        if expires is not None:
            request.headers.append("Expires", expires)
        self.send(request)
        challenge = await self.expect_challenge()
        self.send(self.again(request, challenge))
        return await self.response(200)

    async def expect_challenge(self) -> Response:
        message = await asyncio.wait_for(self.inbox.get(), 5)
        assert isinstance(message, Response) and message.status in (401, 407), message
        return message

    async def invite(self, to: str, *, body: bytes | None = None) -> Request:
        """INVITE, 407, ACK, INVITE with credentials; returns the second INVITE."""
        first = self.request("INVITE", to, body=self.sdp if body is None else body)
        self.send(first)
        challenge = await self.expect_challenge()
        self.send(self.ack(first, challenge))
        second = self.again(first, challenge)
        self.send(second)
        return second
