"""SIP messages: RFC 3261 §7, read from a datagram (§18.3) and written back.

A header that nobody touches is relayed byte for byte, in its place, with its folding and its compact name.  Parsing is lazy: the head
is cut into lines, and only the headers that are asked for are read.  :func:`validate` is the full check of a server (§8.2, RFC 4475).
Framing on TCP is in :mod:`labkit.sip.stream`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from labkit.errors import SipError
from labkit.sip.fields import Headers as Headers
from labkit.sip.fields import decode, encode, key_of
from labkit.sip.headers import TOKEN, CSeq, NameAddr, Via, name_addrs, split_commas
from labkit.sip.number import decimal
from labkit.sip.status import reason as reason_phrase
from labkit.sip.uri import SipUri

_NAME = re.compile(rf"[{TOKEN}]+".encode())
_METHOD = re.compile(rf"[{TOKEN}]+")
_VERSION = re.compile(r"SIP/\d+\.\d+", re.IGNORECASE | re.ASCII)
# What a message may be made of; §7.3.1 sets no limit.  70 proxies that each write a Via and a Record-Route take a third of it.
ROWS_MAX = 500
"""Lines of one head."""
ITEMS_MAX = 1500
"""Commas and semicolons of one head: list elements and parameters."""
ANSWERED_ROWS = 100
_ONLY_ONCE = {key_of(n): n for n in ("Call-ID", "From", "To", "CSeq", "Max-Forwards", "Content-Length", "Content-Type")}


class MalformedMessage(SipError):
    """A message that breaks the grammar.  ``sip_message`` is what could be read of it, to be answered; ``None`` if too little."""

    def __init__(self, message_id: str, /, *, status: int | None = 400, sip_message: SipMessage | None = None, **values: object) -> None:
        super().__init__(message_id, status=status, **values)
        self.sip_message = sip_message


class SipMessage:
    """What a request and a response share: headers, body, and the parsed forms of the headers that route and match."""

    __slots__ = ("headers", "body")

    def __init__(self, headers: Headers | Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.body = body

    @property
    def start_line(self) -> str:
        raise NotImplementedError

    def _one(self, name: str) -> str:
        value = self.headers.get(name)
        if value is None:
            raise SipError("sip.missing_header", header=name)
        return value

    @property
    def via(self) -> Via:
        """The top Via."""
        return self.headers.parsed("via", lambda h: Via.parse(split_commas(self._one("Via"))[0]))

    @property
    def from_(self) -> NameAddr:
        return self.headers.parsed("from", lambda h: NameAddr.parse(self._one("From"), "From"))

    @property
    def to(self) -> NameAddr:
        return self.headers.parsed("to", lambda h: NameAddr.parse(self._one("To"), "To"))

    @property
    def cseq(self) -> CSeq:
        return self.headers.parsed("cseq", lambda h: CSeq.parse(self._one("CSeq")))

    @property
    def call_id(self) -> str:
        return self.headers.parsed("call-id", lambda h: self._one("Call-ID"))

    @property
    def contacts(self) -> list[NameAddr]:
        """Every Contact; the lone ``*`` of a REGISTER comes as ``NameAddr("*")``."""
        return self.headers.parsed("contact", lambda h: name_addrs(h.get_all("Contact")))

    @property
    def content_type(self) -> str:
        """Media type and subtype in lower case without parameters; ``""`` when there is none."""
        return (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower()

    def __bytes__(self) -> bytes:
        """The message as it goes on the wire.  A Content-Length that is absent or wrong is put right (§20.14)."""
        length = self.headers.get("Content-Length")
        if decimal(length) != len(self.body):
            self.headers.set("Content-Length", len(self.body))
        return b"".join((encode(self.start_line), b"\r\n", bytes(self.headers), b"\r\n", self.body))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.start_line}>"


class Request(SipMessage):
    """``INVITE sip:101@pbx SIP/2.0`` with headers and body.  ``uri`` is text, since it may have any scheme; :attr:`target` reads it."""

    __slots__ = ("method", "uri")

    def __init__(self, method: str, uri: str | SipUri, headers: Headers | Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = str(uri)

    @property
    def start_line(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"

    @property
    def target(self) -> SipUri:
        return SipUri.parse(self.uri)

    def response(self, status: int, reason: str = "", *, to_tag: str = "", body: bytes = b"") -> Response:
        """The response to this request (§8.2.6.2): its Via, From, To, Call-ID and CSeq as they came, a To tag if there is none."""
        response = Response(status, reason, (), body)
        response.headers.copy_from(self.headers, "Via")
        if status == 100:
            response.headers.copy_from(self.headers, "Timestamp")
        response.headers.copy_from(self.headers, "From", "To", "Call-ID", "CSeq")
        if to_tag and status > 100 and not self.to.tag:
            response.headers.set("To", self.to.with_tag(to_tag))
        return response


class Response(SipMessage):
    """``SIP/2.0 180 Ringing`` with headers and body."""

    __slots__ = ("status", "reason")

    def __init__(
        self, status: int, reason: str = "", headers: Headers | Iterable[tuple[str, str]] = (), body: bytes = b"", *, exact: bool = False
    ) -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason if exact else reason or reason_phrase(status)

    @property
    def start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"


def _sibling(method: str, request: Request, to: str | None) -> Request:
    """ACK and CANCEL belong to an INVITE: same URI, top Via, From, Call-ID, CSeq number and Route (§9.1, §17.1.1.3)."""
    headers = Headers([("Via", str(request.via)), ("Max-Forwards", "70")])
    headers.copy_from(request.headers, "Route", "From")
    if to is None:
        headers.copy_from(request.headers, "To")
    else:
        headers.append("To", to)
    headers.copy_from(request.headers, "Call-ID")
    headers.append("CSeq", f"{request.cseq.number} {method}")
    return Request(method, request.uri, headers)


def ack(invite: Request, refusal: Response) -> Request:
    """The ACK for a response of 300 to 699: part of the INVITE transaction, with the To of the response (§17.1.1.3)."""
    return _sibling("ACK", invite, refusal.headers.get("To"))


def cancel(invite: Request, *, cause: int | None = None) -> Request:
    """The CANCEL for an INVITE (§9.1), with a Reason such as ``SIP;cause=200`` (RFC 3326: answered elsewhere) if one is given."""
    request = _sibling("CANCEL", invite, None)
    if cause is not None:
        request.headers.append("Reason", f'SIP;cause={cause};text="{"Call completed elsewhere" if cause == 200 else reason_phrase(cause)}"')
    return request


def parse(data: bytes) -> Request | Response:
    """Read one datagram (§18.3); raises :class:`MalformedMessage`, whose ``sip_message`` is set when it can still be answered.

    Octets after Content-Length are cut; a Content-Length larger than the datagram is an error (400 for a request).
    """
    message, body = parse_head(data.lstrip(b"\r\n") if data[:1] in b"\r\n" else data)
    length = content_length(message)
    if length is not None and length > len(body):
        raise MalformedMessage("sip.body_short", sip_message=message, length=length, found=len(body))
    message.body = body if length is None else body[:length]
    return message


def content_length(message: SipMessage) -> int | None:
    """The Content-Length, ``None`` when absent; a wrong or contradictory one raises."""
    values = message.headers.get_all("Content-Length")
    if not values:
        return None
    length = decimal(values[0])
    if len(set(values)) > 1 or length is None:
        raise MalformedMessage("sip.bad_header", sip_message=message, header="Content-Length", value=", ".join(values)[:200])
    return length


def parse_head(data: bytes) -> tuple[Request | Response, bytes]:
    """The start line and the headers, and the octets after the empty line.

    Of a head with more than :data:`ROWS_MAX` lines or :data:`ITEMS_MAX` items, only the first lines are read, to be answered.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    lines = (head if end else head.rstrip(b"\r\n")).split(b"\r\n")
    too_many = len(lines) > ROWS_MAX or head.count(b",") + head.count(b";") > ITEMS_MAX
    if too_many:
        del lines[ANSWERED_ROWS:]
    headers = Headers()
    kept = headers.lines
    wrong: bytes | None = None
    for line in lines[1:]:
        if b"\n" in line or b"\r" in line:
            # §25.1: CR and LF only come in pairs.  Whoever takes one alone for a line end would read other headers than we do.
            wrong = wrong or line
            continue
        if line[:1] in (b" ", b"\t") and kept:
            # §7.3.1: a line that begins with white space continues the one before.
            key, raw = kept[-1]
            kept[-1] = (key, raw + b"\r\n" + line)
            continue
        name, colon, _ = line.partition(b":")
        if not colon or not _NAME.fullmatch(name.rstrip(b" \t")):
            wrong = wrong or line
            continue
        kept.append((key_of(name), line))
    message = _start(lines[0], headers)
    if too_many:
        raise MalformedMessage("sip.too_many_fields", status=513, sip_message=message, rows=ROWS_MAX, items=ITEMS_MAX)
    if not end:
        raise MalformedMessage("sip.no_end_of_headers", sip_message=message)
    if wrong is not None:
        raise MalformedMessage("sip.bad_header", sip_message=message, header="?", value=decode(wrong)[:200])
    return message, rest


