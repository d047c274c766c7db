"""STUN and TURN: the vectors of RFC 5769, the Info column of Wireshark, octets that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.capture import stun
from labkit.capture.capture import Capture
from labkit.capture.write import udp
from tests.capture.made import ALICE, BOB, pcapng, tshark_list
from tests.capture.made_secure import address, attribute
from tests.capture.made_secure import stun as made

Tool = Callable[[str], str]
SERVER = ("127.1.0.60", 3478)


@pytest.mark.parametrize("name", ["2.1", "2.2", "2.3", "2.4"])
def test_vectors_of_rfc_5769(name: str, corpus: Path) -> None:
    folder = corpus / "stun-rfc5769"
    known = json.loads((folder / "expected.json").read_text("utf-8"))
    data = (folder / f"{name}.bin").read_bytes()
    message = stun.parse(data)
    assert message is not None and len(data) == known["results"][name]["bytes"]
    key = known["password_short_term"].encode()
    if name == "2.4":
        key = stun.long_term_key("マトリックス", "example.org", "TheMatrIX")
    assert message.integrity_holds(key) is known["results"][name]["message_integrity"]
    assert message.fingerprint_holds() is known["results"][name]["fingerprint"]
    assert message.integrity_holds(key + b"x") is False


def test_addresses_of_the_vectors(corpus: Path) -> None:
    folder = corpus / "stun-rfc5769"
    for name, mapped in (("2.2", ("192.0.2.1", 32853)), ("2.3", ("2001:db8:1234:5678:11:2233:4455:6677", 32853))):
        message = stun.parse((folder / f"{name}.bin").read_bytes())
        assert message is not None
        found = message.get(stun.XOR_MAPPED_ADDRESS)
        assert found is not None and found.value == mapped


def battery(corpus: Path) -> list[bytes]:
    realm, nonce = attribute(0x14, b"example.org"), attribute(0x15, b"n")
    peer, lifetime = address(0x12, ALICE, 4000), attribute(0x0D, b"\0\0\2\x58")
    return [
        *((corpus / "stun-rfc5769" / f"2.{number}.bin").read_bytes() for number in (1, 2, 3, 4)),
        made(1),
        made(0x11),
        made(0x101, address(1, "127.1.0.9", 5000, xor=False)),
        made(3, attribute(0x19, b"\x11\0\0\0"), lifetime),
        made(0x113, attribute(9, b"\0\0\x04\x01Unauthorized"), realm, nonce),
        made(3, attribute(6, b"bob"), realm, nonce),
        made(0x103, address(0x16, "127.1.0.60", 50000), address(0x20, "127.1.0.9", 4000), lifetime),
        made(4, lifetime),
        made(0x104),
        made(8, peer),
        made(0x108),
        made(0x16, peer, attribute(0x13, b"hello")),
        made(0x17, peer, attribute(0x13, b"hello")),
        made(9, attribute(0x0C, b"\x40\0\0\0"), peer),
        made(0x109),
        made(0x119, attribute(9, b"\0\0\x04\x03Forbidden")),
        made(2),
        made(0x112, attribute(9, b"\0\0\x05\x00Server Error")),
        made(0x555),
        b"\x40\0\0\5hello\0\0\0",
        made(1, attribute(0x25, b""), attribute(0x24, b"\0\0\0\x64"), attribute(6, b"u:v")),
        made(0x101, attribute(0x8022, b"soft"), address(0x8023, "127.1.0.9", 5000, xor=False)),
        made(1, cookie=0x11111111),
        made(0x101, address(0x802B, "127.1.0.60", 3478, xor=False), address(0x802C, "127.1.0.60", 3479, xor=False)),
    ]


def test_same_list_as_wireshark(tool: Tool, corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "stun.pcapng"
    packets = [udp((BOB, 4000), server, message) for server in (SERVER, (ALICE, 40000)) for message in battery(corpus)]
    path.write_bytes(pcapng([(0.001 * n, packet) for n, packet in enumerate(packets)]))
    mine = Capture.open(path).packets[["Protocol", "Info"]].values.tolist()
    assert mine == [[row[4], row[6]] for row in tshark_list(tool("tshark"), path)]


def test_the_tree_of_an_allocation(corpus: Path) -> None:
    cap = Capture.from_bytes(pcapng([(0, udp((BOB, 4000), SERVER, message)) for message in battery(corpus)]))
    packet = cap.packet(9)
    assert "    Message Type: 0x0113 (Allocate Error Response)" in packet.text()
    assert "        ERROR-CODE: 401 (Unauthenticated) Unauthorized" in packet.text()
    assert packet.get("stun.att.realm") == "example.org"
    assert cap.packet(11).get("stun.att.xor-relayed-address") == ("127.1.0.60", 50000)


def test_channel_data_only_between_ends_that_spoke_stun() -> None:
    channel = b"\x40\0\0\5hello\0\0\0"
    packets = [udp((BOB, 4000), (ALICE, 4000), channel), udp((BOB, 4000), SERVER, made(1)), udp(SERVER, (BOB, 4000), channel)]
    cap = Capture.from_bytes(pcapng([(0.1 * n, packet) for n, packet in enumerate(packets)]))
    assert cap.packets["Protocol"].tolist() == ["UDP", "STUN", "STUN"]


@given(st.binary(max_size=80))
def test_any_octets(data: bytes) -> None:
    for octets in (data, b"\0\1" + len(data[20:]).to_bytes(2, "big") + data[4:], b"\0\1\0\x3c\x21\x12\xa4\x42" + data):
        message = stun.parse(octets)
        if message:
            assert message.info and message.tree().label and message.integrity_holds(b"x") in (None, True, False)
        stun.parse_channel(octets)
