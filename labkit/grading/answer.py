"""What a learner's answer says: numbers, yes or no, words, whatever the case, the accents, the spaces and the language.

``"udp/5060"``, ``" Port 5 060 "`` and ``5060`` are the same number; ``"200 OK"`` is 200; ``"Oui"`` is yes; ``"not encrypted"`` does not
say encrypted.  Nothing here knows a question.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real

from labkit.errors import AnswerError

LONGEST = 4000
"""Characters of an answer that are read; a longer one is cut."""

YES = frozenset({"yes", "true", "oui", "vrai"})
NO = frozenset({"no", "false", "non", "faux"})
_ALONE = {"1": True, "0": False, "y": True, "n": False, **dict.fromkeys(YES, True), **dict.fromkeys(NO, False)}
NEGATIONS = frozenset(
    "not no never without pas non jamais sans ni aucun aucune neither nor isn aren doesn don didn wasn won cannot nobody nothing".split()
)
LIMITS = frozenset("but instead rather mais plutot".split())
"""Words at which a negation ends, as it does at the end of a clause."""
_REACH = 5  # a negation speaks of the few words after it: "not sent through the server"
_ONLY = frozenset("only just seulement".split())  # "not only" denies nothing
_VERBS = frozenset("is are does do was has plays takes carries can".split())
_DENYING = frozenset("isn doesn don cannot never".split())
_AFTER_A_REPLY = frozenset("it they the he she this that il elle ils elles le la les l ce c".split())
_THOUSANDS = re.compile(r"(?<!\d)(\d)[ \u00a0\u202f](\d{3})(?!\d)")


def fold(text: str) -> str:
    """Lower case, no accents, plain letters."""
    plain = unicodedata.normalize("NFKD", text[:LONGEST].replace("º", "°")).casefold()  # "nº 5060" is no "no"
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


@dataclass(frozen=True)
class Answer:
    """An answer that was read: its items as folded texts, and its words."""

    items: tuple[str, ...]

    @cached_property
    def _text(self) -> str:
        return _THOUSANDS.sub(r"\1\2", " ; ".join(self.items))

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Words and the signs that end a clause."""
        return tuple(re.findall(r"[a-z0-9]+|[,;:.!?()]", self._text))

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(token for token in self.tokens if token.isalnum())

    @cached_property
    def numbers(self) -> frozenset[int]:
        """Every whole number that it says: "200, not 407" says 200.  -1 stands for fractions."""
        found = re.findall(r"\d+(?:[.,]\d+)?", self._text)
        numbers = {int(number) if number.isdecimal() else -1 for number in found if len(number) < 20}
        return frozenset(numbers - self._refused_numbers)

    @property
    def _refused_numbers(self) -> set[int]:
        places = [(int(token), place) for place, token in enumerate(self.tokens) if token.isdecimal() and len(token) < 20]
        return {number for number, place in places if self._negated(place)} - {n for n, place in places if not self._negated(place)}

    @cached_property
    def clauses(self) -> tuple[Answer, ...]:
        """What stands between commas, full stops and conjunctions, each an answer of its own."""
        parts = re.split(r"[,;:.!?()]+|\b(?:and|et|but|mais|while|whereas|although|tandis que|alors que)\b", self._text)
        return tuple(Answer((part.strip(),)) for part in parts if part.strip())

    @cached_property
    def verdicts(self) -> tuple[bool, ...]:
        """Every yes and no in it, in order; y, n, 1 and 0 only where they stand alone (in French, n and y are half of a negation)."""
        if len(self.words) == 1 and self.words[0] in _ALONE:
            return (_ALONE[self.words[0]],)
        return tuple(word in YES for word in self.words if word in YES or word in NO)

    @cached_property
    def verdict(self) -> bool | None:
        """The yes or no with which a clause begins or ends."""
        if len(self.words) == 1:
            return self.verdicts[0] if self.verdicts else None
        ends = {word in YES for word in (self.words[:1] + self.words[-1:]) if word in YES or word in NO}
        return ends.pop() if len(ends) == 1 else None

    @cached_property
    def denies_something(self) -> bool:
        """Whether there is a negation in it."""
        return any(word in NEGATIONS for word in self.words)

    def says(self, phrase: str) -> bool:
        """Whether the words of ``phrase`` stand in it in this order, side by side, and no negation comes shortly before.

        A ``*`` at the end of a word stands for any ending: ``encrypt*`` is encrypted, encryption.
        """
        return any(not self._negated(start) for start in self.places(phrase))

    def mentions(self, phrase: str) -> bool:
        """Whether the words of ``phrase`` stand in it, negated or not."""
        return bool(self.places(phrase))

    def places(self, phrase: str) -> list[int]:
        """Where the words of ``phrase`` begin among :attr:`tokens`."""
        wanted, tokens = re.findall(r"[a-z0-9*]+", fold(phrase)), self.tokens
        starts = range(len(tokens) - len(wanted) + 1)
        return [start for start in starts if all(_same(token, want) for token, want in zip(tokens[start:], wanted, strict=False))]

    def _negated(self, start: int) -> bool:
        """A negation reaches over a few words but not into another clause: "no, it is encrypted" says encrypted."""
        for place in range(start - 1, max(-1, start - 1 - _REACH), -1):
            token = self.tokens[place]
            if not token.isalnum() or token in LIMITS:
                return False
            if token in NEGATIONS and not self._replies(place):
                return self.tokens[place + 1] not in _ONLY
        return False

    def _replies(self, place: int) -> bool:
        """ "no it goes directly": an answer to the question, which denies nothing of what follows."""
        before = self.tokens[place - 1] if place else ";"
        return self.tokens[place] in NO and not before.isalnum() and self.tokens[place + 1] in _AFTER_A_REPLY

    def says_any(self, phrases: Iterable[str]) -> bool:
        return any(self.says(phrase) for phrase in phrases)

    def denies_any(self, phrases: Iterable[str]) -> bool:
        """Whether what follows takes it back: "the server is not involved", "le serveur ne fait que signaler"."""
        for place, length in ((place, len(phrase.split())) for phrase in phrases for place in self.places(phrase)):
            verb, *after = [*self.tokens[place + length : place + length + 4], ""]
            if verb in ("ne", "n", *_ONLY) or (verb in _VERBS and any(token in NEGATIONS for token in after[:2])) or verb in _DENYING:
                return True
        return False

    def mentions_any(self, phrases: Iterable[str]) -> bool:
        return any(self.mentions(phrase) for phrase in phrases)


