"""A call as a notebook holds it: wait for what it becomes, play into it, record it, put it on hold, end it."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from labkit.errors import PhoneError
from labkit.phones.arguments import keys, recording_path, status_code
from labkit.phones.process import ORDER, Leg
from labkit.phones.sound import playable
from labkit.sip.status import explain, reason
from labkit.texts import text

if TYPE_CHECKING:
    from labkit.phones.phone import Phone

WAIT_S = 10.0
TRANSFER_WAIT_S = 40.0
BYE_WAIT_S = 40.0
"""An unanswered BYE is given up after 32 s (RFC 3261, timer F)."""


class Call:
    """One call of one phone.  ``state`` is "calling", "ringing", "connecting", "connected" or "ended"."""

    def __init__(self, phone: Phone, leg: Leg) -> None:
        self.phone = phone
        self._leg = leg
        self._plays = 0
        """How many files will have been played when the last one has."""
        self._recording: Path | None = None
        self._transfer: tuple[str, int] | None = None
        """Where this call is being transferred, and how many transfers had been decided before."""

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        return self._leg.state

    @property
    def code(self) -> int:
        """The last SIP status code of the call, 0 when there was none."""
        return self._leg.code

    @property
    def reason(self) -> str:
        return self._leg.reason

    @property
    def incoming(self) -> bool:
        return self._leg.incoming

    @property
    def peer(self) -> str:
        """The other side's SIP address, as the messages give it."""
        return self._leg.peer

    @property
    def call_id(self) -> str:
        """The Call-ID of this phone's dialog; across the PBX the other phone has another."""
        return self._leg.call_id

    @property
    def held_by(self) -> str:
        """ "local" when this phone holds the call, "remote" when the other side does, else empty."""
        return self._leg.hold

    @property
    def digits(self) -> str:
        """The DTMF digits that came in so far."""
        return self._leg.digits

    @property
    def recording(self) -> bool:
        return self._recording is not None

    # --- waiting ------------------------------------------------------------------------------------------------------

    def wait(self, state: str = "connected", timeout: float = WAIT_S) -> Call:
        """Wait until the call is ``state`` or further, ``timeout`` seconds at most.

        Raises :class:`PhoneError`, with the SIP code and what it means, when the call ends first or nothing happens in time.
        """
        if state not in ORDER:
            raise PhoneError("phone.no_such_state", state=state, states=", ".join(ORDER))
        reached = self.phone.await_event(lambda: self._leg.reached(state), timeout)
        if not reached:
            raise PhoneError("phone.not_in_time", name=self.phone.name, state=state, now=self.state, seconds=timeout)
        if state != "ended" and self.state == "ended":
            self._refuse_ended()
        return self

    def wait_seconds(self, seconds: float) -> Call:
        """Let ``seconds`` pass while the call goes on; raises :class:`PhoneError` when it ends before."""
        if self.phone.await_event(lambda: self.state == "ended", seconds):
            self._refuse_ended()
        return self

    def wait_digits(self, count: int, timeout: float = WAIT_S) -> str:
        """Wait until ``count`` digits have come in and return all that came."""
        if not self.phone.await_event(lambda: len(self._leg.digits) >= count or self.state == "ended", timeout) or len(self.digits) < count:
            raise PhoneError("phone.digits_missing", name=self.phone.name, count=count, digits=self.digits, seconds=timeout)
        return self.digits

    def wait_played(self, timeout: float = 60.0) -> Call:
        """Wait until the file that was last played has been played to its end."""
        done = self.phone.await_event(lambda: self._leg.played >= self._plays or self.state == "ended", timeout)
        if not done or self._leg.played < self._plays:
            raise PhoneError("phone.not_in_time", name=self.phone.name, state="played", now=self.state, seconds=timeout)
        return self

    def _refuse_ended(self) -> NoReturn:
        if self._leg.answered:
            raise PhoneError("phone.call_over", name=self.phone.name)
        raise PhoneError(
            "phone.call_refused",
            code=self.code,
            name=self.phone.name,
            peer=self.peer,
            reason=self.reason or reason(self.code),
            meaning=explain(self.code),
        )

    # --- acting -------------------------------------------------------------------------------------------------------

    def answer(self) -> Call:
        """Pick up."""
        self._must_ring()
        self._ask("answer")
        return self.wait("connected")

    def reject(self, code: int = 486) -> None:
        """Refuse with a SIP status: 486 Busy Here, 603 Decline, 480 Temporarily Unavailable."""
        code = status_code(code)
        self._must_ring()
        self._ask("hang_up", code=code)
        self.wait("ended")

    def _must_ring(self) -> None:
        if self.state != "ended" and (not self.incoming or self.state != "ringing"):
            raise PhoneError("phone.not_ringing", name=self.phone.name, now=self.state)

    def hang_up(self) -> None:
        """End the call: BYE when it was answered, CANCEL while it rings.  A call that has ended already stays so."""
        try:
            self._ask("hang_up")
        except PhoneError as error:
            if error.message_id not in ("phone.call_over", "phone.call_refused"):  # the other side was quicker, which is as well
                raise
        self.wait("ended", timeout=BYE_WAIT_S)

    cancel = hang_up

    def hold(self) -> Call:
        """Put the call on hold: a re-INVITE with ``a=sendonly``."""
        self._ask("hold")
        self._await_hold(True)
        return self

    def resume(self) -> Call:
        """Take the call back from hold: a re-INVITE with ``a=sendrecv``.  The other side may still hold it (:attr:`held_by`)."""
        if self.held_by == "local" or self.state == "ended":
            self._ask("resume")
            self._await_hold(False)
        return self

    def _await_hold(self, wanted: bool) -> None:
        if not self.phone.await_event(lambda: (self.held_by == "local") == wanted or self.state == "ended", WAIT_S):
            state = "on hold" if wanted else "resumed"
            raise PhoneError("phone.not_in_time", name=self.phone.name, state=state, now=self.held_by or self.state, seconds=WAIT_S)

    def transfer(self, number: str | int) -> Call:
        """Transfer the other side to ``number`` (blind): hold, then REFER.  Returns at once; see :meth:`wait_transferred`.

        When the new phone is answered, this one says BYE.  When the transfer fails, this call is still there, on hold.
        """
        uri = self.phone.uri_of(number)
        if self.held_by != "local":
            self.hold()
        return self._refer("transfer", str(number), uri=uri)

    def transfer_attended(self, other: Call) -> Call:
        """Connect the other side of this call with that of ``other``, a second call of this phone (REFER with Replaces).

        Returns at once; :meth:`wait_transferred` waits for the outcome.  Then both calls have ended here.
        """
        if other is self or other.phone is not self.phone or {self.state, other.state} != {"connected"}:
            raise PhoneError("phone.transfer_needs_two", name=self.phone.name)
        return self._refer("transfer_attended", other.peer, other=other._leg.number)

    def _refer(self, op: str, target: str, **arguments: object) -> Call:
        self._transfer = target, self._leg.transfers
        self._ask(op, **arguments)
        return self

    def wait_transferred(self, timeout: float = TRANSFER_WAIT_S) -> None:
        """Wait for the outcome of the transfer; raises :class:`PhoneError` with the SIP code when it failed or is not decided in time."""
        if self._transfer is None:
            raise PhoneError("phone.no_transfer", name=self.phone.name)
        target, before = self._transfer
        self.phone.await_event(lambda: self._leg.transfers > before or self.state == "ended", timeout)
        code, phrase = self._leg.transfer_code, self._leg.transfer_reason
        if self._leg.transfers == before:
            now = f"{code} {phrase}" if code else "-"
            raise PhoneError("phone.transfer_open", name=self.phone.name, target=target, seconds=timeout, now=now)
        if code // 100 != 2:
            raise PhoneError(
                "phone.transfer_failed",
                code=code,
                name=self.phone.name,
                target=target,
                reason=phrase or reason(code),
                meaning=explain(code),
            )
        self.wait("ended")

    def play(self, path: str | Path, *, loop: bool = False) -> Call:
        """Speak a WAV file into the call, once or in a ``loop``; returns at once (see :meth:`wait_played`)."""
        self._ask("play", path=str(playable(path, self.phone.folder)), loop=loop)
        self._plays = self._leg.played + 1
        return self

    def stop_playing(self) -> None:
        self._ask("stop_playing")

    def record(self, path: str | Path) -> Call:
        """Record what this phone hears into a WAV file, until :meth:`stop_recording` or the end of the call."""
        target = recording_path(path)
        self._ask("record", path=str(target))
        self._recording = target
        return self

    def stop_recording(self) -> Path:
        """End the recording and return its file, complete with its header."""
        if self._recording is None:
            raise PhoneError("phone.not_recording", name=self.phone.name)
        path, self._recording = self._recording, None
        self.phone.ask("stop_recording", call=self._leg.number, path=str(path))
        return path

    def send_digits(self, digits: str, *, method: str = "rfc4733") -> Call:
        """Press keys: as telephone-events in RTP (``rfc4733``) or in SIP INFO (``info``)."""
        pressed = keys(digits)
        if method not in ("rfc4733", "info"):
            raise PhoneError("phone.bad_digit_method", method=method)
        self._ask("digits", digits=pressed, method=method)
        return self

    def statistics(self) -> dict[str, object]:
        """The phone's own counters of the voice: codec, packets sent, received and lost, jitter in ms."""
        answer: dict[str, object] = self._ask("statistics")  # type: ignore[assignment]
        return answer

    def _ask(self, op: str, **arguments: object) -> object:
        if self.state == "ended":
            self._refuse_ended()
        try:
            return self.phone.ask(op, call=self._leg.number, **arguments)
        except PhoneError as error:
            if error.message_id == "phone.not_now":
                raise PhoneError("phone.not_now", name=self.phone.name, op=op, now=self.state) from error
            raise

    # --- showing ------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        way = "from" if self.incoming else "to"
        code = f", {self.code} {self.reason}" if self.code else ""
        return f"<Call of {self.phone.name} {way} {self.peer}: {self.state}{code}>"

    def _repr_html_(self) -> str:
        label = text("phone.call_label", name=self.phone.name)
        return f'<span role="status" aria-label="{html.escape(label)}">{html.escape(repr(self)[1:-1])}</span>'
