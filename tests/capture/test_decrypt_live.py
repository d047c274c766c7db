"""TLS between real sockets through the wire process, decrypted from what the wire recorded."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from labkit.capture.capture import Capture
from labkit.net.wire import Wire
from tests.capture.made import sip
from tests.capture.tls_talk import Identity, make_contexts

INVITE = sip("INVITE sip:101@127.1.0.10 SIP/2.0", extra="X-Long: " + "a" * 30000 + "\r\n")
OK = sip("SIP/2.0 200 OK", "1 INVITE", to_tag="t")


@pytest.mark.parametrize(("version", "ciphers"), [("TLSv1_3", ""), ("TLSv1_2", "ECDHE-RSA-AES128-GCM-SHA256"), ("TLSv1_2", "AES128-SHA")])
def test_what_the_wire_recorded_opens(tmp_path: Path, version: str, ciphers: str) -> None:
    identity, keys = Identity.make(), tmp_path / "keys.log"
    client, server = make_contexts(identity, ssl.TLSVersion[version], ciphers)
    server.keylog_filename = str(keys)

    async def play() -> Path:
        wire = await Wire.start(tmp_path / "capture.pcapng", student=str(tmp_path))
        try:
            [pbx] = await wire.add_hosts({"PBX": ""})
            await wire.add_laptop()

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                assert await reader.readexactly(len(INVITE)) == INVITE
                writer.write(OK)
                await writer.drain()
                writer.close()

            listening = await asyncio.start_server(serve, *pbx.sip_back, ssl=server)
            await wire.listen(pbx, pbx.sip_port)
            reader, writer = await asyncio.open_connection(*pbx.sip_face, ssl=client, server_hostname="pbx")
            writer.write(INVITE)
            assert await reader.read() == OK
            writer.close()
            await writer.wait_closed()
            listening.close()
        finally:
            await wire.close()
        return wire.capture

    capture = Capture.open(asyncio.run(asyncio.wait_for(play(), 60)))
    assert not capture.messages
    ways = [{"tls_keys": keys}] + ([{"rsa_key": identity.key}] if ciphers == "AES128-SHA" else [])
    for way in ways:
        clear = capture.decrypt(**way)
        assert [record.raw for record in clear.messages] == [INVITE, OK], clear.decryption
        assert clear.decryption.complete and clear.hosts == capture.hosts
        assert [clear.host_of(*record.destination) for record in clear.messages] == ["PBX", "LAPTOP"]
