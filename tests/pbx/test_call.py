"""Calls through the PBX: exact message sequences on both legs."""

from __future__ import annotations

import asyncio

import pytest

from labkit.pbx.call import Call
from labkit.pbx.call_table import TABLE, CallState
from labkit.sip.message import Request, Response
from tests.pbx.office import Office, play

REGISTERED = ["> REGISTER", "< 407", "> REGISTER", "< 200"]


def test_a_call_and_the_caller_hangs_up() -> None:
    async def scene(o: Office) -> None:
        invite, ok, ringing = await o.connected()
        assert repr(o.pbx.calls) == "[<Call 100 -> 101 connected>]"
        assert [row.state for row in o.pbx.status()] == ["in_call", "in_call", "not_registered"]
        o.bob.send(o.bob.in_dialog("BYE", invite, ok))
        await o.bob.response(200)
        bye = await o.alice.ask("BYE")
        o.alice.reply(bye, 200)
        assert o.bob.log == [
            *REGISTERED,
            *["> INVITE", "< 407", "> ACK", "> INVITE", "< 100", "< 180", "< 200", "> ACK", "> BYE", "< 200"],
        ]
        assert o.alice.log == [*REGISTERED, *["< INVITE", "> 180", "> 200", "< ACK", "< BYE", "> 200"]]
        assert o.kinds() == ["registered", "registered", "calling", "ringing", "connected", "ended"]
        assert o.pbx.calls == []
        # Two dialogs that share the session description and the Session-ID, and nothing else.
        assert ringing.call_id != invite.call_id
        assert ringing.from_.tag != invite.from_.tag
        assert ringing.body == o.bob.sdp
        assert ok.body == o.alice.sdp
        assert ringing.uri == o.alice.contact.strip("<>")
        assert (ringing.from_.display_name, ringing.from_.sip_uri.user) == ("BOB", "100")
        assert ringing.headers.get("Max-Forwards") == "69"
        assert "Proxy-Authorization" not in ringing.headers
        assert ringing.headers.get("User-Agent") == "labkit"
        caller_uuid = (ringing.headers.get("Session-ID") or "").partition(";")[0]
        assert (ok.headers.get("Session-ID") or "").endswith(f";remote={caller_uuid}")

    play(scene)


def test_the_callee_hangs_up() -> None:
    async def scene(o: Office) -> None:
        _, _, ringing = await o.connected()
        await asyncio.sleep(0)
        o.alice.send(o.alice.in_dialog("BYE", ringing, tag="t101"))
        await o.alice.response(200)
        o.bob.reply(await o.bob.ask("BYE"), 200)
        assert o.bob.log[-2:] == ["< BYE", "> 200"]
        assert o.kinds()[-1] == "ended"

    play(scene)


def test_without_challenge_as_on_the_sheet() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        o.bob.send(o.bob.request("INVITE", "101", body=o.bob.sdp))
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        assert o.bob.log == ["> INVITE", "< 100", "< 180"]

    play(scene, challenge_calls=False)


@pytest.mark.parametrize("status", [480, 486, 488, 603, 600, 415])
def test_refusals_reach_the_caller(status: int) -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, status)
        ack = await o.alice.ask("ACK")
        assert ack.via.branch == ringing.via.branch
        refused = await o.bob.response(status)
        o.bob.send(o.bob.ack(invite, refused))
        await o.bob.silent(0.3)
        assert [(e.kind, e.code) for e in o.events][-1] == ("failed", status)
        assert o.pbx.calls == []

    play(scene)


@pytest.mark.parametrize(("dialled", "status"), [("999", 404), ("102", 480), ("100", 486)])
def test_numbers_that_do_not_ring(dialled: str, status: int) -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        invite = await o.bob.invite(dialled)
        refused = await o.bob.response(status)
        o.bob.send(o.bob.ack(invite, refused))
        assert o.pbx.calls == []

    play(scene)


def test_refusal_is_repeated_until_ack() -> None:
    async def scene(o: Office) -> None:
        invite = await o.bob.invite("999")
        for _ in range(3):
            refused = await o.bob.response(404)
        o.bob.send(o.bob.ack(invite, refused))
        await o.bob.silent(0.3)

    play(scene)


