"""Registration as the lab's trace shows it, and by the book."""

from __future__ import annotations

import asyncio

import pytest

from labkit.errors import PbxError
from labkit.net.udp import Address
from labkit.pbx import Extension, PbxConfig
from labkit.pbx.registrar import Registrar
from labkit.sip.digest import Challenge
from labkit.sip.hop import Hop
from labkit.sip.message import Request, Response
from labkit.texts import language
from tests.pbx.office import EXTENSIONS, Office, play
from tests.pbx.peer import Peer


def contacts(response: Response) -> list[str]:
    return [contact.uri for contact in response.contacts]


def test_as_in_the_lab() -> None:
    async def scene(o: Office) -> None:
        ok = await o.bob.register()
        assert o.bob.log == ["> REGISTER", "< 407", "> REGISTER", "< 200"]
        assert contacts(ok) == [o.bob.contact.strip("<>")]
        assert ok.contacts[0].expires == 120
        assert ok.headers.get("Server") == "labkit"
        assert [row.state for row in o.pbx.status()] == ["registered", "not_registered", "not_registered"]
        assert o.kinds() == ["registered"]

        subscribe = o.bob.request("SUBSCRIBE", "100")
        subscribe.headers.append("Event", "message-summary")
        o.bob.send(subscribe)
        challenge = await o.bob.response(407)
        o.bob.send(o.bob.again(subscribe, challenge))
        refused = await o.bob.response(489)
        assert refused.reason == "Event Package Not Supported"

    play(scene)


@pytest.mark.parametrize(
    ("named", "status"), [("sip:{pbx}", 200), ("sip:100@{pbx}", 200), ("sip:other.example", 400), ("sip:127.0.0.99", 400)]
)
def test_a_digest_for_another_host_proves_nothing_here(named: str, status: int) -> None:
    async def scene(o: Office) -> None:
        request = o.bob.request("REGISTER", "100")
        o.bob.send(request)
        challenge = await o.bob.response(407)
        uri = named.format(pbx=o.bob.pbx[0])
        answered = Challenge.parse(challenge.headers.get("Proxy-Authenticate") or "").answer(
            "REGISTER", uri, "100", o.bob.password, cnonce="c"
        )
        again = o.bob.again(request, challenge)
        again.headers.set("Proxy-Authorization", answered)
        o.bob.send(again)
        await o.bob.response(status)

    play(scene)


def test_challenge_of_the_lab_and_by_the_book() -> None:
    async def lab(o: Office) -> None:
        o.bob.send(o.bob.request("REGISTER", "100"))
        challenge = Challenge.parse((await o.bob.response(407)).headers.get("Proxy-Authenticate") or "")
        assert (challenge.realm, challenge.algorithm, challenge.qop, challenge.stale) == ("labkit", "MD5", False, False)

    async def book(o: Office) -> None:
        o.bob.send(o.bob.request("REGISTER", "100"))
        refused = await o.bob.response(401)
        first, second = (Challenge.parse(value) for value in refused.headers.get_all("WWW-Authenticate"))
        assert (first.algorithm, first.qop, second.algorithm) == ("SHA-256", True, "MD5")
        await o.bob.register()
        subscribe = o.bob.request("SUBSCRIBE", "100")
        o.bob.send(subscribe)
        o.bob.send(o.bob.again(subscribe, await o.bob.response(401)))
        assert (await o.bob.response(489)).reason == "Bad Event"

    play(lab)
    play(book, profile="rfc", algorithms=("SHA-256", "MD5"))


@pytest.mark.parametrize("number", ["100", "555"])
def test_wrong_password_and_unknown_user_get_the_same_final_answer(number: str) -> None:
    async def scene(o: Office) -> None:
        stranger = await Peer(number, "0000", o.bob.pbx).start("127.0.0.1")
        request = stranger.request("REGISTER", number)
        stranger.send(request)
        stranger.send(stranger.again(request, await stranger.response(407)))
        await stranger.response(403)
        assert [(e.kind, e.extension, e.code) for e in o.events] == [("refused", number, 403)]
        assert o.pbx.registrar.bindings("100") == []
        await stranger.close()

    play(scene)


def test_nobody_registers_for_another() -> None:
    async def scene(o: Office) -> None:
        request = o.bob.request("REGISTER", "101")
        o.bob.send(request)
        o.bob.send(o.bob.again(request, await o.bob.response(407)))
        await o.bob.response(403)

    play(scene)


