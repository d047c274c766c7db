"""The command line on single messages and sockets: print one whole, compare two, hide bands, list sockets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit import cli
from tests.grading.scene import whole_part


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(whole_part().save(tmp_path_factory.mktemp("cli") / Path("part1.pcapng")))


def test_a_message_is_printed_whole(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ladder", file, "--message", "3"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("REGISTER sip:100@") and 'Proxy-Authorization: Digest username="100"' in printed
    assert cli.main(["ladder", file, "--message", "999"]) == 1
    assert "Packet 999 holds no SIP message" in capsys.readouterr().err


def test_two_messages_are_compared(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", file, "1", "3"]) == 0
    assert "+ Proxy-Authorization nonce: nonce-100\n" in capsys.readouterr().out
    assert cli.main(["diff", file, "1"]) == 1


def test_bands_are_hidden(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ladder", file]) == 0
    assert "RTP PCMU" in capsys.readouterr().out
    assert cli.main(["ladder", file, "--rtcp", "--hide", "rtp", "tls"]) == 0
    assert "RTP PCMU" not in capsys.readouterr().out


def test_sockets_of_a_host(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sockets", file, "127.5.1.100", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["Protocol"], row["Port"], row["Used for"]) for row in rows] == [("UDP", 40000, "RTP PCMU"), ("UDP", 40100, "SIP")]
    assert cli.main(["sockets", file]) == 0
    assert "Used for" in capsys.readouterr().out


def test_calls_as_json_are_named_as_the_table(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    from labkit.capture.calls import COLUMNS

    assert cli.main(["calls", file, "--json"]) == 0
    assert [tuple(call) for call in json.loads(capsys.readouterr().out)] == [COLUMNS, COLUMNS]
