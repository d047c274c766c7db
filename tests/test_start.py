"""start.py decides without a network: which Python, which platform, whether anything must be installed, what to run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def start(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """start.py as a module, with an environment of its own to decide about."""
    spec = importlib.util.spec_from_file_location("start", root / "start.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "stamp.json")
    monkeypatch.setattr(module, "LOG", tmp_path / ".venv" / "install.log")
    return module


@pytest.fixture
def python_like(tmp_path: Path) -> Callable[[str, str], list[str]]:
    """A command that answers the probe with ``answer``."""

    def make(name: str, answer: str) -> list[str]:
        script = tmp_path / f"{name}.py"
        script.write_text(answer, "utf-8")
        return [sys.executable, str(script)]

    return make


def speaking(version: list[int], name: str, venv: bool = True) -> str:
    return f"print({json.dumps(json.dumps([version, name, venv]))})"


def test_takes_the_first_python_that_runs_and_fits(start: ModuleType, python_like: Callable[[str, str], list[str]]) -> None:
    shim = python_like("shim", "import sys; sys.exit('pyenv: python3.12: command not found')")
    old = python_like("old", speaking([3, 9], "old"))
    bare = python_like("bare", speaking([3, 12], "bare", venv=False))
    good = python_like("good", speaking([3, 11], "good"))
    assert start.find_python([shim, ["no-such-program"], old, bare, good]) == "good"


def test_no_python_names_two_ways_to_get_one(start: ModuleType, python_like: Callable[[str, str], list[str]]) -> None:
    with pytest.raises(start.Trouble, match=r"found only Python 3\.13: get one with 'uv python install 3\.12' or 'conda create"):
        start.find_python([python_like("new", speaking([3, 13], "new"))])


def test_a_python_without_ensurepip_names_the_debian_package(start: ModuleType, python_like: Callable[[str, str], list[str]]) -> None:
    with pytest.raises(start.Trouble, match=r"/usr/bin/python3 .*apt-get install python3-venv"):
        start.find_python([python_like("bare", speaking([3, 12], "/usr/bin/python3", venv=False))])


def test_the_present_interpreter_is_tried_first_and_fits(start: ModuleType) -> None:
    assert start.candidates()[0] == [sys.executable]
    found = start.probe([sys.executable])
    assert found is not None and found["version"] == sys.version_info[:2]


@pytest.mark.parametrize(
    ("platform", "named"),
    [
        (("Linux", "x86_64", "glibc", ""), ""),
        (("Linux", "aarch64", "glibc", ""), "Linux on aarch64"),
        (("Linux", "x86_64", "", ""), "Linux without glibc (musl)"),
        (("Darwin", "arm64", "", "14.5"), ""),
        (("Darwin", "arm64", "", "13.6.1"), "macOS 13.6.1 on arm64"),
        (("Darwin", "x86_64", "", "14.5"), "macOS 14.5 on x86_64"),
        (("Darwin", "x86_64", "", "15.0"), ""),
        (("Darwin", "x86_64", "", "10.16"), ""),
        (("Windows", "AMD64", "", ""), ""),
        (("Windows", "ARM64", "", ""), "Windows on arm64"),
        (("FreeBSD", "amd64", "", ""), "FreeBSD"),
    ],
)
def test_platforms_without_a_wheel(start: ModuleType, platform: tuple[str, str, str, str], named: str) -> None:
    assert start.missing_wheel(*platform) == named


def test_the_platform_is_refused_before_anything_is_made(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start.platform, "system", lambda: "Linux")
    monkeypatch.setattr(start.platform, "machine", lambda: "aarch64")
    assert start.main([]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("labkit: labkit's phones need PJSIP's wheel, and there is none for Linux on aarch64")
    assert len(said.err.splitlines()) == 1 and not said.out and not start.VENV.exists()


def installed(start: ModuleType, pyproject: bytes, extras: list[str]) -> dict[str, object]:
    start.venv_python().parent.mkdir(parents=True)
    start.venv_python().touch()
    return {"fingerprint": start.fingerprint(pyproject, (3, 11)), "python": [3, 11], "extras": extras}


def test_nothing_is_done_when_nothing_changed(start: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyproject = (root / "pyproject.toml").read_bytes()
    start.VENV.mkdir()
    start.STAMP.write_text(json.dumps(installed(start, pyproject, [])), "utf-8")
    monkeypatch.setattr(start.subprocess, "run", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr(start.subprocess, "Popen", lambda *_, **__: pytest.fail("pip was started"))
    start.install("")


def test_what_makes_an_installation_stale(start: ModuleType) -> None:
    stamp = installed(start, b"old", ["test"])
    assert start.is_installed("", stamp, b"old") and start.is_installed("test", stamp, b"old")
    assert not start.is_installed("", stamp, b"new requirements")
    assert not start.is_installed("test", {**stamp, "extras": []}, b"old")
    assert not start.is_installed("", {**stamp, "python": [3, 12]}, b"old")
    assert not start.is_installed("", {}, b"old")
    start.venv_python().unlink()
    assert not start.is_installed("", stamp, b"old"), "its interpreter was removed"


def test_pip_without_network_is_one_sentence(start: ModuleType) -> None:
    log = "WARNING: Retrying ... NameResolutionError: Temporary failure in name resolution\nERROR: Could not find a version\n"
    assert start.last_error(log) == start.NO_NETWORK
    assert "Could not find a version that satisfies x" in start.last_error("ERROR: Could not find a version that satisfies x\n")
    assert "OSError: README" in start.last_error("Traceback:\n  OSError: README.\n")


def test_pip_that_fails_leaves_no_stamp(start: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    start.VENV.mkdir()
    installed(start, b"", [])
    monkeypatch.setattr(start, "probe", lambda command: {"version": (3, 11), "executable": command[0], "venv": True})
    real = start.run_pip
    failing = [sys.executable, "-c", "print('Collecting x'); print('ERROR: disk full'); raise SystemExit(1)"]
    monkeypatch.setattr(start, "run_pip", lambda command: real(failing))
    assert start.main(["demo"]) == 1
    said = capsys.readouterr()
    assert "disk full" in said.err and len(said.err.splitlines()) == 1
    assert not start.STAMP.exists()


def test_commands(start: ModuleType) -> None:
    python = str(start.venv_python())
    notebooks = str(start.ROOT / "notebooks")
    demo = [python, "-m", "labkit.cli", "demo"]
    assert start.command_for(["--no-browser", "--port=9000"], root=False) == (
        "",
        [python, "-m", "jupyterlab", "-y", "--ip=127.0.0.1", "--no-browser", "--port=9000", notebooks],
    )
    assert "--allow-root" in start.command_for([], root=True)[1]
    assert start.command_for(["lab", "--no-browser"], root=False) == start.command_for(["--no-browser"], root=False)
    assert start.command_for(["test", "-k", "sip"], root=False) == ("test", [python, "-m", "pytest", "-k", "sip"])
    assert start.command_for(["demo"], root=False) == ("", [*demo, "1", "--out", "labkit-demo"])
    assert start.command_for(["demo", "2", "--out=x"], root=False) == ("", [*demo, "2", "--out=x"])


@pytest.mark.parametrize("word", ["bogus", "", "01-registration-and-call.ipynb"])
def test_a_strange_word_is_one_sentence(start: ModuleType, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert start.main([word]) == 1
    said = capsys.readouterr()
    assert said.err == f"labkit: {start.NO_VERB.format(repr(word))}\n" and not said.out
    assert all(verb in said.err for verb in ("lab", "demo", "test")) and not start.VENV.exists()


def test_tools_are_named_where_they_cannot_be_installed(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start.shutil, "which", lambda name: None)
    start.install_tools()
    said = capsys.readouterr().out
    assert "sudo apt-get install" in said and all(package in said for package in start.TOOLS.values())


def test_speaks_to_an_old_python_too(root: Path) -> None:
    """Everything newer than Python 3.8 would be a traceback instead of a sentence."""
    import ast

    ast.parse((root / "start.py").read_text("utf-8"), feature_version=(3, 8))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, str(root / "start.py"), "--help"], capture_output=True, text=True, env=environment, check=True)
    assert "start.py test" in done.stdout