async def challenged(o: Office, status: int = 407) -> Response:
    o.bob.send(o.bob.request("REGISTER", "100"))
    return await o.bob.response(status)


def test_stale_nonce_and_replay() -> None:
    async def stale(o: Office) -> None:
        request = o.bob.request("REGISTER", "100")
        o.bob.send(request)
        challenge = await o.bob.response(407)
        await asyncio.sleep(0.06)  # longer than the nonce lives
        o.bob.send(o.bob.again(request, challenge))
        fresh = await o.bob.response(407)
        assert Challenge.parse(fresh.headers.get("Proxy-Authenticate") or "").stale
        o.bob.send(o.bob.again(request, fresh))
        await o.bob.response(200)

    async def replay(o: Office) -> None:
        request = o.bob.request("REGISTER", "100")
        o.bob.send(request)
        challenge = await o.bob.response(401)
        o.bob.send(o.bob.again(request, challenge))
        await o.bob.response(200)
        o.bob.send(o.bob.again(request, challenge))  # the same nonce with the same count
        fresh = await o.bob.response(401)
        assert Challenge.parse(fresh.headers.get("WWW-Authenticate") or "").stale

    async def replay_of_the_lab(o: Office) -> None:
        """The lab's profile offers no qop; a phone that uses it all the same is held to its count."""
        challenge = await challenged(o)
        challenge.headers.set("Proxy-Authenticate", str(challenge.headers.get("Proxy-Authenticate")) + ',qop="auth"')
        for status in (200, 407):
            o.bob.send(o.bob.again(o.bob.request("REGISTER", "100"), challenge))
            await o.bob.response(status)

    async def elsewhere(o: Office) -> None:
        """What was overheard and is sent again by another host, before the nonce is old: the host is another, so it is stale."""
        challenge = await challenged(o)
        overheard = o.bob.again(o.bob.request("REGISTER", "100"), challenge)
        thief = await Peer("100", "", o.bob.pbx).start("127.0.0.66")
        thief.send(overheard)
        await thief.response(407)
        o.bob.send(o.bob.again(o.bob.request("REGISTER", "100"), challenge))
        await o.bob.response(200)
        await thief.close()

    async def foreign(o: Office) -> None:
        request = o.bob.request("REGISTER", "100")
        o.bob.send(request)
        challenge = await o.bob.response(407)
        challenge.headers.set("Proxy-Authenticate", 'Digest realm="labkit",nonce="1.2.3"')
        o.bob.send(o.bob.again(request, challenge))
        assert not Challenge.parse((await o.bob.response(407)).headers.get("Proxy-Authenticate") or "").stale

    async def without_qop(o: Office) -> None:
        """RFC 7616 §3.4: qop was offered, so the phone has to use it; without it nothing counts up."""
        challenge = await challenged(o, 401)
        challenge.headers.set("WWW-Authenticate", str(challenge.headers.get("WWW-Authenticate")).replace(',qop="auth"', ""))
        for _ in range(2):
            o.bob.send(o.bob.again(o.bob.request("REGISTER", "100"), challenge))
            await o.bob.response(400)

    play(without_qop, profile="rfc")
    play(stale, nonce_lifetime_s=0.05)
    play(replay, profile="rfc")
    play(replay_of_the_lab)
    play(elsewhere)
    play(foreign)


def test_several_phones_fetch_remove_and_star() -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        second = "<sip:100@127.0.0.1:9;rinstance=x>;q=0.5"
        ok = await o.bob.register(contact=second)
        assert len(ok.contacts) == 2
        assert [b.contact.q for b in o.pbx.registrar.bindings("100")] == [1.0, 0.5]
        fetch = o.bob.request("REGISTER", "100")
        fetch.headers.remove("Contact")
        o.bob.send(fetch)
        o.bob.send(o.bob.again(fetch, await o.bob.response(407)))
        assert len((await o.bob.response(200)).contacts) == 2
        ok = await o.bob.register(expires=0, contact=second)
        assert contacts(ok) == [o.bob.contact.strip("<>")]
        ok = await o.bob.register(expires=0, contact="*")
        assert contacts(ok) == []
        assert o.kinds() == ["registered", "registered", "unregistered", "unregistered"]

    play(scene)


