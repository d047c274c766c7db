"""Two phones on a wire, without a PBX: they call each other directly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from labkit.net.background import Background
from labkit.net.plan import Host
from labkit.net.wire import Wire
from labkit.phones.phone import Phone
from labkit.phones.process import PhoneConfig, PhoneProcess


@dataclass
class Pair:
    bob: Phone
    alice: Phone
    wire: Wire
    background: Background
    folder: Path

    def flushed(self) -> Path:
        """The capture so far."""
        self.background.run(self.wire.flush())
        return self.wire.capture


@pytest.fixture(params=["pair", "single"])
def mode(request: pytest.FixtureRequest) -> str:
    """Both address plans; a test module may ask for one of them only."""
    return str(request.param)


@pytest.fixture
def pair(tmp_path: Path, mode: str) -> Iterator[Pair]:
    background = Background()

    async def up() -> Pair:
        wire = await Wire.start(tmp_path / "capture.pcapng", student=str(tmp_path), mode=mode)
        pbx, *hosts = await wire.add_hosts({"PBX": "", "BOB": "100", "ALICE": "101"})
        phones = []
        for host in hosts:
            ready = replace(host, sip_port=await wire.open_sip(host), rtp_ports=await wire.open_rtp(host))

            async def start(config: PhoneConfig, ready: Host = ready) -> PhoneProcess:
                return await PhoneProcess.start(config, ready, ready.sip_port, ready.rtp_ports, pbx.face, tmp_path / f"{config.name}.log")

            config = PhoneConfig(ready.name, {"BOB": "100", "ALICE": "101"}[ready.name], "secret")
            phones.append(Phone(config, address=ready.sip_face, server=pbx.sip_face, folder=tmp_path, runner=background, start=start))
        await asyncio.gather(*(phone.plug_in() for phone in phones))
        return Pair(*phones, wire, background, tmp_path)

    made = background.run(up())
    yield made

    async def down() -> None:
        await asyncio.gather(made.bob.close(), made.alice.close(), made.wire.close())

    background.run(down())
    background.close()
