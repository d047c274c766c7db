"""The PBX and phones on TCP behind a real wire: everyone sees faces, and the capture has the octets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from labkit.capture.capture import Capture
from labkit.net.plan import Host
from labkit.net.wire import Wire
from labkit.pbx import Pbx, PbxConfig
from tests.pbx.office import EXTENSIONS, FAST
from tests.pbx.tcp_peer import TcpPeer


async def phone(host: Host, password: str, pbx: Host) -> TcpPeer:
    peer = TcpPeer(EXTENSIONS[0].number if host.name == "BOB" else EXTENSIONS[1].number, password, pbx.sip_face)
    return await peer.start(host.face, host.sip_port, bind=host.sip_back)


@pytest.mark.parametrize("mode", ["pair", "single"])
def test_a_call_over_tcp_through_the_wire(tmp_path: Path, mode: str) -> None:
    async def scene() -> None:
        wire = await Wire.start(tmp_path / "capture.pcapng", mode=mode, student=str(tmp_path))
        host, *others = await wire.add_hosts({"PBX": "", "BOB": "100", "ALICE": "101"})
        pbx = Pbx(PbxConfig(host.sip_back, host.sip_face, EXTENSIONS, timers=FAST))
        try:
            await wire.open_sip(host)
            await pbx.start()
            await wire.listen(host, host.sip_port)
            bob, alice = [await phone(h, e.auth_password, host) for h, e in zip(others, EXTENSIONS, strict=False)]
            for peer in (bob, alice):
                ok = await peer.register()
                assert ok.via.param("received") == peer.address[0]  # the PBX sees the face
                assert ok.via.param("rport") == str(peer.address[1])
            invite = await bob.invite("101")
            await bob.response(100)
            ringing = await alice.ask("INVITE")
            assert ringing.contacts[0].sip_uri.host == host.face
            alice.reply(ringing, 200, tag="a", body=alice.sdp)
            await alice.ask("ACK")
            ok = await bob.response(200)
            bob.send(bob.ack(invite, ok))
            alice.send(alice.in_dialog("BYE", ringing, tag="a"))
            await alice.response(200)
            bob.reply(await bob.ask("BYE"), 200)
            await bob.close()
            await alice.close()
            await wire.flush()
        finally:
            await pbx.close()
            await wire.close()
        shown = Capture.open(tmp_path / "capture.pcapng").sip
        assert list(shown["Info"].str.contains("INVITE")).count(True) >= 3
        assert set(shown["Source"]) == {h.face for h in (host, *others)}

    asyncio.run(asyncio.wait_for(scene(), 30))
