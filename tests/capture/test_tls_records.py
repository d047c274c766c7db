"""TLS and DTLS: real handshakes, named as Wireshark names them, with their fields."""

from __future__ import annotations

import random
import ssl
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.capture.capture import Capture
from labkit.capture.dtls import DtlsSession, looks_like_dtls
from labkit.capture.tls_handshake import Handshake
from labkit.capture.tls_names import cipher_suite_name
from labkit.capture.tls_records import TlsRecord, TlsSession
from tests.capture.made import pcapng, tshark_list
from tests.capture.made_secure import contexts, conversation, script, tls

Tool = Callable[[str], str]
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
RECORDED = Path(__file__).parent / "recorded" / "dtls.pcapng"
"""Three handshakes of OpenSSL: whole, in small datagrams, refused for want of a common cipher."""


def connections() -> list[bytes]:
    plain = contexts(V12)
    plain[0].set_alpn_protocols(["sip"])
    strict = contexts(V13)
    strict[0].verify_mode = ssl.CERT_REQUIRED
    pairs = [plain, contexts(V13), contexts(V12, client_ciphers="AES128-SHA256", server_ciphers="AES128-SHA256")]
    pairs += [contexts(V12, server_ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"), strict]
    return [packet for number, pair in enumerate(pairs) for packet in tls(*pair, port=40000 + number)]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "tls.pcapng"
    path.write_bytes(pcapng([(0.001 * n, packet) for n, packet in enumerate(connections())]))
    return path


def test_same_list_as_wireshark(secure: Path, tool: Tool) -> None:
    for path in (secure, RECORDED):
        mine = Capture.open(path).packets[["Protocol", "Info"]].values.tolist()
        theirs = [[row[4], row[6]] for row in tshark_list(tool("tshark"), path)]
        assert mine == theirs and any("Client Hello" in info for _, info in mine)


FIELDS = (
    "handshake.version handshake.random handshake.session_id handshake.ciphersuite handshake.extensions_server_name record.version".split()
)


@pytest.mark.parametrize("protocol", ["tls", "dtls"])
def test_same_fields_as_wireshark(protocol: str, secure: Path, tool: Tool) -> None:
    path = secure if protocol == "tls" else RECORDED
    names = [f"{protocol}.{name}" for name in FIELDS]
    command = [tool("tshark"), "-n", "-r", str(path), "-Y", f"{protocol}.handshake.ciphersuite", "-T", "fields", "-e", "frame.number"]
    done = subprocess.run([*command, *(word for name in names for word in ("-e", name))], capture_output=True, text=True, timeout=60)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) >= 8
    cap = Capture.open(path)
    for number, *theirs in rows:
        lines = [line for _, line in cap.packet(int(number)).walk()]
        mine = [[line.value for line in lines if line.field == name] for name in names]
        for name, found, expected in zip(names, mine, theirs, strict=True):
            values = [value for value in expected.split(",") if value]
            if any(found):
                assert [_number(value) for value in values] == [_number(value) for value in found if value != ""], (number, name)
            else:
                assert not values, (number, name)


def _number(value: object) -> object:
    """Wireshark prints numbers in hexadecimal, random octets too."""
    return int(value, 16) if isinstance(value, str) and value.removeprefix("0x").isalnum() and "." not in value else value


def test_hello_and_certificate_are_read(secure: Path) -> None:
    cap = Capture.open(secure)
    hello, answer = cap.packet(4), cap.packet(6)
    assert hello.get("tls.handshake.extensions_server_name") == "pbx.lab" and hello.get("tls.handshake.extensions_alpn_str") == "sip"
    assert cipher_suite_name(answer.get("tls.handshake.ciphersuite")).startswith("TLS_ECDHE_RSA_WITH_")
    assert answer.get("x509.subject") == "CN=PBX,O=SimpleCA"
    assert cap.find('x509.subject contains "SimpleCA"')["Info"].str.contains("Certificate").all()
    descriptions = [cap.packet(number).get("tls.alert_message.desc") for number in cap.find("tls.alert_message.desc")["No."].tolist()]
    assert descriptions == [40, 48], "handshake failure, unknown CA"


def test_dtls_certificate_in_fragments() -> None:
    cap = Capture.open(RECORDED)
    subjects = cap.find("x509.subject")
    assert subjects["Info"].tolist() == ["Certificate (Reassembled), Server Key Exchange (Fragment)"] * 2
    assert cap.packet(int(subjects["No."].iloc[0])).get("x509.subject") == "CN=PBX,O=SimpleCA"
    assert cap.packet(1).get("dtls.use_srtp.protection_profile") == "SRTP_AES128_CM_HMAC_SHA1_80"
    assert cap.packet(2).get("dtls.handshake.type") == 3


def test_records_in_any_pieces_are_the_same(secure: Path) -> None:
    cap = Capture.open(secure)
    stream = b"".join(
        cap.layers.bytes_of(number - 1) for number in cap.find("tcp.srcport == 5061 and tcp.dstport == 40000")["No."].tolist()
    )
    whole = list(TlsSession().feed(True, stream))
    assert [record.info for record in whole][:2] == ["Server Hello", "Certificate"]
    chance, session, read, at = random.Random(5), TlsSession(), list[TlsRecord](), 0
    while at < len(stream):
        size = chance.randint(1, 700)
        read += session.feed(True, stream[at : at + size])
        at += size
    assert read == whole


def test_tls_after_starttls_in_a_reference_capture(tool: Tool, corpus: Path) -> None:
    path = corpus / "captures" / "smtp-startssl.pcap"
    mine = Capture.open(path).packets[["Protocol", "Info"]].values.tolist()
    theirs = [[row[4], row[6]] for row in tshark_list(tool("tshark"), path)]
    assert mine == theirs and ["TLSv1", "Client Hello"] in mine and mine[3] == ["SMTP", "S: 220 firewall.unx.ca ESMTP Postfix"]


def test_the_key_log_of_a_secrets_block() -> None:
    log = b"CLIENT_RANDOM 00 11"
    body = struct.pack("<II", 0x544C534B, len(log)) + log + bytes(-len(log) % 4)
    block = struct.pack("<II", 10, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
    data = pcapng([])
    assert Capture.from_bytes(data).secrets == b""
    assert Capture.from_bytes(data + block + block).secrets == (log + b"\n") * 2


def test_no_tls_after_a_refused_starttls() -> None:
    said = script("S: 220 x ESMTP\nC: STARTTLS\nS: 454 no\nC: QUIT")
    cap = Capture.from_bytes(pcapng([(0, packet) for packet in conversation(2525, said)]))
    assert cap.find("smtp")["Info"].tolist() == ["S: 220 x ESMTP", "C: STARTTLS", "S: 454 no", "C: QUIT"]


@given(st.binary(max_size=300), st.sampled_from([20, 21, 22, 23]), st.sampled_from([1, 2, 3, 11]))
def test_any_octets(data: bytes, kind: int, message: int) -> None:
    body = bytes([message]) + len(data).to_bytes(3, "big") + data
    session = TlsSession()
    for record in session.feed(False, bytes([kind, 3, 3]) + len(body).to_bytes(2, "big") + body + data):
        assert record.info and record.tree().label
    assert Handshake(message, data).tree().label and Handshake(message, data, datagram=True).tree().label
    header = bytes([message]) + len(data).to_bytes(3, "big") + b"\0\1" + b"\0\0\0" + len(data).to_bytes(3, "big")
    datagram = bytes([kind, 0xFE, 0xFD]) + bytes(8) + (len(header) + len(data)).to_bytes(2, "big") + header + data
    assert looks_like_dtls(datagram)
    for record in DtlsSession().feed(True, datagram):
        assert record.info and record.tree().label
