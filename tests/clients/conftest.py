"""A PBX without a wire for clients by others, and what they need to find it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labkit.net.background import Background
from labkit.net.plan import Host
from labkit.pbx import Extension, Pbx, PbxConfig, PbxEvent
from labkit.phones.phone import Phone
from labkit.phones.process import PhoneConfig, PhoneProcess
from tests.clients.baresip import Baresip
from tests.clients.linphonec import Linphonec

PBX_IP = "127.0.8.10"
USERS = {"101": "alice", "102": "bob", "103": "carol", "104": "phone"}
"""Extension to the name of its tone."""


@dataclass
class Office:
    """The PBX, and clients that are made on demand and closed with it."""

    tool: Callable[[str], str]
    folder: Path
    background: Background = field(default_factory=Background)
    events: list[PbxEvent] = field(default_factory=list)
    happened: threading.Condition = field(default_factory=threading.Condition)
    opened: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        extensions = tuple(Extension(number, name.upper(), auth_password=self.password(number)) for number, name in USERS.items())
        self.pbx = Pbx(PbxConfig((PBX_IP, 5060), (PBX_IP, 5060), extensions, realm="lab.test"), observe=self._observe)
        self.background.run(self.pbx.start())

    def _observe(self, event: PbxEvent) -> None:
        with self.happened:
            self.events.append(event)
            self.happened.notify_all()

    def wait(self, kind: str, extension: str, seconds: float = 20.0) -> None:
        """Wait until the PBX has seen this happen (and not yet been asked about it): the clients by others tell less."""

        def seen() -> PbxEvent | None:
            return next((event for event in self.events if event.kind == kind and extension in (event.extension, event.peer)), None)

        with self.happened:
            if not self.happened.wait_for(lambda: seen() is not None, seconds):
                raise AssertionError(f"the PBX saw no {kind} of {extension} within {seconds} s, only {self.events}")
            found = seen()
            assert found is not None
            self.events.remove(found)

    @staticmethod
    def password(number: str) -> str:
        return f"{number}{number}"

    def baresip(self, number: str, **options: Any) -> Baresip:
        client = Baresip(
            self.tool("baresip"),
            self.folder / f"baresip-{number}",
            user=number,
            voice=USERS[number],
            password=self.password(number),
            ip=f"127.0.8.{number}",
            registrar=PBX_IP,
            **options,
        )
        self.opened.append(client)
        self.wait("registered", number)  # the client's own event may come before its control connection does
        return client

    def linphonec(self, number: str, **options: Any) -> Linphonec:
        folder = self.folder / f"linphonec-{number}"
        client = Linphonec(
            self.tool("linphonec"),
            folder,
            user=number,
            voice=USERS[number],
            password=self.password(number),
            port=15000 + 10 * int(number),
            registrar=PBX_IP,
            realm="lab.test",
            **options,
        )
        self.opened.append(client)
        self.wait("registered", number)
        return client

    def phone(self) -> Phone:
        """A registered labkit phone, bound where it is seen."""
        host = Host("PHONE", "127.0.8.104", "127.0.8.104", 5070, range(40000, 40050))

        async def start(config: PhoneConfig) -> PhoneProcess:
            return await PhoneProcess.start(config, host, host.sip_port, host.rtp_ports, PBX_IP, self.folder / "phone.log")

        config = PhoneConfig("PHONE", "104", self.password("104"), codecs=("PCMA", "PCMU"))
        phone = Phone(config, address=host.sip_face, server=(PBX_IP, 5060), folder=self.folder, runner=self.background, start=start)
        self.background.run(phone.plug_in())
        phone.register()
        self.opened.append(phone)
        return phone

    def close(self) -> None:
        for client in self.opened:
            if isinstance(client, Phone):
                self.background.run(client.close())
            else:
                client.close()
        self.background.run(self.pbx.close())
        self.background.close()


@pytest.fixture
def office(tool: Callable[[str], str], tmp_path: Path) -> Iterator[Office]:
    made = Office(tool, tmp_path)
    yield made
    made.close()
