"""A user's phones ring in the order of their q (RFC 3261 §16.6): equal ones at once, the next when those before have failed or rung out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from labkit.errors import PbxError
from labkit.pbx.config import PbxConfig
from labkit.pbx.groups import RingGroup
from labkit.pbx.rules import ExtensionRules, ForwardTo, StatusRules
from tests.pbx.office import Office, play
from tests.pbx.peer import Peer

ADDRESS = ("127.0.0.1", 5060)
TO_PAUL = ForwardTo("extension", "102")


@asynccontextmanager
async def second_phone(o: Office, first_q: str = "1", second_q: str = "0.5") -> AsyncIterator[Peer]:
    """ALICE has two phones: her own, and this one."""
    await o.alice.register(contact=f"{o.alice.contact};q={first_q}")
    other = await Peer("101", o.alice.password, o.alice.pbx).start("127.0.0.1")
    await other.register(contact=f"{other.contact};q={second_q}")
    try:
        yield other
    finally:
        await other.close()


def test_the_next_q_rings_after_its_time_and_the_first_is_cancelled() -> None:
    async def scene(o: Office) -> None:
        async with second_phone(o) as other:
            invite = await o.bob.invite("101")
            await o.bob.response(100)
            first, begun = await o.alice.ask("INVITE"), time.monotonic()
            o.alice.reply(first, 180)
            await o.bob.response(180)
            second = await other.ask("INVITE")
            assert 0.25 < time.monotonic() - begun < 5.0
            o.alice.reply(await o.alice.ask("CANCEL"), 200)
            o.alice.reply(first, 487)
            await o.alice.ask("ACK")
            other.reply(second, 200, body=other.sdp)
            await other.ask("ACK")
            o.bob.send(o.bob.ack(invite, await o.bob.response(200)))

    play(scene, serial_ring_s=0.3)


def test_the_next_q_rings_at_once_when_the_first_refuses() -> None:
    async def scene(o: Office) -> None:
        async with second_phone(o) as other:
            await o.bob.invite("101")
            await o.bob.response(100)
            o.alice.reply(await o.alice.ask("INVITE"), 486)
            await o.alice.ask("ACK")
            other.reply(await other.ask("INVITE"), 404)
            await other.ask("ACK")
            await o.bob.response(486)  # §16.7, step 6: of all refusals the one that tells most

    play(scene, serial_ring_s=60.0)


def test_equal_q_rings_at_once() -> None:
    async def scene(o: Office) -> None:
        async with second_phone(o, "0.5", "0.5") as other:
            await o.bob.invite("101")
            await o.bob.response(100)
            o.alice.reply(await o.alice.ask("INVITE"), 180)
            other.reply(await other.ask("INVITE"), 180)

    play(scene, serial_ring_s=60.0)


def test_a_6xx_speaks_for_the_phones_in_reserve() -> None:
    """§16.7, step 5: after a 6xx no further phone of this user is tried."""

    async def scene(o: Office) -> None:
        async with second_phone(o) as other:
            await o.bob.invite("101")
            await o.bob.response(100)
            o.alice.reply(await o.alice.ask("INVITE"), 603)
            await o.alice.ask("ACK")
            await o.bob.response(603)
            await other.silent(0.2)

    play(scene)


@pytest.mark.parametrize("second_says", [180, 486])
def test_the_rule_for_no_answer_waits_for_all_phones(second_says: int) -> None:
    """Its time is that of all turns together; and a phone that rang in vain counts more than one that was busy."""

    async def scene(o: Office) -> None:
        await o.paul.register()
        async with second_phone(o) as other:
            await o.bob.invite("101")
            await o.bob.response(100)
            o.alice.reply(await o.alice.ask("INVITE"), 180)
            await o.bob.response(180)
            other.reply(await other.ask("INVITE"), second_says)  # serial_ring_s is longer, but the rule leaves 0.6 s for two turns
            await o.bob.response(181)
            await o.paul.ask("INVITE")

    rule = ExtensionRules("101", available=StatusRules(no_answer=TO_PAUL, no_answer_after_s=0.6))
    play(scene, serial_ring_s=10.0, rules=(rule,))


def test_a_ring_group_rings_all_phones_of_its_members() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        async with second_phone(o) as other:
            await o.bob.invite("800")
            await o.bob.response(100)
            for phone in (o.alice, other, o.paul):
                await phone.ask("INVITE")

    play(scene, groups=(RingGroup("800", "Sales", ("101", "102")),))


def test_no_time_at_all_is_refused() -> None:
    with pytest.raises(PbxError, match="serial_ring_s"):
        PbxConfig(ADDRESS, ADDRESS, serial_ring_s=0)
