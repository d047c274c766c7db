"""Requests that are not a plain call: OPTIONS, MESSAGE, unknown methods, faults."""

from __future__ import annotations

import pytest

from labkit.sip.message import Request
from tests.pbx.office import Office, play


def test_options() -> None:
    async def scene(o: Office) -> None:
        o.bob.send(o.bob.request("OPTIONS", "101"))
        ok = await o.bob.response(200)
        assert "INVITE" in (ok.headers.get("Allow") or "")
        assert ok.headers.get("Accept") == "application/sdp"
        assert {name: ok.headers.get(name) for name in ("Accept-Encoding", "Accept-Language")} == {
            "Accept-Encoding": "identity",
            "Accept-Language": "en",
        }
        assert set(ok.headers.get_list("Supported")) == {"replaces", "timer", "100rel", "norefersub"}

    play(scene)


@pytest.mark.parametrize(("number", "status"), [("101", 200), ("*61", 200), ("999", 404)])
def test_options_tells_a_user_what_an_invite_would_get(number: str, status: int) -> None:
    """§11.2.  A stranger hears the same for every number, lest he learns which exist."""

    async def scene(o: Office) -> None:
        register = o.bob.request("REGISTER", "100")
        o.bob.send(register)
        challenge = await o.bob.response(407)
        options = o.bob.request("OPTIONS", number)
        o.bob.send(options)
        await o.bob.response(200)
        o.bob.send(o.bob.again(options, challenge))
        await o.bob.response(status)
        o.bob.send(o.bob.again(options, challenge, "wrong"))
        await o.bob.response(403)

    play(scene)


@pytest.mark.parametrize(
    ("method", "status"),
    [("PUBLISH", 405), ("NOTIFY", 481), ("UPDATE", 481), ("INFO", 481), ("PRACK", 481), ("REFER", 403), ("DANCE", 501), ("BYE", 481)],
)
def test_what_is_not_served(method: str, status: int) -> None:
    async def scene(o: Office) -> None:
        o.bob.send(o.bob.request(method, "101"))
        refused = await o.bob.response(status)
        assert ("Allow" in refused.headers) == (status in (405, 501))
        assert method not in refused.headers.get_list("Allow")

    play(scene)


@pytest.mark.parametrize("method", ["BYE", "INVITE", "UPDATE", "INFO", "REFER", "NOTIFY"])
def test_inside_a_dialog_that_does_not_exist(method: str) -> None:
    async def scene(o: Office) -> None:
        request = o.bob.request(method, "101")
        request.headers.set("To", "<sip:101@h>;tag=gone")
        o.bob.send(request)
        await o.bob.response(481)

    play(scene)


@pytest.mark.parametrize(("method", "status"), [("PUBLISH", 405), ("DANCE", 501)])
def test_what_is_not_served_inside_a_call(method: str, status: int) -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        o.bob.send(o.bob.in_dialog(method, invite, ok))
        refused = await o.bob.response(status)
        assert "UPDATE" in refused.headers.get_list("Allow")
        assert method not in refused.headers.get_list("Allow")

    play(scene)


def test_required_extensions_inside_a_call() -> None:
    """§8.2.2.3 makes no difference; the call goes on."""

    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        for method in ("INVITE", "INFO", "BYE"):
            request = o.bob.in_dialog(method, invite, ok, body=o.bob.sdp if method == "INVITE" else b"")
            request.headers.append("Require", "foo, timer")
            o.bob.send(request)
            refused = await o.bob.response(420)
            assert refused.headers.get("Unsupported") == "foo"
            if method == "INVITE":
                o.bob.send(o.bob.ack(request, refused))
        o.bob.send(o.bob.in_dialog("INFO", invite, ok))
        o.alice.reply(await o.alice.ask("INFO"), 200)
        await o.bob.response(200)

    play(scene)


@pytest.mark.parametrize("hops", ["0" * 5000 + "7", "0" * 5000])
def test_max_forwards_with_leading_zeros(hops: str) -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        invite = o.bob.request("INVITE", "101", body=o.bob.sdp)
        invite.headers.set("Max-Forwards", hops)
        o.bob.send(invite)
        challenge = await o.bob.response(407)
        o.bob.send(o.bob.ack(invite, challenge))
        o.bob.send(o.bob.again(invite, challenge))
        if hops.endswith("7"):
            await o.bob.response(100)
            assert (await o.alice.ask("INVITE")).headers.get("Max-Forwards") == "6"
        else:
            await o.bob.response(483)

    play(scene)


def test_old_cseq_inside_the_call() -> None:
    async def scene(o: Office) -> None:
        invite, ok, _ = await o.connected()
        info = o.bob.in_dialog("INFO", invite, ok)
        info.headers.set("CSeq", "1 INFO")
        o.bob.send(info)
        await o.bob.response(500)

    play(scene)


def test_required_extensions() -> None:
    async def scene(o: Office) -> None:
        request = o.bob.request("INVITE", "101", body=o.bob.sdp)
        request.headers.append("Require", "100rel, teleport")
        o.bob.send(request)
        refused = await o.bob.response(420)
        assert refused.headers.get("Unsupported") == "teleport"

    play(scene)


def test_max_forwards() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        request = o.bob.request("INVITE", "101", body=o.bob.sdp)
        request.headers.set("Max-Forwards", "0")
        o.bob.send(request)
        o.bob.send(o.bob.again(request, await o.bob.response(407)))
        await o.bob.response(483)

    play(scene)


def test_the_same_request_on_two_paths() -> None:
    async def scene(o: Office) -> None:
        request = o.bob.request("OPTIONS", "101")
        o.bob.send(request)
        await o.bob.response(200)
        request.headers.set("Via", o.bob.via())
        o.bob.send(request)
        await o.bob.response(482)

    play(scene)


def test_strange_bodies() -> None:
    async def scene(o: Office) -> None:
        request = o.bob.request("INVITE", "101", body=b"hello")
        request.headers.set("Content-Type", "text/plain")
        o.bob.send(request)
        challenge = await o.bob.response(407)
        o.bob.send(o.bob.again(request, challenge))
        assert (await o.bob.response(415)).headers.get("Accept") == "application/sdp"

    play(scene)


def test_message_between_phones() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        request = o.bob.request("MESSAGE", "101", body="à midi?".encode())
        request.headers.set("Content-Type", "text/plain;charset=UTF-8")
        o.bob.send(request)
        o.bob.send(o.bob.again(request, await o.bob.response(407)))
        text = await o.alice.ask("MESSAGE")
        assert (text.body.decode(), text.headers.get("Content-Type")) == ("à midi?", "text/plain;charset=UTF-8")
        o.alice.reply(text, 202)
        await o.bob.response(202)

    play(scene)


def test_bad_messages_are_answered_with_the_reason() -> None:
    async def scene(o: Office) -> None:
        request = o.bob.request("OPTIONS", "101")
        request.headers.remove("Call-ID")
        o.bob.send(request)
        refused = await o.bob.response(400)
        assert "Call-ID is missing" in (refused.headers.get("Warning") or "")
        other = Request("OPTIONS", "tel:101", o.bob.request("OPTIONS", "101").headers)
        o.bob.send(other)
        await o.bob.response(416)
        o.bob.send_raw(bytes(o.bob.request("OPTIONS", "101")).replace(b"sip:101@", b"sip:101@ ", 1))
        await o.bob.response(400)
        o.bob.send_raw(bytes(o.bob.request("OPTIONS", "101")).replace(b" SIP/2.0\r", b" SIP/7.0\r", 1))
        await o.bob.response(505)

    play(scene)
