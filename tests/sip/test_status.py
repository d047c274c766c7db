"""Reason phrases and explanations."""

from __future__ import annotations

from labkit.sip.status import REASONS, explain, reason
from labkit.texts import language


def test_reasons() -> None:
    assert reason(486) == "Busy Here"
    assert reason(489) == "Bad Event"
    assert reason(499) == "Bad Request"


def test_every_code_is_explained_in_both_languages() -> None:
    english = {code: explain(code) for code in [*REASONS, 299, 499]}
    language("fr")
    french = {code: explain(code) for code in english}
    assert "wrong password" in english[403]
    assert "mot de passe faux" in french[403]
    assert all(english[code] != french[code] and len(english[code]) > 20 for code in english)
    assert explain(42) != explain(404)
