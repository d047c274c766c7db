"""Message lamps (RFC 3842) and busy lamps (RFC 4235): SUBSCRIBE, NOTIFY, and their ends (RFC 6665)."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from labkit.errors import PbxError
from labkit.sip.message import Request, Response
from tests.pbx.office import Office, play
from tests.pbx.peer import Peer

NS = {"d": "urn:ietf:params:xml:ns:dialog-info"}


async def subscribe(
    phone: Peer, to: str, event: str, *, expires: int | None = 600, status: int = 200, **headers: str
) -> tuple[Request, Response]:
    """SUBSCRIBE, 407, SUBSCRIBE with credentials, and the answer."""
    first = phone.request("SUBSCRIBE", to)
    if event:
        first.headers.append("Event", event)
    if expires is not None:
        first.headers.append("Expires", expires)
    for name, value in headers.items():
        first.headers.append(name, value)
    phone.send(first)
    second = phone.again(first, await phone.expect_challenge())
    phone.send(second)
    return second, await phone.response(status)


async def notified(phone: Peer, status: int = 200) -> Request:
    notify = await phone.ask("NOTIFY")
    phone.reply(notify, status)
    return notify


def again(phone: Peer, subscribe: Request, ok: Response, expires: int) -> Request:
    """A SUBSCRIBE inside the dialog."""
    request = phone.in_dialog("SUBSCRIBE", subscribe, ok)
    request.headers.append("Event", subscribe.headers.get("Event") or "")
    request.headers.append("Expires", expires)
    return request


# -- messages -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("profile", "phrase"), [("3cx", "Event Package Not Supported"), ("rfc", "Bad Event")])
def test_without_a_mailbox_489_as_in_the_trace(profile: str, phrase: str) -> None:
    async def scene(o: Office) -> None:
        _, refused = await subscribe(o.alice, "101", "message-summary", status=489)
        assert refused.reason == phrase
        assert refused.headers.get("Allow-Events") == "message-summary, dialog"
        await o.alice.silent(0.1)

    play(scene, profile=profile)


def test_messages_waiting() -> None:
    async def scene(o: Office) -> None:
        o.pbx.set_messages("101", new=2, old=1)
        _, ok = await subscribe(o.alice, "101", "message-summary")
        assert ok.headers.get("Expires") == "600"
        first = await notified(o.alice)
        host = f"{o.alice.pbx[0]}:{o.alice.pbx[1]}"
        assert first.body.decode() == f"Messages-Waiting: yes\r\nMessage-Account: sip:101@{host}\r\nVoice-Message: 2/1 (0/0)\r\n"
        assert (first.content_type, first.headers.get("Event")) == ("application/simple-message-summary", "message-summary")
        assert first.headers.get("Subscription-State") == "active;expires=600"
        assert (first.call_id, first.from_.tag, first.to.tag) == (ok.call_id, ok.to.tag, ok.from_.tag)
        o.pbx.set_messages("101", new=0, old=3)
        second = await notified(o.alice)
        assert second.body.startswith(b"Messages-Waiting: no\r\n")
        assert b"Voice-Message: 0/3 (0/0)" in second.body
        assert second.cseq.number == first.cseq.number + 1
        o.pbx.set_messages("101", new=0, old=3)
        await o.alice.silent(0.1)  # nothing changed
        with pytest.raises(PbxError, match="no extension 999"):
            o.pbx.set_messages("999", new=1)

    play(scene)


def test_everybody_hears_of_his_own_mailbox_only() -> None:
    async def scene(o: Office) -> None:
        o.pbx.set_messages("101", new=2)
        await subscribe(o.bob, "101", "message-summary", status=403)

    play(scene)


def test_nobody_is_told_without_having_asked() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        o.pbx.set_messages("101", new=2)
        await o.alice.silent(0.2)

    play(scene)


# -- the life of a subscription -----------------------------------------------------------------------------------------------------


def test_refresh_and_end() -> None:
    async def scene(o: Office) -> None:
        o.pbx.set_messages("101", new=1)
        request, ok = await subscribe(o.alice, "101", "message-summary")
        await notified(o.alice)
        o.alice.send(o.alice.again(again(o.alice, request, ok, 300), await _challenged(o.alice, again(o.alice, request, ok, 300))))
        assert (await o.alice.response(200)).headers.get("Expires") == "300"
        assert (await notified(o.alice)).headers.get("Subscription-State") == "active;expires=300"
        o.alice.send(o.alice.again(again(o.alice, request, ok, 0), await _challenged(o.alice, again(o.alice, request, ok, 0))))
        await o.alice.response(200)
        assert (await notified(o.alice)).headers.get("Subscription-State") == "terminated;reason=timeout"
        o.pbx.set_messages("101", new=5)
        await o.alice.silent(0.1)
        o.alice.send(o.alice.again(again(o.alice, request, ok, 60), await _challenged(o.alice, again(o.alice, request, ok, 60))))
        await o.alice.response(481)
        assert len(o.pbx._notifier) == 0

    async def _challenged(phone: Peer, request: Request) -> Response:
        phone.send(request)
        return await phone.expect_challenge()

    play(scene)


def test_fetch() -> None:
    async def scene(o: Office) -> None:
        o.pbx.set_messages("101", new=1)
        await subscribe(o.alice, "101", "message-summary", expires=0)
        only = await notified(o.alice)
        assert only.headers.get("Subscription-State") == "terminated;reason=timeout"
        assert b"Voice-Message: 1/0" in only.body
        assert len(o.pbx._notifier) == 0

    play(scene)


def test_it_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.pbx.notifier.EXPIRES_MIN_S", 1)

    async def scene(o: Office) -> None:
        o.pbx.set_messages("101", new=1)
        await subscribe(o.alice, "101", "message-summary", expires=1)
        await notified(o.alice)
        assert (await notified(o.alice)).headers.get("Subscription-State") == "terminated;reason=timeout"

    play(scene)


@pytest.mark.parametrize("status", [481, 500])
def test_who_does_not_take_a_notify_is_not_subscribed_any_more(status: int) -> None:
    async def scene(o: Office) -> None:
        o.pbx.set_messages("101", new=1)
        await subscribe(o.alice, "101", "message-summary")
        await notified(o.alice, status)
        o.pbx.set_messages("101", new=2)
        await o.alice.silent(0.1)

    play(scene)


@pytest.mark.parametrize(
    ("event", "expires", "accept", "status"),
    [("presence", 600, "", 489), ("", 600, "", 489), ("message-summary", 3, "", 423), ("message-summary", 600, "text/plain", 406)],
)
def test_refusals(event: str, expires: int, accept: str, status: int) -> None:
    async def scene(o: Office) -> None:
        o.pbx.set_messages("101", new=1)
        headers = {"Accept": accept} if accept else {}
        _, refused = await subscribe(o.alice, "101", event, expires=expires, status=status, **headers)
        assert refused.headers.get("Min-Expires") == ("10" if status == 423 else None)

    play(scene)


# -- busy lamp ----------------------------------------------------------------------------------------------------------------------


def dialogs(notify: Request) -> list[tuple[str, str, str, str]]:
    """Direction, state, and the other side's name and address."""
    assert notify.content_type == "application/dialog-info+xml"
    found = []
    for dialog in ET.fromstring(notify.body).findall("d:dialog", NS):
        identity = dialog.find("d:remote/d:identity", NS)
        assert identity is not None
        found.append(
            (dialog.get("direction") or "", dialog.findtext("d:state", "", NS), identity.get("display") or "", identity.text or "")
        )
    return found


