"""What all tests share: external programs, reference captures, and figures that are printed and never asserted.

Under CI (``CI=true``) nothing may be skipped for want of something: a missing program or corpus is a failure there.  A skip whose
reason begins with "only on" (another system) is the one exception.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CI = os.environ.get("CI", "").lower() in ("1", "true")
FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """``tool("tshark")`` is the path of a program; without it the test is skipped, or fails under CI."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed ('python3 start.py test' installs it on Debian as root)")
        return path

    return find


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of reference captures and vectors beside the project."""
    path = ROOT.parent / "shared" / "corpus"
    if not path.is_dir():
        pytest.skip("the reference corpus is not beside this checkout")
    return path


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """``figure("call set-up: p50 4.3 ms")`` prints a measured figure at the end of the run."""
    figures = request.config.stash.setdefault(FIGURES, [])
    return figures.append


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Each test starts and ends in English."""
    from labkit.texts import language

    language("en")
    yield
    language("en")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith("only on"):
            report.outcome = "failed"
            report.longrepr = f"Under CI nothing is skipped: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("figures (measured, not asserted)")
        for line in figures:
            terminalreporter.write_line(line)
