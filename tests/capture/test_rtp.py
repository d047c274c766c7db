"""RTP streams have the figures that tshark 4.0 prints, column by column, and that sharkd gives packet by packet."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labkit.capture.capture import Capture
from labkit.capture.rtp_analysis import analyse, decaying_sum, running_mean
from labkit.capture.rtp_stream import COLUMNS, RtpStream
from labkit.capture.write import udp
from labkit.errors import CaptureError
from labkit.media.rtp import TelephoneEvent
from labkit.texts import language
from tests.capture.made import ALICE, BOB, pcap, pcapng, rtp, sdp, sip, tshark_streams

Tool = Callable[[str], str]
Packet = tuple[float, int, int, int, int]
"""Seconds, sequence number, timestamp, payload type, marker."""

MAPS = "a=rtpmap:96 speex/16000\r\na=rtpmap:97 opus/48000/2\r\na=rtpmap:99 odd/12345\r\na=rtpmap:101 telephone-event/8000\r\n"
OFFER = sip("INVITE sip:b@x SIP/2.0", body=sdp(BOB, 4000, "0 8 96 97 99 101", MAPS))


def regular(count: int = 20, kind: int = 0, sequence: int = 100, timestamp: int = 1000) -> list[Packet]:
    return [(0.02 * n + 0.001 * (n % 3), sequence + n, timestamp + 160 * n, kind, 0) for n in range(count)]


def changed(packets: list[Packet], place: int, **values: float) -> list[Packet]:
    fields = dict(zip(("time", "sequence", "timestamp", "kind", "marker"), packets[place], strict=True)) | values
    return [*packets[:place], tuple(fields.values()), *packets[place + 1 :]]  # type: ignore[list-item]


def swapped(packets: list[Packet], place: int) -> list[Packet]:
    first, second = packets[place], packets[place + 1]
    return [*packets[:place], (first[0], *second[1:]), (second[0], *first[1:]), *packets[place + 2 :]]


def silence(packets: list[Packet], place: int, marker: int) -> list[Packet]:
    """A gap of 100 packets in time and timestamp."""
    later = [(t + 2.0, s, ts + 16000, k, m) for t, s, ts, k, m in packets[place:]]
    return [*packets[:place], (*later[0][:4], marker), *later[1:]]


CASES: dict[str, list[Packet]] = {
    "regular": regular(),
    "one packet": regular(1),
    "two packets": regular(2),
    "lost": [packet for n, packet in enumerate(regular()) if n not in (3, 7, 8)],
    "duplicate": [*regular()[:10], (0.185, *regular()[9][1:]), *regular()[10:]],
    "duplicate at the end": [*regular(), (0.5, 119, 1000 + 160 * 19, 0, 0)],
    "reordered": swapped(regular(), 5),
    "late at the end": swapped(regular(), 18),
    "wrap": regular(sequence=65530, timestamp=2**32 - 1600),
    "wrap at zero": regular(sequence=65535),
    "starts at zero": regular(sequence=0),
    "late across the wrap": changed(regular(sequence=65530), 8, sequence=65533),
    "late below the first": swapped(regular(), 0),
    "silence with marker": silence(regular(), 8, 1),
    "silence without marker": silence(regular(), 8, 0),
    "timestamp back to the first": changed(regular(), 10, timestamp=1000),
    "timestamp before the first": changed(regular(), 1, timestamp=999),
    "timestamp before the first at the end": changed(regular(), 19, timestamp=999),
    "timestamp jumps": changed(regular(), 10, timestamp=17000),
    "same timestamp": changed(regular(), 10, timestamp=1000 + 160 * 9),
    "another type": changed(changed(regular(), 10, kind=8), 11, kind=8),
    "another clock": changed(changed(regular(), 10, kind=96, timestamp=9000), 11, kind=96),
    "a strange clock": regular(kind=99),
    "48 kHz": regular(kind=97),
    "unknown type": regular(kind=120),
    "comfort noise": changed(changed(regular(), 10, kind=13), 14, kind=19),
    "comfort noise, then marker": changed(changed(regular(), 10, kind=13), 11, marker=1),
    "a digit": changed(changed(regular(), 10, kind=101, timestamp=2600, marker=1), 11, kind=101, timestamp=2600),
    "a digit first": changed(regular(), 0, kind=101),
    "sequence jumps": changed(regular(), 10, sequence=9000),
    "sequence jumps at the end": changed(regular(), 19, sequence=9000),
}


def made(cases: dict[str, list[Packet]]) -> list[tuple[float, bytes]]:
    packets = [(0.0, udp((BOB, 5060), (ALICE, 5060), OFFER))]
    for number, stream in enumerate(cases.values()):
        for at, sequence, timestamp, kind, marker in stream:
            payload = TelephoneEvent(5, False, 10, 160).build() if kind == 101 else bytes(160)
            data = rtp(payload, sequence=sequence, timestamp=timestamp, kind=kind, marker=bool(marker), ssrc=number + 1)
            packets.append((1.0 + number + at, udp((ALICE, 4002), (BOB, 4000), data)))
    return sorted(packets, key=lambda packet: packet[0])


def stream_of(packets: list[Packet]) -> RtpStream:
    """One stream of its own capture."""
    return Capture.from_bytes(pcapng(made({"it": packets}))).rtp_stream(0)


def noisy(streams: int, packets: int, seed: int = 7) -> list[tuple[float, bytes]]:
    """Streams with gamma jitter, loss, late packets, duplicates, silences and keys, as a bad network makes them."""
    rng = np.random.default_rng(seed)
    found = [(0.0, udp((BOB, 5060), (ALICE, 5060), OFFER))]
    for stream in range(streams):
        sequence, timestamp = (int(rng.integers(0, limit)) for limit in (65536, 2**32 - 10**7))
        shift = 0
        for n in range(packets):
            if n % 300 == 299:
                shift += 8000
            at = 0.5 + 0.003 * stream + 0.02 * n + shift / 8000 + rng.gamma(2.0, 0.0015)
            kind = 101 if 100 <= n % 250 < 106 else 13 if n % 300 in (297, 298) else stream % 2 * 8
            payload = TelephoneEvent(n % 12, False, 10, 160).build() if kind == 101 else b"\xff" * (1 if kind == 13 else 160)
            chance = rng.random(3)
            if n and chance[0] < 0.01 * stream:
                continue
            if n and chance[1] < 0.003 * stream:
                at += 0.05
            data = rtp(
                payload, sequence=sequence + n, timestamp=timestamp + 160 * n + shift, kind=kind, marker=n % 300 == 0, ssrc=stream + 1
            )
            packet = udp((ALICE, 4002), (BOB, 4000), data)
            found.append((at, packet))
            if chance[2] < 0.001 * stream:
                found.append((at + 0.0004, packet))
    return sorted(found, key=lambda packet: packet[0])


def compare_streams(tshark: str, path: Path) -> int:
    """Every stream of a file against tshark's; the last printed digit may differ by one, since sums are taken in another order."""
    mine, theirs = Capture.open(path).rtp_streams, tshark_streams(tshark, path)
    assert len(mine) == len(theirs)
    for row, expected in zip(mine.itertuples(index=False), sorted(theirs, key=lambda row: (float(row[0]), int(row[6], 16))), strict=True):
        for name, value, wanted in zip(COLUMNS, row, expected, strict=True):
            if name in ("Start time", "End time"):
                assert value == pytest.approx(float(wanted), abs=1e-6), (name, expected)
            elif "(ms)" in name:
                assert value == pytest.approx(float(wanted), abs=0.00101), (name, expected)
            else:
                assert str(value) == wanted, (name, expected)
    return len(theirs)


