"""The SIP messages of a capture (RFC 3261), found in UDP datagrams and TCP streams whatever the port, and read forgivingly.

A message that breaks the grammar is kept with as much as could be read and the reason in :attr:`SipRecord.error`: a capture shows what
was sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from labkit.capture.layers import UDP, Layers
from labkit.capture.sip_streams import sip_over_tcp
from labkit.errors import SipError
from labkit.sip.message import Headers, MalformedMessage, Request, Response, parse_head
from labkit.sip.sdp import Sdp
from labkit.texts import text

if TYPE_CHECKING:
    from labkit.capture.diff import Difference

Address = tuple[str, int]
Message = Request | Response

RETRANSMITTED_WITHIN = 32.0
"""Seconds in which an identical message is a retransmission: 64*T1, after which a transaction has ended (RFC 3261 §17)."""

_REQUEST = re.compile(rb"([^\s]+) ([^\s]+) SIP/2\.0\r?(?:\n|\Z)")
_STATUS = re.compile(rb"SIP/2\.0 (\d{3}) ([^\r\n]*)")
_SDP_PART = re.compile(rb"\r\n\r\n(v=0\r\n.*?)(?:\r\n--|\Z)", re.DOTALL)


@dataclass
class SipRecord:
    """One SIP message on the wire.  ``number`` is the packet's (from 1), ``time`` in seconds since the first packet of the capture."""

    number: int
    time: float
    source: Address
    destination: Address
    transport: str
    message: Message
    raw: bytes
    error: str = ""
    """Why the message is malformed; empty when it is not."""
    retransmission: bool = False

    @property
    def is_request(self) -> bool:
        return isinstance(self.message, Request)

    @property
    def method(self) -> str:
        """The method of a request, or of the request that a response answers (its CSeq)."""
        return self.message.method if isinstance(self.message, Request) else self.cseq_method

    @property
    def status(self) -> int | None:
        return self.message.status if isinstance(self.message, Response) else None

    @property
    def call_id(self) -> str:
        return self.message.headers.get("Call-ID") or ""

    @cached_property
    def cseq_method(self) -> str:
        return (self.message.headers.get("CSeq") or "").rpartition(" ")[2].upper()

    @property
    def from_tag(self) -> str:
        return _tag(self.message.headers.get("From"))

    @property
    def to_tag(self) -> str:
        return _tag(self.message.headers.get("To"))

    @property
    def in_dialog(self) -> bool:
        """A request inside a dialog carries the tag of the other side (§12.2.1.1)."""
        return self.is_request and bool(self.to_tag)

    @cached_property
    def sdp(self) -> Sdp | None:
        """The session description, alone or as a part of a multipart body; ``None`` when there is none that can be read."""
        body = self.message.body
        if not body:
            return None
        kind = self.message.content_type
        if kind.startswith("multipart/"):
            part = _SDP_PART.search(body)
            body = part[1] + b"\r\n" if part else b""
        elif kind != "application/sdp":
            return None
        try:
            return Sdp.parse(body.decode("utf-8", "replace"))
        except SipError:
            return None

    @property
    def text(self) -> str:
        """The whole message as text."""
        return self.raw.decode("utf-8", "replace")

    def diff(self, other: SipRecord) -> Difference:
        """What of this message is the same, changed, added or removed in another."""
        from labkit.capture.diff import compare

        return compare(self, other)

    def __str__(self) -> str:
        """The whole message, safe for a terminal."""
        from labkit.capture.info import shown

        return "\n".join(shown(line) for line in self.text.replace("\r\n", "\n").split("\n"))

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def __repr__(self) -> str:
        (source, sport), (destination, dport) = self.source, self.destination
        return f"<SipRecord {self.number} {self.time:.6f} {source}:{sport} -> {destination}:{dport} {self.message.start_line}>"


def _tag(header: str | None) -> str:
    # Parameters follow the last ">" of a name-addr; without brackets they follow the URI.
    match = re.search(r";\s*tag\s*=\s*([^;,\s]+)", (header or "").rpartition(">")[2], re.IGNORECASE)
    return match[1] if match else ""


def find_sip(layers: Layers, origin_ns: int) -> list[SipRecord]:
    """Every SIP message, in the order of the packets."""
    found = [(index, data, "UDP") for index, data in _datagrams(layers)]
    found += [(index, data, "TCP") for index, data in sip_over_tcp(layers)]
    records = []
    for index, data, transport in sorted(found, key=lambda item: item[0]):
        read = read_message(data)
        if read is not None:
            source, destination = layers.endpoints(index)
            time = (int(layers.records.time_ns[index]) - origin_ns) / 1e9
            records.append(SipRecord(index + 1, time, source, destination, transport, read[0], data, read[1]))
    _mark_retransmissions(records)
    return records


def _datagrams(layers: Layers) -> list[tuple[int, bytes]]:
    candidates = np.flatnonzero((layers.protocol == UDP) & (layers.size >= 16))
    first = layers.heads(candidates, 1)[:, 0]
    return [(index, layers.bytes_of(index)) for index in candidates[(first > 0x20) & (first < 0x7F)].tolist()]


def read_message(data: bytes) -> tuple[Message, str] | None:
    """(message, what is wrong with it) or ``None`` when ``data`` does not begin like SIP."""
    request, status = _REQUEST.match(data), _STATUS.match(data)
    if not request and not status:
        return None
    head, end, rest = data.partition(b"\r\n\r\n")
    error = ""
    message: Message | None
    try:
        message, _ = parse_head(head + b"\r\n\r\n")
    except MalformedMessage as problem:
        message, error = problem.sip_message if isinstance(problem.sip_message, Request | Response) else None, str(problem)
    except SipError as problem:
        message, error = None, str(problem)
    if message is None or (isinstance(message, Request) and message.uri == "sip:"):
        headers = _headers(head)
        if request:
            message = Request(_text(request[1]), _text(request[2]), headers)
        else:
            assert status is not None
            message = Response(int(status[1]), _text(status[2]), headers, exact=True)
    length = message.headers.get("Content-Length") or ""
    if length.isascii() and length.isdecimal() and len(length) < 10:
        if int(length) > len(rest):
            error = error or text("capture.body_short", length=length, found=len(rest))
        rest = rest[: int(length)]
    message.body = rest
    return message, error or ("" if end else text("capture.headers_open"))


def _headers(head: bytes) -> Headers:
    """The headers below a start line that the parser refused."""
    try:
        return parse_head(b"OPTIONS sip:x SIP/2.0\r\n" + head.partition(b"\n")[2] + b"\r\n\r\n")[0].headers
    except MalformedMessage as problem:
        return problem.sip_message.headers if problem.sip_message is not None else Headers()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _mark_retransmissions(records: list[SipRecord]) -> None:
    """Over UDP, the same octets between the same ends are the same message again (§17.1.1.2, §17.2.1)."""
    last: dict[tuple[Address, Address, bytes], float] = {}
    for record in records:
        if record.transport != "UDP":
            continue
        key = (record.source, record.destination, record.raw)
        before = last.get(key)
        record.retransmission = before is not None and record.time - before <= RETRANSMITTED_WITHIN
        last[key] = record.time
