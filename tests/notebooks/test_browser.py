"""The first notebook in a real JupyterLab in a real browser: Run All, and what a person then sees and hears."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.answers import answered
from tests.notebooks.jupyter import jupyterlab, page_of, run_all

FIRST = "01-registration-and-call.ipynb"


@pytest.mark.timeout(240)
def test_run_all_in_jupyterlab(root: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    chromium = tool("chromium")
    folder, pictures = tmp_path / "notebooks", tmp_path / "pictures"
    for made in (folder, pictures, tmp_path / "home"):
        made.mkdir()
    nbformat.write(answered(nbformat.read(root / "notebooks" / FIRST, as_version=4)), folder / FIRST)
    with jupyterlab(folder, tmp_path / "home") as (base, token), page_of(chromium, tmp_path / "browser") as page:
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        run_all(page, base, token, FIRST)
        # Text that only the output of the last cell holds.
        page.locator(".jp-OutputArea-output", has_text="<Lab, closed>").first.wait_for(timeout=120_000)

        assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
        assert page.locator(".labkit-verdict").count() == 10
        assert page.locator(".labkit-verdict", has_text="is right").count() == 10

        ladder = page.locator(".jp-OutputArea-output svg", has_text="INVITE").first
        ladder.scroll_into_view_if_needed()
        box = ladder.bounding_box()
        assert box and box["width"] > 400 and box["height"] > 400
        assert {"BOB", "PBX", "ALICE"} <= set(ladder.locator("text").all_text_contents())
        page.screenshot(path=str(pictures / "ladder.png"))

        player = page.locator(".jp-OutputArea-output audio").first
        player.scroll_into_view_if_needed()
        player.evaluate("player => player.readyState > 0 || new Promise(done => player.addEventListener('loadedmetadata', done))")
        assert 3.5 < player.evaluate("player => player.duration") < 7
        page.screenshot(path=str(pictures / "voice.png"))
        assert errors == []
    assert (folder / "evidence" / "part1" / "capture.pcapng").stat().st_size > 50_000
