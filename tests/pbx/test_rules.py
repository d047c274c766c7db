"""Forwarding rules: what the configuration refuses, and exact sequences of calls that are sent on."""

from __future__ import annotations

import time
from datetime import datetime
from datetime import time as clock

import pytest

from labkit import texts
from labkit.errors import PbxError
from labkit.pbx.config import PbxConfig
from labkit.pbx.groups import Gateway, OutboundRule, RingGroup
from labkit.pbx.rules import Cause, ExtensionRules, ForwardTo, RuleException, StatusRules
from tests.pbx.office import EXTENSIONS, Office, play

TO_PAUL = ForwardTo("extension", "102")
ADDRESS = ("127.0.0.1", 5060)


def rules(number: str = "101", **available: object) -> ExtensionRules:
    return ExtensionRules(number, available=StatusRules(**available))  # type: ignore[arg-type]


def config(*rules: ExtensionRules, **settings: object) -> PbxConfig:
    return PbxConfig(ADDRESS, ADDRESS, EXTENSIONS, rules=rules, **settings)  # type: ignore[arg-type]


# -- the configuration --------------------------------------------------------------------------------------------------------------


def test_a_loop_is_refused_and_named() -> None:
    with pytest.raises(PbxError, match=r"in a circle: 101 -> 102 -> 101") as caught:
        config(rules("101", no_answer=TO_PAUL), rules("102", busy=ForwardTo("extension", "101")))
    assert caught.value.values["loop"] == "101 -> 102 -> 101"
    with pytest.raises(PbxError, match=r"101 -> 101"):
        config(rules("101", all_calls=ForwardTo("extension", "101")))


def test_a_loop_that_two_user_statuses_close_is_refused_too() -> None:
    away = ExtensionRules("102", away=StatusRules(all_calls=ForwardTo("extension", "101")))
    with pytest.raises(PbxError, match="circle"):
        config(rules("101", no_answer=TO_PAUL), away)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (rules(no_answer=ForwardTo("voicemail")), "101 forwards to voicemail, but this PBX has no voicemail yet. Start that service first"),
        (rules(busy=ForwardTo("receptionist")), "101 forwards to the receptionist, but this PBX has none yet. Start that service first"),
        (rules(no_answer=ForwardTo("extension", "999")), "101 names the number 999, which is no extension or group"),
        (rules("777", no_answer=TO_PAUL), "777 names the number 777"),
    ],
)
def test_targets_that_do_not_exist(given: ExtensionRules, sentence: str) -> None:
    with pytest.raises(PbxError, match=sentence):
        config(given)


def test_values_that_make_no_sense() -> None:
    with pytest.raises(PbxError, match="needs a number"):
        ForwardTo("extension")
    with pytest.raises(PbxError, match="no_answer_after_s"):
        StatusRules(no_answer_after_s=0)
    with pytest.raises(PbxError, match="hours"):
        RuleException(TO_PAUL, hours="late")
    with pytest.raises(PbxError, match="target"):
        ForwardTo("mars")  # type: ignore[arg-type]
    with pytest.raises(PbxError, match="two entries"):
        config(rules(), rules())


def test_the_screen_in_both_languages() -> None:
    given = ExtensionRules(
        "101",
        available=StatusRules(no_answer=TO_PAUL, busy=ForwardTo("hang_up")),
        away=StatusRules(all_calls=ForwardTo("external", "0612345678")),
        exceptions=(RuleException(TO_PAUL, "<100>", "18:00-08:00"),),
    )
    lines = [line.split("  ") for line in str(given).splitlines()]
    assert [cell.strip() for cell in lines[1] if cell] == ["Available", "–", "to extension 102 after 10 s", "disconnect the call", "–"]
    assert "to the external number 0612345678" in str(given)
    assert "Exception: caller <100>, 18:00-08:00" in str(given)
    page = given._repr_html_()
    assert "<caption>Forwarding rules of 101</caption>" in page
    assert "caller &lt;100&gt;" in page
    try:
        texts.language("fr")
        assert "vers l'extension 102 après 10 s" in str(given)
        assert "Règles de transfert de 101" in given._repr_html_()
    finally:
        texts.language("en")


def test_the_default_is_ten_seconds_as_on_the_screen() -> None:
    assert StatusRules(no_answer=TO_PAUL).no_answer_after_s == 10.0


@pytest.mark.parametrize(
    ("caller", "hours", "who", "at", "applies"),
    [
        ("*", "", "100", "12:00", True),
        ("100", "", "100", "12:00", True),
        ("100", "", "1001", "12:00", False),
        ("06*", "", "0612345678", "12:00", True),
        ("06*", "", "0712345678", "12:00", False),
        ("*", "09:00-17:00", "100", "09:00", True),
        ("*", "9:00-17:00", "100", "17:00", False),
        ("*", "18:00-08:00", "100", "23:30", True),
        ("*", "18:00-08:00", "100", "07:59", True),
        ("*", "18:00-08:00", "100", "12:00", False),
    ],
)
def test_exceptions_by_caller_and_hour(caller: str, hours: str, who: str, at: str, applies: bool) -> None:
    assert RuleException(TO_PAUL, caller, hours).applies(who, clock.fromisoformat(at)) is applies


