"""An office with SIPp phones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pbx.office import Office, play
from tests.sipp.sipp import Sipp

Scene = Callable[[Office, Sipp], Awaitable[None]]


@pytest.fixture
def with_sipp(tool: Callable[[str], str], tmp_path: Path) -> Callable[..., None]:
    """``with_sipp(scene, **settings)`` plays a scene in an office of those settings; calls are not challenged unless they say so."""
    program = tool("sipp")

    def run(scene: Scene, **settings: Any) -> None:
        async def with_phones(office: Office) -> None:
            sipp = Sipp(program, office, tmp_path)
            try:
                await scene(office, sipp)
            finally:
                await sipp.close()

        play(with_phones, **{"challenge_calls": False, **settings})

    return run
