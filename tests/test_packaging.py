"""pyproject.toml, environment.yml, the wheel and the code agree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import yaml

import labkit


def read_project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]


def by_name(requirements: list[str]) -> dict[str, str]:
    return {match[1].lower(): match[2] for match in (re.fullmatch(r"([\w.-]+)(.*)", line) for line in requirements) if match}


def test_environment_yml_has_the_names_and_ranges_of_pyproject(root: Path) -> None:
    project = read_project(root)
    listed = yaml.safe_load((root / "environment.yml").read_text("utf-8"))["dependencies"]
    conda = by_name([item for item in listed if isinstance(item, str)])
    [pip] = [item["pip"] for item in listed if isinstance(item, dict)]
    assert conda.pop("python") == project["requires-python"]
    assert conda.pop("pip") == ""
    assert "-e ." in pip
    assert conda | by_name([line for line in pip if line != "-e ."]) == by_name(project["dependencies"])


def test_every_dependency_has_a_range_and_a_reason(root: Path) -> None:
    project = read_project(root)
    contributing = (root / "CONTRIBUTING.md").read_text("utf-8")
    for name, limits in by_name([*project["dependencies"], *chain(*project["optional-dependencies"].values())]).items():
        assert re.fullmatch(r">=[\d.]+,<[\d.]+", limits), f"{name}{limits} has no lower and upper bound"
        assert f"| `{name}` |" in contributing, f"CONTRIBUTING.md does not say why {name} is needed"


def test_version_is_said_once_more_in_the_package_and_the_changelog(root: Path) -> None:
    version = read_project(root)["version"]
    assert labkit.__version__ == version
    assert f"## {version}" in (root / "CHANGELOG.md").read_text("utf-8")


def test_ruff_finds_nothing(root: Path) -> None:
    for arguments in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *arguments, str(root)], capture_output=True, text=True)
        assert done.returncode == 0, f"ruff {' '.join(arguments)}\n{done.stdout[:4000]}{done.stderr[:2000]}"


def test_mypy_finds_nothing(root: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
