"""Where the phones are: the registrar of RFC 3261 §10.3.

An address of record (extension 100) has bindings, one for each Contact that a phone registered, each with its own end.  Contacts are kept
as they came; who may register is decided by :mod:`labkit.pbx.auth` before a request comes here.  The clock and the timer are passed in.

**Contact or source?**  A phone says in Contact where it wants its calls, and the REGISTER itself shows where it came from.  Mostly both are
the same.  Behind a NAT they are not: the phone only knows its private address, and nobody outside can reach that.  Both are kept, and
:attr:`Binding.way` is the choice between them:

* over TCP: the connection on which the phone spoke, as long as it lives
* the Contact, when it is on the host from which the REGISTER came; so a phone may take its calls at another port than it registers from
* the Contact, when the REGISTER came through a proxy (more than one Via), since its source is the proxy's address
* the source, when the Contact names another host, a name that would have to be looked up, or 0.0.0.0 as the lab's old phones do

**Two phones or one?**  A REGISTER with a new Contact adds a phone, unless it is known to be the same phone at a new place: the same
``+sip.instance`` and ``reg-id`` (RFC 5626 §6), or the same Call-ID, user and host with another port, as after a restart of its socket.
The old binding then goes.  A phone that simply vanishes leaves a *stale* binding behind until it expires; the PBX keeps ringing there,
and nobody answers.  :meth:`Registrar.add_stale` makes one on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Protocol

from labkit.errors import SipError
from labkit.net.udp import Address
from labkit.pbx.config import PbxConfig
from labkit.pbx.events import PbxEvent
from labkit.pbx.status import ExtensionStatus, StatusTable
from labkit.pbx.transport import is_literal
from labkit.pbx.ways import ContactKey, contact_key
from labkit.sip.headers import NameAddr
from labkit.sip.hop import reliable, transport_of
from labkit.sip.message import Request, Response
from labkit.sip.number import decimal
from labkit.sip.uri import SipUri

CONTACT_LONGEST = 1000
"""Characters of a Contact's URI; those of phones have a tenth of it."""


class Handle(Protocol):
    """A timer that was set."""

    def cancel(self) -> None: ...


@dataclass(frozen=True)
class Binding:
    """One Contact of an extension, until ``expires_at`` (seconds of the PBX's clock)."""

    contact: NameAddr
    expires_at: float
    call_id: str
    cseq: int
    source: Address
    """Where the REGISTER came from; it differs from the Contact behind a NAT."""
    user_agent: str = ""
    proxied: bool = False
    """Whether the REGISTER came through a proxy."""

    @cached_property
    def uri(self) -> SipUri:
        return self.contact.sip_uri

    @property
    def way(self) -> Address:
        """Where requests for this Contact are sent; the beginning of this file says why."""
        contact = self.uri.address
        if self.proxied or (contact[0] == self.source[0] and not reliable(self.source)):
            return contact
        if reliable(self.source) and contact[0] == self.source[0] and contact.transport != transport_of(self.source):
            return contact  # it registered over TCP, perhaps for the length of it, and wants its calls over UDP
        return self.source

    @property
    def behind_nat(self) -> bool:
        """Whether the phone was heard from another host than its Contact names."""
        return not self.proxied and self.uri.address[0] != self.source[0]

    def same_phone(self, contact: NameAddr, uri: SipUri, call_id: str) -> bool:
        """Whether a REGISTER with this Contact, whose URI is ``uri``, comes from the phone of this binding, at a new place."""
        instance, other = self.contact.param("+sip.instance"), contact.param("+sip.instance")
        if instance and other:
            return instance == other and self.contact.param("reg-id") == contact.param("reg-id")
        return self.call_id == call_id and (self.uri.user, self.uri.host.lower()) == (uri.user, uri.host.lower())


