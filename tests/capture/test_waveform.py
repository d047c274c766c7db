"""In a browser the cursor stands at the packet that is being heard, and a click goes there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.capture.capture import Capture
from tests.capture.test_call_audio import the_call
from tests.notebooks.jupyter import page_of


def test_the_cursor_follows_the_packets(root: Path, tool: Callable[[str], str], tmp_path: Path) -> None:
    cap = Capture.from_bytes(the_call(root))
    recording = cap.call_audio()
    page_file = tmp_path / "call.html"
    page_file.write_text(f"<!doctype html><meta charset=utf-8>{recording._repr_html_()}", "utf-8")
    with page_of(tool("chromium"), tmp_path / "browser") as page:
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        page.wait_for_function("document.querySelector('audio').readyState >= 1", timeout=20_000)
        assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(recording.seconds, abs=0.01)
        page.evaluate("document.querySelector('audio').currentTime = 1.234")
        page.wait_for_function("document.querySelector('output').textContent.includes('1.23 s')", timeout=20_000)
        said = re.fullmatch(r"Packet (\d+) at 1\.23 s", page.inner_text("output"))
        assert said
        before = (cap.records.time_ns - cap.origin_ns) / 1e9 - recording.start <= 1.234
        assert int(said[1]) == before.nonzero()[0][-1] + 1
        assert float(page.get_attribute(".cursor", "x1") or 0) == pytest.approx(1.234 / recording.seconds * 800, abs=0.5)
        picture = page.locator("svg").bounding_box()
        assert picture
        page.mouse.click(picture["x"] + picture["width"] / 2, picture["y"] + 20)
        half = f"{recording.seconds / 2:.1f}"
        page.wait_for_function(f"Math.abs(document.querySelector('audio').currentTime - {half}) < 0.1", timeout=20_000)
        assert errors == []
