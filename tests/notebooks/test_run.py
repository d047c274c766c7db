"""The notebooks run headless: twice in one kernel, with and without answers, and leave evidence and no process behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

from labkit.capture.capture import Capture
from labkit.grading.bank import question, questions

FIRST = "01-registration-and-call.ipynb"


def read(root: Path) -> Any:
    return nbformat.read(root / "notebooks" / FIRST, as_version=4)


def answered(notebook: Any) -> Any:
    """The notebook with the answers of the question bank, as a teacher would fill it in."""
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = f"{name} = {question(name).solution!r}"
    return notebook


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
        if cell.id in ("call-do", "direct-do"):
            dial = 'bob.call("101")' if cell.id == "call-do" else "bob.call_direct(alice)"
            cells.append(nbformat.v4.new_code_cell(f"{dial}\nalice.wait_ring()", id=f"{cell.id}-begun"))
        cells.append(cell)
        if cell.cell_type == "code":
            cells.append(nbformat.from_dict({**json.loads(json.dumps(cell)), "id": f"{cell.id}-again"}))
    notebook.cells = cells
    return notebook


@pytest.fixture(scope="module")
def done(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The notebook executed twice in a row, and its folder."""
    folder = tmp_path_factory.mktemp("notebooks")
    return run(twice(answered(read(root))), folder), folder


@pytest.mark.parametrize("suffix", ["", "-again"])
def test_every_answer_of_the_teacher_is_right(done: tuple[Any, Path], suffix: str) -> None:
    for number in questions():
        shown = outputs(done[0], f"q{number.replace('.', '-')}-check{suffix}", "text/plain")
        assert shown.startswith(f"✓ {number} is right"), shown


@pytest.mark.parametrize("suffix", ["", "-again"])
def test_it_shows_what_it_promises(done: tuple[Any, Path], suffix: str) -> None:
    notebook, _ = done
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


def test_it_leaves_evidence_without_secrets(done: tuple[Any, Path]) -> None:
    notebook, folder = done
    capture = Capture.open(folder / "evidence" / "part1" / "capture.pcapng")
    assert len(capture.call_list) == 2 and len(capture.streams) == 4
    config = (folder / "evidence" / "part1" / "config.json").read_text("utf-8")
    guessed = outputs(notebook, "guess-do-again", "text/plain").split()[3].rstrip(":")
    assert guessed.isdigit() and guessed not in config and "password" not in config


def test_it_runs_to_the_end_without_any_answer_and_in_french(root: Path, tmp_path: Path) -> None:
    """What a student sees who presses Run All first: every question repeated, no error."""
    notebook = read(root)
    for cell in notebook.cells:
        if cell.id == "language":
            cell.source = cell.source.replace('language("en")', 'language("fr")')
    run(notebook, tmp_path)
    for number in questions():
        shown = outputs(notebook, f"q{number.replace('.', '-')}-check", "text/plain")
        assert shown.startswith(f"… {number} n'a pas encore de réponse"), shown


def test_each_cell_may_be_run_again(root: Path, tmp_path: Path) -> None:
    notebook = run(stuttering(answered(read(root))), tmp_path)
    for number in questions():
        shown = outputs(notebook, f"q{number.replace('.', '-')}-check-again", "text/plain")
        assert shown.startswith(f"✓ {number} is right"), shown
    states = Capture.open(tmp_path / "evidence" / "part1" / "capture.pcapng").calls["State"].tolist()
    assert states == ["CANCELLED", "COMPLETED", "COMPLETED"] * 2


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


def test_on_a_machine_with_one_address(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all hosts share 127.0.0.1, the same answers are right."""
    monkeypatch.setenv("LABKIT_ADDRESSES", "single")
    notebook = run(answered(read(root)), tmp_path)
    for number in questions():
        shown = outputs(notebook, f"q{number.replace('.', '-')}-check", "text/plain")
        if number != "1.3":  # the PBX may have another port there: the capture decides
            assert shown.startswith(f"✓ {number} is right"), shown
    ladder = outputs(notebook, "call-ladder", "text/html")
    assert "BOB" in ladder and "ALICE" in ladder and "PBX" in ladder
