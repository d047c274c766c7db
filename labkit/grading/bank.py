"""The questions of the lab as data: ``bank/part1.toml`` and its sisters, one table a question.

What a learner reads is in the catalogue ``grading``, by convention ``grading.q1_3.task``, ``.why`` (said when the answer is
right) and ``.hint`` (said when it is not).  A mistake names its own sentence.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from labkit.errors import AnswerError

BANK = Path(__file__).parent / "bank"
KINDS = ("number", "token", "yes-no", "choice", "evidence", "config", "rubric")


@dataclass(frozen=True)
class Mistake:
    """Something often said instead.  It only ever adds a sentence to the feedback; it never takes points."""

    says: tuple[str | int, ...]
    message: str


@dataclass(frozen=True)
class Question:
    id: str
    kind: str
    points: float
    source: str
    solution: Any = None
    """A right answer as a learner would write it: what an instructor's notebook shows and the project's own runs give."""
    accepted: tuple[Any, ...] = ()
    """Numbers, phrases, or yes and no (as true and false) in order."""
    tolerated: tuple[str | int, ...] = ()
    """What may stand beside an accepted answer without making it less right."""
    partly: tuple[int, ...] = ()
    """Numbers that are right in another case than that of the lab."""
    options: dict[str, tuple[str, ...]] | None = None
    """For a choice, and for the concepts of a rubric: the phrases that mean each."""
    denied: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """For a rubric: phrases that mean a concept in a clause that denies them ("it does not carry the voice")."""
    subjects: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """For yes-no: the phrases that name each thing asked about, in the order of ``accepted``."""
    means_yes: tuple[str, ...] = ()
    means_no: tuple[str, ...] = ()
    """For yes-no: phrases that stand for it.  Where both are said of one thing, it is no."""
    enough: int = 0
    """For a rubric: how many concepts make a good answer."""
    live: str = ""
    """The check of :mod:`labkit.grading.live` or :mod:`labkit.grading.live_transfer` that reads the learner's capture."""
    evidence: bool = False
    """Whether the answer is only half right as long as the capture does not show it."""
    mistakes: tuple[Mistake, ...] = ()

    def message(self, part: str) -> str:
        """The id of its ``task``, ``why`` or ``hint``."""
        return f"grading.q{self.id.replace('.', '_')}.{part}"


def _tuple(values: list[Any]) -> tuple[Any, ...]:
    return tuple(values)


def _phrases(table: dict[str, Any], key: str) -> dict[str, tuple[str, ...]]:
    return {name: _tuple(phrases) for name, phrases in table.get(key, {}).items()}


def _question(table: dict[str, Any]) -> Question:
    return Question(
        id=table["id"],
        kind=table["kind"],
        points=float(table["points"]),
        source=table["source"],
        solution=table.get("solution"),
        accepted=_tuple(table.get("accepted", [])),
        tolerated=_tuple(table.get("tolerated", [])),
        partly=_tuple(table.get("partly", [])),
        options=_phrases(table, "options") or None,
        denied=_phrases(table, "denied"),
        subjects=_phrases(table, "subjects"),
        means_yes=_tuple(table.get("means_yes", [])),
        means_no=_tuple(table.get("means_no", [])),
        enough=table.get("enough", 0),
        live=table.get("live", ""),
        evidence=table.get("evidence", False),
        mistakes=tuple(Mistake(_tuple(mistake["says"]), mistake["message"]) for mistake in table.get("mistake", [])),
    )


@cache
def questions() -> dict[str, Question]:
    """Every question, by id, in the order of the lab."""
    found = {}
    for path in sorted(BANK.glob("*.toml")):
        for table in tomllib.loads(path.read_text("utf-8"))["question"]:
            found[table["id"]] = _question(table)
    return found


def question(question_id: object) -> Question:
    """The question with this id (``"1.4"``, ``"Q1.4"``, ``"q1_4"``).  Raises :class:`~labkit.errors.AnswerError` if there is none."""
    wanted = str(question_id).strip().lower().removeprefix("q").replace("_", ".")
    if wanted not in questions():
        raise AnswerError("grading.unknown_question", question=str(question_id)[:40], known=", ".join(questions()))
    return questions()[wanted]