# -- on the wire --------------------------------------------------------------------------------------------------------------------


def test_no_answer_goes_on_to_paul_and_the_timer_starts_with_the_invite() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.paul.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        began = time.monotonic()
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        cancel = await o.alice.ask("CANCEL")
        assert 0.4 <= time.monotonic() - began < 0.6
        o.alice.reply(cancel, 200)
        o.alice.reply(ringing, 487)
        await o.alice.ask("ACK")
        forwarded = await o.bob.response(181)
        assert forwarded.reason == "Call Is Being Forwarded"
        second = await o.paul.ask("INVITE")
        o.paul.reply(second, 180)
        await o.bob.response(180)
        o.paul.reply(second, 200, body=o.paul.sdp)
        await o.paul.ask("ACK")
        ok = await o.bob.response(200)
        assert ok.body == o.paul.sdp
        o.bob.send(o.bob.ack(invite, ok))
        assert o.alice.log[4:] == ["< INVITE", "> 180", "< CANCEL", "> 200", "> 487", "< ACK"]
        assert o.bob.log == ["> INVITE", "< 407", "> ACK", "> INVITE", "< 100", "< 180", "< 181", "< 180", "< 200", "> ACK"]
        assert o.kinds()[2:] == ["calling", "ringing", "forwarded", "ringing", "connected"]
        assert repr(o.pbx.calls[0]) == "<Call 100 -> 102 connected>"
        host = f"{o.bob.pbx[0]}:{o.bob.pbx[1]}"
        assert second.headers.get_all("Diversion") == [f'"ALICE" <sip:101@{host}>;reason=no-answer']
        assert second.headers.get_all("History-Info") == [
            f"<sip:101@{host}?Reason=SIP%3Bcause%3D408>;index=1",
            f"<sip:102@{host}>;index=1.1;mp=1",
        ]
        assert forwarded.headers.get_all("History-Info") == second.headers.get_all("History-Info")
        assert second.from_.sip_uri.user == "100"
        assert second.body == o.bob.sdp

    play(scene, rules=(rules(no_answer=TO_PAUL, no_answer_after_s=0.5),))


def test_an_answer_in_time_stops_the_rule() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        await o.connected()
        await o.alice.silent(0.5)
        assert o.paul.inbox.empty()

    play(scene, rules=(rules(no_answer=TO_PAUL, no_answer_after_s=0.3),))


@pytest.mark.parametrize(("status", "reason"), [(486, "user-busy"), (603, "user-busy"), (480, "no-answer"), (404, "unavailable")])
def test_a_refusal_goes_on(status: int, reason: str) -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.paul.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), status)
        await o.alice.ask("ACK")
        await o.bob.response(181)
        second = await o.paul.ask("INVITE")
        assert (second.headers.get("Diversion") or "").endswith(f";reason={reason}")

    play(scene, rules=(rules(no_answer=TO_PAUL, busy=TO_PAUL, not_registered=TO_PAUL),))


def test_not_registered_goes_on_at_once() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        await o.bob.response(181)
        second = await o.paul.ask("INVITE")
        assert (second.headers.get("Diversion") or "").endswith(";reason=unavailable")

    play(scene, rules=(rules(not_registered=TO_PAUL),))


def test_a_refusal_that_no_rule_is_for_reaches_the_caller() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), 488)
        await o.bob.response(488)

    play(scene, rules=(rules(busy=TO_PAUL),))


@pytest.mark.parametrize(("status", "heard"), [(486, 486), (480, 480)])
def test_hang_up(status: int, heard: int) -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), status)
        await o.bob.response(heard)

    play(scene, rules=(rules(no_answer=ForwardTo("hang_up"), busy=ForwardTo("hang_up")),))


