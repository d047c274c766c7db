"""From a capture to its ladder: which messages and streams are drawn, what each is called, and in which order the hosts stand."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from labkit.capture.info import DIALOG_FORMING, shown
from labkit.capture.ladder import Arrow, Band, Column, Ladder, Row
from labkit.capture.ladder_bands import Flow, bands
from labkit.capture.ladder_filter import Filter, methods_of
from labkit.errors import CaptureError
from labkit.sip.message import Request
from labkit.texts import text

if TYPE_CHECKING:
    from labkit.capture.capture import Capture
    from labkit.capture.sip_records import Address, SipRecord

Ends = tuple["Address", "Address"]


def build(capture: Capture, wanted: Filter) -> Ladder:
    """The ladder of ``capture`` as far as ``wanted`` goes; :class:`CaptureError` for a host that is not in it."""
    messages = [record for record in (wanted.call.messages if wanted.call else capture.messages) if wanted.holds(record.time, record.time)]
    if wanted.methods is not None:
        messages = [record for record in messages if wanted.methods & methods_of(record)]
    flows = bands(capture, wanted)
    ends: list[Ends] = [(record.source, record.destination) for record in messages]
    ends += [(flow.source, flow.destination) for flow in flows]
    name = capture.host_of
    if wanted.hosts is not None:
        known = {name(*end) for pair in ends for end in pair} | {end[0] for pair in ends for end in pair}
        for host in sorted(wanted.hosts - known):
            raise CaptureError("capture.no_host", host=host, known=", ".join(sorted({name(*end) for pair in ends for end in pair})))
        hosts = wanted.hosts

        def near(source: Address, destination: Address) -> bool:
            return any(name(*end) in hosts or end[0] in hosts for end in (source, destination))

        messages = [record for record in messages if near(record.source, record.destination)]
        flows = [flow for flow in flows if near(flow.source, flow.destination)]

    columns = _columns(capture, messages, flows)
    place = {column.name: number for number, column in enumerate(columns)}
    dialogs: dict[str, int] = {}
    rows: list[Row] = [
        Arrow(
            record.number,
            record.time,
            place[name(*record.source)],
            place[name(*record.destination)],
            record.source[1],
            record.destination[1],
            label(record),
            record.text,
            record.is_request,
            dialogs.setdefault(record.call_id, len(dialogs)),
            record.retransmission,
        )
        for record in messages
    ]
    rows += [
        Band(
            item.number,
            item.start,
            item.end,
            place[name(*item.source)],
            place[name(*item.destination)],
            item.source[1],
            item.destination[1],
            f"{item.kind} {text('capture.packets', count=item.packets)} {item.end - item.start:.2f} s",
            item.packets,
            item.kind,
        )
        for item in flows
    ]
    rows.sort(key=lambda row: (row.time, row.number))
    return Ladder(tuple(columns), tuple(rows), tuple(shown(call_id) for call_id in dialogs))


def label(record: SipRecord) -> str:
    """A message in the words of Wireshark's flow graph."""
    message, sdp = record.message, record.sdp
    words = shown(message.method) if isinstance(message, Request) else f"{message.status} {shown(message.reason)}".rstrip()
    if sdp is not None:
        codecs = [codec.name for media in sdp.media if media.port for codec in media.codecs]
        words += f" SDP ({shown(' '.join(dict.fromkeys(codecs)))})" if codecs else " SDP"
    elif message.content_type == "message/sipfrag":
        line = message.body.decode("utf-8", "replace").partition("\r\n")[0]
        words += f" sipfrag ({shown(line)})"
    if isinstance(message, Request) and message.method in DIALOG_FORMING and record.to_tag:
        words += f", {text('capture.in_dialog')}"
    if record.error:
        words += f" ({text('capture.malformed')})"
    return words + (f" ({text('capture.retransmission')})" if record.retransmission else "")


def _columns(capture: Capture, messages: list[SipRecord], flows: list[Flow]) -> list[Column]:
    """The hosts in order of appearance; with three or more, callers left of the server and the others right of it."""
    address: dict[str, str] = {}
    spoken, registrar = Counter[str](), Counter[str]()
    callers: list[str] = []
    called: set[str] = set()
    pairs = [(record.time, record.source, record.destination) for record in messages] + [(f.start, f.source, f.destination) for f in flows]
    for _, source, destination in sorted(pairs, key=lambda pair: pair[0]):
        for end in (source, destination):
            address.setdefault(capture.host_of(*end), end[0])
    for record in messages:
        sender, receiver = capture.host_of(*record.source), capture.host_of(*record.destination)
        spoken.update((sender, receiver))
        if record.method == "REGISTER" and not record.is_request:
            registrar[sender] += 1
        if record.is_request and record.method == "INVITE" and not record.to_tag:
            if sender not in called and sender not in callers:
                callers.append(sender)
            called.add(receiver)
    order = list(address)
    if len(order) >= 3 and spoken:
        server = (registrar or spoken).most_common(1)[0][0]
        others = [host for host in order if host != server]
        left = [host for host in others if host in callers] or others[:1]
        order = [*left, server, *(host for host in others if host not in left)]
    return [Column(host, address[host]) for host in order]
