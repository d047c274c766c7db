"""Every notebook as it lies in the repository: no outputs, one kernel, stable ids, answers that a teacher's tools can read."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.grading.bank import question, questions

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*)\n### END SOLUTION", re.DOTALL)
KEYS = {"grade", "grade_id", "locked", "schema_version", "solution", "task"}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def answer_cells(notebook: Any) -> list[Any]:
    return [cell for cell in code_cells(notebook) if cell.metadata.get("nbgrader", {}).get("solution")]


def test_is_valid_and_stripped(notebook: Any) -> None:
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells(notebook))


def test_ids_are_words_and_unique(notebook: Any) -> None:
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", name) for name in ids), "an id made by an editor is not stable"


def test_answers_are_left_open_between_solution_marks(notebook: Any) -> None:
    for cell in answer_cells(notebook):
        mark = SOLUTION.fullmatch(cell.source)
        assert mark, cell.id
        [assignment] = ast.parse(mark[1]).body
        assert isinstance(assignment, ast.Assign)
        assert ast.literal_eval(assignment.value) is ..., "the notebook that a student opens gives no answer away"
        [name] = assignment.targets
        assert isinstance(name, ast.Name) and name.id == cell.metadata.nbgrader.grade_id


def test_grading_metadata_agrees_with_the_bank(notebook: Any) -> None:
    found = set()
    for cell in answer_cells(notebook):
        meta = cell.metadata.nbgrader
        assert set(meta) == KEYS | {"points"} and meta.schema_version == 3 and meta.grade and not meta.locked and not meta.task
        asked = question(meta.grade_id)
        assert meta.points == asked.points, cell.id
        assert cell.id == f"q{asked.id.replace('.', '-')}-answer"
        found.add(asked.id)
    part = next(iter(found)).split(".")[0]
    assert found == {number for number in questions() if number.split(".")[0] == part}, "every question of the part is asked"


def test_each_answer_has_its_task_before_and_its_check_after(notebook: Any) -> None:
    cells = notebook.cells
    for index, cell in enumerate(cells):
        if cell not in answer_cells(notebook):
            continue
        name = cell.metadata.nbgrader.grade_id
        number = question(name).id
        assert cells[index - 1].cell_type == "markdown" and f"Question {number}" in cells[index - 1].source
        check = cells[index + 1]
        assert check.source == f'check("{number}", {name})'
        assert check.metadata.nbgrader.locked and not check.metadata.nbgrader.solution


def test_a_first_cell_says_what_it_is_about_and_how_long_it_takes(notebook: Any) -> None:
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ") and "minutes" in first.source
