"""A small call written byte by byte: two registrations, a call through the server, a direct call, a little voice."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from labkit.capture.write import Address, PcapngWriter, udp
from labkit.sip.digest import Challenge
from labkit.sip.message import Request, Response
from labkit.sip.sdp import Media, Sdp

PBX, BOB, ALICE = ("127.5.1.10", 5060), ("127.5.1.100", 40100), ("127.5.1.101", 40101)
PASSWORD = "7978"


@dataclass
class Scene:
    """Writes packets 10 ms apart."""

    pbx: Address = PBX
    bob: Address = BOB
    alice: Address = ALICE
    packets: list[bytes] = field(default_factory=list)

    def send(self, source: Address, destination: Address, payload: bytes) -> None:
        self.packets.append(udp(source, destination, payload))

    def save(self, path: Path) -> Path:
        with path.open("wb") as file:
            writer = PcapngWriter(file)
            for index, packet in enumerate(self.packets):
                writer.packet(1_700_000_000_000_000_000 + index * 10_000_000, packet)
        return path

    def request(
        self, method: str, source: Address, target: Address, user: str, caller: str, call_id: str, cseq: int, **more: str
    ) -> Request:
        """A request with the headers that every one has; ``more`` names further ones with underscores."""
        uri = f"sip:{user}@{target[0]}:{target[1]}"
        headers = [
            ("Via", f"SIP/2.0/UDP {source[0]}:{source[1]};branch=z9hG4bK{call_id}{cseq}{method}"),
            ("From", f"<sip:{caller}@{self.pbx[0]}>;tag=a{call_id}"),
            ("To", f"<{uri}>" + (";tag=b" if method in ("ACK", "BYE") else "")),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", f"<sip:{caller}@{source[0]}:{source[1]}>"),
        ]
        body = more.pop("body", "")
        headers += [(name.replace("_", "-"), value) for name, value in more.items()]
        if body:
            headers.append(("Content-Type", "application/sdp"))
        return Request(method, uri, headers, body.encode())

    def ask(self, request: Request, source: Address, target: Address, *answers: Response) -> None:
        self.send(source, target, bytes(request))
        for answer in answers:
            self.send(target, source, bytes(answer))

    def register(self, phone: Address, user: str, code: int = 407, steps: int = 4) -> None:
        """REGISTER, challenge, REGISTER with credentials, 200; ``steps`` cuts it short."""
        challenge = Challenge("labkit", f"nonce-{user}")
        name, reply = ("Proxy-Authenticate", "Proxy-Authorization") if code == 407 else ("WWW-Authenticate", "Authorization")
        first = self.request("REGISTER", phone, self.pbx, user, user, f"reg{user}", 1)
        refused = first.response(code)
        refused.headers.append(name, challenge)
        uri = f"sip:{user}@{self.pbx[0]}:{self.pbx[1]}"
        credentials = str(challenge.answer("REGISTER", uri, user, PASSWORD))
        second = self.request("REGISTER", phone, self.pbx, user, user, f"reg{user}", 2, **{reply: credentials})
        accepted = second.response(200)
        accepted.headers.append("Contact", f"<sip:{user}@{phone[0]}:{phone[1]}>;expires=120")
        messages = [(phone, self.pbx, first), (self.pbx, phone, refused), (phone, self.pbx, second), (self.pbx, phone, accepted)]
        for source, destination, message in messages[:steps]:
            self.send(source, destination, bytes(message))

    def call(self, *, voice: str = "direct", hang_up: bool = True, challenged: bool = True) -> None:
        """BOB calls ALICE through the server; the voice runs ``direct`` or through the ``server``, or not at all (``""``)."""
        offer, answer = sdp(self.bob[0], 40000), sdp(self.alice[0], 40010)
        number = 1
        if challenged:
            first = self.request("INVITE", self.bob, self.pbx, "101", "100", "in1", 1, body=offer)
            self.ask(first, self.bob, self.pbx, first.response(407, to_tag="b"))
            self.ask(self.request("ACK", self.bob, self.pbx, "101", "100", "in1", 1), self.bob, self.pbx)
            number = 2
        inbound = self.request("INVITE", self.bob, self.pbx, "101", "100", "in1", number, body=offer)
        outbound = self.request("INVITE", self.pbx, self.alice, "101", "100", "out1", 1, body=offer)
        self.ask(inbound, self.bob, self.pbx, inbound.response(100))
        self.ask(outbound, self.pbx, self.alice, outbound.response(180, to_tag="b"), answered(outbound, answer))
        self.send(self.pbx, self.bob, bytes(inbound.response(180, to_tag="b")))
        self.send(self.pbx, self.bob, bytes(answered(inbound, answer)))
        self.ask(self.request("ACK", self.bob, self.pbx, "101", "100", "in1", number), self.bob, self.pbx)
        self.ask(self.request("ACK", self.pbx, self.alice, "101", "100", "out1", 1), self.pbx, self.alice)
        if voice:
            self.talk((self.bob[0], 40000), (self.alice[0], 40010) if voice == "direct" else (self.pbx[0], 41000))
        if hang_up:
            for source, target, call_id, cseq in ((self.bob, self.pbx, "in1", number + 1), (self.pbx, self.alice, "out1", 2)):
                bye = self.request("BYE", source, target, "101", "100", call_id, cseq)
                self.ask(bye, source, target, bye.response(200))

    def talk(self, one: Address, other: Address, packets: int = 20) -> None:
        """Silence in PCMU, both ways."""
        for index in range(packets):
            for source, destination, ssrc in ((one, other, 1), (other, one, 2)):
                self.send(source, destination, struct.pack("!BBHII", 0x80, 0, index, index * 160, ssrc) + b"\xff" * 160)

    def call_directly(self) -> None:
        """BOB calls ALICE's phone without a server."""
        invite = self.request("INVITE", self.bob, self.alice, "101", "100", "direct1", 1, body=sdp(self.bob[0], 40002))
        self.ask(invite, self.bob, self.alice, invite.response(180, to_tag="b"), answered(invite, sdp(self.alice[0], 40012)))
        self.ask(self.request("ACK", self.bob, self.alice, "101", "100", "direct1", 1), self.bob, self.alice)
        bye = self.request("BYE", self.bob, self.alice, "101", "100", "direct1", 2)
        self.ask(bye, self.bob, self.alice, bye.response(200))


def sdp(host: str, port: int) -> str:
    return str(Sdp.make(host, [Media("audio", port, formats=("0",), lines=(("a", "rtpmap:0 PCMU/8000"),))]))


def answered(invite: Request, body: str) -> Response:
    response = invite.response(200, to_tag="b", body=body.encode())
    response.headers.append("Content-Type", "application/sdp")
    return response


def whole_part() -> Scene:
    """Part 1 as the notebook plays it."""
    scene = Scene()
    scene.register(scene.bob, "100")
    scene.register(scene.alice, "101")
    scene.call()
    scene.call_directly()
    return scene
