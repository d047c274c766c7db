"""SRTP opened by the keys in SDP, alone and after TLS; the report; the command line; a real call of two phones."""

from __future__ import annotations

import ipaddress
import json
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import cli
from labkit.capture.capture import Capture
from labkit.capture.write import checksum, udp
from labkit.media.correlation import correlation
from labkit.media.sdes import CryptoLine
from labkit.media.srtp import SUITES, Srtp
from labkit.media.wav import load_wav
from labkit.texts import language
from tests.capture.made import ALICE, BOB, PBX, pcap, pcapng, rtp, sdp, sip
from tests.capture.tls_talk import SERVER, Identity, capture_of, talk

NEAR, FAR = (BOB, 4000), (ALICE, 4002)
CONTROL = (BOB, 4001), (ALICE, 4003)
RTCP = bytes([0x80, 200, 0, 6]) + bytes.fromhex("00000ABC") + bytes(range(20))
Packets = list[tuple[float, bytes]]


def line(name: str = "AES_CM_128_HMAC_SHA1_80", tag: int = 1, fill: int | None = None) -> CryptoLine:
    suite = SUITES[name]
    octets = os.urandom(suite.key + suite.salt) if fill is None else bytes([fill]) * (suite.key + suite.salt)
    return CryptoLine(str(tag), suite, octets[: suite.key], octets[suite.key :])


def secure(address: tuple[str, int], lines: list[CryptoLine], profile: str = "RTP/SAVP", session: int = 1) -> bytes:
    maps = "a=rtpmap:101 telephone-event/8000\r\n" + "".join(f"a=crypto:{one}\r\n" for one in lines)
    return sdp(*address, maps=maps, session=session).replace(b"RTP/AVP", profile.encode())


def messages(offer: bytes, answer: bytes) -> tuple[bytes, bytes]:
    return sip("INVITE sip:101@127.1.0.10 SIP/2.0", body=offer), sip("SIP/2.0 200 OK", "1 INVITE", to_tag="t", body=answer)


def signalling(offer: bytes, answer: bytes) -> Packets:
    invite, ok = messages(offer, answer)
    return [(0.0, udp((BOB, 5060), (PBX, 5060), invite)), (0.1, udp((PBX, 5060), (BOB, 5060), ok))]


def voice(number: int) -> bytes:
    return rtp(bytes([number & 127]) * 160, sequence=number, timestamp=160 * number)


def media(context: Srtp, numbers: range, start: float = 1.0) -> Packets:
    return [(start + 0.02 * place, udp(NEAR, FAR, context.protect(voice(number)))) for place, number in enumerate(numbers)]


