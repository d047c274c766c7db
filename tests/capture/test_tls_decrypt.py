"""TLS captures opened: what Python's ssl sent comes out, as tshark finds it too, and what cannot be opened is said."""

from __future__ import annotations

import ssl
import struct
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.capture.capture import Capture
from labkit.capture.write import TcpConversation, pcapng_block
from labkit.errors import CaptureError
from tests.capture.made import ALICE, PBX, pcap, sip
from tests.capture.tls_talk import CLIENT, SERVER, Identity, Talk, capture_of, make_contexts, talk

V = ssl.TLSVersion
INVITE = sip("INVITE sip:101@127.1.0.10 SIP/2.0", extra="X-Long: " + "a" * 20000 + "\r\n")
OK = sip("SIP/2.0 200 OK", "1 INVITE", to_tag="t")
BYE = sip("BYE sip:101@127.1.0.10 SIP/2.0", "2 BYE", to_tag="t")
MESSAGES = [(True, INVITE), (False, OK), (True, BYE)]
RAW = [INVITE, OK, BYE]
RSA_KINDS = [
    (V.TLSv1, "AES128-SHA", "TLS 1.0", "TLS_RSA_WITH_AES_128_CBC_SHA"),
    (V.TLSv1_1, "AES256-SHA", "TLS 1.1", "TLS_RSA_WITH_AES_256_CBC_SHA"),
    (V.TLSv1_2, "AES128-SHA", "TLS 1.2", "TLS_RSA_WITH_AES_128_CBC_SHA"),
    (V.TLSv1_2, "AES256-SHA256", "TLS 1.2", "TLS_RSA_WITH_AES_256_CBC_SHA256"),
    (V.TLSv1_2, "AES256-GCM-SHA384", "TLS 1.2", "TLS_RSA_WITH_AES_256_GCM_SHA384"),
    (V.TLSv1_2, "AES128-CCM8", "TLS 1.2", "TLS_RSA_WITH_AES_128_CCM_8"),
]
KINDS = [
    *RSA_KINDS,
    (V.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256", "TLS 1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (V.TLSv1_2, "ECDHE-RSA-AES256-SHA384", "TLS 1.2", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
    (V.TLSv1_2, "ECDHE-RSA-CHACHA20-POLY1305", "TLS 1.2", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    (V.TLSv1_3, "", "TLS 1.3", "TLS_AES_256_GCM_SHA384"),
]

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity.make()


@pytest.fixture(scope="module")
def modern(identity: Identity) -> Talk:
    return talk(identity, MESSAGES)


@pytest.fixture(scope="module")
def classic(identity: Identity) -> Talk:
    """RSA key exchange."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return talk(identity, MESSAGES, version=V.TLSv1_2, ciphers="AES128-SHA")


def opened(capture: Capture, *arguments: object, **options: object) -> Capture:
    clear = capture.decrypt(*arguments, **options)
    assert clear is not capture and clear.decryption is not None
    return clear


def raws(capture: Capture) -> list[bytes]:
    return [record.raw for record in capture.messages]


@pytest.mark.parametrize(("version", "ciphers", "name", "suite"), KINDS, ids=[kind[3] + kind[2][-3:] for kind in KINDS])
def test_every_kind_of_cipher_by_key_log(identity: Identity, version: ssl.TLSVersion, ciphers: str, name: str, suite: str) -> None:
    said = talk(identity, MESSAGES, version=version, ciphers=ciphers)
    capture = Capture.from_bytes(capture_of(said.segments()))
    assert not capture.messages
    clear = opened(capture, said.key_log)
    assert raws(clear) == RAW
    [outcome] = clear.decryption.outcomes
    assert (outcome.protocol, outcome.cipher, outcome.source, outcome.destination) == (name, suite, CLIENT, SERVER)
    assert outcome.decrypted >= 4 and not outcome.failed and not outcome.why


@pytest.mark.parametrize(("version", "ciphers", "name", "suite"), RSA_KINDS, ids=[kind[3] + kind[2][-3:] for kind in RSA_KINDS])
def test_rsa_key_exchange_by_the_servers_key(identity: Identity, version: ssl.TLSVersion, ciphers: str, name: str, suite: str) -> None:
    said = talk(identity, MESSAGES, version=version, ciphers=ciphers)
    clear = opened(Capture.from_bytes(capture_of(said.segments())), rsa_key=identity.key)
    assert raws(clear) == RAW and clear.decryption.complete


def test_every_secret_opens_a_capture_as_tshark_does(identity: Identity, tool: Callable[[str], str], tmp_path: Path) -> None:
    tshark = tool("tshark")
    for number, (version, ciphers, _, suite) in enumerate(KINDS):
        said = talk(identity, MESSAGES, version=version, ciphers=ciphers)
        path, keys = tmp_path / f"{number}.pcapng", tmp_path / f"{number}.log"
        path.write_bytes(capture_of(said.segments()))
        keys.write_text(said.key_log)
        fields = ["-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code", "-Y", "sip"]
        options = ["-o", f"tls.keylog_file:{keys}", "-d", "tls.port==5061,sip"]
        theirs = subprocess.run([tshark, "-n", "-r", str(path), *options, *fields], capture_output=True, text=True, timeout=60).stdout
        clear = Capture.open(path).decrypt(keys)
        mine = [f"{m.method if m.is_request else ''}\t{m.status or ''}" for m in clear.messages]
        assert theirs.split("\n")[:-1] == mine, suite


def test_the_clear_capture_saves_reopens_and_pleases_tshark(modern: Talk, tool: Callable[[str], str], tmp_path: Path) -> None:
    original = Capture.from_bytes(capture_of(modern.segments()))
    clear = opened(original, modern.key_log)
    path = clear.save(tmp_path / "clear.pcapng")
    again = Capture.open(path)
    assert raws(again) == RAW and again.hosts == original.hosts and again.decryption == clear.decryption
    assert original.decryption is None
    assert {record.transport for record in again.messages} == {"TCP"}
    times = set(original.records.time_ns.tolist())
    assert set(again.records.time_ns.tolist()) <= times and again.origin_ns == original.origin_ns
    bad = "tcp.analysis.flags or tcp.checksum.status==0 or ip.checksum.status==0 or _ws.malformed"
    checks = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    run = [tool("tshark"), "-n", "-r", str(path), *checks]
    fields = ["-T", "fields", "-e", "tcp.srcport", "-e", "sip.Method", "-e", "sip.Status-Code", "-e", "frame.comment"]
    found = subprocess.run([*run, "-Y", "sip", *fields], capture_output=True, text=True, timeout=60).stdout.splitlines()
    comment = "decrypted: TLS 1.3 TLS_AES_256_GCM_SHA384, from packet "
    assert [line.rpartition(" ")[0] + " " for line in found] == [
        f"40061\tINVITE\t\t{comment}",
        f"5061\t\t200\t{comment}",
        f"40061\tBYE\t\t{comment}",
    ]
    assert subprocess.run([*run, "-Y", bad], capture_output=True, text=True, timeout=60).stdout == ""
    assert raws(opened(again)) == RAW  # nothing more to do
    for record, line in zip(again.messages, found, strict=True):
        number = int(line.rpartition(" ")[2])
        assert again.records.time_ns[record.number - 1] == original.records.time_ns[number - 1]


def test_any_order_of_segments_and_any_link_layer(modern: Talk) -> None:
    packets = modern.segments()
    packets[5], packets[6] = packets[6], packets[5]
    packets.insert(12, packets[11])
    head = bytes(12) + b"\x81\x00\x00\x07\x08\x00"
    data = pcap([(0.001 * place, packet) for place, packet in enumerate(packets)], link=1, head=head)
    clear = opened(Capture.from_bytes(data), modern.key_log)
    assert raws(clear) == RAW
    assert set(clear.records.link.tolist()) == {1}
    frame = clear.messages[0].number - 1
    start = int(clear.records.start[frame])
    assert bytes(clear.records.data[start : start + 18]) == head


def test_the_key_log_that_the_file_carries(modern: Talk, tmp_path: Path) -> None:
    log = modern.key_log.encode()
    secrets = pcapng_block(10, struct.pack("<II", 0x544C534B, len(log)) + log + bytes(-len(log) % 4))
    data = capture_of(modern.segments())
    size = struct.unpack_from("<I", data, 4)[0]
    capture = Capture.from_bytes(data[:size] + secrets + data[size:])
    assert capture.records.secrets == (log,)
    clear = opened(capture)
    assert raws(clear) == RAW and clear.records.secrets == ()
    path = tmp_path / "keys.log"
    path.write_bytes(log)
    for form in (path, str(path), log, modern.key_log, modern.key_log.replace("\n", "\r\n")):
        assert raws(opened(Capture.from_bytes(data), form)) == RAW


def test_a_session_resumed_opens_by_the_servers_key(identity: Identity) -> None:
    for ticket in (False, True):
        contexts = make_contexts(identity, V.TLSv1_2, "AES128-SHA")
        if not ticket:
            for context in contexts:
                context.options |= ssl.OP_NO_TICKET
        first = talk(identity, MESSAGES, contexts=contexts)
        second = talk(identity, MESSAGES, contexts=contexts, session=first.session)
        later = (ALICE, 40062)
        capture = Capture.from_bytes(capture_of([*first.segments(), *second.segments(later)]))
        clear = opened(capture, rsa_key=identity.key)
        assert raws(clear) == RAW * 2 and clear.decryption.complete
        alone = opened(Capture.from_bytes(capture_of(second.segments(later))), rsa_key=identity.key)
        assert not alone.messages and "resumes a session" in alone.decryption.text()


def test_two_connections_between_the_same_ports(identity: Identity, modern: Talk, classic: Talk) -> None:
    again = TcpConversation(CLIENT, SERVER, client_isn=900, server_isn=70)
    second = again.open()
    for sender, data in classic.flights:
        second += again.data(CLIENT if sender == CLIENT else SERVER, data)
    capture = Capture.from_bytes(capture_of([*modern.segments(), *second]))
    clear = opened(capture, modern.key_log + classic.key_log)
    assert raws(clear) == RAW * 2
    half = opened(capture, modern.key_log)
    assert raws(half) == RAW
    first, second_outcome = half.decryption.outcomes
    assert (first.why, second_outcome.why) == ("", "decrypt.no_secret") and not half.decryption.complete


def test_what_comes_before_tls_on_a_connection_stays(modern: Talk) -> None:
    plain = [(SERVER, b"220 mail\r\n"), (CLIENT, b"STARTTLS\r\n"), (SERVER, b"220 go on\r\n")]
    said = Talk([*plain, *modern.flights])
    clear = opened(Capture.from_bytes(capture_of(said.segments())), modern.key_log)
    layers = clear.layers
    both = [
        b"".join(layers.bytes_of(index) for index in range(len(layers)) if layers.endpoints(index)[0] == end) for end in (CLIENT, SERVER)
    ]
    assert both == [b"STARTTLS\r\n" + INVITE + BYE, b"220 mail\r\n220 go on\r\n" + OK]


def test_why_a_connection_stays_closed(identity: Identity, modern: Talk, classic: Talk) -> None:
    other = Identity.make()
    cut = modern.segments()[8:]
    wrong = "\n".join(line.rpartition(" ")[0] + " " + "ab" * 48 for line in modern.key_log.splitlines() if line[0] != "#")
    cases = [
        (modern.segments(), {}, "decrypt.no_secret", "SSLKEYLOGFILE"),
        (modern.segments(), {"rsa_key": identity.key}, "decrypt.forward_secrecy", "forward secrecy"),
        (modern.segments(), {"tls_keys": classic.key_log}, "decrypt.no_secret", "SSLKEYLOGFILE"),
        (modern.segments(), {"tls_keys": wrong}, "decrypt.wrong_secret", "none was opened"),
        (classic.segments(), {"rsa_key": other.key}, "decrypt.other_certificate", "does not belong"),
        (cut, {"tls_keys": modern.key_log}, "decrypt.no_start", "before the phone connects"),
    ]
    for packets, options, why, words in cases:
        data = capture_of(packets)
        clear = opened(Capture.from_bytes(data), **options)
        [outcome] = clear.decryption.outcomes
        assert (outcome.why, outcome.decrypted) == (why, 0), why
        assert words in clear.decryption.text() and words in clear.decryption._repr_html_()
        assert not clear.messages and bytes(clear.records.data) == data  # as it was recorded


def test_a_tampered_record_is_counted_and_left_out(modern: Talk, classic: Talk) -> None:
    for said in (modern, classic):
        flights = list(said.flights)
        place = next(n for n in reversed(range(len(flights))) if len(flights[n][1]) > 100)
        sender, data = flights[place]
        flights[place] = sender, data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
        clear = opened(Capture.from_bytes(capture_of(Talk(flights).segments())), said.key_log)
        assert raws(clear) == RAW[:2]
        [outcome] = clear.decryption.outcomes
        assert (outcome.failed, outcome.why) == (1, "decrypt.tampered") and b"BYE" not in bytes(clear.records.data)


def test_lost_packets_end_the_reading(modern: Talk) -> None:
    packets = modern.segments()
    large = [place for place, packet in enumerate(packets) if len(packet) == 1440]
    for place in (large[0], large[-2]):  # both in the INVITE
        clear = opened(Capture.from_bytes(capture_of([*packets[:place], *packets[place + 1 :]])), modern.key_log)
        [outcome] = clear.decryption.outcomes
        assert raws(clear) == [OK] and outcome.why == "decrypt.gap" and not clear.decryption.complete
    cut = packets[: large[-1]]  # the capture was stopped in the middle of the INVITE
    [outcome] = opened(Capture.from_bytes(capture_of(cut)), modern.key_log).decryption.outcomes
    assert outcome.why == "decrypt.gap" and "missing in the capture" in outcome.reason


def test_key_files_that_cannot_be_used(identity: Identity, corpus: Path, tmp_path: Path, modern: Talk) -> None:
    capture = Capture.from_bytes(capture_of(modern.segments()))
    nothing = tmp_path / "nothing.log"
    nothing.write_text("# SSL key log\n")
    locked = corpus / "tls-rfc6216" / "01.pem"
    for options, words in (
        ({"tls_keys": nothing}, "no TLS key log"),
        ({"tls_keys": tmp_path / "absent"}, "cannot be opened"),
        ({"tls_keys": "absent.log"}, "cannot be opened"),
        ({"tls_keys": "two\nlines"}, "no TLS key log"),
        ({"rsa_key": tmp_path / "absent"}, "cannot be opened"),
        ({"rsa_key": nothing}, "not a private key"),
        ({"rsa_key": locked}, "locked by a password"),
        ({"rsa_key": locked, "rsa_password": "wrong"}, "does not open with this password"),
        ({"rsa_key": [identity.key, b"x"]}, "not a private key"),
    ):
        with pytest.raises(CaptureError, match=words):
            capture.decrypt(**options)
    assert opened(capture, rsa_key=locked, rsa_password="password").decryption.outcomes[0].why == "decrypt.forward_secrecy"
    assert opened(capture, rsa_key=[identity.key, locked], rsa_password="password").decryption.outcomes[0].failed


CORPSE: dict[str, bytes | str] = {}


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 1),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2000), st.binary(min_size=1, max_size=6)), max_size=6),
    st.integers(0, 60),
)
def test_wrong_bytes_anywhere_never_crash(which: int, changes: list[tuple[int, int, bytes]], kept: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not CORPSE:
            identity = Identity.make()
            CORPSE["key"] = identity.key
            for number, said in enumerate((talk(identity, MESSAGES), talk(identity, MESSAGES, version=V.TLSv1_2, ciphers="AES128-SHA"))):
                CORPSE[f"{number}"], CORPSE[f"log{number}"] = said, said.key_log
    flights = list(CORPSE[str(which)].flights)
    for place, at, value in changes:
        sender, data = flights[place % len(flights)]
        at %= len(data)
        flights[place % len(flights)] = sender, data[:at] + value + data[at + len(value) :]
    packets = Talk(flights).segments()[: max(kept, 4)]
    clear = opened(Capture.from_bytes(capture_of(packets)), CORPSE[f"log{which}"], rsa_key=CORPSE["key"])
    assert clear.decryption.text() and len(clear.packets) == len(clear)
    assert all(any(record.raw in message for message in RAW) for record in clear.messages)


def test_ports_and_addresses(modern: Talk) -> None:
    clear = opened(Capture.from_bytes(capture_of(modern.segments())), modern.key_log)
    assert [(m.source, m.destination) for m in clear.messages] == [(CLIENT, SERVER), (SERVER, CLIENT), (CLIENT, SERVER)]
    assert (CLIENT[0], SERVER[0]) == (ALICE, PBX)


@pytest.mark.parametrize(("version", "ciphers"), [(V.TLSv1, "AES128-SHA"), (V.TLSv1_1, "AES128-SHA"), (V.TLSv1_2, "AES256-SHA256")])
@pytest.mark.parametrize("without", [1 << 19, 1, 1 | 1 << 19], ids=["mac-then-encrypt", "plain master secret", "neither"])
def test_peers_older_than_rfc_7366_and_rfc_7627(identity: Identity, version: ssl.TLSVersion, ciphers: str, without: int) -> None:
    """OpenSSL's options SSL_OP_NO_ENCRYPT_THEN_MAC (bit 19) and SSL_OP_NO_EXTENDED_MASTER_SECRET (bit 0), which Python has no name for."""
    contexts = make_contexts(identity, version, ciphers)
    for context in contexts:
        context.options |= without
    said = talk(identity, MESSAGES, contexts=contexts)
    capture = Capture.from_bytes(capture_of(said.segments()))
    for options in ({"tls_keys": said.key_log}, {"rsa_key": identity.key}):
        assert raws(opened(capture, **options)) == RAW


def test_a_server_that_asks_for_another_hello(identity: Identity) -> None:
    contexts = make_contexts(identity, V.TLSv1_3)
    contexts[1].set_ecdh_curve("secp384r1")
    said = talk(identity, MESSAGES, contexts=contexts)
    assert bytes.fromhex("cf21ad74e59a6111be1d8c02") in said.flights[1][1]  # HelloRetryRequest
    assert raws(opened(Capture.from_bytes(capture_of(said.segments())), said.key_log)) == RAW


def test_captures_by_others(corpus: Path) -> None:
    """None of them comes with its secrets: what is TLS is said to stay closed, the rest is as it was."""
    for path in sorted((corpus / "captures").glob("*.pcap")):
        capture = Capture.open(path)
        clear = opened(capture)
        found = [(o.protocol, o.cipher, o.destination[1], o.decrypted, o.why) for o in clear.decryption.outcomes]
        known = {"smtp-startssl.pcap": [("TLS 1.3", "TLS_AES_256_GCM_SHA384", 25, 0, "decrypt.no_secret")]}
        assert found == known.get(path.name, []), path.name
        assert bytes(clear.records.data) == bytes(capture.records.data)


def test_other_lines_of_a_key_log(identity: Identity, classic: Talk) -> None:
    """The premaster secret by the client's random, or by the octets that carried it encrypted; and a master secret by session."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    from labkit.capture.tls_keys import rsa_keys

    flight = next(data for sender, data in classic.flights[2:] if sender == CLIENT)
    assert flight[5] == 16  # ClientKeyExchange
    encrypted = flight[11 : 11 + 256]
    [key] = rsa_keys(identity.key)
    secret = key.decrypt(encrypted, PKCS1v15()).hex()
    label, random, master = classic.key_log.split()[-3:]
    assert label == "CLIENT_RANDOM"
    session = classic.flights[1][1][44 : 44 + 32].hex() if classic.flights[1][1][43] == 32 else ""
    lines = [f"RSA {encrypted[:8].hex()} {secret}", f"PMS_CLIENT_RANDOM {random} {secret}"]
    lines += [f"RSA Session-ID:{session} Master-Key:{master}"] if session else []
    capture = Capture.from_bytes(capture_of(classic.segments()))
    for log in lines:
        assert raws(opened(capture, f"# comment\n{log}\n")) == RAW, log


def test_keys_that_are_updated() -> None:
    """RFC 8446 §7.2, which Python's ssl cannot be asked for: records sealed here."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from labkit.capture.tls_cipher import expand_label
    from labkit.capture.tls_keys import KeyLog
    from labkit.capture.tls_master import Secrets
    from labkit.capture.tls_session import TlsSession

    random = bytes(range(32))
    log = KeyLog()
    for label in ("CLIENT_HANDSHAKE", "SERVER_HANDSHAKE"):
        log.secrets[f"{label}_TRAFFIC_SECRET", random] = (label.encode() * 3)[:32]
    log.secrets["CLIENT_TRAFFIC_SECRET_0", random] = bytes(32)

    def record(kind: int, content: bytes) -> bytes:
        return struct.pack("!BHH", kind, 0x0303, len(content)) + content

    def message(kind: int, body: bytes) -> bytes:
        return bytes([kind]) + len(body).to_bytes(3, "big") + body

    def sealed(secret: bytes, sequence: int, kind: int, content: bytes) -> bytes:
        key, iv = expand_label("sha256", secret, "key", 16), expand_label("sha256", secret, "iv", 12)
        nonce = (int.from_bytes(iv, "big") ^ sequence).to_bytes(12, "big")
        inner = content + bytes([kind]) + bytes(7)
        return record(23, AESGCM(key).encrypt(nonce, inner, struct.pack("!BHH", 23, 0x0303, len(inner) + 16)))

    session = TlsSession(Secrets(log))
    extension = bytes.fromhex("0006 002b 0002 0304")
    assert session.feed(0, record(22, message(1, b"\x03\x03" + random + b"\0\0\2\x13\x01\1\0\0\0"))) == b""
    assert session.feed(1, record(22, message(2, b"\x03\x03" + bytes(32) + b"\0\x13\x01\0" + extension))) == b""
    assert session.suite_name == "TLS_AES_128_GCM_SHA256"
    assert session.feed(0, sealed(log.secrets["CLIENT_HANDSHAKE_TRAFFIC_SECRET", random], 0, 22, message(20, bytes(32)))) == b""
    first = bytes(32)
    second = expand_label("sha256", first, "traffic upd", 32)
    assert session.feed(0, sealed(first, 0, 23, b"one")) == b"one"
    assert session.feed(0, sealed(first, 1, 22, message(24, b"\0"))) == b""
    assert session.feed(0, sealed(second, 0, 23, b"two")) == b"two"
    assert session.feed(0, sealed(first, 2, 23, b"old")) == b"" and session.failed == 1
