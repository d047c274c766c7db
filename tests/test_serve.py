"""``labkit serve``, as a user starts it: a process in a terminal, phones that register and call, signals, and bad configurations."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit import cli
from labkit.capture.capture import Capture
from labkit.pbx.settings import EXAMPLE, parse
from labkit.pbx.store import Store
from labkit.serve import announce, is_loopback
from tests.pbx.peer import Peer

COMMAND = [sys.executable, "-u", "-m", "labkit.cli", "serve"]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        udp.bind(("127.0.0.1", 0))
        port: int = udp.getsockname()[1]
        with contextlib.suppress(OSError):
            tcp.bind(("127.0.0.1", port))
        return port


def configuration(folder: Path, port: int, more: str = "", **changes: str) -> Path:
    text = more + EXAMPLE.replace("127.0.0.1:5060", f"127.0.0.1:{port}")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "office.toml"
    path.write_text(text, "utf-8")
    return path


class Server:
    """A running ``labkit serve``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.printed = ""

    def wait_for(self, pattern: str, seconds: float = 15.0) -> str:
        """Read what it prints until a line matches."""
        assert self.process.stdout is not None
        until = time.monotonic() + seconds
        while not re.search(pattern, self.printed):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))
            read = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            assert read, f"no {pattern!r} in {self.printed!r}"
            self.printed += read.decode()
        return self.printed

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(10)


@contextlib.contextmanager
def serving(*arguments: object) -> Iterator[Server]:
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield Server(process)
    finally:
        process.kill()
        process.communicate()


async def call(port: int) -> bytes:
    """Bob and Alice register; Bob calls; Alice answers; Bob hangs up.  Returns the session description that Alice got."""
    bob = await Peer("100", "384615", ("127.0.0.1", port)).start("127.0.0.1")
    alice = await Peer("101", "920377", ("127.0.0.1", port)).start("127.0.0.1")
    try:
        await bob.register()
        await alice.register()
        invite = await bob.invite("101")
        await bob.response(100)
        ringing = await alice.ask("INVITE")
        alice.reply(ringing, 200, body=alice.sdp)
        await alice.ask("ACK")
        ok = await bob.response(200)
        bob.send(bob.ack(invite, ok))
        bob.send(bob.in_dialog("BYE", invite, ok))
        await bob.response(200)
        alice.reply(await alice.ask("BYE"), 200)
        await bob.register()  # what is answered after the BYE is answered after the call has ended
        return ringing.body
    finally:
        await bob.close()
        await alice.close()


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems whose pipes can be selected")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_records_and_ends_cleanly(how: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    file = configuration(tmp_path, port, f'database = "{tmp_path / "office.db"}"\n')
    with serving(file, "--capture", tmp_path / "x.pcapng") as server:
        server.wait_for(rf"serves 3 extensions at 127.0.0.1:{port} \(udp, tcp\)")
        server.wait_for("0 of 3 extensions registered · 0 calls up")
        asyncio.run(asyncio.wait_for(call(port), 15))
        server.wait_for(r"2 of 3 extensions registered · 0 calls up · 0\.1 calls/s")
        assert server.end(how) == 0
        assert server.process.stdout is not None and server.process.stderr is not None
        assert server.process.stdout.read().endswith("The PBX has ended.\n") and server.process.stderr.read() == ""
    capture = Capture.open(tmp_path / "x.pcapng")
    at_pbx = [("127.0.0.1", port) in (record.source, record.destination) for record in capture.messages]
    assert all(at_pbx) and len(at_pbx) > 15
    assert [record.method for record in capture.messages if record.is_request][:2] == ["REGISTER", "REGISTER"]
    assert "PBX" in {capture.host_of(*record.source) for record in capture.messages} or "PBX" in str(capture.ladder())
    records = Store(tmp_path / "office.db").records()
    assert [(record.caller, record.callee, record.status) for record in records] == [("100", "101", 200)]


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with SIGKILL")
def test_killed_right_after_a_call_it_has_not_lost_the_record(tmp_path: Path) -> None:
    port, database = free_port(), tmp_path / "office.db"
    with serving(configuration(tmp_path, port, f'database = "{database}"\n')) as server:
        server.wait_for("extensions registered")
        asyncio.run(asyncio.wait_for(call(port), 15))
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
    assert [(record.caller, record.callee, record.status) for record in Store(database).records()] == [("100", "101", 200)]


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems whose pipes can be selected")
def test_it_relays_voices_when_told_to(tmp_path: Path) -> None:
    port = free_port()
    file = configuration(tmp_path, port, "rtp_ports = [46000, 46049]\n")
    file.write_text(file.read_text().replace('media = "direct"', 'media = "relayed"'))
    with serving(file) as server:
        server.wait_for("extensions registered")
        description = asyncio.run(asyncio.wait_for(call(port), 15))
        found = re.search(rb"m=audio (\d+) ", description)
        assert found and 46000 <= int(found[1]) < 46050
        assert server.end(signal.SIGTERM) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with pseudo-terminals")
