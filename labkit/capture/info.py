"""Wireshark's Protocol and Info columns (4.0), character for character, for SIP, SDP bodies, RTP, telephone-event, RTCP, UDP, TCP.

Wireshark's own marks on TCP segments (retransmission, window update) are not given.
"""

from __future__ import annotations

import re
import struct

from labkit.capture.sip_records import Message, SipRecord
from labkit.errors import SipError
from labkit.sip.headers import NameAddr
from labkit.sip.message import Request, Response

KNOWN_METHODS = frozenset(
    "ACK BYE CANCEL DO INFO INVITE MESSAGE NOTIFY OPTIONS PRACK QAUTH REFER REGISTER SPRACK SUBSCRIBE UPDATE PUBLISH".split()
)
DIALOG_FORMING = ("INVITE", "REFER", "SUBSCRIBE")

EVENTS = {
    **dict(
        enumerate(
            f"DTMF {name} {digit}"
            for name, digit in zip("Zero One Two Three Four Five Six Seven Eight Nine".split(), "0123456789", strict=True)
        )
    ),
    10: "DTMF Star *",
    11: "DTMF Pound #",
    12: "DTMF A",
    13: "DTMF B",
    14: "DTMF C",
    15: "DTMF D",
    16: "Flash",
    32: "Fax ANS",
    33: "Fax /ANS",
    34: "Fax ANSam",
    35: "Fax /ANSam",
    36: "Fax CNG",
}
"""RFC 4733 §3.2 and RFC 4734, as Wireshark words them."""

RTCP_TYPES = {
    200: "Sender Report",
    201: "Receiver Report",
    202: "Source description",
    203: "Goodbye",
    204: "Application specific",
    205: "Generic RTP Feedback",
    206: "Payload-specific Feedback",
    207: "Extended report (RFC 3611)",
}
_PAYLOAD_FEEDBACK = {1: "PLI", 2: "SLI", 3: "RPSI", 4: "FIR"}
_TCP_FLAGS = ((0x01, "FIN"), (0x02, "SYN"), (0x04, "RST"), (0x08, "PSH"), (0x10, "ACK"), (0x20, "URG"), (0x40, "ECN"), (0x80, "CWR"))