@pytest.mark.parametrize(
    ("contact", "expires", "status"),
    [("*", 60, 400), ("*, <sip:100@127.0.0.1:9>", 0, 400), ("<sip:100@127.0.0.1:9>", 5, 423), ("<tel:100>", 60, 416)],
)
def test_refused_registrations_change_nothing(contact: str, expires: int, status: int) -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        request = o.bob.request("REGISTER", "100")
        request.headers.set("Contact", contact)
        request.headers.append("Expires", expires)
        o.bob.send(request)
        o.bob.send(o.bob.again(request, await o.bob.response(407)))
        refused = await o.bob.response(status)
        assert refused.headers.get("Min-Expires") == ("10" if status == 423 else None)
        assert len(o.pbx.registrar.bindings("100")) == 1

    play(scene)


def registrar(clock: list[float]) -> Registrar:
    return Registrar(PbxConfig(("127.0.0.1", 5060), ("127.0.0.1", 5060), EXTENSIONS), lambda: clock[0])


def register(number: int, contact: str, *more: tuple[str, str]) -> Request:
    fixed = [
        ("Via", "SIP/2.0/UDP h;branch=z9hG4bK1"),
        ("From", "<sip:100@127.0.0.1>;tag=a"),
        ("To", "<sip:100@127.0.0.1>"),
        ("Call-ID", "c"),
    ]
    return Request("REGISTER", "sip:h", [*fixed, ("CSeq", f"{number} REGISTER"), ("Contact", contact), *more])


def test_expiry_refresh_and_limits() -> None:
    clock = [1000.0]
    r = registrar(clock)
    ok = r.register(register(1, "<sip:100@127.0.0.1>"), "100", ("127.0.0.1", 1), "t")
    assert ok.contacts[0].expires == 120  # the default
    clock[0] += 119
    ok = r.register(register(2, "<sip:100@127.0.0.1>;expires=99999"), "100", ("127.0.0.1", 1), "t")
    assert ok.contacts[0].expires == 3600  # the maximum
    assert len(r.bindings("100")) == 1
    clock[0] += 3600
    assert r.bindings("100") == []
    late = r.register(register(3, "<sip:100@127.0.0.1>", ("Expires", "junk")), "100", ("127.0.0.1", 1), "t")
    assert late.contacts[0].expires == 120


def test_a_late_copy_of_an_old_register_is_refused() -> None:
    r = registrar([0.0])
    assert r.register(register(5, "<sip:100@127.0.0.1>"), "100", ("127.0.0.1", 1), "t").status == 200
    assert r.register(register(4, "<sip:100@127.0.0.1>;expires=0"), "100", ("127.0.0.1", 1), "t").status == 500
    assert len(r.bindings("100")) == 1


@pytest.mark.parametrize("second", ["<sip:100@127.0.0.1>", "<sip:100@127.0.0.1;a=1>", "<sip:100@127.0.0.1>;expires=300"])
def test_the_same_contact_twice_is_one(second: str) -> None:
    """§19.1.4 decides what is the same, and what stands later counts."""
    r = registrar([0.0])
    for number in (1, 2):
        request = register(number, f"<sip:100@127.0.0.1>, {second}")
        ok = r.register(request, "100", ("127.0.0.1", 1), "t")
        assert (ok.status, len(ok.contacts), ok.contacts[0].expires) == (200, 1, 300 if "300" in second else 120)
    assert r.register(request, "100", ("127.0.0.1", 1), "t").status == 500  # a late copy is still one


@pytest.mark.parametrize("expires", ["²", "٣٠٠", "1²", "9" * 5000, "-1"])
def test_an_expires_that_is_no_number_is_the_default(expires: str) -> None:
    r = registrar([0.0])
    for number, headers in ((1, ()), (2, (("Expires", expires),))):
        contact = "<sip:100@127.0.0.1>" + ("" if headers else f";expires={expires}")
        ok = r.register(register(number, contact, *headers), "100", ("127.0.0.1", 1), "t")
        assert (ok.status, ok.contacts[0].expires) == (200, 120)


def test_too_many_phones() -> None:
    r = registrar([0.0])
    for n in range(8):
        assert r.register(register(n, f"<sip:100@127.0.0.{n + 1}>"), "100", ("127.0.0.1", 1), "t").status == 200
    assert r.register(register(9, "<sip:100@127.0.0.10>"), "100", ("127.0.0.1", 1), "t").status == 403


