"""A verdict shows itself in two languages, as text, HTML and a table."""

from __future__ import annotations

from labkit.grading.verdict import Feedback, Outcome, Verdict
from labkit.texts import language

VERDICT = Verdict(
    "1.6", Outcome.RIGHT, (Feedback("grading.q1_6.fact", {"contact": "<script>alert(1)</script>"}),), 1.0, 1.0, "RFC 3261 §10.3"
)


def test_text_in_both_languages() -> None:
    assert VERDICT.text("en").splitlines() == [
        "✓ 1.6 is right (1/1)",
        "  In your capture it carried Contact: <script>alert(1)</script>",
        "  RFC 3261 §10.3",
    ]
    assert VERDICT.text("fr").startswith("✓ 1.6 est juste (1/1)")
    language("fr")
    assert repr(VERDICT) == str(VERDICT) == VERDICT.text("fr")


def test_html_never_carries_text_from_the_network_as_markup() -> None:
    html = VERDICT._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "✓" in html and "is right" in html, "never by colour alone"


def test_table_has_both_languages_side_by_side() -> None:
    table = VERDICT.table()
    assert list(table.columns) == ["Question", "Outcome", "en", "fr"]
    assert table.loc[0, "Outcome"] == "right" and str(table.loc[0, "fr"]).startswith("Dans votre capture")


def test_points_are_left_to_the_teacher_where_they_are_none() -> None:
    assert Verdict("1.10", Outcome.PARTLY, points=None, out_of=2).text() == "◐ 1.10 is partly right"
