"""The fields that a display filter knows, by Wireshark's names, each as one column over the capture: frames, and a value for each.

A frame may have several values of one field (two ends of ``ip.addr``, several Via headers), or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from labkit.capture.info import shown
from labkit.capture.layers import ETHERTYPE_IPV4, ETHERTYPE_IPV6, TCP, UDP
from labkit.capture.node import Node
from labkit.capture.records import Ints
from labkit.capture.tree_media import rtcp_node
from labkit.capture.tree_network import FIELDS, network_nodes
from labkit.capture.tree_sip import FIELD_NAMES, SDP_LINES
from labkit.capture.tree_sip import SIP as PREFIX

if TYPE_CHECKING:
    from labkit.capture.capture import Capture
    from labkit.capture.sip_records import SipRecord

Kind = Literal["number", "address", "text"]


@dataclass(frozen=True)
class Column:
    """``values[i]`` belongs to the frame with index ``frames[i]``; addresses are numbers of :class:`Addresses`."""

    frames: Ints
    values: NDArray[np.generic] | list[str]
    kind: Kind


def _numbers(frames: Ints, values: NDArray[np.generic]) -> Column:
    return Column(frames, values, "number")


def _texts(pairs: Iterable[tuple[int, str]]) -> Column:
    found = list(pairs)
    return Column(np.array([frame for frame, _ in found], np.int64), [value for _, value in found], "text")


# --- frame, IP, UDP, TCP -------------------------------------------------------------------------------------------------


def _all(cap: Capture, values: NDArray[np.generic]) -> Column:
    return _numbers(np.arange(len(cap)), values)


def _network(cap: Capture, version: int, *sides: str) -> Column:
    layers = cap.layers
    frames = np.flatnonzero((layers.ethertype == (ETHERTYPE_IPV4 if version == 4 else ETHERTYPE_IPV6)) & (layers.source >= 0))
    ends = [(layers.source if side == "src" else layers.destination)[frames] for side in sides]
    return Column(np.tile(frames, len(ends)), np.concatenate(ends), "address")


def _transport(cap: Capture, protocol: int, *sides: str) -> Column:
    layers = cap.layers
    frames = np.flatnonzero((layers.protocol == protocol) & (layers.source_port >= 0))
    ends = [(layers.source_port if side == "src" else layers.destination_port)[frames] for side in sides]
    return _numbers(np.tile(frames, len(ends)), np.concatenate(ends))


def _sizes(cap: Capture, protocol: int, header: int) -> Column:
    frames = np.flatnonzero((cap.layers.protocol == protocol) & (cap.layers.size >= 0))
    return _numbers(frames, cap.layers.size[frames] + header)


NETWORK: dict[str, Callable[[Capture], Column]] = {
    "frame": lambda cap: _all(cap, np.arange(1, len(cap) + 1)),
    "frame.number": lambda cap: _all(cap, np.arange(1, len(cap) + 1)),
    "frame.time_relative": lambda cap: _all(cap, (cap.records.time_ns - cap.origin_ns) / 1e9),
    "frame.len": lambda cap: _all(cap, cap.records.length),
    "frame.cap_len": lambda cap: _all(cap, cap.records.captured),
    "frame.comment": lambda cap: _texts(cap.records.comments.items()),
    "ip": lambda cap: _network(cap, 4, "src"),
    "ip.src": lambda cap: _network(cap, 4, "src"),
    "ip.dst": lambda cap: _network(cap, 4, "dst"),
    "ip.addr": lambda cap: _network(cap, 4, "src", "dst"),
    "ipv6": lambda cap: _network(cap, 6, "src"),
    "ipv6.src": lambda cap: _network(cap, 6, "src"),
    "ipv6.dst": lambda cap: _network(cap, 6, "dst"),
    "ipv6.addr": lambda cap: _network(cap, 6, "src", "dst"),
    "udp": lambda cap: _transport(cap, UDP, "src"),
    "udp.srcport": lambda cap: _transport(cap, UDP, "src"),
    "udp.dstport": lambda cap: _transport(cap, UDP, "dst"),
    "udp.port": lambda cap: _transport(cap, UDP, "src", "dst"),
    "udp.length": lambda cap: _sizes(cap, UDP, 8),
    "tcp": lambda cap: _transport(cap, TCP, "src"),
    "tcp.srcport": lambda cap: _transport(cap, TCP, "src"),
    "tcp.dstport": lambda cap: _transport(cap, TCP, "dst"),
    "tcp.port": lambda cap: _transport(cap, TCP, "src", "dst"),
    "tcp.len": lambda cap: _sizes(cap, TCP, 0),
    "_ws.col.Protocol": lambda cap: _texts(enumerate(cap.packets["Protocol"].tolist())),
    "_ws.col.Info": lambda cap: _texts(enumerate(cap.packets["Info"].tolist())),
}

# --- RTP and RTCP --------------------------------------------------------------------------------------------------------


def _rtcp_types(cap: Capture) -> Column:
    """The packet type of every part of each compound packet."""
    frames, types = [], []
    for index in cap.rtp.rtcp.tolist():
        data, at = cap.layers.bytes_of(index), 0
        while at + 4 <= len(data):
            frames.append(index)
            types.append(data[at + 1])
            at += 4 + 4 * int.from_bytes(data[at + 2 : at + 4], "big")
    return _numbers(np.array(frames, np.int64), np.array(types, np.int64))


def _events(cap: Capture) -> Column:
    """The event number of every telephone-event packet."""
    frames, events = [], []
    for stream in cap.streams:
        kinds = [number for number in np.unique(stream.payload_type).tolist() if stream.payload_types.is_event(number)]
        packets = stream.packets() if kinds else []
        for place in np.flatnonzero(np.isin(stream.payload_type, kinds)).tolist():
            packet = packets[place]
            if packet and packet[1]:
                frames.append(int(stream.frame[place]))
                events.append(packet[1][0])
    return _numbers(np.array(frames, np.int64), np.array(events, np.int64))


MEDIA: dict[str, Callable[[Capture], Column]] = {
    "rtp": lambda cap: _numbers(cap.rtp.frame, cap.rtp.ssrc),
    "rtp.ssrc": lambda cap: _numbers(cap.rtp.frame, cap.rtp.ssrc),
    "rtp.p_type": lambda cap: _numbers(cap.rtp.frame, cap.rtp.payload_type),
    "rtp.seq": lambda cap: _numbers(cap.rtp.frame, cap.rtp.sequence),
    "rtp.timestamp": lambda cap: _numbers(cap.rtp.frame, cap.rtp.timestamp),
    "rtp.marker": lambda cap: _numbers(cap.rtp.frame, cap.rtp.marker),
    "rtcp": _rtcp_types,
    "rtcp.pt": _rtcp_types,
    "rtpevent": _events,
    "rtpevent.event_id": _events,
}

# --- SIP and SDP ---------------------------------------------------------------------------------------------------------

SIP: dict[str, Callable[[SipRecord], Iterable[str]]] = {
    "": lambda record: [record.text],
    "Method": lambda record: [record.method] if record.is_request else [],
    "Request-Line": lambda record: [record.message.start_line] if record.is_request else [],
    "Status-Line": lambda record: [] if record.is_request else [record.message.start_line],
    "r-uri": lambda record: [record.message.start_line.split(" ")[1]] if record.is_request else [],
    "CSeq.method": lambda record: [record.cseq_method] if record.cseq_method else [],
    "from.tag": lambda record: [record.from_tag] if record.from_tag else [],
    "to.tag": lambda record: [record.to_tag] if record.to_tag else [],
    "msg_body": lambda record: [record.message.body.decode("utf-8", "replace")] if record.message.body else [],
}
"""Names after "sip."; the empty one is the whole message."""
SIP_NUMBERS: dict[str, Callable[[SipRecord], int | None]] = {
    "Status-Code": lambda record: record.status,
    "resend": lambda record: int(record.retransmission),
    "CSeq.seq": lambda record: _cseq(record),
}


def _cseq(record: SipRecord) -> int | None:
    number = (record.message.headers.get("CSeq") or "").partition(" ")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 11 else None


def _sip(cap: Capture, values: Callable[[SipRecord], Iterable[str]]) -> Column:
    return _texts((record.number - 1, shown(value)) for record in cap.messages for value in values(record))


def _sip_numbers(cap: Capture, value: Callable[[SipRecord], int | None]) -> Column:
    found = [(record.number - 1, number) for record in cap.messages if (number := value(record)) is not None]
    return _numbers(np.array([frame for frame, _ in found], np.int64), np.array([number for _, number in found], np.int64))


def _sdp(record: SipRecord, kind: str = "") -> Iterator[str]:
    sdp = record.sdp
    if sdp is None:
        return
    if not kind:
        yield record.message.body.decode("utf-8", "replace")
    yield from (value for name, value in sdp.lines if name == kind)
    for media in sdp.media:
        if kind == "m":
            yield f"{media.kind} {media.port} {media.protocol} {' '.join(media.formats)}"
        yield from (value for name, value in media.lines if name == kind)


_SDP_KINDS = {"sdp": "", **{f"sdp.{field}": kind for kind, (_, field) in SDP_LINES.items()}}

# --- what else frames carry: the lines of their trees -----------------------------------------------------------------------

UNITS = frozenset(
    """stun stun.type stun.length stun.id stun.attributes stun.channel stun.att.username stun.att.realm stun.att.nonce stun.att.software
    stun.att.error-code stun.att.lifetime stun.att.xor-mapped-address stun.att.xor-peer-address stun.att.xor-relayed-address
    classicstun classicstun.type classicstun.length classicstun.id classicstun.att.mapped-address
    dtls dtls.record.version dtls.record.content_type dtls.record.length dtls.handshake dtls.handshake.type dtls.handshake.version
    dtls.handshake.random dtls.handshake.cookie dtls.handshake.ciphersuite dtls.handshake.extensions_server_name dtls.handshake.certificate
    dtls.use_srtp.protection_profile x509.subject imf.from imf.subject
    tls tls.record.version tls.record.content_type tls.record.opaque_type tls.record.length tls.handshake tls.handshake.type
    tls.handshake.version tls.handshake.random tls.handshake.session_id tls.handshake.ciphersuite tls.handshake.extensions_server_name
    tls.handshake.extensions_alpn_str tls.handshake.extensions.supported_version tls.handshake.certificate
    tls.alert_message tls.alert_message.level tls.alert_message.desc
    smtp smtp.command_line smtp.req.command smtp.response smtp.response.code smtp.auth.username smtp.auth.password
    pop pop.request pop.request.command pop.response imap imap.request imap.request.command imap.response""".split()
)
RTCP = frozenset(
    """rtcp.senderssrc rtcp.ssrc.identifier rtcp.ssrc.fraction rtcp.ssrc.cum_nr rtcp.ssrc.ext_high rtcp.ssrc.jitter rtcp.timestamp.rtp
    rtcp.sender.packetcount rtcp.sender.octetcount rtcp.sdes.text""".split()
)


def _nodes(cap: Capture, name: str) -> Iterator[tuple[int, Node]]:
    """The nodes among which a field is looked for, each with its frame."""
    if name in UNITS:
        yield from ((index, unit.tree()) for index, units in cap.applications.units.items() for unit in units)
        if name == "tls":  # frames in which a record begins, but does not end
            yield from ((index, Node("", name, "")) for index, begins in cap.applications.segments.items() if begins)
    elif name in RTCP:
        yield from ((index, rtcp_node(cap.layers.bytes_of(index))) for index in cap.rtp.rtcp.tolist())
    else:
        yield from ((index, layer) for index in range(len(cap)) for layer in network_nodes(cap.layers, index))


def _walked(cap: Capture, name: str) -> Column:
    found = [(index, line.value) for index, layer in _nodes(cap, name) for _, line in layer.walk() if line.field == name]
    frames = np.array([frame for frame, _ in found], np.int64)
    if found and all(isinstance(value, int | float) for _, value in found):
        return _numbers(frames, np.array([value for _, value in found], np.float64))
    return Column(frames, [_as_text(value) for _, value in found], "text")


def _as_text(value: object) -> str:
    if isinstance(value, tuple):
        return ":".join(map(str, value))
    return value.hex() if isinstance(value, bytes) else str(value)


WALKED = UNITS | RTCP | FIELDS

# --- by name -------------------------------------------------------------------------------------------------------------


def names() -> list[str]:
    """Every field, as Wireshark spells it."""
    sip = (f"{PREFIX}.{name}".rstrip(".") for name in (*SIP, *SIP_NUMBERS, *FIELD_NAMES.values()))
    return [*NETWORK, *MEDIA, *sip, *_SDP_KINDS, *sorted(WALKED)]


def column(cap: Capture, name: str) -> Column | None:
    """The column of a field, upper and lower case alike; ``None`` when there is no such field."""
    key = name.lower()
    for field, made in (*NETWORK.items(), *MEDIA.items()):
        if field.lower() == key:
            return made(cap)
    if key in _SDP_KINDS:
        return _sip(cap, lambda record: _sdp(record, _SDP_KINDS[key]))
    if key in WALKED:
        return _walked(cap, key)
    root, _, rest = key.partition(".")
    if root != PREFIX:
        return None
    for texts, value in SIP.items():
        if texts.lower() == rest:
            return _sip(cap, value)
    for numbers, number in SIP_NUMBERS.items():
        if numbers.lower() == rest:
            return _sip_numbers(cap, number)
    known = rest in FIELD_NAMES or any(record.message.headers.get(rest) is not None for record in cap.messages)
    return _sip(cap, lambda record: record.message.headers.get_all(rest)) if known else None
