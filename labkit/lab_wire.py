"""The lab's network as a notebook holds it: make it bad, make it good again, ask how it does, cut it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labkit.errors import LabError
from labkit.net.background import Background
from labkit.net.impairment import Impairment
from labkit.net.wire import Wire


class LabWire:
    """The synchronous view of the wire."""

    def __init__(self, wire: Wire, background: Background, check: Callable[[], None]) -> None:
        self._wire = wire
        self._background = background
        self._check = check

    @property
    def alive(self) -> bool:
        return self._wire.alive

    @property
    def pid(self) -> int:
        return self._wire.pid

    def set(self, host: str, direction: str = "both", **impairment: Any) -> None:
        """Impair the link of ``host`` in one ``direction`` ("in", "out" or "both").

        ``delay_ms``, ``jitter_ms``, the shares ``loss``, ``reorder`` and ``duplicate`` between 0 and 1, ``rate_kbit_s``, and a ``seed``
        that makes it repeatable; what is not named is perfect.  TCP gets the delay only.  It acts on packets from now on.
        """
        self._check()
        known = {name.upper(): name for name in (host.name for host in self._wire.plan.hosts())}
        if str(host).upper() not in known:
            raise LabError("lab.no_such_host", host=host, hosts=", ".join(known.values()))
        unknown = [name for name in impairment if name not in Impairment.__dataclass_fields__]
        if unknown:
            raise LabError("lab.no_such_impairment", names=", ".join(unknown), fields=", ".join(Impairment.__dataclass_fields__))
        self._background.run(self._wire.set(known[str(host).upper()], direction, Impairment(**impairment)))

    def clear(self) -> None:
        """A perfect network again."""
        self._check()
        self._background.run(self._wire.clear())

    def stats(self) -> dict[str, Any]:
        """Datagrams delivered, dropped, from strangers; how long they took through the wire in µs."""
        self._check()
        return self._background.run(self._wire.stats())

    def cut(self) -> None:
        """Kill the wire's process, as pulling every cable at once would."""
        self._check()
        self._wire.kill()
        self._background.run(self._wire.close())

    def __repr__(self) -> str:
        return f"<LabWire {self._wire.plan.mode}, process {self._wire.pid}, {'alive' if self.alive else 'cut'}>"