def _same(word: str, wanted: str) -> bool:
    return word.startswith(wanted[:-1]) if wanted.endswith("*") else word == wanted


def read(answer: object) -> Answer | None:
    """The answer as :class:`Answer`; ``None`` when it is still ``...`` or empty.

    Raises :class:`~labkit.errors.AnswerError` for anything that is neither a number, a text, yes or no, nor a list or a table of these.
    """
    items = tuple(item for item in _items(answer, depth=3) if item)
    return Answer(items) if items else None


def _items(answer: object, depth: int) -> list[str]:
    if answer is ... or answer is None:
        return []
    if isinstance(answer, bool):
        return ["yes" if answer else "no"]
    if isinstance(answer, Integral):
        return [str(int(answer))] if abs(int(answer)) < 10**18 else ["?"]
    if isinstance(answer, Real):
        value = float(answer)
        return [str(int(value)) if value.is_integer() and abs(value) < 1e18 else f"{value:.6f}"]
    if isinstance(answer, str):
        text = fold(answer).strip()
        return [] if text in ("...", "?") else [text]
    if isinstance(answer, dict) and depth:
        return [item for value in list(answer.values())[:100] for item in _items(value, depth - 1)]
    if isinstance(answer, (list, tuple, set, frozenset)) and depth:
        return [item for value in list(answer)[:100] for item in _items(value, depth - 1)]
    raise AnswerError("grading.strange_answer", kind=type(answer).__name__)
