"""Real TLS connections for tests: Python's ssl at both ends, every byte between them kept, a capture made of it."""

from __future__ import annotations

import datetime
import io
import ssl
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from labkit.capture.write import PcapngWriter, TcpConversation
from tests.capture.made import ALICE, NAMES, PBX, START_NS

CLIENT, SERVER = (ALICE, 40061), (PBX, 5061)


@dataclass
class Identity:
    """A key and a certificate for it, as one PEM file."""

    pem: bytes
    key: bytes

    @classmethod
    def make(cls) -> Identity:
        private = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pbx.example")])
        start = datetime.datetime(2024, 1, 1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(7)
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(36500))
            .sign(private, hashes.SHA256())
        )
        form = serialization.Encoding.PEM
        key = private.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return cls(key + certificate.public_bytes(form), key)


Flight = tuple[tuple[str, int], bytes]


@dataclass
class Talk:
    """What passed between client and server: flights as (sender, bytes), and the key log."""

    flights: list[Flight] = field(default_factory=list)
    key_log: str = ""
    session: ssl.SSLSession | None = None
    cipher: str = ""

    def segments(self, client: tuple[str, int] = CLIENT) -> list[bytes]:
        tcp = TcpConversation(client, SERVER, client_isn=0xFFFFFFF0, server_isn=7)
        packets = tcp.open()
        for sender, data in self.flights:
            packets += tcp.data(client if sender == CLIENT else SERVER, data)
        return [*packets, *tcp.close(client)]


def talk(
    identity: Identity,
    messages: list[tuple[bool, bytes]],
    *,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ciphers: str = "",
    session: ssl.SSLSession | None = None,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> Talk:
    """Shake hands, then send ``messages`` as (from the client?, bytes)."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "keys.log"
        client_context, server_context = contexts or make_contexts(identity, version, ciphers)
        client_context.keylog_filename = str(log)
        ends = []
        for context, server_side in ((client_context, False), (server_context, True)):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            options = {} if server_side else {"server_hostname": "pbx.example", "session": session}
            ends.append((context.wrap_bio(incoming, outgoing, server_side=server_side, **options), incoming, outgoing))
        (client, to_client, from_client), (server, to_server, from_server) = ends
        found = Talk()

        def carry() -> None:
            for sender, outgoing, incoming in ((CLIENT, from_client, to_server), (SERVER, from_server, to_client)):
                if data := outgoing.read():
                    found.flights.append((sender, data))
                    incoming.write(data)

        waiting = [client, server]
        for _ in range(10):
            for end in list(waiting):
                try:
                    end.do_handshake()
                    waiting.remove(end)
                except ssl.SSLWantReadError:
                    pass
                carry()
        assert not waiting
        for from_the_client, data in messages:
            sender, receiver = (client, server) if from_the_client else (server, client)
            sender.write(data)
            carry()
            got = b""
            while len(got) < len(data):
                got += receiver.read(65536)
            assert got == data
        for end in (client, server, client):  # close_notify both ways, without which a session is not resumed
            with suppress(ssl.SSLWantReadError):
                end.unwrap()
            carry()
        found.key_log, found.session = log.read_text(), client.session
        found.cipher = client.cipher()[0]
        client_context.keylog_filename = None
        return found


def make_contexts(identity: Identity, version: ssl.TLSVersion, ciphers: str = "") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(client's, server's) for one version."""
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "pbx.pem"
        pem.write_bytes(identity.pem)
        server.load_cert_chain(pem)
    for context in (client, server):
        # Level 0 still speaks what this lab teaches the history of.
        context.set_ciphers(f"{ciphers or 'DEFAULT'}:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return client, server


def capture_of(packets: list[bytes], *, step_ns: int = 1_000_000) -> bytes:
    """A file with a packet every ``step_ns``."""
    file = io.BytesIO()
    writer = PcapngWriter(file, hosts=NAMES)
    for place, packet in enumerate(packets):
        writer.packet(START_NS + place * step_ns, packet)
    return file.getvalue()