def test_status_table_in_both_languages() -> None:
    r = registrar([0.0])
    r.register(register(1, "<sip:100@127.0.0.1>"), "100", ("127.0.0.1", 1), "t")
    table = r.status()
    assert str(table).splitlines()[1].split("  ")[0] == "Registered (idle)"
    language("fr")
    assert "Enregistré (inoccupé)" in table._repr_html_()
    assert "<caption>Etat des extensions</caption>" in table._repr_html_()


def test_names_are_escaped() -> None:
    config = PbxConfig(("127.0.0.1", 5060), ("127.0.0.1", 5060), (Extension("1", "<script>"),))
    assert "<script>" not in Registrar(config, lambda: 0.0).status()._repr_html_()


def test_configuration_mistakes_speak() -> None:
    address = ("127.0.0.1", 5060)
    with pytest.raises(PbxError, match="100 is used by two"):
        PbxConfig(address, address, (Extension("100", "A"), Extension("100", "B")))
    with pytest.raises(PbxError, match="100 is used by two"):
        PbxConfig(address, address, (Extension("100", "A"), Extension("101", "B", auth_id="100")))
    with pytest.raises(PbxError, match="cannot be dialled"):
        Extension("1 0", "A")
    with pytest.raises(PbxError, match="must rise"):
        PbxConfig(address, address, expires_min_s=0)
    with pytest.raises(PbxError, match="Allowed: 3cx, rfc"):
        PbxConfig(address, address, profile="asterisk")  # type: ignore[arg-type]


def test_secrets_stay_out_of_repr() -> None:
    text = repr(PbxConfig(("127.0.0.1", 1), ("127.0.0.1", 1), (Extension("1", "A", auth_password="s3cret", voicemail_pin="7978"),)))
    assert "s3cret" not in text
    assert "7978" not in text


INSTANCE = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>"'


def reg(r: Registrar, number: int, contact: str, *, call_id: str = "c", source: Address = ("127.0.0.1", 1), vias: int = 1) -> int:
    request = register(number, contact)
    request.headers.set("Call-ID", call_id)
    for _ in range(vias - 1):
        request.headers.append("Via", "SIP/2.0/UDP 127.0.0.8;branch=z9hG4bK2")
    return r.register(request, "100", source, "t").status


def shown(r: Registrar) -> list[str]:
    return [binding.contact.uri for binding in r.bindings("100")]


def test_a_phone_at_a_new_port_replaces_its_old_binding() -> None:
    r = registrar([0.0])
    assert reg(r, 1, "<sip:100@127.0.0.1:5000>") == 200
    assert reg(r, 2, "<sip:100@127.0.0.1:6000>") == 200  # the same Call-ID: the same phone, whose socket was made anew
    assert shown(r) == ["sip:100@127.0.0.1:6000"]
    assert reg(r, 1, "<sip:100@127.0.0.1:7000>", call_id="other") == 200
    assert len(shown(r)) == 2
    assert reg(r, 3, "<sip:100@127.0.0.1:8000>, <sip:100@127.0.0.1:8001>") == 200  # both named: two places
    assert sorted(shown(r))[1:] == ["sip:100@127.0.0.1:8000", "sip:100@127.0.0.1:8001"]


def test_an_instance_is_one_phone_wherever_it_is() -> None:
    r = registrar([0.0])
    assert reg(r, 1, f"<sip:100@127.0.0.1:5000>;{INSTANCE}") == 200
    assert reg(r, 1, f"<sip:100@127.0.0.2:5000>;{INSTANCE}", call_id="after a restart", source=("127.0.0.2", 1)) == 200
    assert shown(r) == ["sip:100@127.0.0.2:5000"]
    assert reg(r, 1, f"<sip:100@127.0.0.3:5000>;{INSTANCE};reg-id=2", call_id="second flow", source=("127.0.0.3", 1)) == 200
    assert len(shown(r)) == 2


TCP_SOURCE = Hop("127.0.0.1", 4444, "TCP")


