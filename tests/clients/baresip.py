"""Debian's baresip as a test client, driven over its control socket; what it does is awaited by its events."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.clients.tones import write_tone

CONTROL_PORT = 4444
CONFIG = """
poll_method epoll
sip_listen {ip}:5060
sip_trans_def {transport}
call_local_timeout 60
call_max_calls 4
audio_player aubridge,null
audio_source aufile,{wav}
audio_alert aubridge,null
audio_level no
rtp_ports 20000-30000
rtcp_mux no
jitter_buffer_delay 2-10
net_interface {ip}
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
snd_path {records}
module uuid.so
module_tmp account.so
module_app contact.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {ip}:{port}
"""
ACCOUNT = (
    '<sip:{user}@{registrar};transport={transport}>;outbound="sip:{registrar};transport={transport}";'
    "auth_user={user};auth_pass={password};regint=600;answermode={answer};audio_codecs={codec}\n"
)


class Baresip:
    """One running baresip on an address of its own."""

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        user: str,
        voice: str,
        password: str,
        ip: str,
        registrar: str,
        transport: str = "udp",
        codec: str = "pcma",
        answer: str = "auto",
    ) -> None:
        self.user, self.ip = user, ip
        self.records = folder / "records"
        self.records.mkdir(parents=True)
        wav = write_tone(folder / "voice.wav", voice)
        config = CONFIG.format(ip=ip, transport=transport, wav=wav, records=self.records, port=CONTROL_PORT)
        account = ACCOUNT.format(user=user, password=password, registrar=registrar, transport=transport, answer=answer, codec=codec)
        (folder / "config").write_text(config)
        (folder / "accounts").write_text(account)
        (folder / "contacts").write_text("")
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [program, "-f", str(folder), "-v"], stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        self.log = folder / "log"
        self.events: list[dict[str, Any]] = []
        self._buffer = b""
        self._control = self._connect()

    def _connect(self) -> socket.socket:
        until = time.monotonic() + 10
        while True:
            try:
                return socket.create_connection((self.ip, CONTROL_PORT), timeout=10)
            except ConnectionRefusedError:  # it opens its control socket once its modules are loaded, and has no way to tell
                if self._process.poll() is not None or time.monotonic() > until:
                    raise AssertionError(f"baresip did not start: {self.log.read_text(errors='replace')}") from None

    def command(self, name: str, parameters: str = "") -> None:
        text = json.dumps({"command": name, "params": parameters, "token": "t"}).encode()
        self._control.sendall(b"%d:%s," % (len(text), text))

    def wait(self, kind: str, seconds: float = 15.0) -> dict[str, Any]:
        """Wait for the next event of this type (such as CALL_ESTABLISHED) that has not been waited for yet."""
        until = time.monotonic() + seconds
        while True:
            for place, event in enumerate(self.events):
                if event.get("type") == kind:
                    return self.events.pop(place)
            left = until - time.monotonic()
            if left <= 0:
                seen = [event.get("type") for event in self.events]
                said = self.log.read_text(errors="replace")[-3000:]
                raise AssertionError(f"baresip {self.user}: no {kind} within {seconds} s, only {seen}\n{said}")
            self._read(left)

    def _read(self, seconds: float) -> None:
        self._control.settimeout(seconds)
        try:
            self._buffer += self._control.recv(65536)
        except TimeoutError:
            return
        while b":" in self._buffer:
            size, _, rest = self._buffer.partition(b":")
            if len(rest) < int(size) + 1:
                return
            message = json.loads(rest[: int(size)])
            self._buffer = rest[int(size) + 1 :]
            if message.get("event"):
                self.events.append(message)

    def dial(self, uri: str) -> None:
        self.command("dial", uri)

    def hang_up(self) -> None:
        self.command("hangup")

    @property
    def recordings(self) -> list[Path]:
        """What was decoded of the others' voices; complete after :meth:`close`."""
        return sorted(self.records.glob("*dec*.wav"))

    def close(self) -> None:
        self._control.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
