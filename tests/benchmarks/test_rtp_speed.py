"""RTP streams of a large capture: labkit beside ``tshark -z rtp,streams``, time and memory printed, figures compared.

100 000 packets; ``LABKIT_RTP_PACKETS=1000000`` takes more.  labkit runs in a process of its own, and its time counts from ``Capture.open``
to the table of streams: in a notebook the imports are done already.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.rtp_load import write_rtp
from tests.capture.test_rtp import compare_streams

PACKETS = int(os.environ.get("LABKIT_RTP_PACKETS", "100000"))
STREAMS, ROUNDS = 40, 3
CODE = """
import sys, time
import pandas, babel.messages.pofile
import labkit.capture.rtp_find, labkit.capture.rtp_stream, labkit.capture.pcap
from labkit.capture.capture import Capture
began = time.perf_counter()
table = Capture.open(sys.argv[1]).rtp_streams
seconds = time.perf_counter() - began
try:
    memory = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
except OSError:
    memory = 0.0
print(seconds, table["Pkts"].sum(), memory)
"""


def run(command: list[str]) -> tuple[str, float, float]:
    """(what it prints, seconds, largest megabytes in memory; 0 where the system does not tell)."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    printed = process.stdout.read()
    if not hasattr(os, "wait4"):
        process.wait(timeout=60)
        return printed, time.perf_counter() - began, 0.0
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return printed, time.perf_counter() - began, usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@pytest.mark.timeout(300)
def test_streams_of_a_large_capture(tool: Callable[[str], str], figure: Callable[[str], None], tmp_path: Path) -> None:
    tshark, path = tool("tshark"), write_rtp(tmp_path / "large.pcap", PACKETS, STREAMS)
    assert compare_streams(tshark, path) == STREAMS
    ours, theirs = [], []
    for _ in range(ROUNDS):
        seconds, packets, memory = run([sys.executable, "-c", CODE, str(path)])[0].split()
        assert int(packets) == PACKETS // STREAMS * STREAMS
        ours.append((float(seconds), float(memory)))
        theirs.append(run([tshark, "-n", "-q", "-r", str(path), "-z", "rtp,streams"])[1:])
    (mine, my_memory), (other, other_memory) = sorted(ours)[ROUNDS // 2], sorted(theirs)[ROUNDS // 2]
    figure(
        f"RTP streams of {PACKETS} packets, median of {ROUNDS}: labkit in process {mine:.2f} s, {my_memory:.0f} MB; "
        f"tshark {other:.2f} s, {other_memory:.0f} MB; {other / mine:.1f} times as fast (aim: 10)"
    )
