"""Large captures of RTP, made in numpy: PCMU in streams of 20 ms, with jitter, loss and late packets, as an Ethernet pcap.

An INVITE before each stream announces it, so that nobody has to guess.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from labkit.capture.write import udp
from tests.capture.made import sdp, sip

FRAME = 14 + 20 + 8 + 12 + 160
RECORD = 16 + FRAME
START_S = 1_700_000_000
ETHERNET = bytes.fromhex("0200000000020200000000010800")


def write_rtp(path: Path, packets: int, streams: int = 40, seed: int = 1) -> Path:
    """``packets`` of RTP in ``streams``, in order of arrival."""
    rng = np.random.default_rng(seed)
    each = packets // streams
    number = np.tile(np.arange(each), streams)
    stream = np.repeat(np.arange(streams), each)
    arrival = 0.02 * number + 0.0005 * stream + rng.gamma(2.0, 0.0015, len(number))
    arrival[rng.random(len(number)) < 0.0005 * (stream % 3)] += 0.05
    skipped = np.cumsum((rng.random(len(number)) < 0.01 * (stream % 5)).reshape(streams, each), axis=1).ravel()
    order = np.argsort(arrival, kind="stable")
    number, stream, arrival, skipped = number[order], stream[order], arrival[order], skipped[order]

    records = np.zeros((len(order), RECORD), np.uint8)
    _put(records, 0, START_S + arrival.astype(np.int64), "<u4")
    _put(records, 4, (arrival % 1 * 1e6).astype(np.int64), "<u4")
    _put(records, 8, np.full(len(order), FRAME), "<u4")
    _put(records, 12, np.full(len(order), FRAME), "<u4")
    head = ETHERNET + bytes.fromhex("450000c8000040004011 0000 7f010000 7f020000".replace(" ", ""))
    records[:, 16 : 16 + 34] = np.frombuffer(head, np.uint8)
    _put(records, 16 + 28, stream + 10, ">u2")
    _put(records, 16 + 32, stream + 10, ">u2")
    _put(records, 16 + 34, 16384 + 4 * stream, ">u2")
    _put(records, 16 + 36, 26384 + 4 * stream, ">u2")
    _put(records, 16 + 38, np.full(len(order), 180), ">u2")
    records[:, 16 + 42] = 0x80
    records[:, 16 + 43] = np.where(number == 0, 0x80, 0)
    _put(records, 16 + 44, (number + skipped + 1000 * stream) & 0xFFFF, ">u2")
    _put(records, 16 + 46, (160 * (number + skipped) + 7 * stream) & 0xFFFFFFFF, ">u4")
    _put(records, 16 + 50, 0x1000 + stream * 0x01010101 & 0xFFFFFFFF, ">u4")
    records[:, 16 + 54 :] = rng.integers(0, 256, 160, dtype=np.uint8)
    header = np.array([0xA1B2C3D4, 0x00040002, 0, 0, 262144, 1], "<u4").tobytes()
    with path.open("wb") as file:
        file.write(header)
        for each in range(streams):
            file.write(_invite(each))
        file.write(records.data)
    return path


def _invite(stream: int) -> bytes:
    here, there = f"127.2.0.{stream + 10}", f"127.1.0.{stream + 10}"
    message = sip("INVITE sip:a@x SIP/2.0", call_id=f"c{stream}", body=sdp(here, 26384 + 4 * stream))
    frame = ETHERNET + udp((here, 5060), (there, 5060), message)
    return struct.pack("<IIII", START_S - 1, 1000 * stream, len(frame), len(frame)) + frame


def _put(records: np.ndarray, at: int, values: np.ndarray, kind: str) -> None:
    width = np.dtype(kind).itemsize
    records[:, at : at + width] = values.astype(kind)[:, None].view(np.uint8)
