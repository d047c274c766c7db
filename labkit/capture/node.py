"""One line of a packet's tree, as every dissector makes them: what it says, which display-filter field it is, what stands below it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """``field`` is Wireshark's name, empty for a line that is none; ``value`` what a program may use."""

    label: str
    field: str = ""
    value: object = None
    children: tuple[Node, ...] = ()

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Node]]:
        """This line and all below it, each with its depth."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


def node(label: str, field: str = "", value: object = None) -> Node:
    """The line ``label: value``."""
    return Node(f"{label}: {value}", field, value)