def test_every_case_as_tshark_prints_it(tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "cases.pcapng"
    path.write_bytes(pcapng(made(CASES)))
    assert compare_streams(tool("tshark"), path) == len(CASES)


def test_noisy_streams_as_tshark_prints_them(tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "noisy.pcap"
    path.write_bytes(pcap(noisy(5, 900)))
    assert compare_streams(tool("tshark"), path) == 5


def sharkd_items(sharkd: str, path: Path, ssrcs: list[int]) -> list[list[dict[str, object]]]:
    """Per stream, what sharkd says of each packet."""
    orders: list[dict[str, object]] = [{"method": "load", "params": {"file": str(path)}}]
    orders += [{"method": "tap", "params": {"tap0": f"rtp-analyse:{ALICE}_4002_{BOB}_4000_0x{ssrc:x}"}} for ssrc in ssrcs]
    lines = "\n".join(json.dumps({"jsonrpc": "2.0", "id": n, **order}) for n, order in enumerate(orders, 1)) + "\n"
    done = subprocess.run([sharkd, "-"], input=lines, capture_output=True, text=True, check=False, timeout=60)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [answer["result"]["taps"][0]["items"] for answer in answers[1:]]


@pytest.mark.parametrize("source", ["cases", "noisy"])
def test_every_packet_as_sharkd_gives_it(source: str, tool: Tool, tmp_path: Path) -> None:
    sharkd = tool("sharkd")
    path = tmp_path / "made.pcapng"
    path.write_bytes(pcapng(made(CASES) if source == "cases" else noisy(3, 700)))
    streams = Capture.open(path).streams
    for stream, items in zip(streams, sharkd_items(sharkd, path, [stream.ssrc for stream in streams]), strict=True):
        table = stream.analysis
        assert list(table.columns) == [
            "Packet",
            "Sequence",
            "Delta (ms)",
            "Jitter (ms)",
            "Skew (ms)",
            "Bandwidth (kbit/s)",
            "Marker",
            "Status",
        ]
        assert table["Packet"].tolist() == [item["f"] for item in items]
        assert table["Sequence"].tolist() == [item["sn"] for item in items]
        for column, key in (("Delta (ms)", "d"), ("Jitter (ms)", "j"), ("Skew (ms)", "sk"), ("Bandwidth (kbit/s)", "bw")):
            np.testing.assert_allclose(table[column], [item[key] for item in items], atol=0.00501, err_msg=f"{stream} {column}")
        assert table["Status"].tolist() == [item.get("s", "✓") for item in items], stream


def test_loss_by_rfc_3550_beside_wiresharks() -> None:
    figures = {name: stream.figures for name, stream in zip(CASES, Capture.from_bytes(pcapng(made(CASES))).streams, strict=True)}
    assert (figures["lost"].lost, figures["lost"].lost_rfc) == (3, 3)
    assert (figures["duplicate"].lost, figures["duplicate"].lost_rfc, figures["duplicate"].duplicates) == (-1, 0, 1)
    assert (figures["late at the end"].lost, figures["late at the end"].lost_rfc) == (-1, 0)
    assert (figures["late across the wrap"].lost, figures["late across the wrap"].lost_rfc) == (65536, 1)
    assert figures["reordered"].sequence_errors > 0 and figures["reordered"].lost_rfc == 0


def test_streams_without_sdp_are_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(5)
    voice = [(0.02 * n, udp((BOB, 4000), (ALICE, 4002), rtp(bytes(160), sequence=n, timestamp=160 * n))) for n in range(50)]
    noise = [(0.02 * n + 0.01, udp((BOB, 7000), (ALICE, 7002), b"\x80\x00" + rng.bytes(170))) for n in range(50)]
    reports = [(0.5, udp((BOB, 4001), (ALICE, 4003), bytes([0x80, 200, 0, 6]) + bytes(24)))]
    cap = Capture.from_bytes(pcapng(sorted(voice + noise + reports)))
    (stream,) = cap.streams
    assert (stream.source, stream.destination, len(stream)) == ((BOB, 4000), (ALICE, 4002), 50)
    assert cap.packets["Protocol"].value_counts().to_dict() == {"RTP": 50, "UDP": 50, "RTCP": 1}


def sheet_table() -> dict[str, np.ndarray]:
    """The lab sheet's stream: twelve empty packets of another type, then speech whose first timestamp is one tick lower."""
    arrival = [0.329 * n / 11 for n in range(12)] + [574.904] * 7 + [574.904 + 20 * n for n in range(53)]
    ticks = [0] * 12 + [2**32 - 1] + [160 * n - 1 for n in range(1, 60)]
    kind, marker = [126] * 12 + [0] * 60, [0] * 12 + [1] + [0] * 59
    count = len(arrival)
    return {
        "time_ms": np.array(arrival),
        "sequence": np.arange(count),
        "timestamp": np.array(ticks),
        "payload_type": np.array(kind),
        "marker": np.array(marker),
        "size": np.full(count, 172),
        "clock": np.array([0] * 12 + [8000] * 60),
    }


def test_the_absurd_jitter_of_the_lab_sheet() -> None:
    older, current = analyse(**sheet_table(), older=True), analyse(**sheet_table())
    assert older.jitter[12] == pytest.approx(33554396.08, abs=0.01)
    assert older.jitter[13] == older.jitters.maximum == pytest.approx(65011677.08, abs=0.01)
    assert older.jitter[14] == pytest.approx(60948448.50, abs=0.01)
    assert older.max_skew == pytest.approx(536870336.97, abs=0.01)
    assert current.jitters.maximum < 40, "Wireshark 4 leaves the packet with the earlier timestamp out"


def test_recursions_equal_their_closed_forms() -> None:
    rng = np.random.default_rng(3)
    for count in (1, 63, 64, 65, 5000):
        values = rng.exponential(size=count)
        sums, state = [], 0.0
        for value in values:
            state = 15 / 16 * state + value
            sums.append(state)
        np.testing.assert_allclose(decaying_sum(values), sums, rtol=1e-12)
        numbers = np.flatnonzero(np.concatenate(([True], rng.random(4 * count) < 0.3)))[:count] + 1.0
        mean = 0.0
        for number, value in zip(numbers, values, strict=False):
            mean = (mean * (number - 1) + value) / number
        assert running_mean(numbers, values[: len(numbers)]) == pytest.approx(mean, rel=1e-9)


def test_a_hundred_thousand_packets(figure: Callable[[str], None], tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "many.pcap"
    packets = [udp((ALICE, 4002), (BOB, 4000), rtp(bytes(160), sequence=n, timestamp=160 * n, ssrc=1)) for n in range(12500)]
    at = packets[0].index(b"\0\0\0\1", 28)
    streams = [[packet[:at] + bytes([0, 0, 0, s]) + packet[at + 4 :] for packet in packets] for s in range(8)]
    path.write_bytes(pcap([(0.02 * n + 0.001 * s, streams[s][n]) for n in range(12500) for s in range(8)]))
    begin = time.perf_counter()
    table = Capture.open(path).rtp_streams
    middle = time.perf_counter()
    subprocess.run([tool("tshark"), "-n", "-q", "-r", str(path), "-z", "rtp,streams"], capture_output=True, check=False, timeout=60)
    end = time.perf_counter()
    assert table["Pkts"].tolist() == [12500] * 8
    figure(f"RTP analysis of 100 000 packets: labkit {middle - begin:.2f} s, tshark {end - middle:.2f} s")


def test_plots_of_every_figure() -> None:
    lost = stream_of([packet for n, packet in enumerate(regular(60)) if n not in (7, 8, 30)])
    picture = lost.plot("delta", "jitter", "skew", "bandwidth", "loss")
    assert picture.alt.endswith("3 packets lost.") and "Largest skew" in picture.alt and "kbit/s" in picture.alt
    axes = picture.figure.axes
    assert [panel.get_ylabel() for panel in axes] == ["Delta (ms)", "Jitter (ms)", "Skew (ms)", "Bandwidth (kbit/s)", "Packets lost so far"]
    assert axes[4].lines[0].get_ydata()[[0, 6, 7, -1]].tolist() == [0, 0, 2, 3]
    assert len({panel.lines[0].get_color() for panel in axes}) == 5
    np.testing.assert_allclose(axes[2].lines[0].get_ydata(), lost.figures.skew)
    late = stream_of(swapped(regular(20), 5)).plot("loss")
    assert late.figure.axes[0].lines[0].get_ydata().tolist() == [0] * 5 + [1] + [0] * 14, "a late packet takes its loss back"
    with pytest.raises(CaptureError, match="There is no plot gigue"):
        lost.plot("gigue")
    language("fr")
    assert "3 paquets perdus." in lost.plot("loss").alt
