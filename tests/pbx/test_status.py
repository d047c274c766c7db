"""The screen "Extension status": what it says about each extension while things happen."""

from __future__ import annotations

from tests.pbx.office import Office, play


def states(o: Office) -> list[str]:
    return [row.state for row in o.pbx.status()]


def test_states_of_a_call() -> None:
    async def scene(o: Office) -> None:
        assert states(o) == ["not_registered"] * 3
        await o.bob.register()
        await o.alice.register()
        assert states(o) == ["registered", "registered", "not_registered"]
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        assert states(o) == ["in_call", "ringing", "not_registered"]
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        await o.alice.ask("ACK")
        ok = await o.bob.response(200)
        assert states(o) == ["in_call", "in_call", "not_registered"]
        o.bob.send(o.bob.ack(invite, ok))
        o.bob.send(o.bob.in_dialog("BYE", invite, ok))
        await o.bob.response(200)
        o.alice.reply(await o.alice.ask("BYE"), 200)
        assert states(o) == ["registered", "registered", "not_registered"]
        await o.alice.register(expires=0)
        assert states(o) == ["registered", "not_registered", "not_registered"]

    play(scene)


def test_every_form_of_it() -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        screen = o.pbx.status()
        assert str(screen).splitlines()[1].split("  ")[0] == "Registered (idle)"
        assert list(screen.table()["Extension"]) == ["100", "101", "102"]
        assert list(screen.table()["User status"]) == ["Available"] * 3
        html = screen._repr_html_()
        assert html.count("<tr>") == 4
        assert "●</span> Registered (idle)" in html

    play(scene)