def _start(line: bytes, headers: Headers) -> Request | Response:
    text = decode(line)
    first, _, rest = text.partition(" ")
    if "\n" in text or "\r" in text:
        raise MalformedMessage("sip.bad_start_line", status=None, line=text[:200])
    if _VERSION.fullmatch(first):
        status, _, reason = rest.partition(" ")
        # §7.2: Status-Code is three digits.
        if first.upper() != "SIP/2.0" or not (len(status) == 3 and status.isascii() and status.isdecimal() and "100" <= status < "700"):
            raise MalformedMessage("sip.bad_start_line", status=None, line=text[:200])
        return Response(int(status), reason, headers, exact=True)
    parts = text.split(" ")
    version = parts[-1]
    if len(parts) == 3 and _METHOD.fullmatch(first) and parts[1] and _VERSION.fullmatch(version):
        request = Request(first, parts[1], headers)
        if version.upper() != "SIP/2.0":
            raise MalformedMessage("sip.version", status=505, sip_message=request, version=version)
        return request
    # §7.1: single spaces, no white space in the URI.  If it still looks like a request, it can be answered.
    looks_like = _METHOD.fullmatch(first) and "SIP/" in rest
    raise MalformedMessage("sip.bad_start_line", sip_message=Request(first, "sip:", headers) if looks_like else None, line=text[:200])


