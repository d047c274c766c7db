"""Tables in a notebook: a caption, scopes, everything escaped; and they stay ordinary DataFrames."""

from __future__ import annotations

import io
import pickle
import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from labkit.capture.capture import Capture
from labkit.capture.table import html_table, table
from labkit.texts import language
from tests.grading.scene import whole_part


@pytest.fixture(scope="module")
def cap(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return Capture.open(whole_part().save(tmp_path_factory.mktemp("table") / "part1.pcapng"))


def table_of(html: str) -> ET.Element:
    found = html[html.index("<table") : html.index("</table>") + 8]
    return ET.fromstring(found.replace("&nbsp;", " ").replace("&vellip;", "…").replace("&hellip;", "…"))


NAMES = ["packets", "sip", "calls", "rtp_streams"]


@pytest.mark.parametrize("name", NAMES)
def test_every_table_of_a_capture_has_a_caption_and_scopes(cap: Capture, name: str) -> None:
    html = getattr(cap, name)._repr_html_()
    found = table_of(html)
    caption = found.find("caption")
    assert caption is not None and caption.text and found[0] is caption
    assert {cell.get("scope") for cell in found.findall("thead//th")} == {"col"}
    assert {cell.get("scope") for cell in found.findall("tbody//th")} == {"row"}
    assert len(found.findall("thead//th")) == len(getattr(cap, name).columns)


def test_further_tables_and_objects(cap: Capture) -> None:
    stream = cap.rtp_stream(0)
    for shown in (cap.sip_stats(), cap.ladder().table(), stream.analysis, stream, cap.call_list[0], cap):
        found = table_of(shown._repr_html_())
        assert found.findtext("caption")
        assert {cell.get("scope") for cell in found.findall("thead//th")} == {"col"}
    assert "127.5.1.100:40000 → 127.5.1.101:40010" in stream.analysis._repr_html_()


def test_a_caption_follows_the_language_and_what_is_filtered(cap: Capture) -> None:
    invites = cap.sip[cap.sip["Method"] == "INVITE"]
    assert table_of(invites._repr_html_()).findtext("caption") == "SIP messages; Time in seconds since the first packet"
    language("fr")
    assert table_of(invites._repr_html_()).findtext("caption") == "Messages SIP ; Time en secondes depuis le premier paquet"


def test_texts_from_the_network_stay_texts() -> None:
    evil = "<script>alert(1)</script><tbody><th>"
    for html in (table({"x": [evil]}, caption="capture.table_sip")._repr_html_(), html_table(["x"], [[evil]], evil)):
        assert "<script" not in html and html.count("<tbody>") == 1
        assert table_of(html).findtext("tbody/tr/td") == evil


def test_it_is_an_ordinary_data_frame(cap: Capture) -> None:
    assert isinstance(cap.sip, pd.DataFrame)
    copy = pickle.loads(pickle.dumps(cap.sip))
    pd.testing.assert_frame_equal(copy, cap.sip)
    assert copy._repr_html_() == cap.sip._repr_html_()
    assert isinstance(cap.sip["Method"], pd.Series) and cap.sip.groupby("Method").size()["REGISTER"] == 8
    assert len(pd.concat([cap.sip, cap.sip])) == 2 * len(cap.sip) and cap.sip.describe()._repr_html_()
    assert pd.read_csv(io.StringIO(cap.calls.to_csv(index=False))).shape == cap.calls.shape
    with pd.option_context("display.notebook_repr_html", False):
        assert cap.sip._repr_html_() is None