def test_user_status_and_rules_change_while_it_runs() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        await o.alice.register()
        o.pbx.set_rules(ExtensionRules("101", away=StatusRules(all_calls=TO_PAUL)))
        o.pbx.set_status("101", "away")
        assert [row.user_status for row in o.pbx.status()] == ["available", "away", "available"]
        await o.bob.invite("101")
        await o.bob.response(100)
        await o.bob.response(181)
        second = await o.paul.ask("INVITE")
        assert (second.headers.get("Diversion") or "").endswith(";reason=unconditional")
        assert o.alice.inbox.empty()
        assert o.pbx.rules("101").away.all_calls == TO_PAUL
        o.pbx.set_rules("101", available=StatusRules(busy=TO_PAUL))
        assert o.pbx.rules("101") == ExtensionRules("101", StatusRules(busy=TO_PAUL), away=StatusRules(all_calls=TO_PAUL))
        with pytest.raises(PbxError, match="circle"):
            o.pbx.set_rules(rules("102", busy=ForwardTo("extension", "101")))
        assert o.pbx.rules("102") == ExtensionRules("102")
        with pytest.raises(PbxError, match="no extension 999"):
            o.pbx.set_status("999", "away")
        with pytest.raises(PbxError, match="status"):
            o.pbx.set_status("101", "asleep")

    play(scene)


def test_rules_change_in_a_pbx_with_groups() -> None:
    async def scene(o: Office) -> None:
        o.pbx.set_rules(rules(busy=ForwardTo("extension", "800")))
        assert o.pbx.plan.all_rules == (rules(busy=ForwardTo("extension", "800")),)

    play(scene, groups=(RingGroup("800", "Sales", ("102",)),))


def test_exception_of_one_caller() -> None:
    async def scene(o: Office) -> None:
        await o.paul.register()
        await o.alice.register()
        o.pbx.plan._clock = lambda: datetime(2024, 1, 1, 20, 0)
        await o.bob.invite("101")
        await o.bob.response(100)
        await o.bob.response(181)
        await o.paul.ask("INVITE")
        o.pbx.plan._clock = lambda: datetime(2024, 1, 1, 12, 0)
        await o.bob.invite("101")
        await o.bob.response(100)
        await o.alice.ask("INVITE")

    play(scene, rules=(ExtensionRules("101", exceptions=(RuleException(TO_PAUL, "100", "18:00-08:00"),)),))


def test_rules_follow_each_other_and_the_last_refusal_is_heard() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), 486)
        first = await o.bob.response(181)
        assert [entry.partition(">;")[2] for entry in first.headers.get_all("History-Info")] == ["index=1", "index=1.1;mp=1"]
        second = await o.bob.response(181)  # PAUL is not registered, and sends his calls to the group
        entries = second.headers.get_all("History-Info")
        assert entries[-1].endswith(";index=1.1.1;mp=1.1")
        await o.bob.response(480)

    play(
        scene,
        rules=(rules(busy=TO_PAUL), rules("102", not_registered=ForwardTo("extension", "800"))),
        groups=(RingGroup("800", "Sales", ("102",)),),
    )


# -- 302 ----------------------------------------------------------------------------------------------------------------------------


def test_redirection_is_followed_by_its_number() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.paul.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        moved = (await o.alice.ask("INVITE")).response(302, to_tag="t")
        moved.headers.append("Contact", "<sip:102@203.0.113.7:9>")
        o.alice.send(moved)
        await o.alice.ask("ACK")
        await o.bob.response(181)
        second = await o.paul.ask("INVITE")
        assert (second.headers.get("Diversion") or "").endswith(";reason=deflection")
        assert "cause%3D302" in (second.headers.get("History-Info") or "")

    play(scene)


def test_redirection_in_a_circle_is_bounded() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.paul.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        for phone, to in ((o.alice, "102"), (o.paul, "101")):
            moved = (await phone.ask("INVITE")).response(302, to_tag="t")
            moved.headers.append("Contact", f"<sip:{to}@h>")
            phone.send(moved)
        await o.bob.response(181)
        await o.bob.response(480)
        await o.alice.ask("ACK")
        await o.alice.silent(0.2)

    play(scene)


@pytest.mark.parametrize("contact", ["", "<tel:102>", "<sip:203.0.113.7>", "<sip:999@h>"])
def test_redirection_to_nowhere(contact: str) -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.bob.invite("101")
        await o.bob.response(100)
        moved = (await o.alice.ask("INVITE")).response(302, to_tag="t")
        if contact:
            moved.headers.append("Contact", contact)
        o.alice.send(moved)
        await o.bob.response(480)

    play(scene)


def test_causes_have_a_status() -> None:
    assert {cause.value: cause.status for cause in Cause} == {
        "unconditional": 302,
        "no-answer": 408,
        "user-busy": 486,
        "unavailable": 480,
        "deflection": 302,
    }


# -- groups and the world outside -----------------------------------------------------------------------------------------------------


def test_group_rings_all_and_one_wins() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.paul.register()
        invite = await o.bob.invite("800")
        await o.bob.response(100)
        first, second = await o.alice.ask("INVITE"), await o.paul.ask("INVITE")
        o.alice.reply(first, 180)
        await o.bob.response(180)
        o.paul.reply(second, 200, body=o.paul.sdp)
        await o.paul.ask("ACK")
        o.bob.send(o.bob.ack(invite, await o.bob.response(200)))
        assert (await o.alice.ask("CANCEL")).headers.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'

    play(scene, groups=(RingGroup("800", "Sales", ("101", "102", "100")),))