class Registrar:
    """The bindings of all extensions.

    ``observe`` hears of changes, ``activity(number)`` says "in_call", "ringing" or nothing, ``user_status(number)`` what the user has set.
    With ``later(seconds, call)`` a binding ends at its time; without it, when somebody next looks.
    """

    def __init__(
        self,
        config: PbxConfig,
        clock: Callable[[], float],
        observe: Callable[[PbxEvent], None] = lambda event: None,
        activity: Callable[[str], str] = lambda number: "",
        later: Callable[[float, Callable[[], None]], Handle] | None = None,
        user_status: Callable[[str], str] = lambda number: "available",
    ) -> None:
        self.config = config
        self._clock = clock
        self._observe = observe
        self._activity = activity
        self._later = later
        self._user_status = user_status
        self._bindings: dict[str, list[Binding]] = {extension.number: [] for extension in config.extensions}
        self._ways: dict[ContactKey, Binding] = {}
        self._alarm: tuple[float, Handle] | None = None

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm[1].cancel()
            self._alarm = None

    # -- asking ---------------------------------------------------------------------------------------------------------------------

    def bindings(self, number: str) -> list[Binding]:
        """The live bindings of an extension, the most wanted first (q, then the newest); expired ones are dropped here."""
        now = self._clock()
        held = self._bindings.get(number, [])
        live = [binding for binding in held if binding.expires_at > now]
        if len(live) < len(held):
            self._set(number, live)
            for binding in held:
                if binding.expires_at <= now:
                    self._observe(PbxEvent("expired", number, binding.contact.uri))
        return sorted(live, key=lambda binding: (-binding.contact.q, -binding.expires_at))

    def by_preference(self, number: str) -> list[list[Binding]]:
        """The live bindings in groups of equal q, the most wanted first: each group rings at once, the next after it (RFC 3261 §16.6)."""
        return [list(group) for _, group in groupby(self.bindings(number), key=lambda binding: binding.contact.q)]

    def locate(self, contact: SipUri) -> Address | None:
        """The way to a registered Contact; ``None`` for one that is not registered."""
        binding = self._ways.get(contact_key(contact))
        return binding.way if binding is not None and binding.expires_at > self._clock() else None

    def status(self) -> StatusTable:
        """The lab's screen "Extension status": one row for each extension, in the order of the configuration."""
        rows = []
        for extension in self.config.extensions:
            contacts = tuple(binding.contact.uri for binding in self.bindings(extension.number))
            state = self._activity(extension.number) or ("registered" if contacts else "not_registered")
            rows.append(ExtensionStatus(state, extension.number, self._user_status(extension.number), extension.name, contacts))
        return StatusTable(rows)

    # -- changing -------------------------------------------------------------------------------------------------------------------

    def register(self, request: Request, number: str, source: Address, to_tag: str) -> Response:
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
        self._set(number, after)
        self._tell(number, before, after)
        response = request.response(200, to_tag=to_tag)
        for binding in self.bindings(number):
            left = max(1, round(binding.expires_at - now))
            response.headers.append("Contact", binding.contact.with_param("expires", str(left)))
        return response

    def add_stale(self, number: str, contact: str, *, expires_s: float | None = None) -> Binding:
        """Leave the binding of a phone that has gone: ``contact`` (``"sip:102@127.0.0.9:43974"``) is rung with the others of ``number``.

        It lasts ``expires_s`` seconds, by default as long as a registration may.  A dark port of the wire behind it records what is sent
        there.  Raises :class:`SipError` for a contact that is no SIP address, ``KeyError`` for a number that does not exist.
        """
        before = self._bindings[number]
        ends = self._clock() + (self.config.expires_max_s if expires_s is None else expires_s)
        uri = SipUri.parse(contact)
        binding = Binding(NameAddr(contact), ends, "", 0, uri.address)
        after = [*(other for other in before if not other.uri.matches(uri)), binding]
        self._set(number, after)
        self._tell(number, before, after)
        return binding

    def remove(self, number: str, contact: str | None = None) -> None:
        """Forget one contact of ``number``, or all of them, as if the phone had unregistered."""
        before = self.bindings(number)
        after = [binding for binding in before if contact is not None and binding.contact.uri != contact]
        self._set(number, after)
        self._tell(number, before, after)

    def _changed(self, request: Request, before: list[Binding], source: Address, now: float) -> list[Binding]:
        default = _seconds(request.headers.get("Expires"), self.config.expires_default_s)
        contacts = request.contacts
        if any(contact.uri == "*" for contact in contacts):
            # §10.3, step 6: "*" stands alone and only with Expires: 0.
            if len(contacts) != 1 or decimal(request.headers.get("Expires")) != 0:
                raise SipError("pbx.bad_star")
            for binding in before:
                self._check_order(binding, request)
            return []
        # Before the loops below: they compare each Contact with each binding, and whoever has a password must not stop the PBX with it.
        if len(contacts) > self.config.bindings_max:
            raise SipError("pbx.too_many_bindings", status=403, limit=self.config.bindings_max)
        if any(len(contact.uri) > CONTACT_LONGEST for contact in contacts):
            raise SipError("registrar.contact_long", status=403, limit=CONTACT_LONGEST)
        uris = [contact.sip_uri for contact in contacts]  # a binding must be a SIP address that this PBX can send to
        named = [binding for binding in before if any(binding.uri.matches(uri) for uri in uris)]
        after = list(before)
        made: list[Binding] = []
        proxied = len(request.headers.get_list("Via")) > 1
        agent = request.headers.get("User-Agent") or ""
        for contact, uri in zip(contacts, uris, strict=True):
            seconds = contact.expires if contact.expires is not None else default
            old = next((binding for binding in after if binding.uri.matches(uri)), None)
            if old is not None:
                if not _among(old, made):  # the same Contact twice: what stands later counts
                    self._check_order(old, request)
                after.remove(old)
            if seconds == 0:
                continue
            if seconds < self.config.expires_min_s:
                raise SipError("pbx.interval_too_brief", status=423, minimum=self.config.expires_min_s)
            kept = replace(contact, params=tuple(p for p in contact.params if p[0].lower() != "expires"))
            ends = now + min(seconds, self.config.expires_max_s)
            new = Binding(kept, ends, request.call_id, request.cseq.number, source, agent, proxied)
            if not is_literal(*new.way):
                raise SipError("registrar.contact_host", host=uri.host)
            after = [b for b in after if _among(b, named) or _among(b, made) or not b.same_phone(kept, uri, request.call_id)]
            after.append(new)
            made.append(new)
        if len(after) > self.config.bindings_max:
            raise SipError("pbx.too_many_bindings", status=403, limit=self.config.bindings_max)
        return after

    @staticmethod
    def _check_order(binding: Binding, request: Request) -> None:
        """An older REGISTER of the same phone that arrives late changes nothing (§10.3, step 7)."""
        if binding.call_id == request.call_id and request.cseq.number <= binding.cseq:
            raise SipError("sip.dialog_cseq", status=500, number=request.cseq.number, last=binding.cseq)

    def _set(self, number: str, after: list[Binding]) -> None:
        for binding in self._bindings.get(number, []):
            if self._ways.get(contact_key(binding.uri)) is binding:
                del self._ways[contact_key(binding.uri)]
        self._bindings[number] = after
        for binding in after:
            self._ways[contact_key(binding.uri)] = binding
        self._set_alarm(min((binding.expires_at for binding in after), default=None))

    def _set_alarm(self, due: float | None) -> None:
        """Look for expired bindings at ``due``, or earlier if that was asked for."""
        if self._later is None or due is None or (self._alarm is not None and self._alarm[0] <= due):
            return
        self.close()
        self._alarm = due, self._later(max(0.0, due - self._clock()), self._expire)

    def _expire(self) -> None:
        self._alarm = None
        for number in list(self._bindings):
            self.bindings(number)
        self._set_alarm(min((b.expires_at for held in self._bindings.values() for b in held), default=None))

    def _tell(self, number: str, before: list[Binding], after: list[Binding]) -> None:
        old, new = {b.contact.uri for b in before}, {b.contact.uri for b in after}
        for uri in sorted(new - old):
            self._observe(PbxEvent("registered", number, uri))
        for uri in sorted(old - new):
            self._observe(PbxEvent("unregistered", number, uri))


def _among(binding: Binding, bindings: list[Binding]) -> bool:
    """By identity, which costs nothing."""
    return any(binding is other for other in bindings)


def _seconds(text: str | None, default: int) -> int:
    """An Expires header; one that is no number counts as absent (§20.19)."""
    seconds = decimal(text)
    return min(seconds, 2**32 - 1) if seconds is not None else default
