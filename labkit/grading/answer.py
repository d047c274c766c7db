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

YES = frozenset({"yes", "y", "true", "oui", "vrai"})
NO = frozenset({"no", "n", "false", "non", "faux", "not", "pas", "never", "jamais"})
NEGATIONS = frozenset(
    {"not", "no", "never", "without", "pas", "non", "jamais", "sans", "ni", "aucun", "aucune", "neither", "nor", "isn", "doesn"}
)
_REACH = 3  # a negation speaks of the few words after it: "not sent through the server"
_THOUSANDS = re.compile(r"(?<!\d)(\d)[ \u00a0\u202f](\d{3})(?!\d)")


def fold(text: str) -> str:
    """Lower case, no accents, plain letters."""
    plain = unicodedata.normalize("NFKD", text[:LONGEST]).casefold()
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


@dataclass(frozen=True)
class Answer:
    """An answer that was read: its items as folded texts, and its words."""

    items: tuple[str, ...]

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Words and the signs that end a clause."""
        return tuple(re.findall(r"[a-z0-9]+|[,;:.!?()]", " ; ".join(self.items)))

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(token for token in self.tokens if token.isalnum())

    @cached_property
    def numbers(self) -> frozenset[int]:
        """Every whole number in it; none when it holds a fraction."""
        text = _THOUSANDS.sub(r"\1\2", " | ".join(self.items))
        found = re.findall(r"\d+(?:[.,]\d+)?", text)
        return frozenset(int(number) if number.isdecimal() else -1 for number in found if len(number) < 20)

    @cached_property
    def verdicts(self) -> tuple[bool, ...]:
        """The yes and no in it, in order."""
        return tuple(word in YES for word in self.words if word in YES or word in NO)

    def says(self, phrase: str) -> bool:
        """Whether the words of ``phrase`` stand in it in this order, side by side, and no negation comes shortly before.

        A ``*`` at the end of a word stands for any ending: ``encrypt*`` is encrypted, encryption.
        """
        return any(not self._negated(start) for start in self._places(phrase))

    def mentions(self, phrase: str) -> bool:
        """Whether the words of ``phrase`` stand in it, negated or not."""
        return bool(self._places(phrase))

    def _places(self, phrase: str) -> list[int]:
        wanted, tokens = re.findall(r"[a-z0-9*]+", fold(phrase)), self.tokens
        starts = range(len(tokens) - len(wanted) + 1)
        return [start for start in starts if all(_same(token, want) for token, want in zip(tokens[start:], wanted, strict=False))]

    def _negated(self, start: int) -> bool:
        """A negation reaches over a few words but not into another clause: "no, it is encrypted" says encrypted."""
        for token in reversed(self.tokens[max(0, start - _REACH) : start]):
            if not token.isalnum():
                return False
            if token in NEGATIONS:
                return True
        return False

    def says_any(self, phrases: Iterable[str]) -> bool:
        return any(self.says(phrase) for phrase in phrases)


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
