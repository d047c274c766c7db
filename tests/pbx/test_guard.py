"""Who is banned, for what, for how long, and who is not."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from labkit.errors import PbxError
from labkit.pbx.guard import SCANNERS, Guard, GuardConfig
from labkit.sip.message import Request
from labkit.texts import language
from tests.pbx.office import Office, play
from tests.pbx.peer import Peer
from tests.pbx.tcp_peer import tcp_phone

MALLORY, BOB = ("127.0.0.66", 5060), ("127.0.0.100", 5060)


class Clock:
    def __init__(self) -> None:
        self.start = datetime(2026, 3, 1, 12, 0, 0)
        self.now = 0.0

    def wall(self) -> datetime:
        return self.start + timedelta(seconds=self.now)


def guard(clock: Clock, own_host: str = "127.0.0.10", **settings: object) -> Guard:
    return Guard(GuardConfig(**settings), own_host, wall_clock=clock.wall)  # type: ignore[arg-type]


def options(agent: str) -> Request:
    return Request("OPTIONS", "sip:h", [("User-Agent", agent)])


def test_wrong_passwords_ban_for_a_while() -> None:
    clock = Clock()
    g = guard(clock, failed_logins=3, interval_s=60, ban_s=300)
    for n in range(3):
        assert g.admits(MALLORY, clock.now)
        g.failed_login(MALLORY, "100", clock.now)
        clock.now += 10 * n
    assert not g.admits(MALLORY, clock.now)
    assert not g.admits(("127.0.0.66", 9), clock.now)  # the whole host
    assert g.admits(BOB, clock.now)
    assert [(b.source, b.reason, b.dropped) for b in g.blacklist] == [("127.0.0.66", "failed_logins", 2)]
    clock.now += 300
    assert g.admits(MALLORY, clock.now)
    assert [e.kind for e in g.events] == ["failed_login"] * 3 + ["banned", "released"]
    assert list(g.blacklist) == []


def test_slow_mistakes_and_right_passwords_are_forgiven() -> None:
    clock = Clock()
    g = guard(clock, failed_logins=3, interval_s=60)
    for _ in range(10):
        g.failed_login(BOB, "100", clock.now)
        clock.now += 31
    for _ in range(10):
        g.failed_login(BOB, "100", clock.now)
        g.logged_in(BOB)
    assert g.admits(BOB, clock.now)


def test_floods() -> None:
    clock = Clock()
    g = guard(clock, messages_per_s=50)
    for _ in range(10):
        clock.now += 1.0
        assert all(g.admits(BOB, clock.now) for _ in range(50))
    assert [g.admits(MALLORY, clock.now) for _ in range(52)] == [True] * 50 + [False] * 2
    assert g.blacklist[0].reason == "flood"


def test_hosts_that_share_the_address_of_the_pbx_are_told_apart_by_port() -> None:
    clock = Clock()
    g = guard(clock, own_host="127.0.0.1", failed_logins=1)
    g.failed_login(("127.0.0.1", 5070), "100", clock.now)
    assert not g.admits(("127.0.0.1", 5070), clock.now)
    assert g.admits(("127.0.0.1", 5080), clock.now)
    assert g.blacklist[0].source == "127.0.0.1:5070"


@pytest.mark.parametrize("name", SCANNERS)
def test_scanners(name: str) -> None:
    clock = Clock()
    g = guard(clock)
    assert g.inspects(options("Twinkle/1.10"), MALLORY, clock.now)
    assert not g.inspects(options(f"X {name.title()} 1"), MALLORY, clock.now)
    assert not g.admits(MALLORY, clock.now)


def test_lists_and_orders_by_hand() -> None:
    clock = Clock()
    g = guard(clock, allow=("127.0.0.66", "10.0.0.0/8"), deny=("127.0.0.7",), failed_logins=1, messages_per_s=1)
    g.failed_login(MALLORY, "100", clock.now)
    assert all(g.admits(MALLORY, clock.now) for _ in range(10))
    assert g.inspects(options("friendly-scanner"), ("10.1.2.3", 1), clock.now)
    assert not g.admits(("127.0.0.7", 5060), clock.now)
    g.ban(BOB, clock.now, 10)
    assert not g.admits(BOB, clock.now)
    g.release(BOB)
    assert g.admits(BOB, clock.now)
    off = guard(clock, enabled=False, failed_logins=1)
    off.failed_login(BOB, "100", clock.now)
    assert off.admits(BOB, clock.now)
    assert off.inspects(options("sipcli"), BOB, clock.now)


def test_a_million_strangers_cost_little_memory() -> None:
    clock = Clock()
    g = guard(clock, failed_logins=1)
    for n in range(30_000):
        source = (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1)
        g.admits(source, clock.now)
        g.failed_login(source, "x", clock.now)
    assert len(g._rates) <= 10_000
    assert len(g._bans) <= 10_000


def test_what_a_notebook_shows() -> None:
    clock = Clock()
    g = guard(clock, failed_logins=1)
    g.failed_login(MALLORY, "<b>100", clock.now)
    assert str(g.blacklist).splitlines() == [
        "Source      Reason                  Since     Until     Messages dropped",
        "127.0.0.66  too many failed logins  12:00:00  12:05:00  0",
    ]
    assert "&lt;b&gt;100" in g.events._repr_html_()
    assert list(g.events.table()["Event"]) == ["Failed login", "Banned"]
    language("fr")
    assert "trop d&#x27;échecs d&#x27;authentification" in g.blacklist._repr_html_()


def test_mistakes_in_the_settings_speak() -> None:
    with pytest.raises(PbxError, match="silence, 403"):
        GuardConfig(answer="loud")  # type: ignore[arg-type]
    with pytest.raises(PbxError, match="not-a-network"):
        GuardConfig(allow=("not-a-network",))
    with pytest.raises(PbxError, match="failed_logins"):
        GuardConfig(failed_logins=0)


async def fail_login(peer: Peer) -> None:
    request = peer.request("REGISTER", peer.number)
    peer.send(request)
    peer.send(peer.again(request, await peer.expect_challenge(), "0000"))
    await peer.response(403)


@pytest.mark.parametrize("answer", ["silence", "403"])
def test_a_live_attack_and_a_neighbour_who_calls_on(answer: str) -> None:
    async def scene(o: Office) -> None:
        mallory = await Peer("100", "", o.bob.pbx).start("127.0.0.1")
        for _ in range(3):
            await fail_login(mallory)
        mallory.send(mallory.request("OPTIONS", "101"))
        if answer == "403":
            await mallory.response(403)
        else:
            await mallory.silent(0.2)
        await o.connected()  # BOB and ALICE live at the same address
        assert [b.source for b in o.pbx.guard.blacklist] == [f"127.0.0.1:{mallory.address[1]}"]
        await mallory.close()

    play(scene, guard=GuardConfig(failed_logins=3, answer=answer))  # type: ignore[arg-type]


def test_a_scanner_gets_nothing_and_its_connection_is_cut() -> None:
    async def scene(o: Office) -> None:
        scanner = await tcp_phone("100", "", o.bob.pbx)
        request = scanner.request("OPTIONS", "101")
        request.headers.append("User-Agent", "friendly-scanner")
        scanner.send(request)
        scanner.send(scanner.request("OPTIONS", "101"))
        await scanner.closed.wait()
        assert scanner.inbox.empty()
        assert o.pbx.guard.blacklist[0].reason == "scanner"
        await scanner.close()

    play(scene)


def test_a_ban_cannot_be_forged() -> None:
    """Wrong passwords with a challenge that another host got count for nobody."""

    async def scene(o: Office) -> None:
        elsewhere = await Peer("100", "0000", o.bob.pbx).start("127.0.0.9")
        request = elsewhere.request("REGISTER", "100")
        elsewhere.send(request)
        challenge = await elsewhere.response(407)
        for _ in range(3):
            o.bob.send(o.bob.again(o.bob.request("REGISTER", "100"), challenge, "0000"))  # as if Mallory had forged BOB's address
            assert "stale=true" in (await o.bob.response(407)).headers.get_all("Proxy-Authenticate")[0]
        assert list(o.pbx.guard.events) == []
        await o.bob.register()
        await elsewhere.close()

    play(scene, guard=GuardConfig(failed_logins=1))
