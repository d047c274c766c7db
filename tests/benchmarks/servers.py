"""The servers that are measured beside each other, each started alone, at an address of its own, with calls going on to the same callee.

labkit is ``labkit serve``.  Its peers are taken from the PATH where they are installed: sippy's ``b2bua_simple`` (a B2BUA in Python, from
PyPI) and ``kamailio`` (a proxy in C, from Debian).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import children_of

Address = tuple[str, int]
# Addresses that no lab takes (labkit.net.plan), and no other run of this at the same time.
NETWORK = f"127.{250 + os.getpid() % 5}.{os.getpid() // 5 % 250}"
CALLER, CALLEE, CLOCK = (f"{NETWORK}.20", 5060), (f"{NETWORK}.30", 5060), (f"{NETWORK}.21", 5070)
CALLER_NUMBER, SERVICE = "100", "9000"
USERS, PASSWORD = range(1000, 1100), "1234"
LOAD = Path(__file__).parent / "load"

CONFIG = f"""\
bind = "{{address}}"
realm = "lab.test"
profile = "rfc"
challenge_calls = false
gateways = [{{{{ name = "callee", address = "{CALLEE[0]}:{CALLEE[1]}" }}}}]
outbound = [{{{{ gateway = "callee", prefix = "9" }}}}]
extensions = [
  {{{{ number = "{CALLER_NUMBER}", first_name = "CALLER", auth_password = "{PASSWORD}" }}}},
{{users}}
]
[guard]
allow = ["127.0.0.0/8"]
"""


@dataclass
class Server:
    """A server that runs."""

    name: str
    address: Address
    pid: int

    def memory_mb(self) -> float:
        """Resident memory of its processes together."""
        pids = [self.pid, *children_of(self.pid)]
        rows = subprocess.run(["ps", "-o", "rss=", "-p", ",".join(map(str, pids))], capture_output=True, text=True).stdout.split()
        return sum(map(int, rows)) / 1024


def labkit(folder: Path, address: Address) -> list[str] | None:
    config = folder / "labkit.toml"
    rows = "\n".join(f'  {{ number = "{user}", first_name = "USER", auth_password = "{PASSWORD}" }},' for user in USERS)
    config.write_text(CONFIG.format(address=f"{address[0]}:{address[1]}", users=rows))
    return [sys.executable, "-m", "labkit.cli", "serve", str(config)]


def sippy(folder: Path, address: Address) -> list[str] | None:
    program = shutil.which("b2bua_simple")
    return program and [program, "-f", "-l", address[0], "-p", str(address[1]), "-n", f"{CALLEE[0]}:{CALLEE[1]}"]  # type: ignore[return-value]


def kamailio(folder: Path, address: Address) -> list[str] | None:
    program = shutil.which("kamailio", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    config = (LOAD / "kamailio.cfg").read_text()
    for name, value in {"BIND": f"{address[0]}:{address[1]}", "CALLEE": f"{CALLEE[0]}:{CALLEE[1]}", "PASSWORD": PASSWORD}.items():
        config = config.replace(f"@{name}@", value)
    (folder / "kamailio.cfg").write_text(config)
    return program and [program, "-f", str(folder / "kamailio.cfg"), "-DD", "-Y", str(folder), "-m", "256"]  # type: ignore[return-value]


SERVERS: dict[str, tuple[Callable[[Path, Address], list[str] | None], Address]] = {
    "labkit": (labkit, (f"{NETWORK}.60", 5060)),
    "sippy": (sippy, (f"{NETWORK}.40", 5060)),
    "Kamailio": (kamailio, (f"{NETWORK}.10", 5060)),
}


@contextmanager
def running(name: str, folder: Path) -> Iterator[Server | None]:
    """Start a server and wait until it listens; ``None`` when it is a peer that is not installed."""
    command, address = SERVERS[name]
    arguments = command(folder, address)
    if not arguments:
        yield None
        return
    environment = {**os.environ, "SIPLOG_BEND": "none", "SIPLOG_LVL": "ERR"}  # sippy would write each message to its log
    with (folder / f"{name}.out").open("w") as out:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, cwd=folder, start_new_session=True
        )
        try:
            if not held(address, process):
                raise AssertionError(f"{name} does not listen: {(folder / f'{name}.out').read_text()[-1000:]}")
            yield Server(name, address, process.pid)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def held(address: Address, process: subprocess.Popen[bytes], seconds: float = 10.0) -> bool:
    """Wait until a process holds a UDP address: none of these programs says when it is ready."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(address)
            except OSError:
                return True
        time.sleep(0.02)
    return False
