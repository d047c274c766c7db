"""A phone as a notebook holds it: synchronous, with the verbs of a softphone's keys.

Behind it runs a process of its own (:mod:`labkit.phones.process`).  When that has died, the next call that needs it says so, and
:meth:`Phone.start` plugs the phone in again.
"""

from __future__ import annotations

import html
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from labkit.errors import PhoneError
from labkit.net.plan import SIP_PORT, Address
from labkit.phones.arguments import dialled, seconds, server_address, status_code
from labkit.phones.call import WAIT_S, Call
from labkit.phones.process import CODECS, Leg, PhoneConfig, PhoneProcess, registration
from labkit.sip.status import explain, reason
from labkit.texts import text

T = TypeVar("T")
REGISTER_WAIT_S = 34.0
"""A REGISTER without any answer is given up after 32 s (RFC 3261, timer F)."""


class Runner(Protocol):
    """Runs a coroutine on the labkit thread and waits for it (:class:`labkit.net.background.Background`)."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T: ...


class Phone:
    """A softphone of the lab.  Made by :meth:`labkit.lab.Lab.phone`, which finds it by name or number."""

    def __init__(
        self,
        config: PhoneConfig,
        *,
        address: Address,
        server: Address,
        folder: Path,
        runner: Runner,
        start: Callable[[PhoneConfig], Awaitable[PhoneProcess]],
        check: Callable[[], None] = lambda: None,
        reach: Callable[[Address], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self.address = address
        """Where the phone is seen: its face's address and SIP port."""
        self.folder = folder
        """Where the phone may keep converted sounds."""
        self._config = config
        self._server = server
        self._runner = runner
        self._start = start
        self._check = check
        self._reach = reach
        self._process: PhoneProcess | None = None
        self._calls: dict[int, Call] = {}

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._config.name

    @property
    def number(self) -> str:
        """The extension, such as "100"."""
        return self._config.number

    @property
    def alive(self) -> bool:
        """Does its process run?"""
        return self._process is not None and self._process.alive

    @property
    def registered(self) -> bool:
        """Did the PBX accept the last REGISTER, and was that not an unregistration?"""
        return self.alive and self._running.registration.active

    @property
    def calls(self) -> list[Call]:
        """The calls that have not ended, the oldest first."""
        return [call for call in self._all_calls() if call.state != "ended"]

    @property
    def codecs(self) -> tuple[str, ...]:
        """The audio codecs in their order; assign a new list to change what the next call offers and accepts."""
        return self._config.codecs

    @codecs.setter
    def codecs(self, names: list[str] | tuple[str, ...]) -> None:
        known = {codec.lower(): codec for codec in CODECS}
        wanted = list(names) if isinstance(names, list | tuple) else [names]
        unknown = [name for name in wanted if str(name).lower() not in known]
        if unknown or not wanted:
            raise PhoneError("phone.no_such_codec", codec=", ".join(map(str, unknown)) or "-", codecs=", ".join(CODECS))
        chosen = tuple(known[str(name).lower()] for name in wanted)
        self.ask("codecs", codecs=[CODECS[name] for name in chosen])
        self._config = replace(self._config, codecs=chosen)

    # --- the process --------------------------------------------------------------------------------------------------

    async def plug_in(self) -> None:
        """Start the process (a coroutine of the labkit thread)."""
        self._process = await self._start(self._config)
        self._calls.clear()

    async def close(self) -> None:
        """End the process (a coroutine of the labkit thread)."""
        if self._process is not None:
            await self._process.close()

    def start(self) -> Phone:
        """Plug the phone in again after its process has ended.  It comes up unregistered."""
        if not self.alive:
            self._check()
            self._runner.run(self.plug_in())
        return self

    def unplug(self) -> None:
        """Pull the plug: the process is killed, and nobody is told.  :meth:`start` plugs it in again."""
        if self.alive:
            process = self._running
            process.kill()
            self._runner.run(process.close())

    @property
    def _running(self) -> PhoneProcess:
        if self._process is None:
            raise PhoneError("phone.ended", name=self.name, reason="-")
        return self._process

    def ask(self, op: str, **arguments: object) -> object:
        """Give the engine an order and return its answer."""
        self._check()
        result: object = self._runner.run(self._running.ask(op, **arguments))
        return result

    def await_event(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``condition()`` holds; False when it does not within ``timeout_s``."""
        timeout_s = seconds(timeout_s)
        self._check()
        return self._runner.run(self._running.wait_for(condition, timeout_s))

    # --- registering --------------------------------------------------------------------------------------------------

    def register(
        self,
        *,
        number: str | int | None = None,
        password: str | int | None = None,
        server: Address | str | None = None,
        timeout: float = REGISTER_WAIT_S,
    ) -> Phone:
        """Register at the PBX, or refresh the registration, and wait for the answer.

        ``number``, ``password`` and ``server`` (``"address"``, ``"address:port"`` or a pair) are kept for the next time when the PBX has
        accepted them; the server may be the PBX of another lab on this machine.  Raises :class:`PhoneError` with the SIP code and what
        it means when the PBX refuses or does not answer.
        """
        timeout = seconds(timeout)
        config, place = self._config, self._server
        if number is not None:
            config = replace(config, number=dialled(number), auth_id="")
        if password is not None:
            config = replace(config, password=str(password))
        if server is not None:
            place = server_address(server)
            if self._reach is not None:
                self._runner.run(self._reach(place))
        domain = _domain(place)
        if (config, place) != (self._config, self._server):
            self._running.registration.code = 0  # until it is answered, nobody knows this phone there
        before = self._running.registration.answers
        self.ask("register", **registration(config, domain))
        self._await_registration(before, timeout, domain)
        answer = self._running.registration
        if answer.code // 100 != 2:
            code = answer.code
            raise PhoneError(
                "phone.register_refused",
                code=code,
                name=self.name,
                server=domain,
                reason=answer.reason or reason(code),
                meaning=explain(code),
            )
        self._config, self._server = config, place
        return self

    def unregister(self, *, timeout: float = REGISTER_WAIT_S) -> Phone:
        """Take the registration back (REGISTER with ``Expires: 0``).  A phone that is not registered stays so."""
        if self.registered:
            before = self._running.registration.answers
            self.ask("unregister")
            self._await_registration(before, seconds(timeout), _domain(self._server))
        return self

    def _await_registration(self, before: int, timeout: float, domain: str) -> None:
        if not self.await_event(lambda: self._running.registration.answers > before, timeout):
            raise PhoneError("phone.register_silent", name=self.name, server=domain, seconds=timeout)

    # --- calling ------------------------------------------------------------------------------------------------------

    def call(self, number: str | int) -> Call:
        """Dial a number through the PBX.  Returns at once; ``call.wait("connected")`` waits for the answer."""
        return self._dial(self.uri_of(number), direct=False)

    def uri_of(self, number: str | int) -> str:
        """The SIP URI of a number at this phone's PBX."""
        return f"sip:{dialled(number)}@{_domain(self._server)}"

    def call_direct(self, other: Phone) -> Call:
        """Call another phone at its own address, without any PBX."""
        if not isinstance(other, Phone):
            raise PhoneError("phone.no_phone", given=other)
        if other is self:
            raise PhoneError("phone.calls_itself", name=self.name)
        host, port = other.address
        return self._dial(f"sip:{other.number}@{host}:{port}", direct=True)

    def _dial(self, uri: str, direct: bool) -> Call:
        answer: Any = self.ask("call", uri=uri, direct=direct)
        return self._call_of(self._running.dialled(answer["call"], uri, answer["call_id"]))

    def answer(self, *, timeout: float = WAIT_S) -> Call:
        """Wait for a ring, pick up, and return the call.  A ring that stops before it is picked up is not the one that was meant."""
        until = time.monotonic() + seconds(timeout)
        while True:
            call = self._await_ring(max(0.0, until - time.monotonic()), timeout)
            try:
                return call.answer()
            except PhoneError:
                if call.state != "ended" or time.monotonic() >= until:
                    raise

    def reject(self, code: int = 486, *, timeout: float = WAIT_S) -> Call:
        """Wait for a ring and refuse it: 486 Busy Here (default), 603 Decline, 480 Temporarily Unavailable."""
        code = status_code(code)
        call = self._await_ring(seconds(timeout), timeout)
        call.reject(code)
        return call

    def wait_ring(self, *, timeout: float = WAIT_S) -> Call:
        """Wait for a ring and return the call, still ringing."""
        return self._await_ring(seconds(timeout), timeout)

    def _await_ring(self, left: float, timeout: float) -> Call:
        heard: list[Call] = []

        def rings() -> bool:
            heard.extend(call for call in self._all_calls() if call.incoming and call.state == "ringing")
            return bool(heard)

        if not self.await_event(rings, left):
            raise PhoneError("phone.nothing_rings", name=self.name, number=self.number, seconds=timeout)
        return heard[-1]  # of several, the one that began last is the one that a cell has just made

    def _all_calls(self) -> list[Call]:
        return [self._call_of(leg) for leg in list(self._process.legs.values())] if self._process else []

    def _call_of(self, leg: Leg) -> Call:
        return self._calls.setdefault(leg.number, Call(self, leg))

    # --- the current call ---------------------------------------------------------------------------------------------

    @property
    def current(self) -> Call:
        """The newest call that has not ended; raises :class:`PhoneError` when there is none."""
        calls = self.calls
        if not self.alive:
            raise self._running.ended()
        if not calls:
            raise PhoneError("phone.no_call", name=self.name)
        return calls[-1]

    def hang_up(self) -> None:
        """End the current call."""
        self.current.hang_up()

    def cancel(self) -> None:
        """Give up the current call while it rings."""
        self.current.cancel()

    def hold(self) -> Call:
        """Put the current call on hold."""
        return self.current.hold()

    def resume(self) -> Call:
        """Take the current call back from hold."""
        return self.current.resume()

    def transfer(self, number: str | int) -> Call:
        """Transfer the current call to ``number``; ``.wait_transferred()`` waits for the outcome."""
        return self.current.transfer(number)

    def play(self, path: str | Path, *, loop: bool = False) -> Call:
        """Speak a WAV file into the current call."""
        return self.current.play(path, loop=loop)

    def record(self, path: str | Path) -> Call:
        """Record what is heard in the current call into a WAV file."""
        return self.current.record(path)

    def stop_recording(self) -> Path:
        """End the recording of the newest call that has one and return its file."""
        recording = [call for call in self._all_calls() if call.recording]
        if not recording:
            raise PhoneError("phone.not_recording", name=self.name)
        return recording[-1].stop_recording()

    def send_digits(self, digits: str, *, method: str = "rfc4733") -> Call:
        """Press keys in the current call."""
        return self.current.send_digits(digits, method=method)

    # --- showing ------------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """ "unplugged", "in a call", "ringing", "registered" or "not registered", in the learner's language."""
        if not self.alive:
            return text("phone.status_unplugged")
        states = {call.state for call in self.calls}
        if "connected" in states:
            return text("phone.status_in_call")
        if states:
            return text("phone.status_ringing")
        return text("phone.status_registered" if self.registered else "phone.status_not_registered")

    def __repr__(self) -> str:
        host, port = self.address
        return f"<Phone {self.name} {self.number} at {host}:{port}, {self.status}>"

    def _repr_html_(self) -> str:
        host, port = self.address
        name, status = html.escape(self.name), html.escape(self.status)
        return f"<b>{name}</b> {html.escape(self.number)} · {host}:{port} · {status} · {html.escape(', '.join(self.codecs))}"


def _domain(server: Address) -> str:
    """A server as a SIP URI names it: its port is said only when it is not the usual one."""
    host, port = server
    return host if port == SIP_PORT else f"{host}:{port}"
