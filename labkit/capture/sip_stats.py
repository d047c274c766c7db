"""SIP statistics of a capture, as Wireshark's Telephony, SIP Statistics and ``tshark -z sip,stat`` count them.

Requests by method, responses by status, how many of each were retransmissions, and the set-up times: from an INVITE to the ACK with its
Call-ID and CSeq number (RFC 3261 §13.2.2.4, §17.1.1.3), so that a refused INVITE has one too.  Times are in milliseconds.
"""

from __future__ import annotations

from collections import Counter

from labkit.capture.info import shown
from labkit.capture.sip_records import SipRecord
from labkit.errors import SipError
from labkit.sip.message import Response

COLUMNS = (
    "Type",
    "Method or Status",
    "Packets",
    "Retransmissions",
    "Set-ups",
    "Min Set-up(ms)",
    "Mean Set-up(ms)",
    "Max Set-up(ms)",
)


def sip_statistics(messages: list[SipRecord]) -> list[tuple[object, ...]]:
    """The rows under :data:`COLUMNS`: requests in order of appearance, then responses by status; set-up times beside INVITE."""
    packets, again = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    phrases: dict[str, str] = {}
    for record in messages:
        key = ("Request", shown(record.method)) if record.is_request else ("Response", str(record.status))
        packets[key] += 1
        again[key] += record.retransmission
        if isinstance(record.message, Response):
            phrases.setdefault(str(record.status), shown(record.message.reason))
    times = setup_times(messages)
    rows: list[tuple[object, ...]] = []
    for kind, name in sorted(packets, key=lambda key: (key[0], key[1] if key[0] == "Response" else "")):
        label = f"{name} {phrases[name]}".rstrip() if kind == "Response" else name
        setups = (len(times), min(times), sum(times) / len(times), max(times)) if name == "INVITE" and times else (None,) * 4
        rows.append((kind, label, packets[kind, name], again[kind, name], *setups))
    return rows


def setup_times(messages: list[SipRecord]) -> list[float]:
    """Milliseconds from the first copy of each INVITE to the first ACK with its Call-ID and CSeq number."""
    begun: dict[tuple[str, int], float] = {}
    found = []
    for record in messages:
        if not record.is_request or record.method not in ("INVITE", "ACK"):
            continue
        try:
            key = record.call_id, record.message.cseq.number
        except SipError:
            continue
        if record.method == "INVITE":
            begun.setdefault(key, record.time)
        elif key in begun:
            found.append((record.time - begun.pop(key)) * 1e3)
    return found
