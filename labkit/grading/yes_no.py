"""Yes or no, as a learner says it: ``["yes", "no"]``, "the password is not", "no, password is not; yes the user id", "the ports differ".

A question may ask about several subjects (the user ID and the password), then each clause speaks of those that it names, in whatever
order; where none is named the order decides.  Which words mean yes or no in a question stands in the bank.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from labkit.grading.answer import NEGATIONS, Answer
from labkit.grading.bank import Question

_ALL = ("both", "les deux", "neither", "aucun des deux", "ni l un")
_ONLY = ("only", "seul*", "uniquement")
_BUT_NOT = ("not", "pas")
_STANDS = frozenset("is are does est sont".split())
"""Verbs that say yes at the end of a clause: "the user ID is, the password is not"."""
_SHORT = 3
"""Words of a clause that is no more than a negation: "they are not"; "I do not know" is no answer."""


@dataclass(frozen=True)
class Said:
    """``weak`` when it only follows from a denial: "not encrypted" may mean in clear, or hashed."""

    value: bool
    weak: bool = False


@dataclass
class _Subjects:
    """What has been said about each subject.  ``None`` is a contradiction."""

    said: dict[str, Said | None] = field(default_factory=dict)

    def add(self, names: list[str], said: Said) -> None:
        for name in names:
            before = self.said.get(name, said)
            if before is None or before.value == said.value or said.weak:
                self.said.setdefault(name, said)
            else:
                self.said[name] = said if before.weak else None


def read_verdicts(asked: Question, given: Answer) -> list[bool | None]:
    """One yes or no for each that the question asks; ``None`` where the answer gives none or contradicts itself."""
    wanted = len(asked.accepted)
    named = _by_subject(asked, given)
    if named is not None:
        return named
    if wanted > 1 and len(given.items) == wanted:
        return [_together([_said(asked, clause) for clause in Answer((item,)).clauses]) for item in given.items]
    if wanted > 1:
        verdicts: list[bool | None] = []
        for clause in given.clauses:
            said = _said(asked, clause)
            verdicts += clause.verdicts if len(clause.verdicts) > 1 else [said.value] if said else []
        return verdicts
    return [_single(asked, given)]


def _single(asked: Question, given: Answer) -> bool | None:
    """One yes or no.  An explicit one decides; two different ones are none.  "One is the same, the other differs" is no."""
    explicit = {verdict for clause in given.clauses for verdict in (clause.verdicts if clause.verdict is None else (clause.verdict,))}
    sayings = {value for clause in given.clauses if (value := _saying(asked, clause)) is not None}
    if explicit and not sayings:
        return explicit.pop() if len(explicit) == 1 else None
    said = [said.value for clause in given.clauses if (said := _said(asked, clause))]
    return all(said) if said else None


def _together(said: list[Said | None]) -> bool | None:
    """The first that is more than a denial, or the first."""
    found = sorted((each for each in said if each), key=lambda each: each.weak)
    return found[0].value if found else None


def _said(asked: Question, clause: Answer) -> Said | None:
    saying = _saying(asked, clause)
    if saying is not None:
        return Said(saying)
    if clause.verdict is not None:
        return Said(clause.verdict)
    if clause.says_any(asked.means_no) or (clause.mentions_any(asked.means_yes) and not clause.says_any(asked.means_yes)):
        return Said(False)
    if clause.says_any(asked.means_yes):
        return Said(True)
    if clause.mentions_any(asked.means_no):
        return Said(True, weak=True)
    if clause.denies_something and (_names(asked, clause) or len(clause.words) <= _SHORT):
        return Said(False)
    return Said(True) if clause.words and clause.words[-1] in _STANDS else None


def _saying(asked: Question, clause: Answer) -> bool | None:
    """Phrases that begin with a negation have their meaning as a whole: "no difference"."""
    for phrases, value in ((asked.means_yes, True), (asked.means_no, False)):
        if clause.mentions_any(phrase for phrase in phrases if phrase.split()[0] in NEGATIONS):
            return value
    return None


def _names(asked: Question, clause: Answer) -> list[str]:
    """The subjects that a clause names, in its order."""
    places = {name: min(found) for name, phrases in asked.subjects.items() if (found := [at for p in phrases for at in clause.places(p)])}
    if not places and clause.mentions_any(_ALL):
        return list(asked.subjects)
    return sorted(places, key=lambda name: places[name])


def _by_subject(asked: Question, given: Answer) -> list[bool | None] | None:
    """What is said of each subject; ``None`` when none is named."""
    found, waiting, loose = _Subjects(), list[str](), None
    last: list[str] = []
    for clause in given.clauses:
        names, said, only = _names(asked, clause), _said(asked, clause), clause.mentions_any(_ONLY)
        said = said or (Said(True) if only else None)
        if len(names) > 1 and len(clause.verdicts) == len(names):  # "user id yes password no"
            for name, value in zip(names, clause.verdicts, strict=True):
                found.add([name], Said(value))
            waiting, loose = [], None
        elif names and said:
            if waiting and not said.value and clause.words[0] in _BUT_NOT:  # "the user ID, not the password"
                found.add(waiting, Said(True))
                waiting = []
            found.add([*waiting, *names], said)
            if said.value and only:
                found.add([name for name in asked.subjects if name not in names], Said(False))
            waiting, loose = [], None
        elif names and loose:  # "yes (the user id)"
            found.add(names, loose)
            loose = None
        elif names:
            waiting += names
        elif said and waiting:  # "user id: yes"
            found.add(waiting, said)
            waiting = []
        elif said and last and clause.verdict is None:  # "the password is not encrypted, it is hashed"
            found.add([name for name in last if (before := found.said.get(name)) and before.weak], said)
        elif said:
            loose = said
        last = names or last
    if not found.said and not waiting:
        return None
    return [verdict.value if (verdict := found.said.get(name)) else None for name in asked.subjects]
