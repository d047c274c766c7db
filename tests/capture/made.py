"""Captures made for tests: packets by :mod:`labkit.capture.write`, wrapped as any link layer and any file format."""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

from labkit.capture.write import PcapngWriter, udp
from labkit.media.rtp import RtpHeader

Address = tuple[str, int]
ALICE, BOB, PBX = "127.1.0.101", "127.1.0.100", "127.1.0.10"
NAMES = ((BOB, "BOB"), (ALICE, "ALICE"), (PBX, "PBX"))
START_NS = 1_700_000_000_123_456_789


def pcapng(packets: Iterable[tuple[float, bytes]], *, hosts: Iterable[tuple[str, str]] = (), comment: str = "") -> bytes:
    """A pcapng file of (seconds after the start, IPv4 packet)."""
    file = io.BytesIO()
    writer = PcapngWriter(file, hosts=hosts, comment=comment)
    for seconds, packet in packets:
        writer.packet(START_NS + round(seconds * 1e9), packet)
    return file.getvalue()


def pcap(
    packets: Iterable[tuple[float, bytes]], *, link: int = 228, order: str = "<", nanoseconds: bool = False, head: bytes = b""
) -> bytes:
    """A classic pcap file; ``head`` is put before every packet (a link layer)."""
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    parts = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link)]
    for seconds, packet in packets:
        second, rest = divmod(START_NS + round(seconds * 1e9), 10**9)
        frame = head + packet
        parts.append(struct.pack(order + "IIII", second, rest if nanoseconds else rest // 1000, len(frame), len(frame)) + frame)
    return b"".join(parts)


def sdp(address: str, port: int, types: str = "0 8 101", maps: str = "a=rtpmap:101 telephone-event/8000\r\n", session: int = 1) -> bytes:
    return (
        f"v=0\r\no=- {session} 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP {types}\r\n{maps}a=sendrecv\r\n"
    ).encode()


def sip(
    start: str,
    cseq: str = "",
    *,
    call_id: str = "c1",
    caller: str = "100",
    called: str = "101",
    to_tag: str = "",
    body: bytes = b"",
    kind: str = "application/sdp",
    extra: str = "",
) -> bytes:
    """One message; a request's CSeq is ``1 METHOD`` unless given."""
    cseq = cseq or f"1 {start.split()[0]}"
    to = f";tag={to_tag}" if to_tag else ""
    head = (
        f"{start}\r\nVia: SIP/2.0/UDP 127.1.0.100:5060;branch=z9hG4bK{call_id}{cseq.split()[0]}\r\n"
        f'From: "{caller}" <sip:{caller}@127.1.0.10>;tag=f{call_id}\r\nTo: <sip:{called}@127.1.0.10>{to}\r\n'
        f"Call-ID: {call_id}\r\nCSeq: {cseq}\r\nMax-Forwards: 70\r\n{extra}"
    )
    head += f"Content-Type: {kind}\r\n" if body else ""
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def rtp(payload: bytes, *, sequence: int, timestamp: int, kind: int = 0, marker: bool = False, ssrc: int = 0xABC) -> bytes:
    return RtpHeader(kind, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, marker).build(payload)


def leg(
    call_id: str, caller: Address, called: Address, media: tuple[Address, Address], start: float, *, session: str = "", rings: float = 0.2
) -> list[tuple[float, bytes]]:
    """INVITE to BYE between two hosts: 100 after 10 ms, 180 after ``rings``, 200 after a second, ACK, BYE five seconds later, its 200."""
    extra = f"Session-ID: {session}\r\n" if session else ""
    offer, answer = sdp(*media[0]), sdp(*media[1], session=2)

    def message(at: float, from_caller: bool, data: bytes) -> tuple[float, bytes]:
        ends = (caller, called) if from_caller else (called, caller)
        return start + at, udp(*ends, data)

    options = {"call_id": call_id, "extra": extra}
    return [
        message(0, True, sip("INVITE sip:101@127.1.0.10 SIP/2.0", body=offer, **options)),
        message(0.01, False, sip("SIP/2.0 100 Trying", "1 INVITE", **options)),
        message(rings, False, sip("SIP/2.0 180 Ringing", "1 INVITE", to_tag="t", **options)),
        message(1.0, False, sip("SIP/2.0 200 OK", "1 INVITE", to_tag="t", body=answer, **options)),
        message(1.05, True, sip("ACK sip:101@127.1.0.10 SIP/2.0", to_tag="t", **options)),
        message(6.05, True, sip("BYE sip:101@127.1.0.10 SIP/2.0", "2 BYE", to_tag="t", **options)),
        message(6.1, False, sip("SIP/2.0 200 OK", "2 BYE", to_tag="t", **options)),
    ]


def block_comment(*hosts: tuple[str, str, int, int]) -> str:
    """The section comment that names blocks of ports: (name, ip, low, high) each."""
    return json.dumps({"labkit": 1, "hosts": [{"name": n, "ip": ip, "ports": [low, high]} for n, ip, low, high in hosts]})


def tshark_list(tshark: str, path: Path) -> list[list[str]]:
    """Wireshark's packet list of a file, every column a string."""
    columns = "frame.number frame.time_relative _ws.col.Source _ws.col.Destination _ws.col.Protocol frame.len _ws.col.Info".split()
    fields = [word for column in columns for word in ("-e", column)]
    done = subprocess.run([tshark, "-n", "-r", str(path), "-T", "fields", *fields], capture_output=True, check=False, timeout=60)
    return [line.split("\t") for line in done.stdout.decode("utf-8", "replace").split("\n")[:-1]]


_STREAM = re.compile(
    r"\s*([\d.]+)\s+([\d.]+)\s+(\S+)\s+(\d+)\s+(\S+)\s+(\d+)\s+(0x\w+)\s+(.*?)\s+(\d+)\s+(-?\d+) \((-?[\d.]+)%\)"
    r"\s+(-?[\d.]+)\s+(-?[\d.]+)\s+(-?[\d.]+)\s+(-?[\d.]+)\s+(-?[\d.]+)\s+(-?[\d.]+)\s*(X?)"
)


def tshark_streams(tshark: str, path: Path) -> list[list[str]]:
    """``-z rtp,streams`` under the columns of ``Capture.rtp_streams`` (the percentage of loss left out), in order of their start."""
    done = subprocess.run(
        [tshark, "-n", "-q", "-r", str(path), "-z", "rtp,streams"], capture_output=True, text=True, check=False, timeout=120
    )
    found = [match.groups() for match in map(_STREAM.match, done.stdout.splitlines()) if match]
    return [[*row[:10], *row[11:]] for row in sorted(found, key=lambda row: float(row[0]))]
