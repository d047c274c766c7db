"""Answers are read tolerantly: case, accents, spaces, units, two languages; and never with a traceback."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import AnswerError
from labkit.grading.answer import fold, read


@pytest.mark.parametrize(
    "answer",
    [5060, "5060", " Port 5060 ", "udp/5060", "UDP:5060", "5 060", "5\u202f060", 5060.0, ["5060"], {"port": 5060}, "127.0.0.1:5060"],
)
def test_one_number_in_many_clothes(answer: object) -> None:
    found = read(answer)
    assert found is not None and found.numbers - {-1} == {5060}


@pytest.mark.parametrize("answer", [..., None, "", "   ", "...", "…", "?", [], [...], {}])
def test_not_answered_yet(answer: object) -> None:
    assert read(answer) is None


@pytest.mark.parametrize(
    ("answer", "verdicts"),
    [(True, (True,)), ("Oui", (True,)), ("NON !", (False,)), (["yes", False], (True, False)), ("vrai, puis faux", (True, False))],
)
def test_yes_and_no(answer: object, verdicts: tuple[bool, ...]) -> None:
    found = read(answer)
    assert found is not None and found.verdicts == verdicts


@pytest.mark.parametrize(
    ("answer", "phrase", "says"),
    [
        ("The password is ENCRYPTED", "encrypt*", True),
        ("it is not encrypted", "encrypt*", False),
        ("it isn't encrypted", "encrypt*", False),
        ("le mot de passe n'est pas chiffré", "chiffr*", False),
        ("le mot de passe est chiffré", "chiffr*", True),
        ("directly, not through the server", "server", False),
        ("not direct: through the server", "server", True),
        ("it does not pass through the server", "server", False),
        ("not directly but through the server", "server", True),
        ("no it goes through the server", "server", True),
        ("it not only registers", "regist*", True),
        ("REGISTERED", "register", False),
        ("entre les deux téléphones", "entre les deux telephones", True),
    ],
)
def test_phrases_and_negations(answer: str, phrase: str, says: bool) -> None:
    found = read(answer)
    assert found is not None and found.says(phrase) is says


def test_a_mention_may_be_negated() -> None:
    found = read("it does not carry the voice")
    assert found is not None and found.mentions("voice") and not found.says("carry the voice")


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("200 et pas 407", {200}),
        ("not 407, 200", {200}),
        ("not 407 but 200", {200}),
        ("nº 5060", {5060}),
        ("pas 5060", set()),
        ("no. 7", {7}),
    ],
)
def test_a_number_that_is_denied_is_not_said(answer: str, numbers: set[int]) -> None:
    found = read(answer)
    assert found is not None and found.numbers == numbers


@pytest.mark.parametrize("answer", [object(), b"5060", lambda: 5060, 3j, [[[[[1]]]]]])
def test_strange_answers_are_named(answer: object) -> None:
    with pytest.raises(AnswerError, match="An answer is a number, a text"):
        read(answer)


def test_a_list_that_holds_itself_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(AnswerError):
        read(endless)


literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(literals)
def test_any_literal_is_read_or_refused_by_name(answer: object) -> None:
    try:
        found = read(answer)
    except AnswerError:
        return
    if found is not None:
        assert isinstance(found.numbers, frozenset) and isinstance(found.words, tuple) and isinstance(found.says("x *"), bool)


@given(st.text())
def test_folding_twice_changes_nothing_that_matters(text: str) -> None:
    assert fold("É" + text)[0] == "e"
