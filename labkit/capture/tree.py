"""One packet as a tree, as Wireshark's middle pane shows it: frame, link, IP, UDP or TCP, then what they carry.

``print(packet)`` writes it as text, a notebook folds it open and shut, :meth:`Packet.table` makes a table of it, and
:meth:`Packet.scapy` goes on in scapy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.capture.ladder_filter import is_row
from labkit.capture.mail import MailPart
from labkit.capture.node import Node
from labkit.capture.tree_media import rtcp_node, rtp_node
from labkit.capture.tree_network import network_nodes
from labkit.capture.tree_sip import sip_node
from labkit.errors import CaptureError

if TYPE_CHECKING:
    import pandas as pd

    from labkit.capture.capture import Capture
    from labkit.capture.payload_types import PayloadTypes
    from labkit.capture.records import Ints
    from labkit.capture.sip_records import SipRecord

COLUMNS = ("Line", "Field", "Value")
_SCAPY_LINKS = {0: "Loopback", 1: "Ether", 12: "IP", 14: "IP", 101: "IP", 108: "Loopback", 113: "CookedLinux", 228: "IP", 229: "IPv6"}
_SCAPY_LINKS |= {276: "CookedLinuxV2"}


@dataclass(frozen=True)
class Packet:
    """Packet ``number`` (from 1, as in the packet list): ``nodes`` are its layers from the outside in."""

    number: int
    info: str
    nodes: tuple[Node, ...]
    raw: bytes
    link: int

    def walk(self) -> Iterator[tuple[int, Node]]:
        """Every line with its depth."""
        for layer in self.nodes:
            yield from layer.walk()

    def get(self, field: str) -> Any:
        """The value of the first line with this display-filter name; ``None`` when the packet has none."""
        return next((line.value for _, line in self.walk() if line.field == field), None)

    def text(self) -> str:
        """The tree as text, four blanks a level."""
        return "\n".join("    " * depth + line.label for depth, line in self.walk())

    def table(self) -> pd.DataFrame:
        """Line (indented), Field (the name that a filter uses) and Value."""
        from labkit.capture.table import table

        rows = [("  " * depth + line.label, line.field, line.value) for depth, line in self.walk()]
        return table(rows, COLUMNS, caption="dissect.table_packet", number=self.number)

    def scapy(self) -> Any:
        """The same packet as scapy sees it; :class:`CaptureError` for a link layer that scapy is not asked to read."""
        if self.link not in _SCAPY_LINKS:
            raise CaptureError("dissect.no_scapy_link", link=self.link)
        import scapy.layers.inet6
        import scapy.layers.l2

        kind = _SCAPY_LINKS[self.link]
        if kind == "IP" and self.raw[:1] and self.raw[0] >> 4 == 6:
            kind = "IPv6"
        places = (scapy.layers.inet6, scapy.layers.l2)
        return next(getattr(place, kind) for place in places if hasattr(place, kind))(self.raw)

    def __repr__(self) -> str:
        return f"<Packet {self.number}: {self.info}>"

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return f'<div class="labkit-packet">{"".join(map(_html, self.nodes))}</div>'


def _html(line: Node) -> str:
    if not line.children:
        return f'<div style="margin-left:1.2em">{escape(line.label)}</div>'
    inner = "".join(map(_html, line.children))
    return f'<details style="margin-left:1.2em"><summary>{escape(line.label)}</summary>{inner}</details>'


def _holds(frames: Ints, index: int) -> bool:
    """Whether a frame is among frames in ascending order."""
    place = int(np.searchsorted(frames, index))
    return place < len(frames) and bool(frames[place] == index)


class Trees:
    """Makes the trees of one capture, and keeps what all of them need."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    @cached_property
    def _messages(self) -> dict[int, list[SipRecord]]:
        found: dict[int, list[SipRecord]] = {}
        for record in self._capture.messages:
            found.setdefault(record.number - 1, []).append(record)
        return found

    def _types(self, index: int) -> PayloadTypes | None:
        """The payload types of the RTP stream that a frame belongs to."""
        streams = (stream for stream in self._capture.streams if _holds(stream.frame, index))
        return next((stream.payload_types for stream in streams), None)

    def above_transport(self, index: int, *, decode: bool = False) -> list[Node]:
        """What the UDP or TCP payload of a frame is."""
        cap = self._capture
        if index in self._messages:
            return [sip_node(record) for record in self._messages[index]]
        if index in cap.applications.units:
            units = cap.applications.units[index]
            return [unit.tree(decode=True) if decode and isinstance(unit, MailPart) else unit.tree() for unit in units]
        payload = cap.layers.bytes_of(index)
        types = self._types(index)
        if types is not None:
            return [rtp_node(payload, types)]
        if _holds(cap.rtp.rtcp, index):
            return [rtcp_node(payload)]
        return [Node(f"Data ({len(payload)} bytes): {payload[:32].hex()}", "data", payload)] if payload else []

    def packet(self, number: int, *, decode: bool = False) -> Packet:
        """Packet ``number``; :class:`CaptureError` when there is none."""
        cap = self._capture
        if not is_row(number) or not 1 <= number <= len(cap):
            raise CaptureError("dissect.no_packet", number=number, count=len(cap))
        index, records = number - 1, cap.records
        nodes = (*network_nodes(cap.layers, index), *self.above_transport(index, decode=decode))
        start = int(records.start[index])
        raw = bytes(records.data[start : start + int(records.captured[index])])
        return Packet(number, nodes[-1].label, nodes, raw, int(records.link[index]))