def test_caller_cancels() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        assert [row.state for row in o.pbx.status()] == ["in_call", "ringing", "not_registered"]
        o.bob.send(o.bob.cancel(invite))
        ok = await o.bob.response(200)
        assert ok.cseq.method == "CANCEL"
        terminated = await o.bob.response(487)
        assert terminated.to.tag == ok.to.tag
        o.bob.send(o.bob.ack(invite, terminated))
        cancel = await o.alice.ask("CANCEL")
        assert (cancel.via.branch, cancel.uri, cancel.cseq.number) == (ringing.via.branch, ringing.uri, ringing.cseq.number)
        o.alice.reply(cancel, 200)
        o.alice.reply(ringing, 487)
        await o.alice.ask("ACK")
        await o.bob.silent(0.2)
        assert [(e.kind, e.code) for e in o.events][-1] == ("failed", 487)

    play(scene)


def test_cancel_waits_for_a_provisional_response() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.bob.send(o.bob.cancel(invite))
        await o.bob.response(200)
        await o.bob.response(487)
        await o.alice.ask("INVITE")  # a copy: nothing was heard yet
        o.alice.reply(ringing, 180)
        await o.alice.ask("CANCEL")
        assert "< CANCEL" not in o.alice.log[: o.alice.log.index("> 180")]

    play(scene)


def test_answer_that_crosses_the_cancel_is_acknowledged_and_ended() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        o.bob.send(o.bob.cancel(invite))
        await o.bob.response(200)
        await o.bob.response(487)
        await o.alice.ask("CANCEL")
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        await o.alice.ask("ACK")
        o.alice.reply(await o.alice.ask("BYE"), 200)
        assert o.kinds().count("connected") == 0

    play(scene)


def test_cancel_after_the_answer_changes_nothing() -> None:
    async def scene(o: Office) -> None:
        invite, _, _ = await o.connected()
        o.bob.send(o.bob.cancel(invite))
        assert (await o.bob.response(200)).cseq.method == "CANCEL"
        await o.alice.silent(0.2)
        assert len(o.pbx.calls) == 1
        o.bob.send(o.bob.cancel(o.bob.request("INVITE", "101")))
        await o.bob.response(481)

    play(scene)


def test_nobody_answers_in_time() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        await o.alice.ask("CANCEL")
        late = await o.bob.response(408)
        o.bob.send(o.bob.ack(invite, late))

    play(scene, ring_timeout_s=0.3)


def test_a_dead_phone_is_408_after_timer_b() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        await o.bob.response(408)
        assert o.alice.log.count("< INVITE") == 7  # at 0, T1, 3 T1, 7, 15, 31, 63 T1
        assert "< CANCEL" not in o.alice.log

    play(scene)


def test_lost_messages_are_repeated() -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        await o.alice.register()
        o.alice.drop_in = 1  # the INVITE to ALICE
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        o.alice.drop_in = 1  # the ACK to ALICE
        o.bob.drop_in = 1  # the 200 to BOB
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        ok = await o.bob.response(200)
        o.alice.reply(ringing, 200, body=o.alice.sdp)  # ALICE repeats her 200
        await o.alice.ask("ACK")
        again = await o.bob.response(200)  # and the PBX its own, until BOB's ACK
        assert bytes(again) == bytes(ok)
        o.bob.send(o.bob.ack(invite, ok))
        await o.bob.silent(0.5)
        assert o.alice.log[4:] == ["x INVITE", "< INVITE", "> 180", "> 200", "x ACK", "> 200", "< ACK"]

    play(scene)


def test_copies_of_invite_are_absorbed() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        o.bob.send(invite)
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        o.bob.send(invite)
        await o.bob.response(180)
        assert len(o.pbx.calls) == 1
        await o.alice.silent(0.1)

    play(scene)


def test_no_ack_ends_the_call_on_both_legs() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        await o.alice.ask("ACK")
        o.alice.reply(await o.alice.ask("BYE"), 200)
        assert o.bob.log.count("< 200") > 10  # 200 again and again, at most every T2
        assert o.bob.log[-1] == "< BYE"
        assert o.pbx.calls == []

    play(scene)


def test_bye_before_the_ack_waits_for_it() -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        await o.alice.ask("ACK")
        ok = await o.bob.response(200)
        o.alice.send(o.alice.in_dialog("BYE", ringing, tag="t101"))
        await o.alice.response(200)
        assert "< BYE" not in o.bob.log
        await o.bob.response(200)
        o.bob.send(o.bob.ack(invite, ok))
        await o.bob.ask("BYE")

    play(scene)


