"""The command line: tables and ladders of a capture, verdicts, one sentence for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from labkit import cli
from tests.capture.film import capture_of, rtp_packets
from tests.capture.sheet_rtp import sheet_capture
from tests.grading.scene import Scene, whole_part


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_part().save(tmp_path_factory.mktemp("cli") / "part1.pcapng")


def test_ladder_is_printed_or_drawn(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ladder", str(file)]) == 0
    printed = capsys.readouterr().out
    assert [word for word in ("REGISTER", "407", "INVITE", "180", "BYE") if word not in printed] == []
    assert cli.main(["ladder", str(file), "--call", "0"]) == 0
    assert "REGISTER" not in capsys.readouterr().out
    assert cli.main(["ladder", str(file), "-o", str(tmp_path / "x.svg")]) == 0
    assert "<title" in (tmp_path / "x.svg").read_text("utf-8")


def test_calls_and_streams_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rtp", str(file), "--json"]) == 0
    streams = json.loads(capsys.readouterr().out)
    assert [(stream["src"], stream["packets"], stream["lost"], stream["problem"]) for stream in streams] == [
        ("127.5.1.100", 20, 0, False),
        ("127.5.1.101", 20, 0, False),
    ]
    figures = [f"{edge}_{figure}_ms" for figure in ("delta", "jitter") for edge in ("min", "mean", "max")]
    assert set(streams[0]) >= {"src_port", "dst", "dst_port", "ssrc", "payload", "max_skew_ms", *figures}
    assert streams[0]["ssrc"].startswith("0x") and int(streams[0]["ssrc"], 16) > 0 and streams[0]["mos"] > 4
    assert cli.main(["calls", str(file), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_a_stream_without_its_foreign_types_and_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sheet.pcap"
    path.write_bytes(sheet_capture())
    assert cli.main(["rtp", str(path), "--json", "--no-foreign"]) == 0
    (stream,) = json.loads(capsys.readouterr().out)
    assert (stream["packets"], stream["payload"], stream["lost"]) == (351, "g711A", 0) and stream["max_jitter_ms"] < 15
    assert cli.main(["rtp", str(path), "--explain"]) == 0
    assert "65011677.08" in capsys.readouterr().out


def test_a_call_in_stereo_and_a_film(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audio", str(file), "--out", str(tmp_path), "--call", "0", "--buffer", "60", "--conceal"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'call-0.wav'}\n"
    with wave.open(str(tmp_path / "call-0.wav")) as sound:
        assert sound.getnchannels() == 2 and sound.getnframes() >= 20 * 160
    film = tmp_path / "film.pcapng"
    film.write_bytes(capture_of("VP8", rtp_packets("VP8")))
    assert cli.main(["audio", str(film), "--out", str(tmp_path)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert Path(line).name.startswith("film-0-") and Path(line).read_bytes()[:4] == b"\x1a\x45\xdf\xa3", "WebM"
    assert cli.main(["audio", str(file), "--out", str(tmp_path), "--buffer", "-3"]) == 1
    assert "is no size of a jitter buffer" in capsys.readouterr().err


def test_sip_statistics(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sip-stats", str(file), "--json"]) == 0
    rows = {row["Method or Status"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["REGISTER"]["Packets"], rows["REGISTER"]["Retransmissions"], rows["REGISTER"]["Set-ups"]) == (4, 0, None)
    assert rows["INVITE"]["Set-ups"] == 4 and rows["INVITE"]["Max Set-up(ms)"] > rows["INVITE"]["Min Set-up(ms)"] > 0
    assert cli.main(["sip-stats", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "407 Proxy Authentication Required" in printed and "NaN" not in printed


def test_an_empty_answer_is_not_answered_yet(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for answer in ("", "..."):
        assert cli.main(["check", "1.1", answer, "--capture", str(file)]) == 1
        assert "is not answered yet (0/2)" in capsys.readouterr().out


def test_the_language_is_given_as_systems_name_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--language", "fr_FR", "ladder", "nowhere.pcapng"]) == 1
    assert "impossible" in capsys.readouterr().err.lower()


def test_tables_for_people(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rtp", str(file)]) == 0
    assert "Mean Jitter(ms)" in capsys.readouterr().out
    empty = Scene()
    empty.register(empty.bob, "100")
    assert cli.main(["--language", "fr", "calls", str(empty.save(tmp_path / "empty.pcapng"))]) == 0
    assert capsys.readouterr().out == "Cette capture ne contient rien de tel.\n"


def test_voices_are_decoded(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audio", str(file), "--out", str(tmp_path / "voices")]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == ["voice-0-127.5.1.100-to-127.5.1.101.wav", "voice-1-127.5.1.101-to-127.5.1.100.wav"]
    with wave.open(str(paths[0])) as voice:
        assert (voice.getframerate(), voice.getnframes()) == (8000, 20 * 160)


def test_check_judges(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "1.3", "udp/5060", "--capture", str(file)]) == 0
    assert "is right (1/1)" in capsys.readouterr().out
    assert cli.main(["check", "1.6", "202"]) == 1
    assert "answers a REFER" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ladder", "nowhere.pcapng"], "nowhere.pcapng"),
        (["check", "9.9", "x"], "There is no question 9.9"),
        (["audio", "FILE", "--out", "FILE"], "cannot be used"),
        (["audio", "SILENT", "--out", "FILE"], "no RTP stream is in it"),
        (["demo", "9"], "invalid choice: 9"),
        (["demo", "one"], "see 'labkit demo --help'"),
        (["demo", "--codec", "opus", "--out", "FILE"], "no codec opus. Choose one or more of: PCMU, PCMA, GSM"),
        (["bogus"], "invalid choice: 'bogus'"),
        ([], "COMMAND (see 'labkit --help')"),
        (["--language", "de", "calls", "FILE"], "speaks English and French, not 'de'"),
        (["ladder", ""], "cannot be opened"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], says: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silent = Scene()
    silent.register(silent.bob, "100")
    files = {"FILE": str(file), "SILENT": str(silent.save(tmp_path / "silent.pcapng"))}
    assert cli.main([files.get(argument, argument) for argument in arguments]) == 1
    said = capsys.readouterr()
    assert not said.out and says in said.err and len(said.err.splitlines()) == 1


def test_a_pipe_that_closes_is_no_error(file: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "labkit.cli", "ladder", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
