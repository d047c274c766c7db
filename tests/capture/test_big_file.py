"""Files that are larger than what may be read at once are mapped: nothing but tables of numbers takes memory."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.capture import records
from labkit.capture.capture import Capture
from labkit.capture.write import udp
from tests.capture.made import BOB, PBX, pcap, sip

PACKETS, SIZE = 5000, 60_000
"""300 MB in all, most of it a hole in the file."""
MEBIBYTES = 1 << 20

CODE = """
import sys
from labkit.capture.capture import Capture
Capture.from_bytes(bytes.fromhex(sys.argv[2])).packets
def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
before = anonymous()
cap = Capture.open(sys.argv[1])
assert len(cap.packets) == int(sys.argv[3]) and len(cap.sip) == 1 and not len(cap.find("tls or stun"))
print(anonymous() - before)
"""


def big(path: Path) -> Path:
    small = pcap([(0, udp((BOB, 5060), (PBX, 5060), sip("OPTIONS sip:x SIP/2.0")))], link=1, head=bytes(12) + b"\x08\x00")
    with path.open("wb") as file:
        file.write(small)
        for number in range(PACKETS):
            file.write(struct.pack("<IIII", 1_700_000_001 + number, 0, SIZE, SIZE))
            file.seek(SIZE, 1)
        file.truncate(len(small) + PACKETS * (16 + SIZE))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux can the memory of a process be read like this")
def test_a_mapped_file_takes_little_memory(tmp_path: Path) -> None:
    path = big(tmp_path / "big.pcap")
    assert path.stat().st_size > records.IN_MEMORY
    arguments = [str(path), pcap([(0, b"E")]).hex(), str(PACKETS + 1)]
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 24 * MEBIBYTES


def test_a_mapped_file_reads_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(__file__).parent / "calls" / "g722.pcapng"
    whole = Capture.open(path)
    monkeypatch.setattr(records, "IN_MEMORY", 1000)
    mapped = Capture.open(path)
    assert type(mapped.records.data).__name__ == "mmap"
    assert mapped.packets.equals(whole.packets) and mapped.rtp_streams.equals(whole.rtp_streams)
    assert mapped.packet(1).text() == whole.packet(1).text()
    assert mapped.save(tmp_path / "copy.pcapng").read_bytes() == path.read_bytes()