def test_group_rings_one_after_the_other() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.paul.register()
        await o.bob.invite("800")
        await o.bob.response(100)
        first = await o.alice.ask("INVITE")
        o.alice.reply(first, 180)
        await o.bob.response(180)
        assert o.paul.inbox.empty()
        await o.alice.ask("CANCEL")
        second = await o.paul.ask("INVITE")
        o.paul.reply(second, 486)
        await o.bob.response(486)

    play(scene, groups=(RingGroup("800", "Sales", ("101", "102"), "one_after_the_other", 0.3),))


def test_group_that_nobody_answers_goes_on() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        await o.paul.register()
        await o.bob.invite("800")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), 180)
        await o.bob.response(180)
        await o.bob.response(181)
        await o.paul.ask("INVITE")

    play(scene, groups=(RingGroup("800", "Sales", ("101",), ring_time_s=0.2, otherwise=TO_PAUL),))


def test_group_with_unknown_members_is_refused() -> None:
    with pytest.raises(PbxError, match="800 names the number 999"):
        config(groups=(RingGroup("800", "Sales", ("999",)),))
    with pytest.raises(PbxError, match="at least one member"):
        RingGroup("800", "Sales", ())
    with pytest.raises(PbxError, match="used by two"):
        config(groups=(RingGroup("101", "Sales", ("100",)),))


def test_external_numbers_leave_by_the_gateway() -> None:
    async def scene(o: Office) -> None:
        gateway = o.paul.address
        object.__setattr__(o.pbx.config, "gateways", (Gateway("PSTN", gateway),))
        invite = await o.bob.invite("00612345678")
        await o.bob.response(100)
        outside = await o.paul.ask("INVITE")
        assert outside.uri == f"sip:+33612345678@{gateway[0]}:{gateway[1]}"
        assert outside.from_.sip_uri.user == "100"
        o.paul.reply(outside, 200, body=o.paul.sdp)
        await o.paul.ask("ACK")
        o.bob.send(o.bob.ack(invite, await o.bob.response(200)))
        await o.bob.invite("0999")
        await o.bob.response(404)

    play(scene, gateways=(Gateway("PSTN", ("127.0.0.1", 9)),), outbound=(OutboundRule("PSTN", "00", 2, "+33", length=11),))


def test_calls_from_the_gateway_need_no_password() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        object.__setattr__(o.pbx.config, "gateways", (Gateway("PSTN", o.paul.address),))
        request = o.paul.request("INVITE", "101", body=o.paul.sdp)
        request.headers.set("From", "<sip:+33612345678@pstn>;tag=out")
        o.paul.send(request)
        await o.paul.response(100)
        assert (await o.alice.ask("INVITE")).from_.sip_uri.user == "+33612345678"
        request = o.bob.request("INVITE", "101", body=o.bob.sdp)
        o.bob.send(request)
        await o.bob.response(407)

    play(scene)


def test_no_answer_leaves_by_the_gateway() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        object.__setattr__(o.pbx.config, "gateways", (Gateway("PSTN", o.paul.address),))
        await o.bob.invite("101")
        await o.bob.response(100)
        o.alice.reply(await o.alice.ask("INVITE"), 486)
        await o.bob.response(181)
        assert (await o.paul.ask("INVITE")).target.user == "612345678"

    play(
        scene,
        gateways=(Gateway("PSTN", ("127.0.0.1", 9)),),
        outbound=(OutboundRule("PSTN", "0", 1),),
        rules=(rules(busy=ForwardTo("external", "0612345678")),),
    )


def test_outbound_rules() -> None:
    rule = OutboundRule("PSTN", "0", 1, "+33", length=10)
    assert rule.fits("0612345678")
    assert not rule.fits("061234567")
    assert not rule.fits("1612345678")
    assert rule.outside("0612345678") == "+33612345678"
    assert not OutboundRule("PSTN").fits("bob")
    with pytest.raises(PbxError, match="gateway MARS"):
        config(outbound=(OutboundRule("MARS"),))


def test_a_service_that_is_there_can_be_a_target() -> None:
    async def scene(o: Office) -> None:
        await o.alice.register()
        o.pbx.plan.services["voicemail"] = o.paul.contact.strip("<>")
        o.pbx.set_rules(rules(no_answer=ForwardTo("voicemail"), no_answer_after_s=0.2))
        await o.bob.invite("101")
        await o.bob.response(100)
        await o.alice.ask("INVITE")
        await o.bob.response(181)
        left = await o.paul.ask("INVITE")
        assert left.to.sip_uri.user == "101"
        assert (left.headers.get("Diversion") or "").endswith(";reason=no-answer")

    play(scene)