def test_on_a_terminal_the_status_stays_in_its_line(tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, str(configuration(tmp_path, free_port()))], stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    seen = b""
    until = time.monotonic() + 15
    while seen.count(b"extensions registered") < 3 and time.monotonic() < until:
        if select.select([ours], [], [], 1)[0]:
            seen += os.read(ours, 4096)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    os.close(ours)
    assert seen.count(b"\r0 of 3 extensions registered") >= 3


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems whose pipes can be selected")
def test_the_end_waits_until_the_phones_have_heard(tmp_path: Path) -> None:
    """Bob's BYE gets lost: he hears the copy, and the server is still there for his answer."""
    port = free_port()

    async def scene(server: Server) -> None:
        bob, alice = [await Peer(*who, ("127.0.0.1", port)).start("127.0.0.1") for who in (("100", "384615"), ("101", "920377"))]
        try:
            await bob.register()
            await alice.register()
            invite = await bob.invite("101")
            await bob.response(100)
            alice.reply(await alice.ask("INVITE"), 200, body=alice.sdp)
            await alice.ask("ACK")
            bob.send(bob.ack(invite, await bob.response(200)))
            await bob.register()  # the ACK has arrived
            bob.drop_in = 1
            server.process.send_signal(signal.SIGINT)
            alice.reply(await alice.ask("BYE"), 200)
            bye = await bob.ask("BYE")
            assert bob.log[-2:] == ["x BYE", "< BYE"] and server.process.poll() is None
            bob.reply(bye, 200)
        finally:
            await bob.close()
            await alice.close()

    with serving(configuration(tmp_path, port)) as server:
        server.wait_for("extensions registered")
        asyncio.run(asyncio.wait_for(scene(server), 20))
        begun = time.monotonic()
        assert server.process.wait(10) == 0
        assert time.monotonic() - begun < 3


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=30)


ONE = '[[extensions]]\nnumber = "1"\nfirst_name = "A"\nauth_password = "1"\n'


def test_a_port_in_use_names_the_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        file = configuration(tmp_path, other.getsockname()[1])
        done = run(file)
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if text.startswith("bind"))
    assert done.returncode == 1 and not done.stdout and len(done.stderr.splitlines()) == 1
    assert f"office.toml, line {line}: Another program already holds 127.0.0.1" in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ring_time = 3\n", "line 1: there is no setting 'ring_time'"),
        ('[[extensions]]\nnumber = "1"\nfirst_name = "A"\n[[extensions]]\nnumber = "1"\nfirst_name = "B"\n', "line 5: "),
        ("x = = 1\n", "line 1: this is not TOML"),
        ("", "has no extension"),
        (ONE.replace("auth_password", "voicemail_pin"), "line 1: extension 1 has no password"),
        ('database = "/dev/null/x.db"\n' + ONE, "line 2: The database /dev/null/x.db cannot be opened"),
        ('bind = "300.1.1.1:5077"\n' + ONE, "line 1: This computer has no address 300.1.1.1:5077"),
        ('bind = "192.0.2.7:5077"\n' + ONE, "line 1: This computer has no address 192.0.2.7:5077"),
    ],
)
def test_a_bad_configuration_is_one_sentence_and_1(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(f'bind = "127.0.0.1:{free_port()}"\n' + text if text.startswith("database") else text)
    done = run(file)
    assert done.returncode == 1 and not done.stdout
    assert says in done.stderr and len(done.stderr.splitlines()) == 1


def test_without_a_file_or_with_a_missing_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve"]) == 1
    assert "labkit serve --example" in capsys.readouterr().err
    assert cli.main(["serve", str(tmp_path / "no.toml")]) == 1
    assert "There is no file" in capsys.readouterr().err
    assert cli.main(["serve", "--example"]) == 0
    assert capsys.readouterr().out == EXAMPLE


def test_an_open_address_is_announced_loudly(capsys: pytest.CaptureFixture[str]) -> None:
    config = parse('bind = "0.0.0.0:5060"\nadvertised = "192.0.2.1:5060"\n')
    announce(config, None, sys.stdout)
    said = capsys.readouterr()
    assert "ATTENTION: 0.0.0.0:5060 can be reached from the network" in said.err and "!!!!!!!!" in said.err
    assert "at 192.0.2.1:5060" in said.out
    announce(parse(""), None, sys.stdout)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.5.1.9", True), ("localhost", True), ("0.0.0.0", False), ("192.0.2.1", False), ("x", False)],
)
def test_what_counts_as_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
