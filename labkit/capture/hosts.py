"""Names of hosts.  A host is an address; or, where several share 127.0.0.1, an address with a block of ports.

Names of addresses come from pcapng's name resolution blocks.  Blocks of ports come from a section comment that labkit writes, one line of
JSON: ``{"labkit": 1, "hosts": [{"name": "BOB", "ip": "127.0.0.1", "ports": [40000, 40099]}, ...]}``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from labkit.capture.info import shown
from labkit.capture.records import Records


@dataclass(frozen=True)
class PortBlock:
    """The ports ``low`` to ``high``, both included, of ``ip`` belong to ``name``."""

    name: str
    ip: str
    low: int
    high: int


@dataclass
class Hosts:
    """``names`` by address, and blocks of ports, which come first."""

    names: dict[str, str] = field(default_factory=dict)
    blocks: list[PortBlock] = field(default_factory=list)

    @classmethod
    def of(cls, records: Records) -> Hosts:
        blocks = [block for comment in records.section_comments for block in _blocks(comment)]
        return cls({address: shown(name) for address, name in records.names.items()}, blocks)

    def host_of(self, ip: str, port: int) -> str:
        """The name of the host at this address and port; without a name, the address."""
        for block in self.blocks:
            if block.ip == ip and block.low <= port <= block.high:
                return block.name
        return self.names.get(ip, ip)

    def table(self) -> dict[str, str]:
        """Address (with its ports, where hosts share it) to name."""
        return {**self.names, **{f"{block.ip}:{block.low}-{block.high}": block.name for block in self.blocks}}


def _blocks(comment: str) -> list[PortBlock]:
    found = []
    for line in comment.splitlines():
        if not line.lstrip().startswith("{"):
            continue
        try:
            content = json.loads(line)
            if content.get("labkit") != 1:
                continue
            for host in content.get("hosts", ()):
                if host.get("ports"):
                    low, high = host["ports"]
                    found.append(PortBlock(shown(str(host["name"])), str(host["ip"]), int(low), int(high)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue  # a comment of someone else's that only looks like ours
    return found
