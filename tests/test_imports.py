"""The floors of the house: imports point down only, and ``import labkit`` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# A room may import the rooms on the floors below its own, and itself.
FLOORS = [
    {"errors", "texts"},
    {"sip", "media"},
    {"capture", "security"},
    {"net"},
    {"pbx", "mail", "phones"},
    {"lab", "lab_capture", "lab_wire"},
    {"notebook", "grading", "cli", "demo", "doctor"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
HEAVY = {"numpy", "pandas", "matplotlib", "scapy", "av", "pjsua2", "babel", "IPython"}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported_modules(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names += [f"{node.module}.{alias.name}" if node.module == "labkit" else str(node.module) for alias in node.names]
    return [name for name in names if name.split(".")[0] == "labkit"]


def test_imports_point_down(root: Path) -> None:
    wrong = []
    for path in sorted((root / "labkit").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        here = parts[1] if parts[1] != "__init__" else ""
        if not here:
            continue  # the public names, loaded lazily, from every floor
        assert here in FLOOR, f"{path.name}: room {here!r} stands on no floor"
        for module in imported_modules(ast.parse(path.read_text("utf-8"))):
            there = room_of(module)
            if there and there != here and there in FLOOR and FLOOR[there] >= FLOOR[here] and not _neighbours(here, there):
                wrong.append(f"{'/'.join(parts)} imports {module}")
    assert not wrong, "\n".join(wrong)


def _neighbours(here: str, there: str) -> bool:
    """Rooms of one floor may look at each other, except pbx, mail and phones."""
    return FLOOR[here] == FLOOR[there] != FLOOR["pbx"]


def test_import_labkit_loads_nothing_heavy() -> None:
    code = "import sys, labkit, labkit.errors; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "labkit" in loaded
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("room", ["sip", "net", "pbx"])
def test_protocol_rooms_never_name_heavy_libraries(root: Path, room: str) -> None:
    for path in (root / "labkit" / room).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            # The table of call records is the one DataFrame among them, made when a notebook asks.
            allowed = {"babel", "pandas"} if path.name == "cdr.py" else {"babel"}
            assert not {name.split(".")[0] for name in names} & (HEAVY - allowed), f"{path.name} imports {names}"


def test_files_stay_short(root: Path) -> None:
    long = [
        f"{path.relative_to(root)}: {n} lines"
        for path in root.rglob("labkit/**/*.py")
        if (n := len(path.read_text("utf-8").splitlines())) > 400
    ]
    assert not long, "\n".join(long)
