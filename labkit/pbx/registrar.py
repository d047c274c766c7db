"""Where the phones are: the registrar of RFC 3261 §10.3.

An address of record (extension 100) has bindings, one for each Contact that a phone registered, each with its own end.  Contacts are
kept as they came; who may register is decided by :mod:`labkit.pbx.auth` before a request comes here.  Time is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from labkit.errors import SipError
from labkit.pbx.config import PbxConfig
from labkit.pbx.events import PbxEvent
from labkit.pbx.status import ExtensionStatus, StatusTable
from labkit.sip.headers import NameAddr
from labkit.sip.message import Request, Response
from labkit.sip.uri import SipUri


@dataclass(frozen=True)
class Binding:
    """One Contact of an extension, until ``expires_at`` (seconds of the PBX's clock)."""

    contact: NameAddr
    expires_at: float
    call_id: str
    cseq: int
    source: tuple[str, int]
    """Where the REGISTER came from; it differs from the Contact behind a NAT."""
    user_agent: str = ""

    @property
    def uri(self) -> SipUri:
        return self.contact.sip_uri


class Registrar:
    """The bindings of all extensions.  ``observe`` hears of changes, ``activity(number)`` says "in call", "ringing" or nothing."""

    def __init__(
        self,
        config: PbxConfig,
        clock: Callable[[], float],
        observe: Callable[[PbxEvent], None] = lambda event: None,
        activity: Callable[[str], str] = lambda number: "",
    ) -> None:
        self.config = config
        self._clock = clock
        self._observe = observe
        self._activity = activity
        self._bindings: dict[str, list[Binding]] = {extension.number: [] for extension in config.extensions}

    def bindings(self, number: str) -> list[Binding]:
        """The live bindings of an extension, the most wanted first (q, then the newest); expired ones are dropped here."""
        now = self._clock()
        held = self._bindings.get(number, [])
        live = [binding for binding in held if binding.expires_at > now]
        if len(live) < len(held):
            self._bindings[number] = live
            for binding in held:
                if binding.expires_at <= now:
                    self._observe(PbxEvent("expired", number, binding.contact.uri))
        return sorted(live, key=lambda binding: (-binding.contact.q, -binding.expires_at))

    def register(self, request: Request, number: str, source: tuple[str, int], to_tag: str) -> Response:
        """Carry out a REGISTER that was authenticated for ``number``: change all of it or nothing (§10.3, step 7)."""
        now = self._clock()
        before = self.bindings(number)
        try:
            after = self._changed(request, before, source, now)
        except SipError as error:
            response = request.response(error.status or 400, to_tag=to_tag)
            if error.status == 423:
                response.headers.append("Min-Expires", self.config.expires_min_s)
            return response
        self._bindings[number] = after
        self._tell(number, before, after)
        response = request.response(200, to_tag=to_tag)
        for binding in self.bindings(number):
            left = max(1, round(binding.expires_at - now))
            response.headers.append("Contact", binding.contact.with_param("expires", str(left)))
        return response

    def _changed(self, request: Request, before: list[Binding], source: tuple[str, int], now: float) -> list[Binding]:
        default = _seconds(request.headers.get("Expires"), self.config.expires_default_s)
        contacts = request.contacts
        if any(contact.uri == "*" for contact in contacts):
            # §10.3, step 6: "*" stands alone and only with Expires: 0.
            if len(contacts) != 1 or request.headers.get("Expires") != "0":
                raise SipError("pbx.bad_star")
            for binding in before:
                self._check_order(binding, request)
            return []
        after = list(before)
        for contact in contacts:
            uri = contact.sip_uri  # a binding must be a SIP address that this PBX can send to
            seconds = contact.expires if contact.expires is not None else default
            old = next((binding for binding in after if binding.uri.matches(uri)), None)
            if old is not None:
                self._check_order(old, request)
                after.remove(old)
            if seconds == 0:
                continue
            if seconds < self.config.expires_min_s:
                raise SipError("pbx.interval_too_brief", status=423, minimum=self.config.expires_min_s)
            kept = replace(contact, params=tuple(p for p in contact.params if p[0].lower() != "expires"))
            ends = now + min(seconds, self.config.expires_max_s)
            agent = request.headers.get("User-Agent") or ""
            after.append(Binding(kept, ends, request.call_id, request.cseq.number, source, agent))
        if len(after) > self.config.bindings_max:
            raise SipError("pbx.too_many_bindings", status=403, limit=self.config.bindings_max)
        return after

    @staticmethod
    def _check_order(binding: Binding, request: Request) -> None:
        """An older REGISTER of the same phone that arrives late changes nothing (§10.3, step 7)."""
        if binding.call_id == request.call_id and request.cseq.number <= binding.cseq:
            raise SipError("sip.dialog_cseq", status=500, number=request.cseq.number, last=binding.cseq)

    def _tell(self, number: str, before: list[Binding], after: list[Binding]) -> None:
        old, new = {b.contact.uri for b in before}, {b.contact.uri for b in after}
        for uri in sorted(new - old):
            self._observe(PbxEvent("registered", number, uri))
        for uri in sorted(old - new):
            self._observe(PbxEvent("unregistered", number, uri))

    def status(self) -> StatusTable:
        """The lab's screen "Extension status": one row for each extension, in the order of the configuration."""
        rows = []
        for extension in self.config.extensions:
            contacts = tuple(binding.contact.uri for binding in self.bindings(extension.number))
            state = self._activity(extension.number) or ("registered" if contacts else "not_registered")
            rows.append(ExtensionStatus(state, extension.number, "available", extension.name, contacts))
        return StatusTable(rows)


def _seconds(text: str | None, default: int) -> int:
    """An Expires header; one that is no number counts as absent (§20.19)."""
    return min(int(text), 2**32 - 1) if text and text.isascii() and text.isdecimal() and len(text) < 20 else default
