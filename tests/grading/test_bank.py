"""The bank is complete: every question has its sentences in both languages, its source, and only checks that exist."""

from __future__ import annotations

import pytest

from labkit import texts
from labkit.errors import AnswerError
from labkit.grading.bank import KINDS, question, questions
from labkit.grading.check import CHECKS

ALL = list(questions().values())


@pytest.mark.parametrize(("part", "count"), [(1, 10), (2, 3)])
def test_a_part_is_whole_and_in_order(part: int, count: int) -> None:
    assert [asked.id for asked in ALL if asked.id.startswith(f"{part}.")] == [f"{part}.{n}" for n in range(1, count + 1)]


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: asked.id)
def test_a_question_is_complete(asked: object) -> None:
    from labkit.grading.bank import Question

    assert isinstance(asked, Question)
    assert asked.kind in KINDS and asked.points > 0 and "RFC" in asked.source
    assert asked.live in {"", *CHECKS}
    assert asked.accepted or asked.options
    parts = [f"concept_{name}" for name in asked.options or {}] if asked.kind == "rubric" else ["hint"]
    wanted = [asked.message(part) for part in ("task", "why", *parts)] + [mistake.message for mistake in asked.mistakes]
    for code in texts.LANGUAGES:
        assert not [message for message in wanted if message not in texts.catalogue("grading", code)]


def test_no_sentence_is_left_over() -> None:
    """Each sentence of a question is its task, why, hint, a concept, a mistake, or named in the checks."""
    from pathlib import Path

    import labkit.grading as grading

    named = "".join(path.read_text("utf-8") for path in Path(grading.__file__).parent.glob("*.py"))
    for message in texts.catalogue("grading", "en"):
        if not message.startswith("grading.q"):
            continue
        prefix, _, part = message.rpartition(".")
        asked = question(prefix.removeprefix("grading.q"))
        mistakes = {mistake.message for mistake in asked.mistakes}
        concepts = {f"concept_{name}" for name in asked.options or {}}
        assert part in {"task", "why", "hint", *concepts} or message in mistakes or f'"{message}"' in named, message


@pytest.mark.parametrize("name", ["1.4", "Q1.4", "q1_4", " 1.4 "])
def test_names_of_a_question(name: str) -> None:
    assert question(name).id == "1.4"


def test_an_unknown_question_names_those_that_exist() -> None:
    with pytest.raises(AnswerError, match=r"There is no question 9\.9; the questions are 1\.1, 1\.2"):
        question("9.9")
    with pytest.raises(AnswerError):
        question(None)