def test_the_lamp_follows_a_call() -> None:
    async def scene(o: Office) -> None:
        host = f"{o.paul.pbx[0]}:{o.paul.pbx[1]}"
        await subscribe(o.paul, "101", "dialog")
        first = await notified(o.paul)
        root = ET.fromstring(first.body)
        assert (root.get("entity"), root.get("state"), root.get("version")) == (f"sip:101@{host}", "full", "0")
        assert dialogs(first) == []
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        early = await notified(o.paul)
        assert dialogs(early) == [("recipient", "early", "BOB", f"sip:100@{host}")]
        assert ET.fromstring(early.body).get("version") == "1"
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        await o.alice.ask("ACK")
        ok = await o.bob.response(200)
        o.bob.send(o.bob.ack(invite, ok))
        assert dialogs(await notified(o.paul)) == [("recipient", "confirmed", "BOB", f"sip:100@{host}")]
        o.bob.send(o.bob.in_dialog("BYE", invite, ok))
        await o.bob.response(200)
        assert dialogs(await notified(o.paul)) == []
        await o.paul.silent(0.1)

    play(scene)


def test_lamp_of_a_caller_and_of_nobody() -> None:
    async def scene(o: Office) -> None:
        await subscribe(o.paul, "100", "dialog")
        assert dialogs(await notified(o.paul)) == []
        await subscribe(o.paul, "999", "dialog", status=404)
        await o.alice.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        assert [d[:3] for d in dialogs(await notified(o.paul))] == [("initiator", "trying", "ALICE")]

    play(scene)
