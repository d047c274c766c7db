"""``labkit.check("1.4", q1_4)``: the verdict on one answer, at once, and never a traceback for a strange answer.

The bank says what is right; where a question is about traffic, the learner's own capture does (:mod:`labkit.grading.live`).
A recognised mistake adds a sentence and never takes points.  It runs in the learner's kernel, for learning: it is no proof of anything.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import LabkitError
from labkit.grading import live
from labkit.grading.answer import Answer, fold, read
from labkit.grading.bank import Question, question
from labkit.grading.verdict import Feedback, Outcome, Verdict

if TYPE_CHECKING:
    from labkit.capture.capture import Capture

CAPTURE_SUFFIXES = (".pcap", ".pcapng", ".cap")
METHODS = frozenset("ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE UPDATE".split())


def check(question_id: str, answer: object, capture: Capture | str | Path | None = None) -> Verdict:
    """Judge ``answer`` to a question such as ``"1.4"``.

    Answers about traffic are compared with ``capture`` (a :class:`~labkit.capture.capture.Capture` or a file), by default with the
    one that the latest lab has made so far.  Where evidence is asked, the answer may itself name the file.  ``...`` is not answered yet.
    Raises :class:`~labkit.errors.AnswerError` only for a question that does not exist.
    """
    asked = question(question_id)
    try:
        answer, capture = _evidence(asked, answer, capture)
        given = read(answer)
        if given is None and not (asked.kind == "evidence" and capture is not None):
            return _verdict(asked, Outcome.UNANSWERED, [Feedback(asked.message("task"))])
        return _JUDGES[asked.kind](asked, given or Answer(()), _look(asked, capture))
    except LabkitError as problem:  # a strange answer, a file that is no capture, a lab whose wire was cut
        return _verdict(asked, Outcome.WRONG, [Feedback(problem.message_id, problem.values)])


def _evidence(asked: Question, answer: object, capture: Capture | str | Path | None) -> tuple[object, Capture | None]:
    """The answer without the capture that it names, and the capture to look at."""
    from labkit.capture.capture import Capture

    if asked.kind == "evidence":
        if isinstance(answer, Capture):
            return None, answer
        if isinstance(answer, (str, Path)) and str(answer).lower().endswith(CAPTURE_SUFFIXES):
            return None, Capture.open(answer)
    return answer, Capture.open(capture) if isinstance(capture, (str, Path)) else capture


def _look(asked: Question, capture: Capture | None) -> live.Seen:
    if not asked.live:
        return live.Seen()
    if capture is None:
        lab = sys.modules.get("labkit.lab")  # a lab that was never imported has captured nothing
        capture = lab.Lab.last_capture() if lab else None
    if capture is None:
        return live.Seen(missing=(Feedback("grading.no_capture"),)) if asked.kind == "evidence" else live.Seen()
    return live.CHECKS[asked.live](capture)


# One judge for each kind of question. Each decides the outcome; what is said about it is common to all.


def _number(asked: Question, given: Answer, seen: live.Seen) -> Verdict:
    """Only what is asked is right; a right number among others is partly right."""
    numbers = given.numbers - {-1}
    wanted = seen.accepted or asked.accepted  # in the learner's capture the number may be another one than in the bank
    accepted = {number for number in wanted if isinstance(number, int)}
    other = numbers - accepted - set(asked.tolerated)
    if numbers & accepted:
        return _say(asked, given, seen, Outcome.PARTLY if other else Outcome.RIGHT)
    phrases = [phrase for phrase in wanted if isinstance(phrase, str)]
    return _say(asked, given, seen, Outcome.RIGHT if given.says_any(phrases) else Outcome.WRONG)


def _token(asked: Question, given: Answer, seen: live.Seen) -> Verdict:
    right = given.says_any(str(token) for token in asked.accepted)
    others = given.says_any(str(token) for mistake in asked.mistakes for token in mistake.says)
    return _say(asked, given, seen, (Outcome.PARTLY if others else Outcome.RIGHT) if right else Outcome.WRONG)


def _yes_no(asked: Question, given: Answer, seen: live.Seen) -> Verdict:
    wanted = asked.accepted
    said = given.verdicts[: len(wanted)]
    right = sum(a == b for a, b in zip(said, wanted, strict=False))
    if len(said) == len(wanted) and right == len(wanted):
        return _say(asked, given, seen, Outcome.RIGHT)
    # One yes or no where two are asked can only be half an answer.
    return _say(asked, given, seen, Outcome.PARTLY if len(wanted) > 1 and (right or (said and len(said) < len(wanted))) else Outcome.WRONG)


def _choice(asked: Question, given: Answer, seen: live.Seen) -> Verdict:
    chosen = {name for name, phrases in (asked.options or {}).items() if given.says_any((name, *phrases))}
    right = chosen == set(seen.accepted or asked.accepted)
    return _say(asked, given, seen, Outcome.RIGHT if right else Outcome.WRONG)


def _sequence(asked: Question, given: Answer, seen: live.Seen) -> Verdict:
    """The capture must hold the scenario; a list of messages, if there is one, must be its messages in order."""
    if seen.missing:
        return _verdict(asked, Outcome.WRONG, [*seen.missing, Feedback(asked.message("hint"))])
    wanted = [fold(step) for step in seen.sequence or asked.accepted]
    words = [word for word in given.words if word.isdecimal() or word.upper() in METHODS]
    if not given.items or words == wanted:
        return _say(asked, given, seen, Outcome.RIGHT)
    same = next((i for i, (a, b) in enumerate(zip(words, wanted, strict=False)) if a != b), min(len(words), len(wanted)))
    step = Feedback(
        "grading.sequence", {"step": same + 1, "given": words[same].upper() if same < len(words) else "-", "length": len(wanted)}
    )
    mistakes = [Feedback(mistake.message) for mistake in asked.mistakes if given.says_any(str(said) for said in mistake.says)]
    return _verdict(asked, Outcome.PARTLY if same else Outcome.WRONG, [step, *mistakes, Feedback(asked.message("hint"))])


def _rubric(asked: Question, given: Answer, seen: live.Seen) -> Verdict:
    """Concepts found in a text: advice.  The teacher decides the points."""
    found = {name for name, phrases in (asked.options or {}).items() if any(given.mentions(phrase) for phrase in phrases)}
    absent = [Feedback(asked.message(f"concept_{name}")) for name in (asked.options or {}) if name not in found]
    enough = len(found) >= asked.enough
    counted = Feedback("grading.concepts", {"found": len(found), "total": len(asked.options or {})})
    why = [Feedback(asked.message("why"))] if enough else absent
    return Verdict(asked.id, Outcome.RIGHT if enough else Outcome.PARTLY, (counted, *why), None, asked.points, asked.source)


_JUDGES = {"number": _number, "token": _token, "yes-no": _yes_no, "choice": _choice, "evidence": _sequence, "rubric": _rubric}

# What is said


def _say(asked: Question, given: Answer, seen: live.Seen, outcome: Outcome) -> Verdict:
    """Right: why, and what the capture shows.  Otherwise: each mistake that was recognised, and where to look."""
    if outcome is Outcome.RIGHT:
        return _verdict(asked, outcome, [Feedback(asked.message("why")), *seen.facts])
    numbers = given.numbers
    said = [feedback for number, feedback in seen.mistakes if number in numbers]
    for mistake in asked.mistakes:
        if any(item in numbers if isinstance(item, int) else given.says(item) for item in mistake.says):
            said.append(Feedback(mistake.message))
    return _verdict(asked, outcome, [*said, Feedback(asked.message("hint"))])


def _verdict(asked: Question, outcome: Outcome, feedback: list[Feedback]) -> Verdict:
    share = {Outcome.RIGHT: 1.0, Outcome.PARTLY: 0.5}.get(outcome, 0.0)
    points = None if asked.kind == "rubric" else share * asked.points
    return Verdict(asked.id, outcome, tuple(feedback), points, asked.points, asked.source)
