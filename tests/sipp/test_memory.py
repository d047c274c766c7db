"""What a call leaves behind: nothing that Python's search for circular garbage would have to find, for that holds a busy PBX up."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest

from labkit.pbx.call import Call
from labkit.pbx.leg import Leg
from labkit.sip.transaction import Timers
from tests.pbx.office import Office
from tests.sipp.sipp import Sipp

CALLS = 10


@pytest.mark.parametrize(("caller", "callee"), [("call", "answer"), ("hold", "held"), ("rejected", "reject"), ("cancel", "cancelled")])
def test_ended_calls_are_freed_at_once(with_sipp: Callable[..., None], caller: str, callee: str) -> None:
    async def scene(o: Office, sipp: Sipp) -> None:
        gc.collect()
        gc.disable()
        try:
            alice = await sipp.phone("101", callee, calls=CALLS)
            await sipp.play(caller, "-s", "101", "-r", "50", calls=CALLS)
            await alice.done()
            async with asyncio.timeout(15):
                while len(o.pbx._stack.transactions):
                    await asyncio.sleep(0.05)
            assert len(o.pbx.store.records()) == CALLS
            assert [kept for kept in gc.get_objects() if isinstance(kept, Call | Leg)] == []
        finally:
            gc.enable()

    with_sipp(scene, timers=Timers(t1=0.05, t2=0.4, t4=0.4))
