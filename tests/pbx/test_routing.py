"""Ways of messages: through proxies, behind NATs, to forks that both answer; and answers that name what would do."""

from __future__ import annotations

import pytest

from labkit.sip.message import Request
from tests.pbx.office import Office, play
from tests.pbx.peer import Peer


async def proxy(o: Office) -> Peer:
    """A host that records its route; it is only an address to the PBX."""
    return await Peer("", "", o.bob.pbx).start("127.0.0.1")


def route(peer: Peer, mark: str = "") -> str:
    return f"<sip:{mark}127.0.0.1:{peer.address[1]};lr>"


def test_a_caller_behind_a_proxy_is_spoken_to_through_it() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        way = await proxy(o)
        invite = o.bob.request("INVITE", "101", body=o.bob.sdp)
        invite.headers.append("Record-Route", route(way))
        o.bob.send(invite)
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        assert "Record-Route" not in ringing.headers  # the other leg is another dialog
        o.alice.reply(ringing, 200, tag="a", body=o.alice.sdp)
        await o.alice.ask("ACK")
        ok = await o.bob.response(200)
        assert ok.headers.get_all("Record-Route") == [route(way)]
        o.bob.send(o.bob.ack(invite, ok))
        o.alice.send(o.alice.in_dialog("BYE", ringing, tag="a"))
        await o.alice.response(200)
        bye = await way.ask("BYE")
        assert bye.headers.get("Route") == route(way)
        assert bye.uri == o.bob.contact.strip("<>")
        way.reply(bye, 200)
        await way.close()

    play(scene, challenge_calls=False)


def test_a_callee_behind_proxies_gets_ack_and_bye_through_them() -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        await o.alice.register()
        far, near = await proxy(o), await proxy(o)
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        ok = ringing.response(200, to_tag="a", body=o.alice.sdp)
        ok.headers.append("Record-Route", f"{route(far)}, {route(near)}")
        ok.headers.append("Contact", o.alice.contact)
        ok.headers.append("Content-Type", "application/sdp")
        o.alice.send(ok)
        ack = await near.ask("ACK")
        assert ack.headers.get_list("Route") == [route(near), route(far)]
        answer = await o.bob.response(200)
        assert "Record-Route" not in answer.headers
        o.bob.send(o.bob.ack(invite, answer))
        o.bob.send(o.bob.in_dialog("BYE", invite, answer))
        bye = await near.ask("BYE")
        assert bye.uri == o.alice.contact.strip("<>")
        near.reply(bye, 200)
        for peer in (far, near):
            await peer.close()

    play(scene)


def test_two_answers_behind_one_contact_are_both_acknowledged_and_one_is_ended() -> None:
    """A proxy forked our INVITE (RFC 3261 §13.2.2.4)."""

    async def scene(o: Office) -> None:
        await o.bob.register()
        await o.alice.register()
        other = await Peer("101", "", o.bob.pbx).start("127.0.0.1")
        await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 200, tag="first", body=o.alice.sdp)
        ack = await o.alice.ask("ACK")
        assert ack.to.tag == "first"
        other.reply(ringing, 200, tag="second", body=other.sdp)
        ack = await other.ask("ACK")
        bye = await other.ask("BYE")
        assert (ack.to.tag, bye.to.tag) == ("second", "second")
        other.reply(bye, 200)
        await o.bob.response(200)
        assert len(o.pbx.calls) == 1
        await other.close()

    play(scene)


@pytest.mark.parametrize("rport", [True, False])
def test_responses_go_where_the_request_came_from(rport: bool) -> None:
    async def scene(o: Office) -> None:
        request = o.bob.request("OPTIONS", "101")
        port = o.bob.address[1]
        # Without rport the port of sent-by counts, and only the host is corrected (§18.2.2).
        sent_by = "192.168.1.5:5060" if rport else f"192.168.1.5:{port}"
        request.headers.set("Via", f"SIP/2.0/UDP {sent_by};branch=z9hG4bKnat{';rport' if rport else ''}")
        o.bob.send(request)
        ok = await o.bob.response(200)
        assert ok.via.param("received") == "127.0.0.1"
        assert ok.via.param("rport") == (str(port) if rport else None)

    play(scene)


@pytest.mark.parametrize("inside", [True, False])
def test_an_ack_of_nothing_is_absorbed(inside: bool) -> None:
    async def scene(o: Office) -> None:
        if inside:
            invite, ok, _ = await o.connected()
            o.bob.send(o.bob.in_dialog("ACK", invite, ok))
        else:
            o.bob.send(o.bob.request("ACK", "101"))
        await o.bob.silent(0.15)

    play(scene)


@pytest.mark.parametrize(("accept", "status"), [("text/nobodyKnowsThis", 406), ("application/sdp, text/plain", 180), ("*/*", 180)])
def test_a_caller_that_accepts_no_session_description(accept: str, status: int) -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        request: Request = o.bob.request("INVITE", "101", body=o.bob.sdp)
        request.headers.append("Accept", accept)
        o.bob.send(request)
        if status == 180:
            await o.bob.response(100)
            o.alice.reply(await o.alice.ask("INVITE"), 180)
        await o.bob.response(status)

    play(scene, challenge_calls=False)
