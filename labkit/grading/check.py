"""``labkit.check("1.4", q1_4)``: the verdict on one answer, at once, and never a traceback for a strange answer.

The bank says what is right; where a question is about traffic, the learner's own capture does (:mod:`labkit.grading.live`).
A recognised mistake adds a sentence and never takes points.  It runs in the learner's kernel, for learning: it is no proof of anything.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import AnswerError, LabkitError
from labkit.grading import live, live_transfer
from labkit.grading.answer import Answer, fold, read
from labkit.grading.bank import Question, question
from labkit.grading.configuration import Configuration
from labkit.grading.verdict import Feedback, Outcome, Verdict
from labkit.grading.yes_no import read_verdicts

if TYPE_CHECKING:
    from labkit.capture.capture import Capture
    from labkit.lab_capture import LiveCapture

CAPTURE_SUFFIXES = (".pcap", ".pcapng", ".cap")
CHECKS = {**live.CHECKS, **live_transfer.CHECKS}
METHODS = frozenset("ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE UPDATE".split())


def check(question_id: str, answer: object, capture: Capture | LiveCapture | str | Path | None = None) -> Verdict:
    """Judge ``answer`` to a question such as ``"1.4"``.

    Answers about traffic are compared with ``capture`` (a :class:`~labkit.capture.capture.Capture`, that of a lab, or a file), by default
    with the one that the latest lab has made so far.  Where evidence is asked, the answer may itself name the file, and where a
    configuration is asked, the saved ``config.json``.  ``...`` and an empty text are not answered yet.  Raises
    :class:`~labkit.errors.AnswerError` for a question that does not exist or a ``capture`` that is none.
    """
    from labkit.capture.capture import Capture
    from labkit.lab_capture import LiveCapture

    asked = question(question_id)
    if capture is not None and not isinstance(capture, (Capture, LiveCapture, str, Path)):
        raise AnswerError("grading.strange_capture", kind=type(capture).__name__)
    try:
        shown = _evidence(answer) if asked.kind == "evidence" else None
        held = Configuration.of(answer) if asked.kind == "config" else None
        given = Answer(()) if shown or held else read(answer)
        if given is None:
            return _verdict(asked, Outcome.UNANSWERED, [Feedback(asked.message("task"))])
        if capture is None and held is not None:
            capture = held.capture
        if isinstance(capture, (str, Path)):
            capture = Capture.open(capture)
        elif isinstance(capture, LiveCapture):
            capture = capture.open()
        if asked.kind == "config":
            return _config(asked, given, held, capture)
        return _JUDGES[asked.kind](asked, given, _look(asked, shown or capture))
    except LabkitError as problem:  # a strange answer, a file that is no capture, a lab whose wire was cut
        return _verdict(asked, Outcome.WRONG, [Feedback(problem.message_id, problem.values)])


def _evidence(answer: object) -> Capture | None:
    """The capture that an answer is, or names."""
    from labkit.capture.capture import Capture
    from labkit.lab_capture import LiveCapture

    if isinstance(answer, LiveCapture):
        return answer.open()
    if isinstance(answer, (str, Path)) and str(answer).strip().lower().endswith(CAPTURE_SUFFIXES):
        return Capture.open(str(answer).strip())
    return answer if isinstance(answer, Capture) else None


def _look(asked: Question, capture: Capture | None) -> live.Seen:
    if not asked.live:
        return live.Seen()
    if capture is None:
        lab = sys.modules.get("labkit.lab")  # a lab that was never imported has captured nothing
        capture = lab.Lab.last_capture() if lab else None
    if capture is None:
        wanted = asked.evidence or asked.kind == "evidence"
        return live.Seen(missing=(Feedback("grading.no_capture"),)) if wanted else live.Seen()
    return CHECKS[asked.live](capture)


# One judge for each kind of question. Each decides the outcome; what is said about it is common to all.


def _number(asked: Question, given: Answer, seen: live.Seen) -> Verdict:
    """Only what is asked is right; a right number among others is partly right."""
    numbers = given.numbers - {-1}
    wanted = seen.accepted or asked.accepted  # in the learner's capture the number may be another one than in the bank
    accepted = {number for number in wanted if isinstance(number, int)}
    other = numbers - accepted - set(asked.tolerated)
    if numbers & accepted:
        return _say(asked, given, seen, Outcome.PARTLY if other else Outcome.RIGHT)
    if numbers and numbers <= set(asked.partly):
        return _say(asked, given, seen, Outcome.PARTLY)
    phrases = [phrase for phrase in wanted if isinstance(phrase, str)]
    return _say(asked, given, seen, Outcome.RIGHT if given.says_any(phrases) and not other else Outcome.WRONG)  # "202 OK"


def _token(asked: Question, given: Answer, seen: live.Seen) -> Verdict:
    right = given.says_any(str(token) for token in asked.accepted)
    others = given.says_any(str(token) for mistake in asked.mistakes for token in mistake.says)
    return _say(asked, given, seen, (Outcome.PARTLY if others else Outcome.RIGHT) if right else Outcome.WRONG)


def _yes_no(asked: Question, given: Answer, seen: live.Seen) -> Verdict:
    said, wanted = read_verdicts(asked, given), list(asked.accepted)
    if said == wanted:
        return _say(asked, given, seen, Outcome.RIGHT)
    right = sum(a is b for a, b in zip(said, wanted, strict=False))
    # One yes or no where two are asked can only be half an answer.
    half = len(wanted) > 1 and (right or 0 < len(said) < len(wanted))
    return _say(asked, given, seen, Outcome.PARTLY if half else Outcome.WRONG)


def _choice(asked: Question, given: Answer, seen: live.Seen) -> Verdict:
    """What is chosen; or, when all but one are denied, that one: "not through the server"."""
    options = {name: (name, *phrases) for name, phrases in (asked.options or {}).items()}
    chosen = {name for name, phrases in options.items() if given.says_any(phrases) and not given.denies_any(phrases)}
    left = {name for name, phrases in options.items() if not given.mentions_any(phrases)}
    right = (chosen or (left if len(left) == 1 else set())) == set(seen.accepted or asked.accepted)
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
    half = 2 * _in_order(words, wanted) >= max(len(words), len(wanted))
    return _verdict(asked, Outcome.PARTLY if half else Outcome.WRONG, [step, *mistakes, Feedback(asked.message("hint"))])


def _in_order(words: list[str], wanted: list[str]) -> int:
    """How many of the messages wanted are there in their order (the longest common subsequence)."""
    longest = [0] * (len(wanted) + 1)
    for word in words[:1000]:
        before = longest[:]
        for place, want in enumerate(wanted):
            longest[place + 1] = before[place] + 1 if word == want else max(before[place + 1], longest[place])
    return longest[-1]


def _config(asked: Question, given: Answer, held: Configuration | None, capture: Capture | None) -> Verdict:
    """The configuration first; then the call that proves it."""
    if held is None:
        return _say(asked, given, live.Seen(), Outcome.WRONG)
    lacks = held.lacks(*asked.accepted)
    if lacks is not None:
        return _verdict(asked, Outcome.WRONG, [lacks, Feedback(asked.message("hint"))])
    return _say(asked, given, _look(asked, capture), Outcome.RIGHT)


def _rubric(asked: Question, given: Answer, seen: live.Seen) -> Verdict:
    """Concepts found in a text: advice.  The teacher decides the points."""
    found = {name for name, phrases in (asked.options or {}).items() if given.says_any(phrases)}
    denials = [clause for clause in given.clauses if clause.denies_something]
    found |= {name for name, phrases in asked.denied.items() if any(clause.mentions_any(phrases) for clause in denials)}
    absent = [Feedback(asked.message(f"concept_{name}")) for name in (asked.options or {}) if name not in found]
    enough = len(found) >= asked.enough
    counted = Feedback("grading.concepts", {"found": len(found), "total": len(asked.options or {})})
    why = [Feedback(asked.message("why"))] if enough else absent
    outcome = Outcome.RIGHT if enough else Outcome.PARTLY if found else Outcome.WRONG
    return Verdict(asked.id, outcome, (counted, *why), None, asked.points, asked.source)


_JUDGES = {"number": _number, "token": _token, "yes-no": _yes_no, "choice": _choice, "evidence": _sequence, "rubric": _rubric}

# What is said


def _say(asked: Question, given: Answer, seen: live.Seen, outcome: Outcome) -> Verdict:
    """Right: why, and what the capture shows.  Otherwise: each mistake that was recognised, and where to look.

    A right yes or no may come with a wrong reason ("no, it is encrypted"), which is answered too.
    """
    numbers = given.numbers
    said = [feedback for number, feedback in seen.mistakes if number in numbers]
    for mistake in asked.mistakes:
        if any(item in numbers if isinstance(item, int) else given.says(item) for item in mistake.says):
            said.append(Feedback(mistake.message))
    if outcome is Outcome.RIGHT and asked.evidence and seen.missing:
        return _verdict(asked, Outcome.PARTLY, [Feedback(asked.message("why")), *seen.missing])
    if outcome is Outcome.RIGHT:
        return _verdict(asked, outcome, [*(said if asked.kind == "yes-no" else ()), Feedback(asked.message("why")), *seen.facts])
    return _verdict(asked, outcome, [*said, Feedback(asked.message("hint"))])


def _verdict(asked: Question, outcome: Outcome, feedback: list[Feedback]) -> Verdict:
    share = {Outcome.RIGHT: 1.0, Outcome.PARTLY: 0.5}.get(outcome, 0.0)
    points = None if asked.kind == "rubric" else share * asked.points
    return Verdict(asked.id, outcome, tuple(feedback), points, asked.points, asked.source)
