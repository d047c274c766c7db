"""``labkit demo 1``: the whole way through, headless: ladder, figures, voices, and Wireshark's own opinion of the capture."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from labkit.capture.capture import Capture


@dataclass
class Demo:
    folder: Path
    printed: str

    @property
    def capture(self) -> Capture:
        return Capture.open(self.folder / "capture.pcapng")


def run_demo(folder: Path, *options: str, part: int = 1, **environment: str) -> Demo:
    command = [sys.executable, "-m", "labkit.cli", "demo", str(part), "--out", str(folder), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=90, env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(folder, done.stdout)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return run_demo(tmp_path_factory.mktemp("demo") / "out")


def samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert file.getframerate() == 8000
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)


def likeness(heard: np.ndarray, spoken: np.ndarray) -> float:
    """The greatest normalised correlation of ``spoken`` with any stretch of ``heard``."""
    size = 1 << (len(heard) + len(spoken)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(spoken, size)), size)[: max(1, len(heard) - len(spoken) + 1)]
    power = np.concatenate(([0.0], np.cumsum(heard**2)))
    window = power[len(spoken) :][: len(product)] - power[: len(product)]
    return float((product / np.sqrt(np.maximum(window, 1.0) * np.sum(spoken**2))).max())


def messages(demo: Demo, one: str, other: str) -> list[str]:
    """The SIP messages between two hosts, as methods and codes, without what a 3CXPhone asks after registering."""
    capture = demo.capture
    found = []
    for record in capture.messages:
        ends = {capture.host_of(*record.source), capture.host_of(*record.destination)}
        if ends == {one, other} and record.method != "SUBSCRIBE":
            found.append(record.method if record.is_request else str(record.status))
    return found


def test_it_leaves_the_promised_files(demo: Demo) -> None:
    names = {path.name for path in demo.folder.iterdir()}
    assert {"capture.pcapng", "ladder.svg", "ladder.txt", "rtp.csv", "summary.json", "config.json"} <= names
    assert sorted(name.partition("-")[2][2:] for name in names if name.endswith(".wav")) == ["ALICE-to-BOB.wav", "BOB-to-ALICE.wav"]


def test_a_line_for_each_step_and_the_ladder_at_the_end(demo: Demo) -> None:
    steps = [line for line in demo.printed.splitlines() if re.match(r"\[ *\d+\.\d{3} s\] ", line)]
    assert len(steps) >= 8 and "BOB is registered as 100." in steps[1]
    assert demo.printed.rstrip().endswith((demo.folder / "ladder.txt").read_text("utf-8").rstrip())


def test_each_phone_registers_as_at_a_3cx_and_the_call_is_challenged(demo: Demo) -> None:
    registration = ["REGISTER", "407", "REGISTER", "200"]
    call = ["INVITE", "407", "ACK", "INVITE", "100", "180", "200", "ACK", "BYE", "200"]
    assert messages(demo, "BOB", "PBX") == registration + call
    to_alice = [message for message in messages(demo, "ALICE", "PBX") if message != "100"]
    assert to_alice == [*registration, "INVITE", "180", "200", "ACK", "BYE", "200"]
    assert messages(demo, "BOB", "ALICE") == []


def test_each_phone_asks_for_messages_and_is_told_that_there_are_none(demo: Demo) -> None:
    capture = demo.capture
    for phone in ("BOB", "ALICE"):
        asked = [
            "SUBSCRIBE" if record.is_request else str(record.status)
            for record in capture.messages
            if record.method == "SUBSCRIBE" and phone in (capture.host_of(*record.source), capture.host_of(*record.destination))
        ]
        assert asked == ["SUBSCRIBE", "407", "SUBSCRIBE", "489"]


def test_the_ladder_shows_it_in_the_right_columns(demo: Demo) -> None:
    ladder = (demo.folder / "ladder.txt").read_text("utf-8")
    head = next(line for line in ladder.splitlines() if "BOB" in line and "ALICE" in line and "PBX" in line)
    assert "PAUL" not in head, "a host without messages has no column"
    wanted = ["REGISTER", "407", "REGISTER", "200", "INVITE", "407", "ACK", "INVITE", "180", "200", "ACK", "RTP", "BYE", "200"]
    rest = iter(ladder.split())
    assert all(any(step in word for word in rest) for step in wanted)


def test_the_sheets_trace_without_a_challenged_call(tmp_path: Path) -> None:
    demo = run_demo(tmp_path / "out", "--no-challenge", "--profile", "rfc", "--codec", "PCMA")
    registration = ["REGISTER", "401", "REGISTER", "200"]
    assert messages(demo, "BOB", "PBX") == [*registration, "INVITE", "100", "180", "200", "ACK", "BYE", "200"]
    assert_voices(demo, {"g711A"})


def assert_voices(demo: Demo, payloads: set[str]) -> None:
    data = Path(__file__).resolve().parent.parent / "data" / "audio"
    bob, alice = samples(next(demo.folder.glob("*BOB-to-ALICE.wav"))), samples(next(demo.folder.glob("*ALICE-to-BOB.wav")))
    assert likeness(bob, samples(data / "hello.wav")) > 0.95
    assert likeness(alice, samples(data / "hello-alice.wav")[: len(alice) // 2]) > 0.95
    assert likeness(bob, samples(data / "hello-alice.wav")[: len(bob) // 2]) < 0.5, "the voices are not mixed up"
    assert np.sqrt(np.mean(bob**2)) > 100, "not silence"
    assert {stream.payload for stream in demo.capture.streams} == payloads


def test_the_voices_in_the_capture_are_those_that_were_played(demo: Demo) -> None:
    assert_voices(demo, {"g711U"})


def test_the_voice_runs_directly_between_the_phones(demo: Demo) -> None:
    capture = demo.capture
    ends = [{capture.host_of(*stream.source), capture.host_of(*stream.destination)} for stream in capture.streams]
    assert ends == [{"BOB", "ALICE"}, {"BOB", "ALICE"}]


def test_figures_are_saved_for_people_and_programs(demo: Demo) -> None:
    with (demo.folder / "rtp.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    summary = json.loads((demo.folder / "summary.json").read_text("utf-8"))
    assert [int(row["Pkts"]) for row in rows] == [stream["Pkts"] for stream in summary["rtp_streams"]]
    assert all(200 < int(row["Pkts"]) < 260 and row["Lost"] == "0" for row in rows)
    assert len(summary["calls"]) == 1 and summary["seconds"]["connected"] < 5


def test_no_secret_is_in_the_evidence(demo: Demo) -> None:
    config = (demo.folder / "config.json").read_text("utf-8")
    assert '"100"' in config and "password" not in config.lower() and "pin" not in json.loads(config)["extensions"][0]


def test_wireshark_finds_nothing_wrong(demo: Demo, tool: Callable[[str], str]) -> None:
    checks = [f"-o{layer}.check_checksum:TRUE" for layer in ("ip", "udp", "tcp")]
    wrong = "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0"
    command = [tool("tshark"), "-r", str(demo.folder / "capture.pcapng"), *checks, "-Y", wrong]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_wireshark_gives_the_same_figures(demo: Demo, tool: Callable[[str], str]) -> None:
    command = [tool("tshark"), "-q", "-z", "rtp,streams", "-r", str(demo.folder / "capture.pcapng")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = {found[1]: found[0].split() for line in printed.splitlines() if (found := re.search(r"(?<=\s)(0x[0-9A-F]{8}) .*", line))}
    ours = demo.capture.rtp_streams.set_index("SSRC")
    assert set(theirs) == set(ours.index) and len(ours) == 2
    for ssrc, (_, payload, packets, lost, _, *times) in theirs.items():
        mine = ours.loc[ssrc]
        assert (payload, int(packets), int(lost)) == (mine["Payload"], mine["Pkts"], mine["Lost"])
        assert [float(time) for time in times] == pytest.approx(mine["Min Delta(ms)":"Max Jitter(ms)"].tolist(), abs=0.00051)


def test_on_one_address_the_hosts_differ_by_port(tmp_path: Path) -> None:
    demo = run_demo(tmp_path / "out", LABKIT_ADDRESSES="single")
    assert messages(demo, "BOB", "PBX")[:4] == ["REGISTER", "407", "REGISTER", "200"]
    assert messages(demo, "BOB", "PBX")[-2:] == ["BYE", "200"]
    assert {ip for record in demo.capture.messages for ip in (record.source[0], record.destination[0])} == {"127.0.0.1"}
    assert_voices(demo, {"g711U"})


def test_it_goes_on_when_nobody_reads_any_more(tmp_path: Path) -> None:
    """``labkit demo | head -1``."""
    command = [sys.executable, "-m", "labkit.cli", "demo", "1", "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        assert b"The lab is up" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"capture.pcapng", "ladder.txt", "rtp.csv", "summary.json"}


def test_a_codec_that_phones_lack_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "labkit.cli", "demo", "--codec", "opus", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Choose one or more of: PCMU" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not done.stdout and not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "labkit.cli", "demo", "--out", str(tmp_path / "file" / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and not done.stdout and len(done.stderr.splitlines()) == 1 and str(tmp_path) in done.stderr