def payloads(capture: Capture) -> list[bytes]:
    return [capture.layers.bytes_of(int(frame)) for stream in capture.streams for frame in stream.frame]


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_rtp_and_rtcp(name: str, tool: Callable[[str], str], tmp_path: Path) -> None:
    mine, theirs = line(name), line(name)
    packets = signalling(secure(NEAR, [line(), mine]), secure(FAR, [theirs], session=2))
    near, far = mine.srtp(), theirs.srtp()
    packets += media(near, range(65500, 65560))
    packets += [(3.0, udp(*CONTROL, near.protect_rtcp(RTCP))), (3.1, udp(*CONTROL[::-1], far.protect_rtcp(RTCP)))]
    packets += [(4.0 + 0.02 * n, udp(FAR, NEAR, far.protect(rtp(b"\x55" * 160, sequence=n, timestamp=160 * n, ssrc=5)))) for n in range(9)]
    capture = Capture.from_bytes(pcapng(packets))
    clear = capture.decrypt()
    assert clear.decryption.complete and clear.decryption.opened
    assert [(o.protocol, o.source, o.destination, o.cipher, o.decrypted) for o in clear.decryption.outcomes] == [
        ("SRTP", NEAR, FAR, name, 60),
        ("SRTCP", *CONTROL, name, 1),
        ("SRTCP", *CONTROL[::-1], name, 1),
        ("SRTP", FAR, NEAR, name, 9),
    ]
    assert len(clear) == len(capture) and (clear.records.time_ns == capture.records.time_ns).all()
    assert payloads(clear)[:60] == [voice(number) for number in range(65500, 65560)]
    assert [clear.layers.bytes_of(index) for index in clear.rtp.rtcp.tolist()] == [RTCP, RTCP]
    path = clear.save(tmp_path / "clear.pcapng")
    again = Capture.open(path)
    assert payloads(again) == payloads(clear) and len(again.rtp_streams) == 2
    assert not again.decrypt().decryption.outcomes  # what has been opened is not taken for SRTP again
    checks = ["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    bad = "udp.checksum.status==0 or ip.checksum.status==0 or _ws.malformed"
    done = subprocess.run([tool("tshark"), "-n", "-r", str(path), *checks, "-Y", bad], capture_output=True, text=True, timeout=60)
    assert done.stdout == "" and done.returncode == 0


def test_sdes_inside_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lesson: whoever reads the signalling hears the call."""
    mine, theirs = line("AES_256_CM_HMAC_SHA1_80"), line("AES_256_CM_HMAC_SHA1_80")
    invite, ok = messages(secure(NEAR, [mine]), secure(FAR, [theirs], session=2))
    said = talk(Identity.make(), [(True, invite), (False, ok)])
    data = capture_of([*said.segments(), *(packet for _, packet in media(mine.srtp(), range(50)))])
    capture = Capture.from_bytes(data)
    blind = capture.decrypt()
    assert not blind.decryption.opened and [o.why for o in blind.decryption.outcomes] == ["decrypt.no_secret"]
    signalled = capture.decrypt(said.key_log, sdes=False)
    assert len(signalled.messages) == 2 and payloads(signalled) != [voice(number) for number in range(50)]
    clear = capture.decrypt(said.key_log)
    assert [record.raw for record in clear.messages] == [invite, ok]
    assert payloads(clear) == [voice(number) for number in range(50)]
    assert clear.messages[0].destination == SERVER
    assert "3 TLS records" not in clear.decryption.text() and "50 SRTP or SRTCP packets decrypted, 0 not" in clear.decryption.text()

    file, keys, out = tmp_path / "in.pcapng", tmp_path / "keys.log", tmp_path / "out.pcapng"
    file.write_bytes(data)
    keys.write_text(said.key_log)
    assert cli.main(["decrypt", str(file), "-o", str(out), "--keys", str(keys)]) == 0
    assert "50 SRTP or SRTCP packets decrypted, 0 not" in capsys.readouterr().out
    assert payloads(Capture.open(out)) == payloads(clear)
    assert cli.main(["decrypt", str(file), "-o", str(out), "--keys", str(keys), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["Protocol"], row["Decrypted"], row["Failed"]) for row in rows] == [("TLS 1.3", 2, 0), ("SRTP", 50, 0)]
    none = tmp_path / "none.pcapng"
    assert cli.main(["decrypt", str(file), "-o", str(none)]) == 1
    said_so = capsys.readouterr().err
    assert "Nothing in" in said_so and "SSLKEYLOGFILE" in said_so and said_so.count("\n") == 1 and not none.exists()


def test_a_capture_that_begins_in_mid_stream_after_rollovers() -> None:
    mine = line("AES_CM_128_HMAC_SHA1_32")
    context = mine.srtp()
    for number in range(0, 5 * 65536, 5000):
        context.protect(voice(number))
    numbers = range(5 * 65536 - 20, 5 * 65536 + 20)
    clear = Capture.from_bytes(pcapng([*signalling(secure(NEAR, [mine]), secure(FAR, [line()])), *media(context, numbers)])).decrypt()
    assert payloads(clear) == [voice(number) for number in numbers]


def test_keys_changed_in_the_call() -> None:
    first, second = line(), line("AEAD_AES_256_GCM")
    packets = signalling(secure(NEAR, [first]), secure(FAR, [line()])) + media(first.srtp(), range(20))
    packets += [(2.0, udp((BOB, 5060), (PBX, 5060), messages(secure(NEAR, [second], session=3), b"")[0]))]
    packets += media(second.srtp(), range(20, 40), start=2.1)
    clear = Capture.from_bytes(pcapng(packets)).decrypt()
    assert payloads(clear) == [voice(number) for number in range(40)]
    assert [outcome.cipher for outcome in clear.decryption.outcomes] == ["AES_CM_128_HMAC_SHA1_80, AEAD_AES_256_GCM"]


@pytest.mark.parametrize("name", SUITES)
def test_tampered_packets_are_counted_and_stay_closed(name: str) -> None:
    mine = line(name)
    packets = signalling(secure(NEAR, [mine]), secure(FAR, [line()])) + media(mine.srtp(), range(30))
    for place in (5, 9):
        time, packet = packets[place]
        packets[place] = time, packet[:-20] + bytes([packet[-20] ^ 4]) + packet[-19:]
    capture = Capture.from_bytes(pcapng(packets))
    clear = capture.decrypt()
    [outcome] = clear.decryption.outcomes
    assert (outcome.decrypted, outcome.failed, outcome.why) == (28, 2, "decrypt.tampered")
    assert "2 failed their authentication" in outcome.reason and not clear.decryption.complete
    for index in range(2, len(capture)):
        touched = index in (5, 9)
        assert (clear.layers.bytes_of(index) == capture.layers.bytes_of(index)) == touched
        assert clear.records.comments[index].startswith("not decrypted: " if touched else "decrypted: ")
    again = clear.decrypt()
    assert [(o.decrypted, o.failed) for o in again.decryption.outcomes] == [(0, 2)]
    assert again.records.comments == clear.records.comments
    assert Capture.from_bytes(bytes(clear.records.data)).decryption == clear.decryption


@pytest.mark.parametrize(
    "comment",
    [
        '{"labkit": 1, "decryption": 5}',
        '{"labkit": 1, "decryption": [[1, 2]]}',
        '{"labkit": 1, "decryption": [["a", "b", 1, "c", 2, "d", "x", 0, ""]]}',
        '{"labkit": 1, "decryption": [["a", "b", 1, "c", 2, "d", 3, 0, "decrypt.unheard_of"]]}',
        '{"labkit": 1, "decryption": ' + "[" * 9000,
    ],
)
def test_a_report_that_someone_else_wrote_into_the_file(comment: str) -> None:
    assert Capture.from_bytes(pcapng([], comment=comment)).decryption is None
    html = '{"labkit": 1, "decryption": [["<b>", "<i>", 1, "c", 2, "d", 3, 0, "decrypt.no_data"]]}'
    found = Capture.from_bytes(pcapng([], comment=html)).decryption
    assert found.outcomes[0].decrypted == 3 and "<b>" not in found._repr_html_()


def test_the_wrong_key_opens_nothing() -> None:
    packets = signalling(secure(NEAR, [line()]), secure(FAR, [line()])) + media(line().srtp(), range(100))
    data = pcapng(packets)
    clear = Capture.from_bytes(data).decrypt()
    [outcome] = clear.decryption.outcomes
    assert (outcome.decrypted, outcome.failed, outcome.why) == (0, 100, "decrypt.wrong_key")
    assert [clear.layers.bytes_of(n) for n in range(len(clear))] == [Capture.from_bytes(data).layers.bytes_of(n) for n in range(len(clear))]


def test_dtls_srtp_and_calls_that_agree_on_plain_rtp() -> None:
    dtls = secure(NEAR, [], "UDP/TLS/RTP/SAVPF"), secure(FAR, [], "UDP/TLS/RTP/SAVPF")
    clear = Capture.from_bytes(pcapng(signalling(*dtls) + media(line().srtp(), range(10)))).decrypt()
    assert [(o.failed, o.why) for o in clear.decryption.outcomes] == [(10, "decrypt.no_sdes")]
    # Offered optionally (RTP/AVP with a=crypto), answered without: the media is plain.
    plain = [(1.0 + 0.02 * n, udp(NEAR, FAR, voice(n))) for n in range(10)]
    clear = Capture.from_bytes(pcapng(signalling(secure(NEAR, [line()], "RTP/AVP"), sdp(*FAR)) + plain)).decrypt()
    assert not clear.decryption.outcomes and payloads(clear) == [voice(n) for n in range(10)]
    mine = line()
    both = signalling(secure(NEAR, [mine], "RTP/AVP"), secure(FAR, [line()], "RTP/AVP"))
    clear = Capture.from_bytes(pcapng(both + media(mine.srtp(), range(10)))).decrypt()
    assert payloads(clear) == [voice(n) for n in range(10)]


def test_ipv6_on_ethernet_keeps_its_headers(tool: Callable[[str], str], tmp_path: Path) -> None:
    mine, here, there = line(), "fd00::1", "fd00::2"

    def udp6(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> bytes:
        ends = ipaddress.ip_address(source[0]).packed + ipaddress.ip_address(destination[0]).packed
        datagram = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0) + payload
        total = checksum(ends + struct.pack("!II", len(datagram), 17) + datagram) or 0xFFFF
        return struct.pack("!IHBB", 6 << 28, len(datagram), 17, 9) + ends + datagram[:6] + struct.pack("!H", total) + payload

    offer = secure(NEAR, [mine]).replace(b"IP4 " + BOB.encode(), b"IP6 " + here.encode())
    context = mine.srtp()
    packets = [(0.0, udp6((here, 5060), (there, 5060), messages(offer, b"")[0]))]
    packets += [(1 + 0.02 * n, udp6((here, 4000), (there, 4002), context.protect(voice(n)))) for n in range(5)]
    head = bytes(range(12)) + b"\x86\xdd"
    clear = Capture.from_bytes(pcap(packets, link=1, head=head)).decrypt()
    assert payloads(clear) == [voice(n) for n in range(5)] and clear.decryption.outcomes[0].source == (here, 4000)
    start = int(clear.records.start[3])
    assert bytes(clear.records.data[start : start + 18]) == head + struct.pack("!I", 6 << 28)
    path = clear.save(tmp_path / "clear.pcapng")
    run = [tool("tshark"), "-n", "-r", str(path), "-o", "udp.check_checksum:TRUE", "-T", "fields", "-e", "udp.checksum.status"]
    assert subprocess.run(run, capture_output=True, text=True, timeout=60).stdout.split() == ["1"] * 6


def test_a_key_without_authentication_is_for_its_sender_only() -> None:
    """Nothing would tell that it is the wrong one."""
    bare = CryptoLine.parse(f"{line()} UNAUTHENTICATED_SRTP")
    assert not bare.authenticated
    data = pcapng(signalling(secure(NEAR, [bare]), secure(FAR, [])) + media(bare.srtp(), range(5)))
    assert payloads(Capture.from_bytes(data).decrypt()) == [voice(number) for number in range(5)]
    data = pcapng(signalling(secure(NEAR, [line()]), secure(FAR, [bare])) + media(line().srtp(), range(5)))
    assert not Capture.from_bytes(data).decrypt().decryption.opened


def test_the_report_in_every_form_and_both_languages() -> None:
    packets = signalling(secure(NEAR, [line()]), secure(FAR, [line()])) + media(line().srtp(), range(3))
    report = Capture.from_bytes(pcapng(packets)).decrypt().decryption
    assert report.table().to_dict("records") == [
        {
            "Protocol": "SRTP",
            "Source": BOB,
            "Src Port": 4000,
            "Destination": ALICE,
            "Dst Port": 4002,
            "Cipher": "",
            "Decrypted": 0,
            "Failed": 3,
            "Comment": report.outcomes[0].reason,
        }
    ]
    assert "No key in the SDP fits: 3 packets" in repr(report) and "No key in the SDP fits" in report._repr_html_()
    language("fr")
    assert "Aucune clé du SDP ne convient : 3 paquets" in report.text()
    assert Capture.from_bytes(pcapng(signalling(sdp(*NEAR), sdp(*FAR)))).decrypt().decryption.text().startswith("Rien à déchiffrer")


def scene() -> bytes:
    mine = line(fill=7)
    context = mine.srtp()
    packets = signalling(secure(NEAR, [mine]), secure(FAR, [line(fill=9)])) + media(context, range(6))
    return pcapng([*packets, (3.0, udp(*CONTROL, context.protect_rtcp(RTCP)))])


SCENE = scene()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SCENE)), st.binary(min_size=1, max_size=8)), max_size=8), st.integers(0, len(SCENE)))
def test_wrong_bytes_anywhere_never_crash(changes: list[tuple[int, bytes]], size: int) -> None:
    data = bytearray(SCENE)
    for place, value in changes:
        data[max(place, 28) : max(place, 28) + len(value)] = value
    clear = Capture.from_bytes(bytes(data[: max(size, 28)])).decrypt()
    assert clear.decryption.text() and len(clear.packets) == len(clear)


SECURED = """
import pjsua2 as pj

def secured(function):
    def with_srtp(self, config, *rest):
        config.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_MANDATORY
        config.mediaConfig.srtpSecureSignaling = 0
        return function(self, config, *rest)
    return with_srtp

pj.Account.create, pj.Account.modify = secured(pj.Account.create), secured(pj.Account.modify)
"""


def test_a_call_of_two_pjsip_phones(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real phones, told by a start-up module of their processes to insist on SRTP: what was played is heard in the decrypted capture."""
    from labkit import Lab

    (tmp_path / "sitecustomize.py").write_text(SECURED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    file = tmp_path / "call.pcapng"
    sound = root / "data" / "audio" / "hello.wav"
    with Lab() as lab:
        bob, alice = lab.phone("BOB"), lab.phone("ALICE")
        bob.register()
        alice.register()
        call = bob.call("101")
        alice.answer()
        call.wait("connected")
        bob.play(sound)
        call.wait_seconds(4)
        call.hang_up()
        lab.capture.save(file)
    capture = Capture.open(file)
    clear = capture.decrypt()
    assert clear.decryption.complete, clear.decryption
    voices = [outcome for outcome in clear.decryption.outcomes if outcome.protocol == "SRTP"]
    assert len(voices) == 2 and {outcome.cipher for outcome in voices} == {"AES_256_CM_HMAC_SHA1_80"}
    assert all(outcome.decrypted > 150 for outcome in voices)
    assert {outcome.protocol for outcome in clear.decryption.outcomes} == {"SRTP", "SRTCP"}
    played = load_wav(sound).at(8000).samples

    def heard(cap: Capture) -> float:
        return max(correlation(stream.samples(), played) for stream in cap.streams if stream.speaker == "BOB")

    assert heard(clear) > 0.95 and heard(capture) < 0.3
    assert not any(stream.samples().any() for stream in clear.streams if stream.speaker == "ALICE")  # and silence is silence