def test_byes_that_cross() -> None:
    async def scene(o: Office) -> None:
        invite, ok, ringing = await o.connected()
        o.bob.send(o.bob.in_dialog("BYE", invite, ok))
        await o.bob.response(200)
        bye = await o.alice.ask("BYE")
        o.alice.send(o.alice.in_dialog("BYE", ringing, tag="t101"))
        await o.alice.response(200)
        o.alice.reply(bye, 481)
        o.alice.send(o.alice.in_dialog("BYE", ringing, tag="t101"))
        await o.alice.response(481)
        assert o.kinds().count("ended") == 1

    play(scene)


def test_delayed_offer() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = await o.bob.invite("101", body=b"")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        assert (ringing.body, ringing.content_type) == (b"", "")
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        ok = await o.bob.response(200)
        assert ok.body == o.alice.sdp
        await o.alice.silent(0.03)
        o.bob.send(o.bob.ack(invite, ok, body=o.bob.sdp))
        ack = await o.alice.ask("ACK")
        assert (ack.body, ack.content_type) == (o.bob.sdp, "application/sdp")

    play(scene)


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_hold_and_resume(by: str) -> None:
    async def scene(o: Office) -> None:
        invite, ok, ringing = await o.connected()
        holder, held = (o.bob, o.alice) if by == "caller" else (o.alice, o.bob)
        for direction, reply in ((b"sendonly", b"recvonly"), (b"sendrecv", b"sendrecv")):
            offer = holder.sdp.replace(b"sendrecv", direction)
            change = (
                o.bob.in_dialog("INVITE", invite, ok, body=offer)
                if by == "caller"
                else o.alice.in_dialog("INVITE", ringing, tag="t101", body=offer)
            )
            holder.send(change)
            await holder.response(100)
            asked = await held.ask("INVITE")
            assert asked.body == offer
            assert asked.to.tag
            held.reply(asked, 200, body=held.sdp.replace(b"sendrecv", reply))
            await held.ask("ACK")
            done = await holder.response(200)
            assert done.body == held.sdp.replace(b"sendrecv", reply)
            holder.send(holder.ack(change, done))
        await holder.silent(0.2)
        assert o.kinds().count("updated") == 2

    play(scene)


@pytest.mark.parametrize("method", ["UPDATE", "INFO", "MESSAGE"])
def test_requests_inside_the_call_pass(method: str) -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        o.bob.send(o.bob.in_dialog(method, invite, ok, body=b"x=1"))
        asked = await o.alice.ask(method)
        assert asked.body == b"x=1"
        o.alice.reply(asked, 200, body=b"y=2" if method == "UPDATE" else b"")
        assert (await o.bob.response(200)).body == (b"y=2" if method == "UPDATE" else b"")

    play(scene)


def test_refused_change_leaves_the_call_alone() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        change = o.bob.in_dialog("INVITE", invite, ok, body=o.bob.sdp)
        o.bob.send(change)
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), 488)
        await o.alice.ask("ACK")
        o.bob.send(o.bob.ack(change, await o.bob.response(488)))
        assert len(o.pbx.calls) == 1

    play(scene)


def test_changes_that_cross_get_491() -> None:
    async def scene(o: Office) -> None:
        invite, ok, ringing = await o.connected()
        change = o.bob.in_dialog("INVITE", invite, ok, body=o.bob.sdp)
        o.bob.send(change)
        await o.bob.response(100)
        asked = await o.alice.ask("INVITE")
        crossing = o.alice.in_dialog("INVITE", ringing, tag="t101", body=o.alice.sdp)
        o.alice.send(crossing)
        o.alice.send(o.alice.ack(crossing, await o.alice.response(491)))
        o.alice.reply(asked, 491)
        await o.alice.ask("ACK")
        o.bob.send(o.bob.ack(change, await o.bob.response(491)))

    play(scene)


def test_cancel_of_a_change() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        change = o.bob.in_dialog("INVITE", invite, ok, body=o.bob.sdp)
        o.bob.send(change)
        await o.bob.response(100)
        asked = await o.alice.ask("INVITE")
        o.alice.reply(asked, 100)
        await asyncio.sleep(0.02)
        o.bob.send(o.bob.cancel(change))
        await o.bob.response(200)
        o.alice.reply(await o.alice.ask("CANCEL"), 200)
        o.alice.reply(asked, 487)
        await o.alice.ask("ACK")
        o.bob.send(o.bob.ack(change, await o.bob.response(487)))
        assert len(o.pbx.calls) == 1

    play(scene)


