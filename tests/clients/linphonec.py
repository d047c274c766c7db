"""Debian's linphonec as a test client: commands on its standard input, its words on standard output."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from pathlib import Path

from tests.clients.tones import write_tone

CONFIG = """
[sip]
sip_port={udp}
sip_tcp_port={tcp}
sip_tls_port=0
default_proxy=0
guess_hostname=1
register_only_when_network_is_up=0
use_ipv6=0
media_encryption=none
use_info=0
use_rfc2833=1
[net]
stun_server=
firewall_policy=0
dns_srv_enabled=0
dns_search_enabled=0
[rtp]
audio_rtp_port={rtp}
[auth_info_0]
username={user}
passwd={password}
realm={realm}
domain={registrar}
[proxy_0]
reg_proxy=<sip:{registrar};transport={transport}>
reg_route=<sip:{registrar};transport={transport};lr>
reg_identity=sip:{user}@{registrar}
reg_expires=600
reg_sendregister=1
publish=0
[video]
capture=0
display=0
automatically_initiate=0
automatically_accept=0
[storage]
uri={folder}/linphone.db
[misc]
config_migration_1_done=1
[lime]
enabled=0
"""


class Linphonec:
    """One running linphonec.  It binds 127.0.0.1, so clients differ by port."""

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        user: str,
        voice: str,
        password: str,
        port: int,
        registrar: str,
        realm: str,
        transport: str = "udp",
        answer: bool = False,
    ) -> None:
        self.user = user
        home = folder / "home"
        (home / ".local/share/linphone").mkdir(parents=True)
        self.recording = folder / "heard.wav"
        wav = write_tone(folder / "voice.wav", voice)
        config = folder / "rc"
        config.write_text(
            CONFIG.format(
                udp=port if transport == "udp" else 0,
                tcp=port if transport == "tcp" else 0,
                rtp=port + 2000,
                user=user,
                password=password,
                realm=realm,
                registrar=registrar,
                transport=transport,
                folder=folder,
            )
        )
        command = [program, "-c", str(config), "-d", "4", "-l", str(folder / "log"), *(["-a"] if answer else [])]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "HOME": str(home)},
        )
        self._said = ""
        self._more = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()
        self.wait("linphonec>")
        for line in ("soundcard use files", f"play {wav}", f"record {self.recording}"):
            self.command(line)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        while part := self._process.stdout.read(1):
            with self._more:
                self._said += part
                self._more.notify_all()

    def command(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def wait(self, pattern: str, seconds: float = 20.0) -> str:
        """Wait until it says something that fits ``pattern``; what it said up to there is not looked at again."""
        until = time.monotonic() + seconds
        with self._more:
            while True:
                found = re.search(pattern, self._said)
                if found:
                    self._said = self._said[found.end() :]
                    return found[0]
                left = until - time.monotonic()
                if left <= 0 or (self._process.poll() is not None and not self._more.wait(0.2)):
                    raise AssertionError(f"linphonec {self.user}: no {pattern!r} within {seconds} s, only: {self._said[-2000:]}")
                self._more.wait(left)

    def dial(self, uri: str) -> None:
        self.command(f"call {uri}")

    def hang_up(self) -> None:
        self.command("terminate all")

    def close(self) -> None:
        try:
            self.command("quit")
            self._process.wait(5)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
