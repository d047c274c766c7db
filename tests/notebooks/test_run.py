"""The notebooks run headless: twice in one kernel, with and without answers, and leave evidence and no process behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

from labkit.capture.capture import Capture
from labkit.grading.bank import questions
from tests.notebooks.answers import answered

pytestmark = pytest.mark.timeout(240)  # a notebook takes up to a minute when it runs twice

FIRST, SECOND = "01-registration-and-call.ipynb", "02-transfer-and-redirection.ipynb"
BOTH = pytest.mark.parametrize("name", [FIRST, SECOND], ids=lambda name: name[:2])
TWICE = pytest.mark.parametrize("suffix", ["", "-again"])
DIALLING = {"call-do", "direct-do", "blind-do", "rule-call", "attended-do", "failed-do"}
"""Cells that begin with a call from BOB to ALICE."""


def read(root: Path, name: str = FIRST) -> Any:
    return nbformat.read(root / "notebooks" / name, as_version=4)


def numbers(name: str) -> list[str]:
    """The questions of a notebook."""
    return [number for number in questions() if number.split(".")[0] == str(int(name[:2]))]


def run(notebook: Any, folder: Path) -> Any:
    """Execute in a kernel of its own in ``folder``; afterwards no process is left of it."""
    client = NotebookClient(notebook, timeout=100, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    before = set(psutil.Process().children(recursive=True))
    children: set[psutil.Process] = set()

    def look(**_: object) -> None:
        children.update(psutil.Process().children(recursive=True))

    client.on_cell_executed = look
    client.execute()
    _, left = psutil.wait_procs([child for child in children - before if "labkit" in command_of(child)], timeout=5)
    assert not left, [command_of(child) for child in left]
    return notebook


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def outputs(notebook: Any, cell_id: str, mime: str) -> str:
    [cell] = [cell for cell in notebook.cells if cell.id == cell_id]
    return "".join(output.get("data", {}).get(mime, output.get("text", "")) for output in cell.outputs)


def twice(notebook: Any) -> Any:
    """The cells, and all of them again, as "Run All" pressed twice."""
    again = json.loads(json.dumps(notebook.cells))
    for cell in again:
        cell["id"] += "-again"
    notebook.cells += [nbformat.from_dict(cell) for cell in again]
    return notebook


def stuttering(notebook: Any) -> Any:
    """Each cell run twice in a row; and the calls begun once before, as when a cell is interrupted while it rings."""
    cells = []
    for cell in notebook.cells:
        if cell.id in DIALLING:
            dial = "bob.call_direct(alice)" if cell.id == "direct-do" else 'bob.call("101")'
            cells.append(nbformat.v4.new_code_cell(f"{dial}\nalice.wait_ring()", id=f"{cell.id}-begun"))
        cells.append(cell)
        if cell.cell_type == "code":
            cells.append(nbformat.from_dict({**json.loads(json.dumps(cell)), "id": f"{cell.id}-again"}))
    notebook.cells = cells
    return notebook


@pytest.fixture(scope="module")
def done(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:
    """``done(name)``: the notebook executed twice in a row, and its folder."""

    @cache
    def execute(name: str) -> tuple[Any, Path]:
        folder = tmp_path_factory.mktemp("notebooks")
        return run(twice(answered(read(root, name))), folder), folder

    return execute


def judged(notebook: Any, name: str, suffix: str = "") -> dict[str, str]:
    """What the check of each question said."""
    return {number: outputs(notebook, f"q{number.replace('.', '-')}-check{suffix}", "text/plain") for number in numbers(name)}


@BOTH
@TWICE
def test_every_answer_of_the_teacher_is_right(done: Callable[[str], tuple[Any, Path]], name: str, suffix: str) -> None:
    for number, shown in judged(done(name)[0], name, suffix).items():
        assert shown.startswith(f"✓ {number} is right"), shown


@TWICE
def test_the_first_shows_what_it_promises(done: Callable[[str], tuple[Any, Path]], suffix: str) -> None:
    notebook, _ = done(FIRST)
    ladder = outputs(notebook, "call-ladder" + suffix, "text/html")
    assert "<svg" in ladder and all(word in ladder for word in ("BOB", "PBX", "ALICE", "REGISTER", "INVITE", "RTP", "BYE"))
    assert "PAUL" not in ladder
    assert 'aria-label="BOB speaks to ALICE, PCMU, ' in outputs(notebook, "voice-audio" + suffix, "text/html")
    assert "<caption>Calls; times in seconds</caption>" in outputs(notebook, "call-table" + suffix, "text/html")
    assert "BOB" in outputs(notebook, "register-do" + suffix, "text/html")
    computed, captured = (line.split()[-1] for line in outputs(notebook, "digest-compute" + suffix, "text/plain").splitlines())
    assert computed == captured and len(computed) == 32
    assert "without one packet to the server" in outputs(notebook, "guess-do" + suffix, "text/plain")
    assert outputs(notebook, "direct-table" + suffix, "text/plain").count("INVITE") == 4
    assert "closed" in outputs(notebook, "end" + suffix, "text/plain")


@TWICE
def test_the_second_shows_what_it_promises(done: Callable[[str], tuple[Any, Path]], suffix: str) -> None:
    notebook, _ = done(SECOND)

    def shown(cell_id: str, mime: str = "text/plain") -> str:
        return outputs(notebook, cell_id + suffix, mime)

    assert len([line for line in shown("contacts-do").splitlines() if line.startswith("102 PAUL") and line.count("sip:102@") == 2]) == 1
    transfer, forwarding, attended = (shown(f"{name}-ladder", "text/html") for name in ("blind", "rule", "attended"))
    assert "<svg" in transfer and all(word in transfer for word in ("BOB", "PAUL", "REFER", "202 Accepted", "NOTIFY", "BYE", "RTP"))
    assert "<svg" in forwarding and all(word in forwarding for word in ("CANCEL", "487", "181 Call Is Being Forwarded"))
    assert "REFER" in attended and "Replaces=" in shown("attended-refer")
    assert 'aria-label="PAUL speaks to BOB' in shown("blind-audio", "text/html")
    assert "25 of 25 messages" in shown("trace-do", "text/html") and "PAUL (gone)" in shown("trace-do", "text/html")
    assert "6 of 6 messages" in shown("rule-trace", "text/html")
    assert "to extension 102 after 10 s" in shown("rule-do", "text/html")
    assert [line.split()[0] for line in shown("fork-do").splitlines()][:5] == ["0.00", "0.50", "1.50", "3.50", "7.50"]
    assert shown("fork-forget").count("sip:102@") == 1
    assert "reason=no-answer" in shown("rule-headers")
    assert "486 Busy Here" in shown("failed-do") and "SIP/2.0 486" in shown("failed-see")
    relayed = shown("relay-see").splitlines()
    assert len(relayed) >= 6 and all("PBX" in line for line in relayed)
    assert "closed" in shown("end")


def test_the_first_leaves_evidence_without_secrets(done: Callable[[str], tuple[Any, Path]]) -> None:
    notebook, folder = done(FIRST)
    capture = Capture.open(folder / "evidence" / "part1" / "capture.pcapng")
    assert len(capture.call_list) == 2 and len(capture.streams) == 4
    config = (folder / "evidence" / "part1" / "config.json").read_text("utf-8")
    guessed = outputs(notebook, "guess-do-again", "text/plain").split()[3].rstrip(":")
    assert guessed.isdigit() and guessed not in config and "password" not in config


def test_the_second_leaves_the_rule_and_the_calls_that_prove_it(done: Callable[[str], tuple[Any, Path]]) -> None:
    _, folder = done(SECOND)
    capture = Capture.open(folder / "evidence" / "part2" / "capture.pcapng")
    assert capture.calls["State"].tolist() == ["COMPLETED"] * 4
    config = (folder / "evidence" / "part2" / "config.json").read_text("utf-8")
    assert json.loads(config)["rules"][0]["available"]["no_answer"] == {"target": "extension", "number": "102"} and "password" not in config


@BOTH
def test_it_runs_to_the_end_without_any_answer_and_in_french(root: Path, tmp_path: Path, name: str) -> None:
    """What a student sees who presses Run All first: every question repeated, no error."""
    notebook = read(root, name)
    for cell in notebook.cells:
        if cell.id == "language":
            cell.source = cell.source.replace('language("en")', 'language("fr")')
    run(notebook, tmp_path)
    for number, shown in judged(notebook, name).items():
        assert shown.startswith(f"… {number} n'a pas encore de réponse"), shown


@BOTH
def test_each_cell_may_be_run_again(root: Path, tmp_path: Path, name: str) -> None:
    notebook = run(stuttering(answered(read(root, name))), tmp_path)
    for number, shown in judged(notebook, name, "-again").items():
        assert shown.startswith(f"✓ {number} is right"), shown
    states = Capture.open(tmp_path / "evidence" / f"part{int(name[:2])}" / "capture.pcapng").calls["State"].tolist()
    assert states == ["CANCELLED", "COMPLETED", "COMPLETED"] * (2 if name == FIRST else 4)


def test_a_second_notebook_beside_it(root: Path, tmp_path: Path) -> None:
    """Two kernels at once have a lab each: the copy opens its lab while the first one's is still there."""
    import labkit

    with labkit.Lab() as lab:
        lab.phone("BOB").register()
        shutil.copy(root / "notebooks" / FIRST, tmp_path)
        notebook = answered(read(root))
        notebook.cells = notebook.cells[: next(i for i, cell in enumerate(notebook.cells) if cell.id == "packets-why")]
        run(notebook, tmp_path)
        assert lab.phone("BOB").registered
    assert outputs(notebook, "q1-1-check", "text/plain").startswith("✓ 1.1 is right")


@BOTH
def test_on_a_machine_with_one_address(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Where all hosts share 127.0.0.1, the same answers are right."""
    monkeypatch.setenv("LABKIT_ADDRESSES", "single")
    notebook = run(answered(read(root, name)), tmp_path)
    for number, shown in judged(notebook, name).items():
        if number != "1.3":  # the PBX may have another port there: the capture decides
            assert shown.startswith(f"✓ {number} is right"), shown
    ladder = outputs(notebook, "call-ladder" if name == FIRST else "blind-ladder", "text/html")
    assert "BOB" in ladder and "ALICE" in ladder and "PBX" in ladder
