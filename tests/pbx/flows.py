"""Plays the call flows that the RFCs print (RFC 3665, RFC 5359) against a live PBX.

The steps come from the corpus: "F4 | 180 Ringing Bob -> Proxy 1" makes BOB's phone send 180, and "F5 | 180 Ringing Proxy 1 -> Alice" makes
ALICE's wait for it.  Whoever is no phone (proxies, servers) is the PBX; what passes between two of them is its own affair.  A message that
the RFC sends from phone to phone goes to the PBX and must come out at the other one.  In the end each phone has seen, dialog by dialog,
exactly these messages and no other; 100 Trying alone may come unprinted.  Session descriptions are the printed ones, and they must arrive.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from labkit.net.udp import Address
from labkit.pbx import Extension, Pbx, PbxConfig
from labkit.pbx.groups import Gateway
from labkit.sip.headers import NameAddr
from labkit.sip.message import Request, Response, parse
from labkit.sip.uri import SipUri
from tests.pbx.office import free_port
from tests.pbx.peer import Peer

NUMBERS = {"alice": "100", "bob": "101", "carol": "102"}
GATEWAY = "999"
EXTENSIONS = tuple(Extension(number, name.upper(), auth_password=number) for name, number in NUMBERS.items())
METHOD_OR_STATUS = re.compile(r"[A-Z]{3,}\b|\d{3}\b")
ONE_HOST = {"Redirect Proxy": "Redirect Server"}
"""RFC 3665 §3.6 calls one host by two names."""


@dataclass(frozen=True)
class Played:
    """How a flow is played: who the phones are, and in what a B2BUA may differ.  Messages go by their number: 4 is F4."""

    phones: dict[str, str]
    """The RFC's names of the phones, and the extensions at which they register; GATEWAY for one that does not."""
    differently: str = ""
    """In words, what differs from the printed flow."""
    pbx_for: dict[str, Collection[int]] = field(default_factory=dict)
    """In these messages the PBX does what this phone does in the RFC."""
    instead: dict[int, str] = field(default_factory=dict)
    """Another status than the printed one."""
    unseen: tuple[int, ...] = ()
    """Messages that nobody sends."""
    extra: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """What happens beyond the RFC after a message: ``"Bob < INVITE"`` comes to BOB's phone, ``"Bob > 200"`` is sent by it."""
    moves: int = 0
    """Before this message its sender gets another address."""
    dials: str = ""
    """What is dialled instead of BOB's extension."""
    before: tuple[str, ...] = ("REGISTER",)
    """The Contacts that a phone has registered before the flow begins; ``REGISTER`` is its own."""
    q: dict[str, str] = field(default_factory=dict)
    """The preferences of the phones' Contacts."""
    wrong_password: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One message of a flow; ``sender`` and ``receiver`` are phones, or "" where the PBX stands."""

    number: int
    what: str
    sender: str
    receiver: str
    text: str = ""
    mine: bool = False
    """Whether the PBX does this in the place of a phone, so that its session description is its own affair."""

    def header(self, name: str) -> str:
        found = re.search(rf"^{name}[ \t]*:(.*)$", self.text, re.MULTILINE | re.IGNORECASE)
        return found[1].strip() if found else ""

    @property
    def call(self) -> str:
        """The Call-ID in the RFC; one for all that is not printed."""
        return self.header("Call-ID")

    @property
    def body(self) -> bytes:
        """The printed session description."""
        start = self.text.find("\r\n\r\nv=0")
        return (self.text[start + 4 :].partition("\r\n\r\n")[0].rstrip() + "\r\n").encode() if start > 0 else b""


def steps(flow: dict[str, Any], played: Played) -> list[Step]:
    """The printed messages and the extra ones, in order."""
    out = _extra(0, played)
    for item in flow["messages"]:
        number, text = int(item["id"][1:]), item["message"] or ""
        left, receiver = (ONE_HOST.get(side, side) for side in item["head"].split(" -> "))
        for name, other in ONE_HOST.items():
            left = left.replace(name, other)
        what = METHOD_OR_STATUS.match(left.lstrip("(")) or METHOD_OR_STATUS.search(text.removeprefix("SIP/2.0"))
        assert what is not None
        sender = next((name for name in played.phones if left.endswith(" " + name)), "")
        mine = [name for name, numbers in played.pbx_for.items() if number in numbers]
        sender, receiver = (name if name in played.phones and name not in mine else "" for name in (sender, receiver))
        if number not in played.unseen:
            out.append(Step(number, played.instead.get(number, what[0]), sender, receiver, text, bool(mine)))
        out += _extra(number, played)
    return out


def _extra(number: int, played: Played) -> list[Step]:
    lines = [line.split() for line in played.extra.get(number, ())]
    return [Step(number, what, name if way == ">" else "", name if way == "<" else "") for name, way, what in lines]


def media(body: bytes) -> list[str]:
    """What a session description says of the voice."""
    return re.findall(r"^(?:m=|a=sendonly|a=recvonly|a=inactive).*$", body.decode().replace("\r", ""), re.MULTILINE)


@dataclass
class Dialog:
    """What a phone knows of one dialog: the request that began it, and whether that was its own; its latest INVITE and the answers."""

    first: Request
    ours: bool
    last: Request
    answer: Response | None = None
    accepted: Response | None = None


class Phone(Peer):
    """A scripted phone that plays its part of a flow."""

    def __init__(self, number: str, pbx: Address, dials: str) -> None:
        super().__init__(number, number, pbx)
        self.seen: dict[str, list[str]] = defaultdict(list)
        """What went over the wire, by Call-ID."""
        self.foreseen: dict[str, list[str]] = defaultdict(list)
        """What the RFC has."""
        self.challenge: Response | None = None
        self._dials = dials
        self._pending: list[Request | Response] = []
        self._asked: list[Request] = []
        self._printed: dict[str, Dialog] = {}  # by the RFC's Call-ID
        self._real: dict[str, Dialog] = {}
        self._current: Dialog

    def _received(self, data: bytes, source: Address) -> None:
        message = parse(data)
        self.seen[message.call_id].append("< " + self._name(message))
        super()._received(data, source)

    def send(self, message: Request | Response, *, lost: bool = False) -> None:
        self.seen[message.call_id].append("> " + self._name(message))
        super().send(message, lost=lost)

    async def prepare(self, contacts: tuple[str, ...], q: str) -> None:
        """Register, and learn the challenge that later requests answer."""
        for contact in contacts:
            request = self.request("REGISTER", self.number, uri=f"sip:{self.pbx[0]}:{self.pbx[1]}")
            request.headers.set("Contact", (self.contact if contact == "REGISTER" else contact) + (f";q={q}" if q else ""))
            self.send(request)
            self.challenge = await self.expect_challenge()
            self.send(self.again(request, self.challenge))
            await self.response(200)
        self.seen.clear()

    async def move(self) -> None:
        """The phone gets another address."""
        await self.close()
        await self.start("127.0.0.1")

    def check(self, name: str) -> None:
        seen, foreseen = (
            {call: shown for call, lines in all_lines.items() if (shown := [line for line in lines if line != "< 100"])}
            for all_lines in (self.seen, self.foreseen)
        )
        assert seen == foreseen, f"{name} has seen {list(seen.values())}; in the RFC it is {list(foreseen.values())}"

    # -- receiving ------------------------------------------------------------------------------------------------------------------

    async def receive(self, step: Step, spoken: bytes) -> None:
        """Wait for the message of this step; its session description is the one that another phone has ``spoken``."""
        message = await self._next(step)
        self.foreseen[message.call_id].append("< " + step.what)
        if step.text and not step.mine:
            assert media(message.body) == (media(spoken) if step.body else []), f"F{step.number}: {message.body!r}"
        if isinstance(message, Response):
            self._answered(step, message)
            return
        if message.method != "ACK":
            self._asked.append(message)
        if message.method == "INVITE":
            self._current = self._real.setdefault(message.call_id, Dialog(message, False, message))
            self._printed[step.call] = self._current

    async def _next(self, step: Step) -> Request | Response:
        while True:
            found = next((message for message in self._pending if self._name(message) == step.what), None)
            if found is not None:
                self._pending.remove(found)
                return found
            try:
                self._pending.append(await asyncio.wait_for(self.inbox.get(), 5))
            except TimeoutError:
                raise AssertionError(f"F{step.number}: {self.number} waits for {step.what}, and has {self._pending}; {self.log}") from None

    def _answered(self, step: Step, response: Response) -> None:
        if response.status in (401, 407):
            self.challenge = response
        elif response.status == 200 and response.cseq.method == "REGISTER":
            assert len(response.contacts) == len(re.findall(r"^Contact:", step.text, re.MULTILINE)), response.contacts
        dialog = self._real.get(response.call_id)
        if dialog is not None and response.status >= 200 and response.cseq.method == dialog.last.method:
            dialog.answer = response
            if response.status < 300:
                dialog.accepted = response

    # -- sending --------------------------------------------------------------------------------------------------------------------

    def play(self, step: Step, authorize: bool, password: str | None) -> bytes:
        """Send the message of this step; what it says of the session."""
        if step.what.isdecimal():
            return self._reply(step).body
        request = self._request(step)
        if authorize and request.method in ("REGISTER", "SUBSCRIBE", "INVITE"):
            assert self.challenge is not None
            request = self.again(request, self.challenge, password)
        if request.method in ("INVITE", "SUBSCRIBE"):
            dialog = self._real.setdefault(request.call_id, Dialog(request, True, request))
            if dialog.ours and dialog.accepted is None:
                dialog.first = request
            dialog.last, dialog.answer = request, None
            self._printed[step.call] = self._current = dialog
        self.foreseen[request.call_id].append("> " + step.what)
        self.send(request)
        return request.body

    def _reply(self, step: Step) -> Response:
        """Answer the newest request of that method and dialog."""
        method, dialog = step.header("CSeq").rpartition(" ")[2], self._printed.get(step.call)
        call_id = dialog.first.call_id if dialog is not None and method else ""
        request = [r for r in self._asked if method in ("", r.method) and call_id in ("", r.call_id)][-1]
        if int(step.what) >= 200:
            self._asked.remove(request)
        offer = request.method == "INVITE" and step.what == "200" and not step.text
        self.foreseen[request.call_id].append("> " + step.what)
        contact = f"<sip:{NUMBERS['carol']}@{self.pbx[0]}>" if step.what == "302" else self.contact
        response = request.response(int(step.what), to_tag=f"t{self.number}")
        response.headers.append("Contact", contact)
        response.body = self.sdp if offer else step.body
        if response.body:
            response.headers.append("Content-Type", "application/sdp")
        self.send(response)
        return response

    def _request(self, step: Step) -> Request:
        dialog = self._printed.get(step.call)
        if step.what == "REGISTER":
            return self._registration(step)
        if step.what in ("INVITE", "SUBSCRIBE") and (dialog is None or (dialog.ours and dialog.accepted is None)):
            if dialog is not None and dialog.answer is not None and dialog.answer.status in (401, 407):
                return dialog.last
            body = (step.body if step.text else self.sdp) if step.what == "INVITE" else b""
            request = self.request(step.what, self._dials or self._number("To", step), body=body)
        else:
            dialog = dialog or self._current
            if step.what == "CANCEL":
                return self.cancel(dialog.last)
            if step.what == "ACK":
                assert dialog.answer is not None
                return self.ack(dialog.last, dialog.answer, body=step.body)
            accepted = dialog.accepted if dialog.ours else None
            request = self.in_dialog(step.what, dialog.first, accepted, tag=f"t{self.number}", body=step.body)
        if step.what == "SUBSCRIBE":
            request.headers.append("Event", step.header("Event"))
            request.headers.append("Expires", step.header("Expires") or "600")
        elif step.what == "REFER":
            request.headers.append("Refer-To", self._refer_to(step))
        return request

    @staticmethod
    def _number(header: str, step: Step) -> str:
        """The extension of the user whom a printed header names; BOB's for a message that is not printed."""
        found = re.search(r"sips?:(\w+)@", step.header(header))
        return NUMBERS[found[1]] if found else NUMBERS["bob"]

    def _refer_to(self, step: Step) -> str:
        """The printed target.  The REFER of RFC 5359 §2.5 lacks it in print; as the text says, it names the call with CAROL."""
        if step.header("Refer-To"):
            return f"<sip:{self._number('Refer-To', step)}@{self.pbx[0]}>"
        other = next(dialog for dialog in self._real.values() if dialog is not self._printed[step.call])
        assert other.accepted is not None
        replaces = f"{other.first.call_id};to-tag={other.accepted.to.tag};from-tag={other.first.from_.tag}"
        return str(NameAddr(str(SipUri(user=NUMBERS["carol"], host=self.pbx[0], headers=(("Replaces", replaces),)))))

    def _registration(self, step: Step) -> Request:
        request = self.request("REGISTER", self.number, uri=f"sip:{self.pbx[0]}:{self.pbx[1]}")
        contact = step.header("Contact")
        if not contact:
            request.headers.remove("Contact")
        elif contact == "*":
            request.headers.set("Contact", "*")
        elif contact.startswith("mailto:"):
            request.headers.set("Contact", SECOND)
        if step.header("Expires"):
            request.headers.append("Expires", step.header("Expires"))
        return request


