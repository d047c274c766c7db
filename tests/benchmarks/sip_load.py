"""Load from SIPp, a caller and a callee with the server between them, and the latency of a moderate rate on a microsecond clock.

SIPp's own clock has steps of some milliseconds, so latency is measured by :func:`latency`, which is caller and callee in one thread.
"""

from __future__ import annotations

import csv
import re
import select
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.servers import CALLEE, CALLER, CALLER_NUMBER, CLOCK, LOAD, PASSWORD, SERVICE, USERS, Address, held

RATES = (25, 50, 75, 100, 125, 150, 200, 250, 300, 400, 500, 600, 700, 800, 1000, 1200, 1400, 1600, 2000, 2500, 3000, 4000)
PATIENCE_S = 3.0
"""How long after its last call a run may take."""


@dataclass(frozen=True)
class Load:
    """What SIPp says of a run."""

    wanted: int
    good: int
    failed: int
    repeated: int

    @property
    def clean(self) -> bool:
        """No failure, and at most one message in a hundred calls sent again."""
        return self.good == self.wanted and not self.failed and self.repeated * 100 <= self.wanted


def calls(program: str, server: Address, folder: Path, rate: int, number: int) -> Load:
    """``number`` calls, ``rate`` a second, each hung up as soon as it is answered."""
    callee = subprocess.Popen(
        [program, "-sf", str(LOAD / "callee.xml"), *_sipp(CALLEE)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert held(CALLEE, callee), "SIPp does not listen"
        return _load(program, "caller", server, folder, rate, number, "-s", SERVICE)
    finally:
        callee.kill()
        callee.wait()


def registrations(program: str, server: Address, folder: Path, rate: int, number: int) -> Load:
    """``number`` registrations with digest, ``rate`` a second, of a hundred users in turn."""
    users = folder / "users.csv"
    users.write_text("SEQUENTIAL\n" + "".join(f"{user};[authentication username={user} password={PASSWORD}]\n" for user in USERS))
    return _load(program, "register", server, folder, rate, number, "-inf", str(users))


def _load(program: str, scenario: str, server: Address, folder: Path, rate: int, number: int, *options: str) -> Load:
    results = folder / "results.csv"
    results.unlink(missing_ok=True)
    command = [program, f"{server[0]}:{server[1]}", "-sf", str(LOAD / f"{scenario}.xml"), "-r", str(rate), "-m", str(number)]
    caller = subprocess.Popen(
        [*command, *_sipp(CALLER), "-trace_stat", "-fd", "1", "-stf", str(results), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    try:
        caller.wait(number / rate + PATIENCE_S)
    except subprocess.TimeoutExpired:
        caller.kill()  # calls that are not over by now have failed; SIPp itself would wait for them for a minute
        caller.wait()
    with results.open() as file:
        *_, last = csv.DictReader(file, delimiter=";")
    return Load(number, *(int(float(last[name])) for name in ("SuccessfulCall(C)", "FailedCall(C)", "Retransmissions(C)")))


def _sipp(bind: Address) -> list[str]:
    """What both ends have in common."""
    return ["-i", bind[0], "-p", str(bind[1]), "-nostdin", "-buff_size", "4000000", "-l", "20000"]


def highest_rate(run: Callable[[int], Load], tries: int) -> int:
    """The highest of :data:`RATES` at which one of ``tries`` runs is clean, by halving."""
    low, high = -1, len(RATES)
    while high - low > 1:
        middle = (low + high) // 2
        if any(run(RATES[middle]).clean for _ in range(tries)):
            low = middle
        else:
            high = middle
    return RATES[low] if low >= 0 else 0


# -- latency ------------------------------------------------------------------------------------------------------------------------------

SDP = "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n"
CALL_ID = re.compile(r"(?im)^call-id\s*:\s*m(\d+)@")
COPIED = re.compile(r"(?im)^(?:via|from|call-id|cseq|record-route)\s*:.*\r\n")


@dataclass
class _Clocked:
    began: float
    rang: float | None = None
    ended: bool = False


@dataclass
class Latencies:
    """Milliseconds from INVITE to 180."""

    calls: int
    values: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        if len(self.values) < 2:
            return "nothing rang"
        steps, silent = statistics.quantiles(self.values, n=100), self.calls - len(self.values)
        return f"p50 {steps[49]:.2f} ms, p99 {steps[98]:.2f} ms" + (f" ({silent} of {self.calls} calls never rang)" if silent else "")


def latency(server: Address, rate: int, seconds: float) -> Latencies:
    """INVITE to 180 at ``rate`` calls a second, each answered and hung up at once."""
    number = round(rate * seconds)
    found: dict[int, _Clocked] = {}
    with _bound(CLOCK) as caller, _bound(CALLEE) as callee:
        began = time.perf_counter()
        while sum(call.ended for call in found.values()) < number and time.perf_counter() - began < seconds + 3:
            while len(found) < number and began + len(found) / rate <= time.perf_counter():
                invite = _request("INVITE", f"sip:{SERVICE}@{server[0]}:{server[1]}", len(found), 1, body=SDP.format(CLOCK[0]))
                found[len(found)] = _Clocked(time.perf_counter())
                caller.sendto(invite, server)
            pause = began + len(found) / rate - time.perf_counter() if len(found) < number else 0.1
            for ready in select.select([caller, callee], [], [], max(0.0, pause))[0]:
                data, source = ready.recvfrom(65535)
                if ready is callee:
                    _answer(callee, data.decode(), source)
                else:
                    _take(caller, data.decode(), found, time.perf_counter(), server)
    return Latencies(number, [1000 * (call.rang - call.began) for call in found.values() if call.rang is not None])


def _bound(address: Address) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.bind(address)
    return made


def _request(method: str, uri: str, call: int, cseq: int, *, routes: str = "", to: str = "", body: str = "") -> bytes:
    host = f"{CLOCK[0]}:{CLOCK[1]}"
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {host};branch=z9hG4bKm{call}-{cseq}{method}",
        *([routes] if routes else []),
        "Max-Forwards: 70",
        f"From: <sip:{CALLER_NUMBER}@lab.test>;tag=m{call}",
        f"To: <sip:{SERVICE}@lab.test>{to}",
        f"Call-ID: m{call}@{CLOCK[0]}",
        f"CSeq: {cseq} {method}",
        f"Contact: <sip:{CALLER_NUMBER}@{host}>",
        *(["Content-Type: application/sdp"] if body else []),
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


def _answer(callee: socket.socket, message: str, source: Address) -> None:
    """180 and 200 for INVITE, 200 for BYE."""
    method = message.partition(" ")[0]
    if method not in ("INVITE", "BYE"):
        return
    to = re.search(r"(?im)^to\s*:.*", message)
    assert to is not None
    tagged = to[0].strip() if ";tag=" in to[0] else f"{to[0].strip()};tag=callee"
    head = f"{''.join(COPIED.findall(message))}{tagged}\r\nContact: <sip:{CALLEE[0]}:{CALLEE[1]}>\r\n"
    if method == "INVITE":
        callee.sendto(f"SIP/2.0 180 Ringing\r\n{head}Content-Length: 0\r\n\r\n".encode(), source)
        body = SDP.format(CALLEE[0])
        head += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        callee.sendto(f"SIP/2.0 200 OK\r\n{head}".encode(), source)
    else:
        callee.sendto(f"SIP/2.0 200 OK\r\n{head}Content-Length: 0\r\n\r\n".encode(), source)


def _take(caller: socket.socket, message: str, found: dict[int, _Clocked], now: float, server: Address) -> None:
    """Note the 180; acknowledge the 200 and hang up; note that the BYE was answered."""
    which = CALL_ID.search(message)
    if which is None or not message.startswith("SIP/2.0"):
        return
    number = int(which[1])
    call, status, method = found[number], message[8:11], re.search(r"(?im)^cseq\s*:\s*\d+ (\w+)", message)
    assert method is not None
    if status == "180" and call.rang is None:
        call.rang = now
    elif status == "200" and method[1] == "INVITE":
        contact, tag = re.search(r"(?im)^contact\s*:.*?<([^>]+)>", message), re.search(r"(?im)^to\s*:.*?(;tag=[^\r;]+)", message)
        assert contact is not None and tag is not None
        routes = "\r\n".join(f"Route: {route}" for route in reversed(re.findall(r"(?im)^record-route\s*:\s*(.*?)\r", message)))
        for method_now, cseq in (("ACK", 1), ("BYE", 2)):
            caller.sendto(_request(method_now, contact[1], number, cseq, routes=routes, to=tag[1]), server)
    elif method[1] == "BYE":
        call.ended = True
