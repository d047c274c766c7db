"""Sniffing with scapy shows what the wire recorded; who may not sniff is told so in one sentence."""

from __future__ import annotations

import io
import os
import socket
import sys

import pytest

from labkit import Capture, Lab, lab_sniff
from labkit.capture.layers import TCP
from labkit.capture.write import PcapngWriter, TcpConversation, udp
from labkit.errors import LabError
from labkit.lab_sniff import as_faces
from labkit.net.plan import AddressPlan
from labkit.texts import language

privileged = pytest.mark.skipif(
    not hasattr(socket, "AF_PACKET") or os.geteuid() != 0, reason="only on Linux, and as root, can the loopback be sniffed"
)


def dialogue(capture: Capture) -> list[tuple[str, str, str]]:
    """Who said what to whom."""
    return [
        (capture.host_of(*record.source), capture.host_of(*record.destination), record.message.start_line) for record in capture.messages
    ]


@privileged
@pytest.mark.parametrize("addresses", ["pair", "single"])
def test_a_call_is_sniffed_as_the_wire_records_it(addresses: str) -> None:
    with Lab(addresses=addresses, challenge_calls=False) as lab:
        bob, alice = lab.phone("BOB"), lab.phone("ALICE")
        lab.capture.restart()

        def call() -> None:
            bob.register()
            alice.register()
            dialled = bob.call("101")
            alice.answer()
            dialled.wait("connected")
            dialled.wait_seconds(0.5)
            dialled.hang_up()
            dialled.wait("ended")

        sniffed, recorded = lab.sniff(0.5, during=call), lab.capture.open()
        assert "scapy" in sys.modules
        ids = {record.call_id for record in recorded.messages if record.method in ("REGISTER", "INVITE")}
        theirs, ours = ([(r.source, r.destination, r.raw) for r in capture.messages if r.call_id in ids] for capture in (recorded, sniffed))
        # Packets that cross between two sockets may be seen in another order than the wire wrote them.
        assert sorted(ours) == sorted(theirs) and len(ours) > 10
        assert {(s.source, s.destination, s.ssrc) for s in sniffed.streams} == {(s.source, s.destination, s.ssrc) for s in recorded.streams}
        assert len(sniffed.streams) == 2 and all(len(stream) >= 20 for stream in sniffed.streams)
        if addresses == "pair":
            assert set(sniffed.hosts.values()) >= {"BOB", "ALICE", "PBX"} and sorted(dialogue(sniffed)) == sorted(dialogue(recorded))


def test_back_addresses_become_faces_and_strangers_are_left_out() -> None:
    plan = AddressPlan("pair", 5)
    pbx, bob = plan.host("PBX"), plan.host("BOB", "100")
    delivered = udp(bob.sip_face, pbx.sip_back, b"to the PBX")
    talk = TcpConversation(pbx.sip_face, bob.back_of(5061), client_isn=1, server_isn=2)
    others = [
        udp(bob.sip_back, pbx.sip_face, b"to the wire"),
        udp(pbx.sip_back, pbx.back_of(9), b"between services"),
        udp(("127.0.0.1", 9), pbx.sip_back, b"a stranger"),
        udp(bob.sip_face, ("127.0.0.1", 9), b"to a stranger"),
        b"",
        b"\x45" + bytes(60),
    ]
    kept = list(as_faces(enumerate([delivered, *others, talk.open()[0]]), [pbx, bob]))
    assert kept[0] == (0, udp(bob.sip_face, pbx.sip_face, b"to the PBX"))
    cap = Capture.from_bytes(_pcapng(kept))
    assert len(kept) == 2 and cap.layers.protocol[1] == TCP and cap.layers.endpoints(1) == (pbx.sip_face, (bob.face, 5061))


def _pcapng(packets: list[tuple[int, bytes]]) -> bytes:
    file = io.BytesIO()
    writer = PcapngWriter(file)
    for time_ns, packet in packets:
        writer.packet(time_ns, packet)
    return file.getvalue()


def test_who_may_not_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with Lab(extensions=[{"number": "100", "first_name": "BOB"}]) as lab:
        for wrong in (-1, "5", None, float("nan"), 1e9, True):
            with pytest.raises(LabError, match="give a number of seconds from 0 to 3600"):
                lab.sniff(wrong)  # type: ignore[arg-type]
        if hasattr(socket, "AF_PACKET"):
            from scapy.config import conf

            def refused(**_: object) -> None:
                raise PermissionError(1, "Operation not permitted")

            monkeypatch.setattr(conf, "L2socket", refused)
            with pytest.raises(LabError, match=r"may not sniff the loopback \(Operation not permitted\): that takes root or CAP_NET_RAW"):
                lab.sniff(1)
            monkeypatch.setitem(sys.modules, "scapy.config", None)
            language("fr")
            with pytest.raises(LabError, match="scapy ne se charge pas"):
                lab.sniff(1)
        language("en")
        monkeypatch.delattr(lab_sniff.socket, "AF_PACKET", raising=False)
        with pytest.raises(LabError, match="no AF_PACKET"):
            lab.sniff(1)
    with pytest.raises(LabError):
        lab.sniff(1)


@privileged
def test_without_a_wire_everything_between_the_hosts_is_sniffed() -> None:
    with Lab(wire=False, challenge_calls=False) as lab:
        sniffed = lab.sniff(0.3, during=lab.phone("BOB").register)
        assert [record.method for record in sniffed.messages if record.is_request][:2] == ["REGISTER", "REGISTER"]
        assert ("BOB", "PBX") in {ends[:2] for ends in dialogue(sniffed)}
