"""The notebooks in a real JupyterLab in a real browser: Run All, and what a person then sees and hears."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.answers import answered
from tests.notebooks.jupyter import jupyterlab, page_of, run_all

PARTS = [("01-registration-and-call.ipynb", 10, "INVITE"), ("02-transfer-and-redirection.ipynb", 3, "REFER")]
"""Each notebook, how many answers it checks, and a message that one of its ladders shows."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("name", "answers", "message"), PARTS, ids=["01", "02"])
def test_run_all_in_jupyterlab(root: Path, tmp_path: Path, tool: Callable[[str], str], name: str, answers: int, message: str) -> None:
    chromium = tool("chromium")
    folder, pictures = tmp_path / "notebooks", tmp_path / "pictures"
    for made in (folder, pictures, tmp_path / "home"):
        made.mkdir()
    nbformat.write(answered(nbformat.read(root / "notebooks" / name, as_version=4)), folder / name)
    with jupyterlab(folder, tmp_path / "home") as (base, token), page_of(chromium, tmp_path / "browser") as page:
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        run_all(page, base, token, name)
        # Text that only the output of the last cell holds.
        page.locator(".jp-OutputArea-output", has_text="<Lab, closed>").first.wait_for(timeout=120_000)

        assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
        assert page.locator(".labkit-verdict").count() == answers
        assert page.locator(".labkit-verdict", has_text="is right").count() == answers

        ladder = page.locator(".jp-OutputArea-output svg", has_text=message).first
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
    assert (folder / "evidence" / f"part{int(name[:2])}" / "capture.pcapng").stat().st_size > 50_000