def shown(text: str) -> str:
    """Network text made safe to show on one line: no control characters, no half-decoded octets."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" if ord(c) < 256 else "\ufffd" for c in text)


def sip_info(record: SipRecord) -> tuple[str, str]:
    """(Protocol, Info) of one SIP message."""
    message = record.message
    if isinstance(message, Request):
        kind = "Request" if message.method in KNOWN_METHODS else "Unknown request"
        info = f"{kind}: {shown(message.method)} {shown(message.uri)}"
        if message.method in DIALOG_FORMING and record.to_tag:
            info += ", in-dialog"
        if message.method == "REGISTER":
            info += _bindings_asked(message)
    else:
        info = f"Status: {message.status} {shown(message.reason)}"
        if message.status == 200 and record.cseq_method:
            info += f" ({record.cseq_method})"
        if message.status // 100 == 2 and record.cseq_method == "REGISTER":
            info += _bindings_given(message)
    protocol, ending = _body_info(message)
    return "SIP" + protocol, f"{info} | {ending}"


def _contacts(message: Message) -> tuple[list[NameAddr], int]:
    """The Contacts, and how many are taken away as Wireshark counts: one a Contact with ``expires=0``, and one for ``Expires: 0``."""
    try:
        contacts = message.contacts
    except SipError:  # counted all the same
        return [NameAddr(value) for value in message.headers.get_list("Contact")], 0
    return contacts, sum(contact.expires == 0 for contact in contacts) + ((message.headers.get("Expires") or "") == "0")


def _plural(count: int) -> str:
    return f"{count} binding{'' if count == 1 else 's'}"


def _bindings_asked(message: Request) -> str:
    contacts, removed = _contacts(message)
    if not contacts:
        return "  (fetch bindings)"
    if contacts[0].uri == "*":
        return "  (remove all bindings)"
    if not removed:
        return f"  ({_plural(len(contacts))})"
    added = len(contacts) - removed
    return f"  (remove {_plural(removed)})" + (f" (add {_plural(added)})" if added > 0 else "")


def _bindings_given(message: Response) -> str:
    contacts, removed = _contacts(message)
    if not removed:
        return f"  ({_plural(len(contacts))})"
    kept = len(contacts) - removed
    return f"  (removed {_plural(removed)})" + (f" ({_plural(kept)} kept)" if kept > 0 else "")


def _body_info(message: Message) -> tuple[str, str]:
    """What the body adds to the Protocol and Info columns."""
    if not message.body:
        return "", ""
    kind = message.content_type
    if kind.startswith("multipart/"):
        inside = [part.lower().decode("ascii", "replace") for part in re.findall(rb"(?im)^content-type:[ \t]*([\w/+.-]+)", message.body)]
    else:
        inside = [kind]
    protocol, ending = "", ""
    for kind in inside:
        if kind == "application/sdp":
            protocol = "/SDP"
        elif kind == "message/sipfrag":
            protocol = "/sipfrag"
            line = message.body.split(b"\r\n", 1)[0].decode("utf-8", "replace")
            ending += f", with Sipfrag({shown(line)})"
        elif kind.endswith(("+xml", "/xml")):
            protocol = "/XML"
        elif kind.startswith("text/"):
            ending += f" ({kind})"
    return protocol, ending


def rtp_info(payload_name: str, ssrc: int, sequence: int, timestamp: int, marker: bool) -> str:
    """Info of an RTP packet; ``payload_name`` as in :data:`labkit.capture.payload_types.LONG_NAMES`."""
    return f"PT={payload_name}, SSRC=0x{ssrc:X}, Seq={sequence}, Time={timestamp}{', Mark' if marker else ''}"


def event_info(payload: bytes) -> str:
    """Info of a telephone-event (RFC 4733 §2.3)."""
    return f"Payload type=RTP Event, {EVENTS.get(payload[0], 'Unknown')}" + (" (end)" if len(payload) > 1 and payload[1] & 0x80 else "")


def rtcp_info(data: bytes) -> str:
    """Info of a compound RTCP packet (RFC 3550 §6.1)."""
    words, at = [], 0
    while at + 4 <= len(data):
        first, kind, length = struct.unpack_from("!BBH", data, at)
        if kind not in RTCP_TYPES:
            break
        words.append(f"{RTCP_TYPES[kind]}   ")
        if kind == 204 and at + 12 <= len(data):
            words.append(f"( {shown(data[at + 8 : at + 12].decode('latin-1'))} ) subtype={first & 31}")
        elif kind == 206 and first & 31 in _PAYLOAD_FEEDBACK:
            words.append(f"{_PAYLOAD_FEEDBACK[first & 31]}  ")
        at += 4 + 4 * length
        if at > len(data):
            words.append("[Malformed Packet]")
    return "".join(words)


def udp_info(source_port: int, destination_port: int, size: int) -> str:
    return f"{source_port} → {destination_port} Len={size}"


def tcp_info(header: bytes, size: int, first: tuple[int, int], scale: int) -> str:
    """Info of a TCP segment.  ``first``: the initial sequence numbers of sender and receiver; ``scale``: shift of the sender's window."""
    source, destination, sequence, acknowledgment, _, flags, window = struct.unpack_from("!HHIIBBH", header)
    names = ", ".join(name for bit, name in _TCP_FLAGS if flags & bit) or "<None>"
    info = f"{source} → {destination} [{names}] Seq={(sequence - first[0]) & 0xFFFFFFFF}"
    if flags & 0x10:
        info += f" Ack={(acknowledgment - first[1]) & 0xFFFFFFFF}"
    info += f" Win={window if flags & 0x02 else window << scale} Len={size}"
    return info + "".join(f" {option}" for option in tcp_options(header))


def tcp_options(header: bytes) -> list[str]:
    """The options of a segment, in Wireshark's words."""
    found, at = [], 20
    while at + 1 < len(header) and header[at] != 0:
        if header[at] == 1:
            at += 1
            continue
        kind, length = header[at], header[at + 1]
        value = header[at + 2 : at + length]
        if length < 2 or at + length > len(header):
            break
        if kind == 2 and len(value) == 2:
            found.append(f"MSS={int.from_bytes(value, 'big')}")
        elif kind == 3 and len(value) == 1:
            found.append(f"WS={1 << min(value[0], 14)}")
        elif kind == 4:
            found.append("SACK_PERM")
        elif kind == 8 and len(value) == 8:
            found.append("TSval={} TSecr={}".format(*struct.unpack("!II", value)))
        at += length
    return found
