"""Display filters: a small part of Wireshark's language, over the fields of :mod:`labkit.capture.filter_fields`.

::

    filter     = all { ("or" | "||") all }
    all        = test { ("and" | "&&") test }
    test       = ("not" | "!") test | "(" filter ")" | field [ comparison ]
    comparison = ("==" | "!=" | "<" | ">" | "<=" | ">=" | "contains" | "matches") value
               | "in" "{" value { [","] value } "}"

A field alone asks whether a packet has it.  With several values, one that fits is enough; ``!=`` wants all of them to differ, as in
Wireshark since 3.6.  ``matches`` is a regular expression without regard to case; an IPv4 address may have a prefix (``127.1.0.0/24``).
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from labkit.capture.filter_fields import Column, column, names
from labkit.capture.records import Ints
from labkit.errors import CaptureError

if TYPE_CHECKING:
    from labkit.capture.capture import Capture

Mask = NDArray[np.bool_]
DEEPEST = 50
"""Parentheses and nots inside each other."""
_TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(==|!=|<=|>=|&&|\|\||[<>!~(){},])|([^\s"=!<>&|~(){},]+))')
_WORDS = {"and": "&&", "or": "||", "not": "!", "eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">=", "~": "matches"}
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_COMPARISONS = (*_ORDER, "!=", "contains", "matches", "in")


@dataclass(frozen=True)
class Token:
    """``text`` is the operator or word in its first spelling; ``quoted`` for a string, without its quotes."""

    text: str
    at: int
    quoted: bool = False


def matching(cap: Capture, expression: str) -> Mask:
    """For every packet, whether the filter keeps it; :class:`CaptureError` points at what is wrong."""
    if not isinstance(expression, str) or not expression.strip():
        raise CaptureError("filter.empty")
    return _Parser(cap, expression).parse()


class _Parser:
    """Reads and evaluates in one go: every rule of the grammar is a method that returns a mask."""

    def __init__(self, cap: Capture, expression: str) -> None:
        self._cap, self._expression = cap, expression
        self._tokens = list(self._split())
        self._place = self._depth = 0

    def _split(self) -> list[Token]:
        found: list[Token] = []
        at, text = 0, self._expression.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if not match:
                at += len(text[at:]) - len(text[at:].lstrip())
                self._wrong("filter.open_quote" if text[at] == '"' else "filter.strange_sign", at, found=text[at])
            string, sign, word = match.groups()
            start = match.start(match.lastindex or 0)
            if string is not None:
                pattern = bool(found) and found[-1].text == "matches"  # whose backslashes belong to the expression
                found.append(Token(string[1:-1] if pattern else re.sub(r"\\(.)", r"\1", string[1:-1]), start, True))
            else:
                found.append(Token(_WORDS.get((sign or word).lower(), sign or word), start))
            at = match.end()
        return found

    def _wrong(self, message_id: str, at: int, **values: object) -> NoReturn:
        line = re.sub(r"\s", " ", self._expression)
        raise CaptureError(message_id, where=f"\n  {line}\n  {' ' * at}^", position=at + 1, **values)

    @property
    def _next(self) -> Token:
        return self._tokens[self._place] if self._place < len(self._tokens) else Token("", len(self._expression.rstrip()))

    def _takes(self, *texts: str) -> bool:
        """Step over the next token when it is one of these signs or words."""
        if self._next.quoted or self._next.text not in texts or not self._next.text:
            return False
        self._place += 1
        return True

    # --- the grammar -------------------------------------------------------------------------------------------------

    def parse(self) -> Mask:
        mask = self._filter()
        if self._place < len(self._tokens):
            self._wrong("filter.and_or", self._next.at, found=self._next.text)
        return mask

    def _filter(self) -> Mask:
        mask = self._all()
        while self._takes("||"):
            mask = mask | self._all()
        return mask

    def _all(self) -> Mask:
        mask = self._test()
        while self._takes("&&"):
            mask = mask & self._test()
        return mask

    def _test(self) -> Mask:
        self._depth += 1
        if self._depth > DEEPEST:
            self._wrong("filter.too_deep", self._next.at, deepest=DEEPEST)
        try:
            if self._takes("!"):
                return ~self._test()
            opened = self._next
            if self._takes("("):
                mask = self._filter()
                if not self._takes(")"):
                    self._wrong("filter.open_parenthesis", opened.at)
                return mask
            return self._relation()
        finally:
            self._depth -= 1

    def _relation(self) -> Mask:
        field = self._next
        if field.quoted or not re.match(r"\w", field.text):
            self._wrong("filter.field_expected", field.at, found=field.text)
        self._place += 1
        found = column(self._cap, field.text)
        if found is None:
            spelled = {name.lower(): name for name in names()}
            near = get_close_matches(field.text.lower(), spelled, 3, 0.5) or ["sip", "rtp", "ip.addr"]
            self._wrong("filter.unknown_field", field.at, field=field.text, near=", ".join(spelled[name] for name in near))
        sign = self._next
        if not self._takes(*_COMPARISONS):
            return self._mask(found.frames)
        if sign.text == "in":
            return self._set(found, field)
        return self._compare(found, field, sign.text, self._value(sign))

    def _value(self, sign: Token) -> Token:
        value = self._next
        if not value.quoted and (not value.text or value.text in ("&&", "||", "!", "(", ")", "{", "}", ",", *_COMPARISONS)):
            self._wrong("filter.value_expected", value.at, sign=sign.text)
        self._place += 1
        return value

    def _set(self, found: Column, field: Token) -> Mask:
        opened = self._next
        if not self._takes("{"):
            self._wrong("filter.set_expected", opened.at)
        mask = self._compare(found, field, "==", self._value(opened))
        while not self._takes("}"):
            self._takes(",")
            if not self._next.text:
                self._wrong("filter.open_set", opened.at)
            mask = mask | self._compare(found, field, "==", self._value(opened))
        return mask

    # --- values ------------------------------------------------------------------------------------------------------

    def _mask(self, frames: Ints) -> Mask:
        mask = np.zeros(len(self._cap), np.bool_)
        mask[frames] = True
        return mask

    def _compare(self, found: Column, field: Token, sign: str, value: Token) -> Mask:
        if sign == "!=":
            return self._mask(found.frames) & ~self._compare(found, field, "==", value)
        if sign in ("contains", "matches") or found.kind == "text":
            hits = self._texts(found, sign, value)
        elif found.kind == "address":
            hits = self._addresses(found, field, sign, value)
        else:
            hits = _ORDER[sign](np.asarray(found.values), self._number(field, value))
        return self._mask(found.frames[hits])

    def _texts(self, found: Column, sign: str, value: Token) -> Mask:
        texts = found.values if isinstance(found.values, list) else self._as_texts(found)
        if sign == "matches":
            try:
                pattern = re.compile(value.text, re.IGNORECASE)
            except re.error as error:
                self._wrong("filter.bad_pattern", value.at, reason=error.msg)
            hits = [pattern.search(text) is not None for text in texts]
        elif sign == "contains":
            hits = [value.text in text for text in texts]
        else:
            hits = [_ORDER[sign](text, value.text) for text in texts]
        return np.array(hits, np.bool_)

    def _as_texts(self, found: Column) -> list[str]:
        if found.kind == "address":
            return [self._cap.layers.addresses.text(number) for number in found.values.tolist()]  # type: ignore[union-attr]
        return [str(number) for number in found.values.tolist()]  # type: ignore[union-attr]

    def _addresses(self, found: Column, field: Token, sign: str, value: Token) -> Mask:
        numbers = np.asarray(found.values)
        try:
            network = ipaddress.ip_network(value.text, strict=False)
        except ValueError:
            self._wrong("filter.not_an_address", value.at, field=field.text, found=value.text)
        if network.version == 4 and "/" in value.text and sign == "==":
            low = int(network.network_address)
            inside: Mask = (numbers >= low) & (numbers <= int(network.broadcast_address))
            return inside
        order: Mask = _ORDER[sign](numbers, self._cap.layers.addresses.number(value.text))
        return order

    def _number(self, field: Token, value: Token) -> float:
        text = value.text.lower()
        if text in ("true", "false"):
            return float(text == "true")
        for read in (lambda text: int(text, 0), float):
            try:
                return read(text)
            except ValueError:
                continue
        self._wrong("filter.not_a_number", value.at, field=field.text, found=value.text)
