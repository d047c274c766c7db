"""``labkit doctor``: every finding is a sentence, and only what the lab needs makes it fail."""

from __future__ import annotations

import json

import pytest

from labkit import cli, doctor


def test_this_machine_is_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    findings = {item["check"]: item for item in json.loads(capsys.readouterr().out)}
    assert findings["python"]["ok"] and findings["pjsua2"]["ok"] and findings["disk"]["ok"]
    assert not findings["wireshark"]["needed"]


def test_a_missing_library_fails_and_names_the_remedy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", ("numpy", "no_such_library"))
    assert cli.main(["--language", "fr", "doctor"]) == 1
    said = capsys.readouterr().out
    assert "✓ numpy est installé." in said
    assert "✗ no_such_library ne peut pas être chargé" in said and "python3 start.py" in said


def test_a_full_disk_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROOM_BYTES", 10**18)
    [finding] = [finding for finding in doctor.examine() if finding.check == "disk"]
    assert not finding.ok and finding.needed and "make room" in str(finding)
