"""A lab without a wire: hosts bind what they show, and the PBX's own packets are the capture."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from labkit import Lab
from labkit.errors import LabError
from tests.processes import children_of, only_on_linux


@pytest.mark.parametrize("addresses", ["pair", "single"])
def test_a_call_without_a_wire(addresses: str, tmp_path: Path) -> None:
    with Lab(wire=False, addresses=addresses) as lab:
        bob, alice = lab.phone("BOB"), lab.phone("ALICE")
        bob.register()
        alice.register()
        call = bob.call("101")
        alice.answer()
        call.wait("connected")
        call.wait_seconds(0.5)
        bob.hang_up()
        assert alice.calls == [] or alice.current.wait("ended")
        path = lab.capture.save(tmp_path / "x.pcapng")
        capture = lab.capture.open()
        text = str(lab.capture.ladder())
    assert path.stat().st_size > 1000
    hosts = [(capture.host_of(*record.source), capture.host_of(*record.destination)) for record in capture.messages]
    # On a shared address, other programs of this machine may speak to port 5060 too.
    hosts = [pair for pair in hosts if "127.0.0.1" not in pair]
    assert {"PBX" in pair for pair in hosts} == {True} and {name for pair in hosts for name in pair} == {"PBX", "BOB", "ALICE"}
    invites = [record for record in capture.messages if record.method == "INVITE"]
    assert [record.status for record in invites if record.status and record.status >= 180].count(200) == 2
    assert not capture.streams, "the voices go from phone to phone and nobody records them"
    assert hosts[0] == ("BOB", "PBX")
    for word in ("REGISTER", "INVITE", "180", "BYE", "BOB", "ALICE"):
        assert word in text


def test_the_wire_refuses_with_one_sentence() -> None:
    with Lab(wire=False) as lab, pytest.raises(LabError, match="no wire") as refused:
        lab.wire.set("BOB", loss=0.1)
    assert len(str(refused.value).splitlines()) == 1
    with Lab(wire=False) as lab, pytest.raises(LabError, match="no wire"):
        lab.add_stale_binding("102")  # a contact that is called in vain needs a network that swallows it


@only_on_linux
def test_the_hosts_bind_their_faces_and_there_is_no_wire_process() -> None:
    with Lab(wire=False) as lab:
        face = lab.pbx.config.advertised
        assert lab.pbx.config.bind == face
        assert not [command for command in children_of(os.getpid()).values() if "wire_process" in command]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.raises(OSError):
            other.bind(face)
        lab.phone("BOB").register()
        lab.capture.restart()
        assert "REGISTER" not in [record.method for record in lab.capture.open().messages]


def test_two_labs_do_not_share_addresses() -> None:
    """The slot is locked without a wire process too."""
    from labkit.net.plan import candidates
    from labkit.net.wire_process import lock_slot

    with Lab(wire=False) as lab:
        index, lock = lock_slot([plan.lock for plan in candidates("", None)])
        lock.close()
        assert index > 0 and lab.pbx.config.advertised[0].rpartition(".")[0] not in [
            plan.lock[0].rpartition(".")[0] for plan in [list(candidates())[index]]
        ]


def test_call_records_and_extensions_stay_in_a_database(tmp_path: Path) -> None:
    """The second lab on the same file has the first one's passwords and call records."""
    database = tmp_path / "office.db"
    with Lab(wire=False, database=database) as lab:
        first = lab.extensions
        bob, alice = lab.phone("BOB"), lab.phone("ALICE")
        bob.register()
        alice.register()
        call = bob.call("101")
        alice.reject(486)
        call.wait("ended")
        table = lab.pbx.records()
        assert table[["caller", "callee", "status", "reason"]].to_numpy().tolist() == [["100", "101", 486, "Busy Here"]]
    assert len(lab.pbx.records()) == 1, "they stay readable"
    with Lab(wire=False, database=database) as lab:
        assert lab.extensions == first
        assert len(lab.pbx.records()) == 1
        lab.phone("BOB").register()