@pytest.mark.parametrize(
    ("contact", "source", "vias", "way"),
    [
        ("<sip:100@127.0.0.1:5000>", ("127.0.0.1", 5555), 1, ("127.0.0.1", 5000)),  # another port of the same host is believed
        ("<sip:100@192.168.1.5:5000>", ("127.0.0.1", 5555), 1, ("127.0.0.1", 5555)),  # behind a NAT
        ("<sip:100@0.0.0.0:62779>", ("127.0.0.1", 62779), 1, ("127.0.0.1", 62779)),  # as in the lab's trace
        ("<sip:100@phone.example>", ("127.0.0.1", 5555), 1, ("127.0.0.1", 5555)),  # a name is not looked up
        ("<sip:100@127.0.0.7:5000>", ("127.0.0.1", 5555), 2, ("127.0.0.7", 5000)),  # the source is only the proxy
        ("<sip:100@127.0.0.1:5000;transport=tcp>", TCP_SOURCE, 1, TCP_SOURCE),  # its own connection
        ("<sip:100@127.0.0.1:5000>", TCP_SOURCE, 1, ("127.0.0.1", 5000)),  # registered over TCP, wants UDP
        ("<sip:100@192.168.1.5:5000>", TCP_SOURCE, 1, TCP_SOURCE),
        ("<sip:100@127.0.0.1:5000;transport=tcp>", ("127.0.0.1", 5555), 1, Hop("127.0.0.1", 5000, "TCP")),
    ],
)
def test_contact_or_source(contact: str, source: Address, vias: int, way: Address) -> None:
    r = registrar([0.0])
    assert reg(r, 1, contact, source=source, vias=vias) == 200
    (binding,) = r.bindings("100")
    assert binding.contact.uri == contact.strip("<>")  # kept as it came
    assert binding.source == source
    assert binding.way == way
    assert r.locate(binding.uri) == way


def test_a_name_behind_a_proxy_is_refused() -> None:
    r = registrar([0.0])
    assert reg(r, 1, "<sip:100@phone.example>", vias=2) == 400
    assert shown(r) == []


def test_preference() -> None:
    r = registrar([0.0])
    for n, q in enumerate(["0.5", "1.0", "0.5", "0.1"]):
        assert reg(r, 1, f"<sip:100@127.0.0.1:500{n}>;q={q}", call_id=q + str(n)) == 200
    groups = [[binding.uri.port for binding in group] for group in r.by_preference("100")]
    assert groups[0] == [5001]
    assert sorted(groups[1]) == [5000, 5002]  # type: ignore[type-var]
    assert groups[2] == [5003]


def test_a_stale_binding_is_rung_in_vain() -> None:
    """As in the lab's trace: the phone answers, and a second contact of it has long gone."""

    async def scene(o: Office) -> None:
        await o.bob.register()
        await o.alice.register()
        gone = await Peer("101", "", o.bob.pbx).start("127.0.0.1")
        o.pbx.registrar.add_stale("101", f"sip:101@127.0.0.1:{gone.address[1]}")
        assert [row.state for row in o.pbx.status()] == ["registered", "registered", "not_registered"]
        assert len(o.pbx.registrar.bindings("101")) == 2
        await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        o.alice.reply(ringing, 180)
        await o.bob.response(180)
        for _ in range(3):  # the first, and two retransmissions: nobody is there
            await gone.ask("INVITE")
        o.alice.reply(ringing, 200, body=o.alice.sdp)
        await o.alice.ask("ACK")
        await o.bob.response(200)
        await gone.close()

    play(scene)


def test_a_call_reaches_a_phone_behind_a_nat() -> None:
    async def scene(o: Office) -> None:
        await o.bob.register()
        o.alice.contact = "<sip:101@192.168.1.5:5060>"
        await o.alice.register()
        invite = await o.bob.invite("101")
        await o.bob.response(100)
        ringing = await o.alice.ask("INVITE")
        assert ringing.uri == "sip:101@192.168.1.5:5060"
        o.alice.reply(ringing, 200, tag="a", body=o.alice.sdp)
        await o.alice.ask("ACK")
        ok = await o.bob.response(200)
        o.bob.send(o.bob.ack(invite, ok))
        o.bob.send(o.bob.in_dialog("BYE", invite, ok))
        await o.alice.ask("BYE")

    play(scene)


def test_a_binding_ends_at_its_time() -> None:
    async def scene(o: Office) -> None:
        expired = asyncio.Event()
        o.pbx.registrar._observe = lambda event: expired.set() if event.kind == "expired" else None
        await o.bob.register(expires=1)
        await asyncio.wait_for(expired.wait(), 3)
        assert o.pbx.registrar._ways == {}

    play(scene, expires_min_s=1)
