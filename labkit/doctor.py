"""What this machine has and lacks for the lab: each finding is a sentence with a remedy."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from labkit.texts import text

LIBRARIES = ("pjsua2", "av", "numpy", "pandas", "matplotlib", "babel", "jupyterlab", "ipykernel")
ROOM_BYTES = 200_000_000
"""A few hours of calls."""


@dataclass(frozen=True)
class Finding:
    """``ok`` or not; one that is not ``needed`` only limits what can be done."""

    check: str
    ok: bool
    message_id: str
    values: dict[str, object] = field(default_factory=dict)
    needed: bool = True

    @property
    def sign(self) -> str:
        return "✓" if self.ok else "✗" if self.needed else "–"

    def __str__(self) -> str:
        return text(self.message_id, language=None, **self.values)


def examine() -> list[Finding]:
    """Look at everything; nothing is installed, changed or left behind."""
    return [finding for look in (_python, _libraries, _addresses, _sip_port, _disk, _programs) for finding in look()]


def _python() -> Iterable[Finding]:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    ok = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Finding("python", ok, "cli.python_fits" if ok else "cli.python_wrong", {"version": version, "path": sys.executable})


def _libraries() -> Iterable[Finding]:
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            yield Finding(name, False, "cli.library_missing", {"name": name, "reason": str(error)})
        else:
            yield Finding(name, True, "cli.library_there", {"name": name})


def _addresses() -> Iterable[Finding]:
    from labkit.net.plan import machine_mode

    mode = machine_mode()
    yield Finding("addresses", mode == "pair", "cli.addresses_pair" if mode == "pair" else "cli.addresses_single", needed=False)


def _sip_port() -> Iterable[Finding]:
    """The PBX wants port 5060; on 127.0.0.1 another telephone program may hold it."""
    free = _binds("127.0.0.1", 5060)
    yield Finding("port_5060", free, "cli.port_free" if free else "cli.port_held", {"port": 5060}, needed=False)


def _binds(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _disk() -> Iterable[Finding]:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    ok = free > ROOM_BYTES and os.access(folder, os.W_OK)
    values = {"folder": folder, "free": free // 1_000_000, "wanted": ROOM_BYTES // 1_000_000}
    yield Finding("disk", ok, "cli.disk_fits" if ok else "cli.disk_full", values)


def _programs(which: Callable[[str], str | None] = shutil.which) -> Iterable[Finding]:
    for name in ("wireshark", "tshark"):
        found = which(name) is not None
        yield Finding(name, found, "cli.program_there" if found else "cli.program_missing", {"name": name}, needed=False)
