"""SIPp, written by people who never saw this PBX: it registers, calls, holds, gives up, and loses what it should have sent.

SIPp's exit code says that it got each message of its scenario in that order; the PBX's own account must agree with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from labkit.pbx.cdr import CallRecord
from labkit.pbx.rules import ExtensionRules, ForwardTo, StatusRules
from labkit.sip.transaction import Timers
from tests.pbx.office import Office
from tests.sipp.sipp import Sipp

WithSipp = Callable[..., None]
CALLS = 20


async def record(o: Office) -> CallRecord:
    """The call record of the only call, as soon as it has ended."""
    async with asyncio.timeout(5):
        while not o.pbx.store.records():
            await asyncio.sleep(0.01)
    (row,) = o.pbx.store.records()
    assert o.pbx.calls == []
    return row


def outcome(row: CallRecord) -> tuple[str, str, int, bool]:
    """Caller, callee, status, whether it was answered."""
    return row.caller, row.callee, row.status, row.answered is not None


@pytest.mark.parametrize(("domain", "tcp"), [("", False), ("", True), ("lab.test", False)])
def test_register_with_digest(with_sipp: WithSipp, domain: str, tcp: bool) -> None:
    """In the digest SIPp names the server's address, even when it registers at a domain."""

    async def scene(o: Office, sipp: Sipp) -> None:
        port = await sipp.register("101", domain=domain, tcp=tcp)
        (binding,) = o.pbx.registrar.bindings("101")
        assert (binding.uri.host, binding.uri.port) == ("127.0.0.1", port)
        assert o.kinds() == ["registered"]
        with pytest.raises(AssertionError, match="403"):
            await sipp.register("100", password="wrong", domain=domain, tcp=tcp)
        assert o.kinds() == ["registered", "refused"]
        assert o.pbx.registrar.bindings("100") == []

    with_sipp(scene)


def test_calls_with_digest(with_sipp: WithSipp) -> None:
    async def scene(o: Office, sipp: Sipp) -> None:
        alice = await sipp.phone("101", "answer", calls=CALLS)
        await sipp.play("call_with_password", "-s", "101", "-au", "100", "-ap", "1111", "-r", str(CALLS), calls=CALLS)
        await alice.done()
        assert o.kinds().count("connected") == o.kinds().count("ended") == CALLS
        assert [outcome(row) for row in o.pbx.store.records()] == [("100", "101", 200, True)] * CALLS
        assert o.pbx.calls == []

    with_sipp(scene, challenge_calls=True, timers=Timers())


@pytest.mark.parametrize(("caller_tcp", "callee_tcp"), [(True, True), (True, False), (False, True)])
def test_calls_over_tcp(with_sipp: WithSipp, caller_tcp: bool, callee_tcp: bool) -> None:
    async def scene(o: Office, sipp: Sipp) -> None:
        alice = await sipp.phone("101", "answer", tcp=callee_tcp, calls=CALLS)
        await sipp.play("call", "-s", "101", "-r", str(CALLS), tcp=caller_tcp, calls=CALLS)
        await alice.done()
        assert [outcome(row) for row in o.pbx.store.records()] == [("100", "101", 200, True)] * CALLS

    with_sipp(scene)


def test_a_call_that_is_rejected(with_sipp: WithSipp) -> None:
    async def scene(o: Office, sipp: Sipp) -> None:
        alice = await sipp.phone("101", "reject")
        await sipp.play("rejected", "-s", "101")
        await alice.done()
        assert outcome(await record(o)) == ("100", "101", 486, False)

    with_sipp(scene)


def test_a_call_that_is_cancelled(with_sipp: WithSipp) -> None:
    async def scene(o: Office, sipp: Sipp) -> None:
        alice = await sipp.phone("101", "cancelled")
        await sipp.play("cancel", "-s", "101")
        await alice.done()
        assert outcome(await record(o)) == ("100", "101", 487, False)

    with_sipp(scene)


def test_a_call_that_nobody_answers_is_forwarded(with_sipp: WithSipp) -> None:
    rules = ExtensionRules("101", available=StatusRules(no_answer=ForwardTo("extension", "102"), no_answer_after_s=0.5))

    async def scene(o: Office, sipp: Sipp) -> None:
        alice, paul = await sipp.phone("101", "cancelled"), await sipp.phone("102", "answer")
        await sipp.play("call", "-s", "101")
        await alice.done()
        await paul.done()
        row = await record(o)
        assert (*outcome(row), row.forwarded_from) == ("100", "102", 200, True, "101")

    with_sipp(scene, rules=(rules,))


def test_hold_and_resume(with_sipp: WithSipp) -> None:
    async def scene(o: Office, sipp: Sipp) -> None:
        alice = await sipp.phone("101", "held")
        await sipp.play("hold", "-s", "101")
        await alice.done()
        assert outcome(await record(o)) == ("100", "101", 200, True)

    with_sipp(scene)


def test_blind_transfer(with_sipp: WithSipp) -> None:
    async def scene(o: Office, sipp: Sipp) -> None:
        alice, paul = await sipp.phone("101", "transferor"), await sipp.phone("102", "target")
        await sipp.play("transferee", "-s", "101")
        await alice.done()
        await paul.done()
        assert outcome(await record(o)) == ("100", "102", 200, True)
        assert [kind for kind in o.kinds() if kind.startswith("transf")] == ["transferring", "transferred"]

    with_sipp(scene)


def test_attended_transfer(with_sipp: WithSipp) -> None:
    async def scene(o: Office, sipp: Sipp) -> None:
        bob, paul = await sipp.phone("100", "held"), await sipp.phone("102", "consulted")
        await sipp.play("attended", "-cid_str", "%u-%p")
        await bob.done()
        await paul.done()
        assert o.kinds().count("connected") == 2
        assert [kind for kind in o.kinds() if kind.startswith("transf")] == ["transferring", "transferred"]
        assert o.pbx.calls == []

    with_sipp(scene)


def test_200_is_repeated_until_its_ack(with_sipp: WithSipp) -> None:
    async def scene(o: Office, sipp: Sipp) -> None:
        alice = await sipp.phone("101", "answer")
        await sipp.play("late_ack", "-s", "101", "-nr")
        await alice.done()
        assert outcome(await record(o)) == ("100", "101", 200, True)

    with_sipp(scene)


def test_a_call_whose_ack_never_comes_is_ended(with_sipp: WithSipp) -> None:
    async def scene(o: Office, sipp: Sipp) -> None:
        alice = await sipp.phone("101", "answer")
        await sipp.play("no_ack", "-s", "101", "-nr")
        await alice.done()
        assert 64 * 0.02 <= (await record(o)).talk_seconds < 5

    with_sipp(scene, timers=Timers(t1=0.02, t2=0.32, t4=0.2))


def test_each_copy_of_200_is_acknowledged(with_sipp: WithSipp) -> None:
    async def scene(o: Office, sipp: Sipp) -> None:
        alice = await sipp.phone("101", "repeat_200", "-nr")
        await sipp.play("call", "-s", "101")
        await alice.done()
        assert outcome(await record(o)) == ("100", "101", 200, True)
        assert o.kinds().count("connected") == 1

    with_sipp(scene)
