"""The floors of the house: imports point down only, and ``import labkit`` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

# A room may import the rooms on the floors below its own, and itself.
FLOORS = [
    {"errors", "texts"},
    {"sip", "media", "explanations"},
    {"capture", "security"},
    {"net"},
    {"pbx", "mail", "phones"},
    {"lab", "lab_capture", "lab_evidence", "lab_extensions", "lab_sniff", "lab_wire"},
    {"notebook", "grading", "cli", "demo", "doctor", "serve"},
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


def imported_at_the_head(tree: ast.Module) -> set[str]:
    """The first names of what importing a module loads: not what its functions import, nor what only a type checker sees."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += list(ast.iter_child_nodes(node))
    return found


def test_heavy_libraries_are_loaded_by_the_functions_that_need_them(root: Path) -> None:
    """numpy may stand at the head of modules that analyse; pjsua2 belongs to the phones' own processes."""
    wrong = []
    for path in sorted((root / "labkit").rglob("*.py")):
        room = path.relative_to(root / "labkit").parts[0]
        allowed = {"numpy"} if room in ("capture", "media", "security", "notebook") else {"pjsua2"} if room == "phones" else set()
        found = imported_at_the_head(ast.parse(path.read_text("utf-8"))) & (HEAVY - allowed)
        wrong += [f"{path.relative_to(root)} imports {', '.join(sorted(found))}"] if found else []
    assert not wrong, "\n".join(wrong)


def test_files_stay_short(root: Path) -> None:
    long = [
        f"{path.relative_to(root)}: {n} lines"
        for path in root.rglob("labkit/**/*.py")
        if (n := len(path.read_text("utf-8").splitlines())) > 400
    ]
    assert not long, "\n".join(long)
