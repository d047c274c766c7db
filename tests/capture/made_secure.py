"""Conversations of TLS, STUN and mail for tests, made with Python's own TLS and by hand."""

from __future__ import annotations

import base64
import contextlib
import datetime
import socket
import ssl
import struct
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from labkit.capture.write import TcpConversation
from tests.capture.made import BOB, PBX

Script = list[tuple[str, str]]
MESSAGE = "From: a@x\r\nTo: b@y\r\nSubject: Voicemail\r\n\r\nHello\r\n..dot\r\n"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# --- TLS -------------------------------------------------------------------------------------------------------------------


@cache
def certificate() -> tuple[bytes, bytes]:
    """(certificate, key) in PEM of O=SimpleCA, CN=PBX."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "SimpleCA"), x509.NameAttribute(NameOID.COMMON_NAME, "PBX")])
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=36500))
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return pem, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def contexts(version: ssl.TLSVersion, *, client_ciphers: str = "", server_ciphers: str = "") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(client, server)."""
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("cert.pem", "key.pem")]
        for path, pem in zip(paths, certificate(), strict=True):
            path.write_bytes(pem)
        server.load_cert_chain(*paths)
    for context, ciphers in ((client, client_ciphers), (server, server_ciphers)):
        context.minimum_version = context.maximum_version = version
        if ciphers:
            context.set_ciphers(ciphers)
    return client, server


def tls(client_context: ssl.SSLContext, server_context: ssl.SSLContext, *, port: int = 40000, answer: int = 20000) -> list[bytes]:
    """A whole connection to port 5061: handshake, a request, an answer of so many bytes, the end."""
    inward, outward, server_inward, server_outward = (ssl.MemoryBIO() for _ in range(4))
    client = client_context.wrap_bio(inward, outward, server_hostname="pbx.lab")
    server = server_context.wrap_bio(server_inward, server_outward, server_side=True)
    ends = (BOB, port), (PBX, 5061)
    talk = TcpConversation(*ends, client_isn=10, server_isn=99)
    packets = talk.open()

    def flush() -> None:
        for sender, source, sink in ((ends[0], outward, server_inward), (ends[1], server_outward, inward)):
            data = source.read()
            if data:
                sink.write(data)
                packets.extend(talk.data(sender, data))

    waiting = [client, server]
    for _ in range(8):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                flush()
                return packets + talk.close(ends[0])
        flush()
    client.write(b"OPTIONS sip:x SIP/2.0\r\n\r\n")
    flush()
    server.read()
    server.write(b"x" * answer)
    flush()
    while answer > 0:
        answer -= len(client.read(answer))
    for side in (client, server):
        with contextlib.suppress(ssl.SSLError):
            side.unwrap()
        flush()
    return packets + talk.close(ends[0])


# --- STUN ------------------------------------------------------------------------------------------------------------------


def stun(kind: int, *attributes: bytes, cookie: int = 0x2112A442) -> bytes:
    body = b"".join(attributes)
    return struct.pack("!HHI", kind, len(body), cookie) + b"abcdefghijkl" + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def address(kind: int, ip: str, port: int, *, xor: bool = True) -> bytes:
    octets = socket.inet_aton(ip)
    if xor:
        port, octets = port ^ 0x2112, bytes(a ^ b for a, b in zip(octets, b"\x21\x12\xa4\x42", strict=True))
    return attribute(kind, struct.pack("!BBH", 0, 1, port) + octets)


# --- mail ------------------------------------------------------------------------------------------------------------------


def conversation(port: int, script: Script, *, client_port: int = 40000) -> list[bytes]:
    """A TCP connection in which C and S say the lines of ``script``."""
    client, server = (BOB, client_port), (PBX, port)
    talk = TcpConversation(client, server, client_isn=10, server_isn=99)
    packets = talk.open()
    for who, text in script:
        packets += talk.data(client if who == "C" else server, text.encode())
    return packets + talk.close(client)


def script(text: str) -> Script:
    """One line a step, as ``C: EHLO bob``; ``|`` stands for the end of a line inside a step, which ends with one itself."""
    steps = (line.strip().partition(": ") for line in text.strip().splitlines())
    return [(who, said.replace("|", "\r\n") + "\r\n") for who, _, said in steps]


SMTP = script(f"""
    S: 220 pbx ESMTP labkit
    C: EHLO bob
    S: 250-pbx|250-AUTH LOGIN PLAIN CRAM-MD5|250 8BITMIME
    C: AUTH NTLM
    S: 535 5.7.8 no
    C: AUTH LOGIN
    S: 334 {b64("Username:")}
    C: {b64("Admin")}
    S: 334 {b64("Password:")}
    C: {b64("Admin1")}
    S: 235 2.7.0 ok
    C: AUTH PLAIN {b64(chr(0) + "Admin" + chr(0) + "Admin1")}
    S: 235 ok
    C: AUTH LOGIN {b64("Admin")}
    S: 334 {b64("Password:")}
    C: {b64("pw")}
    S: 535 bad
    C: MAIL FROM:<a@b>|RCPT TO:<c@d>|DATA
    S: 250 OK|250 OK|354 go
    C: {"From: a@x|Subject: Voicemail||" + "long line|" * 300}
    C: .
    S: 250 OK
    C: XFOO bar
    S: 500 what
    C: STARTTLS
    S: 454 no
    C: quit
    S: 221 Bye
""")
POP = script("""
    S: +OK ready <1@x>
    C: CAPA
    S: +OK|USER|STLS|.
    C: USER bob
    S: +OK
    C: PASS 1234
    S: +OK in
    C: LIST
    S: +OK|1 100|.
    C: DELE 1
    S: -ERR no
    C: QUIT
    S: +OK bye
""")
IMAP = script(f"""
    S: * OK IMAP4rev1 ready
    C: a1 CAPABILITY
    S: * CAPABILITY IMAP4rev1|a1 OK done
    C: a2 LOGIN bob 1234
    S: a2 OK in
    C: a3 SELECT INBOX
    S: * 1 EXISTS|* FLAGS (\\Seen)|a3 OK done
    C: a5 UID FETCH 1 FLAGS
    S: * 1 FETCH (FLAGS (\\Seen))
    S: a5 OK
    C: a6 IDLE
    S: + idling
    C: DONE
    S: a6 OK
    C: a8 AUTHENTICATE PLAIN
    S: +{" "}
    C: {b64(chr(0) + "bob" + chr(0) + "1234")}
    S: a8 NO
    C: a9 LOGOUT
    S: * BYE|a9 OK
""")