def validate(message: Request | Response) -> None:
    """What a server demands before it looks further; raises :class:`SipError` with the status to answer.

    RFC 3261 §8.1.1: To, From, CSeq, Call-ID and Via are there, once each where once is the rule, and readable; CSeq names the method; the
    Request-URI is a sip or sips URI without headers (§19.1.1); Contact and Max-Forwards can be read.
    """
    headers = message.headers
    seen: set[str] = set()
    for key, _raw in headers.lines:
        if key in _ONLY_ONCE and key in seen:
            raise SipError("sip.repeated_header", header=_ONLY_ONCE[key])
        seen.add(key)
    _ = message.via
    for item in [item for value in headers.get_all("Via") for item in split_commas(value)][1:]:
        Via.parse(item)
    _ = message.from_, message.to, message.call_id, message.cseq, message.contacts
    if isinstance(message, Request):
        if message.cseq.method != message.method:
            raise SipError("sip.cseq_method", method=message.method, cseq=message.cseq.method)
        hops = headers.get("Max-Forwards")
        left = decimal(hops) if hops is not None else 0
        if left is None or left > 255:
            raise SipError("sip.bad_header", header="Max-Forwards", value=(hops or "")[:200])
        if message.target.headers:
            raise SipError("sip.bad_uri", uri=message.uri[:200])
