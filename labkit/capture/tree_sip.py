"""SIP (RFC 3261) and SDP (RFC 8866) in a packet's tree, with the names that Wireshark's fields have."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.capture.info import shown
from labkit.capture.node import Node, node
from labkit.capture.sip_records import SipRecord
from labkit.errors import SipError
from labkit.sip.headers import NameAddr
from labkit.sip.message import Request, SipMessage

SIP = "sip"
ADDRESSES = ("From", "To", "Contact")
FIELD_NAMES = {
    name.lower(): name
    for name in """Accept Accept-Contact Alert-Info Allow Allow-Events Authentication-Info Authorization Call-ID Call-Info Contact
    Content-Disposition Content-Encoding Content-Length Content-Type CSeq Date Diversion Error-Info Event Expires From Identity In-Reply-To
    Join Max-Forwards MIME-Version Min-Expires Min-SE Organization P-Asserted-Identity P-Preferred-Identity Path Priority Privacy
    Proxy-Authenticate Proxy-Authorization Proxy-Require RAck Reason Record-Route Refer-To Referred-By Replaces Reply-To Require
    Retry-After Route RSeq Server Service-Route Session-Expires Session-ID SIP-ETag SIP-If-Match Subject Subscription-State Supported
    Timestamp To Unsupported User-Agent Via Warning WWW-Authenticate""".split()
}
"""Headers by their Wireshark field, whatever the case they came in."""
SDP_LINES = {
    "v": ("Session Description Protocol Version (v)", "version"),
    "o": ("Owner/Creator, Session Id (o)", "owner"),
    "s": ("Session Name (s)", "session_name"),
    "i": ("Session Information (i)", "session_info"),
    "c": ("Connection Information (c)", "connection_info"),
    "b": ("Bandwidth Information (b)", "bandwidth"),
    "t": ("Time Description, active time (t)", "time"),
    "m": ("Media Description, name and address (m)", "media"),
    "a": ("Attribute (a)", "media_attr"),
}


def _sip(name: str) -> str:
    """The field of this name."""
    return f"{SIP}.{name}"


def sip_node(record: SipRecord) -> Node:
    """One message: its start line, its headers, its body."""
    message = record.message
    lines = [_start_line(message, record), Node("Message Header", _sip("msg_hdr"), None, tuple(_headers(message)))]
    if message.body:
        lines.append(_body(record))
    if record.error:
        lines.append(Node(f"Malformed: {shown(record.error)}", _sip("malformed"), record.error))
    name = message.method if isinstance(message, Request) else str(record.status)
    return Node(f"Session Initiation Protocol ({shown(name)})", "sip", record.text, tuple(lines))


def _start_line(message: SipMessage, record: SipRecord) -> Node:
    resent = node("Resent Packet", _sip("resend"), record.retransmission)
    line = shown(message.start_line)
    if isinstance(message, Request):
        parts = (node("Method", _sip("Method"), shown(message.method)), node("Request-URI", _sip("r-uri"), shown(message.uri)), resent)
        return Node(f"Request-Line: {line}", _sip("Request-Line"), line, parts)
    return Node(f"Status-Line: {line}", _sip("Status-Line"), line, (node("Status-Code", _sip("Status-Code"), record.status), resent))


def _headers(message: SipMessage) -> Iterator[Node]:
    for key, raw in message.headers.lines:
        name, _, value = raw.decode("utf-8", "replace").partition(":")
        line, long = shown(" ".join(value.split())), FIELD_NAMES.get(key.lower(), shown(name.strip()))
        yield Node(f"{shown(name.strip())}: {line}", _sip(long), line, tuple(_parts(long, value.strip())))


def _parts(name: str, value: str) -> Iterator[Node]:
    if name == "CSeq":
        number, _, method = value.partition(" ")
        yield node(
            "Sequence Number", _sip("CSeq.seq"), int(number) if number.isascii() and number.isdecimal() and len(number) < 11 else number
        )
        yield node("Method", _sip("CSeq.method"), shown(method.strip()))
    elif name in ADDRESSES:
        try:
            address = NameAddr.parse(value, name)
        except SipError:
            return
        where = name.lower()
        yield node("Address", _sip(f"{where}.addr"), shown(address.uri))
        if address.tag:
            yield node("Tag", _sip(f"{where}.tag"), shown(address.tag))


def _body(record: SipRecord) -> Node:
    sdp = record.sdp
    if sdp is None:
        lines = record.message.body[:4096].decode("utf-8", "replace").splitlines()
        return Node("Message Body", _sip("msg_body"), len(record.message.body), tuple(Node(shown(line)) for line in lines))
    found: list[Node] = [_sdp_line(*line) for line in sdp.lines]
    for media in sdp.media:
        count = f"/{media.port_count}" if media.port_count > 1 else ""
        text = f"{media.kind} {media.port}{count} {media.protocol} {' '.join(media.formats)}"
        found.append(_sdp_line("m", text))
        found += [_sdp_line(*line) for line in media.lines]
    return Node(
        "Message Body", _sip("msg_body"), len(record.message.body), (Node("Session Description Protocol", "sdp", None, tuple(found)),)
    )


def _sdp_line(kind: str, value: str) -> Node:
    title, field = SDP_LINES.get(kind, (f"Unknown ({kind})", "unknown"))
    return Node(f"{title}: {shown(value)}", f"sdp.{field}", shown(value))
