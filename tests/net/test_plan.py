"""The address plan: faces and backs, one port block a host where addresses are shared, stable from run to run."""

from __future__ import annotations

import itertools

import pytest

from labkit.net.plan import PAIR_SLOTS, AddressPlan, candidates


def test_a_pair_shows_the_extension_as_the_last_number_of_both_addresses() -> None:
    plan = AddressPlan("pair", 300)
    pbx, bob = plan.host("PBX"), plan.host("BOB", "100")
    assert (bob.face, bob.back) == ("127.12.88.100", "127.12.89.100")
    assert (pbx.face, pbx.sip_port) == ("127.12.88.10", 5060)
    assert bob.sip_port != 5060
    assert list(bob.rtp_ports)[::49] == [40000, 40049]
    assert bob.back_of(40000) == (bob.back, 40000)
    assert bob.face_port((bob.back, 40001)) == 40001
    assert bob.face_port((pbx.back, 40001)) is None


def test_a_host_is_made_once_and_an_extension_that_is_no_address_gets_a_free_one() -> None:
    plan = AddressPlan("pair", 0)
    assert plan.host("BOB", "100") is plan.host("BOB")
    faces = [plan.host(name, number).face for name, number in (("PBX", ""), ("LONG", "9999"), ("BOB", "100"), ("OTHER", "100"))]
    assert len(set(faces)) == 4


def test_where_one_address_is_shared_hosts_differ_by_port_and_backs_are_ten_thousand_higher() -> None:
    plan = AddressPlan("single", 0)
    pbx, bob, alice = plan.host("PBX"), plan.host("BOB", "100"), plan.host("ALICE", "101")
    assert {host.face for host in (pbx, bob, alice)} == {"127.0.0.1"}
    assert pbx.sip_port == 5060, "the first lab's PBX has the port that every book says"
    assert pbx.back_of(5060) == ("127.0.0.1", 15060)
    assert bob.face_port(bob.back_of(bob.rtp_ports.start)) == bob.rtp_ports.start
    assert alice.face_port(bob.back_of(bob.rtp_ports.start)) is None
    blocks = [block for host in (pbx, bob, alice) for block in host.blocks]
    assert all(not set(one) & set(other) for one, other in itertools.combinations(blocks, 2))


def test_labs_on_one_address_do_not_share_ports() -> None:
    ports = [set(itertools.chain(*AddressPlan("single", slot).host("PBX").blocks)) for slot in range(10)]
    assert all(not one & other for one, other in itertools.combinations(ports, 2))


def test_candidates_are_the_same_every_day_and_differ_between_students() -> None:
    first = [plan.slot for plan in candidates("marie", "pair")]
    assert first == [plan.slot for plan in candidates("marie", "pair")]
    assert first[0] != next(iter(candidates("paul", "pair"))).slot
    assert len(first) == 64
    assert all(0 <= slot < PAIR_SLOTS for slot in first)
    locks = {plan.lock for plan in candidates("marie", "pair")}
    assert len(locks) == 64


def test_a_mode_that_does_not_exist_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_ADDRESSES", "triple")
    with pytest.raises(ValueError, match="LABKIT_ADDRESSES is 'triple'; it can be pair or single"):
        next(iter(candidates()))