SECOND = "<sip:second@127.0.0.1:5099>"
"""The Contact that BOB adds; the RFC's is a mail address."""


async def play(flow: dict[str, Any], played: Played) -> None:
    """Play a flow; raises AssertionError when the PBX does something else."""
    address = ("127.0.0.1", await free_port())
    phones = {name: Phone(number, address, played.dials) for name, number in played.phones.items()}
    for phone in phones.values():
        await phone.start("127.0.0.1")
    gateways = tuple(Gateway("PSTN", phone.address) for phone in phones.values() if phone.number == GATEWAY)
    pbx = Pbx(PbxConfig(address, address, EXTENSIONS, gateways=gateways, **played.settings))
    await pbx.start()
    try:
        for name, phone in phones.items():
            if phone.number != GATEWAY:
                await phone.prepare(played.before, played.q.get(name, ""))
        todo = steps(flow, played)
        spoken = b""
        challenged = any(step.what in ("401", "407") for step in todo)
        for step in todo:
            if step.sender:
                if played.moves and step.number == played.moves:
                    await phones[step.sender].move()
                proves = bool(step.header("Authorization") or step.header("Proxy-Authorization"))
                spoken = phones[step.sender].play(step, proves or not challenged, "wrong" if played.wrong_password else None) or spoken
            if step.receiver:
                await phones[step.receiver].receive(step, spoken)
        await asyncio.sleep(0.1)  # nothing more comes
        for name, phone in phones.items():
            phone.check(name)
    finally:
        await pbx.close()
        for phone in phones.values():
            await phone.close()
