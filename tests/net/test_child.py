"""A child process: its start, its answers, its end, each in one sentence when it goes wrong."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from labkit.net.child import Child, ChildEnded, ChildRefused
from tests.processes import only_on_linux

SERVER = """
import os, signal, sys, threading
from labkit.net.pipe import Pipe
def handle(op, arguments):
    if op == "add": return arguments["a"] + arguments["b"]
    if op == "fail": raise ValueError("no such thing")
    if op == "print": print("said in passing")
    if op == "interrupt": os.kill(os.getpid(), signal.SIGINT)
    if op == "tell": pipe.send({"event": "news"})
    if op == "die": os._exit(3)
    if op == "stall": threading.Event().wait()
pipe = Pipe()
pipe.send({"hello": pipe.config["name"]})
pipe.serve(handle)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "child_under_test.py").write_text(SERVER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "child_under_test"


def test_orders_are_answered_errors_told_and_events_heard(module: str, tmp_path: Path) -> None:
    async def scene() -> None:
        child = await Child.start("helper", module, {"name": "it"}, tmp_path / "log")
        assert child.ready == {"hello": "it"}
        assert os.getpgid(child.pid) != os.getpgid(0), "a session of its own: the kernel's interrupt does not reach it"
        assert await child.request("add", a=2, b=3) == 5
        with pytest.raises(ChildRefused, match="helper could not do that: no such thing"):
            await child.request("fail")
        await child.request("print")
        await child.request("interrupt")
        heard = asyncio.get_running_loop().create_future()
        child.on_event = heard.set_result
        await child.request("tell")
        assert await heard == {"event": "news"}
        assert child.alive
        await child.close()
        await child.close()
        assert not child.alive
        with pytest.raises(ChildEnded):
            await child.request("add", a=1, b=1)

    asyncio.run(scene())
    assert "said in passing" in (tmp_path / "log").read_text()


@only_on_linux
def test_a_child_that_dies_ends_what_waits_for_it_and_tells_how(module: str, tmp_path: Path) -> None:
    async def scene() -> None:
        child = await Child.start("helper", module, {"name": "it"}, tmp_path / "log")
        told = asyncio.get_running_loop().create_future()
        child.on_end = told.set_result
        with pytest.raises(ChildEnded, match=r"The process of helper has ended \(exit 3"):
            await child.request("die")
        assert await told is child
        await child.close()

    asyncio.run(scene())


def test_a_child_that_does_not_answer_is_not_waited_for_for_ever(module: str, tmp_path: Path) -> None:
    async def scene() -> None:
        child = await Child.start("helper", module, {"name": "it"}, tmp_path / "log")
        with pytest.raises(ChildRefused, match='helper did not answer to "stall" in time'):
            await child.request("stall", timeout_s=0.1)
        await child.close()

    asyncio.run(scene())


def test_a_child_that_cannot_start_leaves_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ChildEnded, match=r"helper did not start \(exit 1: .*No module named"):
        asyncio.run(Child.start("helper", "labkit.no_such_module", {}, tmp_path / "log"))