def test_a_phone_that_lost_the_dialog_ends_the_call() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        o.bob.send(o.bob.in_dialog("INFO", invite, ok, body=b"x=1"))
        o.alice.reply(await o.alice.ask("INFO"), 481)
        await o.bob.response(481)
        await o.bob.ask("BYE")

    play(scene)


def test_two_phones_ring_and_one_wins() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        twin = o.paul  # a second phone of ALICE's
        twin.number, twin.password = "101", "2222"
        twin.contact = twin.contact.replace("102", "101")
        await twin.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        first, second = await o.alice.ask("INVITE"), await twin.ask("INVITE")
        assert first.call_id != second.call_id
        o.alice.reply(first, 180)
        await o.bob.response(180)
        twin.reply(second, 180)
        twin.reply(second, 200, body=twin.sdp)
        ok = await o.bob.response(200)
        o.bob.send(o.bob.ack(invite, ok))
        await twin.ask("ACK")
        cancel = await o.alice.ask("CANCEL")
        assert cancel.headers.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
        o.alice.reply(cancel, 200)
        o.alice.reply(first, 487)
        await o.alice.ask("ACK")
        assert ok.body == twin.sdp
        assert o.bob.log.count("< 180") == 1

    play(scene)


def test_best_refusal_of_two_phones() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        twin = o.paul
        twin.number, twin.password = "101", "2222"
        twin.contact = twin.contact.replace("102", "101")
        await twin.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        twin.reply(await twin.ask("INVITE"), 500)
        await o.bob.silent(0.1)
        o.alice.reply(await o.alice.ask("INVITE"), 486)
        await o.bob.response(486)

    play(scene)


def test_early_media_passes() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 183, body=o.alice.sdp)
        progress = await o.bob.response(183)
        assert (progress.body, progress.content_type) == (o.alice.sdp, "application/sdp")

    play(scene)


def test_caller_says_bye_before_the_answer() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), 180)
        ringing = await o.bob.response(180)
        o.bob.send(o.bob.in_dialog("BYE", invite, ringing))
        assert {(await _any(o)).status, (await _any(o)).status} == {200, 487}
        await o.alice.ask("CANCEL")

    async def _any(o: Office) -> Response:
        message = await asyncio.wait_for(o.bob.inbox.get(), 5)
        assert isinstance(message, Response)
        return message

    play(scene)


def test_hang_up_from_the_console_and_close() -> None:
    async def scene(o: Office) -> None:
        await o.connected()
        await asyncio.sleep(0.02)
        o.pbx.calls[0].hang_up()
        await o.bob.ask("BYE")
        await o.alice.ask("BYE")
        assert o.pbx.calls == []

    play(scene)


def test_impostors() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        request = o.bob.request("INVITE", "101", body=o.bob.sdp)
        request.headers.set("From", "<sip:102@h>;tag=x")
        o.bob.send(request)
        challenge = await o.bob.response(407)
        o.bob.send(o.bob.ack(request, challenge))
        o.bob.send(o.bob.again(request, challenge))
        await o.bob.response(403)
        assert isinstance(request, Request)

    play(scene)


def test_a_phone_that_ignores_the_cancel_is_forgotten() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), 180)
        await o.bob.response(180)
        o.bob.send(o.bob.cancel(invite))
        await o.bob.response(200)
        o.bob.send(o.bob.ack(invite, await o.bob.response(487)))
        await o.alice.ask("CANCEL")
        for _ in range(500):
            if not len(o.pbx._stack.transactions) and not o.pbx._legs:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("something of the call is still remembered")

    play(scene)


def test_nothing_is_remembered_of_an_ended_call() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        o.bob.send(o.bob.in_dialog("BYE", invite, ok))
        await o.bob.response(200)
        o.alice.reply(await o.alice.ask("BYE"), 200)
        for _ in range(500):
            if not len(o.pbx._stack.transactions) and not o.pbx._legs:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("something of the call is still remembered")

    play(scene)


def test_a_malformed_answer_is_dropped_and_the_next_good_one_counts() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        bad = ringing.response(486, to_tag="t101")
        bad.headers.set("To", '"never closed <sip:101@h>;tag=t101')
        o.alice.send(bad)
        o.alice.reply(ringing, 180)
        await o.bob.response(180)

    play(scene)


def test_the_table_names_methods_that_exist_and_nothing_leaves_the_end() -> None:
    assert all(callable(getattr(Call, f"_{work}")) for row in TABLE.values() for _, work in row.values())
    assert TABLE[CallState.ENDED] == {}
    assert set(TABLE) == set(CallState)
