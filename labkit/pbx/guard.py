"""Who is let in: the lab's tabs "Anti-Hacking" and "IP Blacklist".

Three things get a source banned for a while: too many wrong passwords, too many messages in a second, and the name of a known scanner in
User-Agent.  The messages of a banned source are dropped before anyone reads them, so an attack costs next to nothing; or they are answered
with 403, for a lesson in which the attacker should see it.

A source is an address.  Where other hosts live at the PBX's own address (a lab that has only 127.0.0.1), it is an address *and* a port, so
that a ban never hits the wrong one.  Over UDP a source can be forged: that is why a wrong password only counts with a challenge that was
sent to that same address (:mod:`labkit.pbx.auth`), and why there is a list of sources that are never banned.

A firewall does the same before the PBX wakes up; this one can be watched from a notebook.
"""

from __future__ import annotations

import ipaddress
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal

from labkit.errors import PbxError
from labkit.net.udp import Address
from labkit.pbx.screen import Screen
from labkit.sip.message import Request
from labkit.texts import text

SCANNERS = ("friendly-scanner", "sipvicious", "sipcli", "sip-scan", "sundayddr", "iwar", "vaxsipuseragent", "pplsip", "sivus", "smap")
"""Names that attack tools put into User-Agent unless told otherwise, in lower case."""
SOURCES_MAX = 10_000
EVENTS_MAX = 1000
EVENT_HEADINGS = ("guard.column_time", "guard.column_event", "guard.column_source", "guard.column_detail")
BAN_HEADINGS = ("guard.column_source", "guard.column_reason", "guard.column_since", "guard.column_until", "guard.column_dropped")

Reason = Literal["failed_logins", "flood", "scanner", "by_hand"]
Kind = Literal["failed_login", "banned", "released"]


@dataclass(frozen=True)
class GuardConfig:
    """The tab "Anti-Hacking"."""

    enabled: bool = True
    """Whether anyone is ever banned."""
    failed_logins: int = 10
    """Wrong passwords of one source within ``interval_s`` that ban it."""
    interval_s: float = 60.0
    """How long a wrong password is remembered."""
    messages_per_s: int = 5000
    """Messages of one source in a second that ban it.  A phone sends a few; a load test sends five for each call."""
    ban_s: float = 300.0
    """How long a ban lasts."""
    answer: Literal["silence", "403"] = "silence"
    """What the banned hear."""
    allow: tuple[str, ...] = ()
    """Addresses and networks (``127.0.0.0/8``) that are never banned."""
    deny: tuple[str, ...] = ()
    """Addresses and networks that are never heard: the permanent part of the "IP Blacklist"."""
    scanners: tuple[str, ...] = SCANNERS
    """Parts of a User-Agent, in lower case, that ban at once."""

    def __post_init__(self) -> None:
        if self.answer not in ("silence", "403"):
            raise PbxError("guard.bad_setting", setting="answer", value=self.answer, allowed="silence, 403")
        for setting in ("failed_logins", "interval_s", "messages_per_s", "ban_s"):
            if not 0 < getattr(self, setting) < math.inf:
                raise PbxError("guard.bad_setting", setting=setting, value=getattr(self, setting), allowed="> 0")
        if "" in self.scanners:  # it is a part of every name
            raise PbxError("guard.bad_setting", setting="scanners", value="", allowed=", ".join(SCANNERS))
        for setting in ("allow", "deny"):
            for network in getattr(self, setting):
                try:
                    ipaddress.ip_network(network, strict=False)
                except ValueError:
                    raise PbxError("guard.bad_setting", setting=setting, value=network, allowed="127.0.0.5, 10.0.0.0/8") from None


@dataclass
class Ban:
    """One row of the "IP Blacklist"."""

    source: str
    reason: Reason
    since: datetime
    until: datetime
    ends: float
    """The end, in seconds of the PBX's clock."""
    dropped: int = 0
    """Messages that it kept out."""

    @property
    def cells(self) -> tuple[str, ...]:
        return self.source, text(f"guard.{self.reason}"), f"{self.since:%H:%M:%S}", f"{self.until:%H:%M:%S}", str(self.dropped)


@dataclass(frozen=True)
class GuardEvent:
    """Something that the guard saw or did."""

    time: datetime
    kind: Kind
    source: str
    detail: str = ""
    """The user of a failed login, the reason of a ban."""

    @property
    def cells(self) -> tuple[str, ...]:
        detail = text(f"guard.{self.detail}") if self.kind == "banned" else self.detail
        return f"{self.time:%H:%M:%S}", text(f"guard.{self.kind}"), self.source, detail


class Guard:
    """The guard of one PBX at ``own_host``.  ``observe`` hears of each :class:`GuardEvent`."""

    def __init__(
        self,
        config: GuardConfig,
        own_host: str,
        observe: Callable[[GuardEvent], None] = lambda event: None,
        wall_clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.config = config
        self._own_host = own_host
        self._observe = observe
        self._wall_clock = wall_clock
        self._bans: dict[str | Address, Ban] = {}
        self._rates: dict[str | Address, list[float]] = {}  # when the second began, and the messages in it
        self._failures: dict[str | Address, deque[float]] = {}
        self._events: deque[GuardEvent] = deque(maxlen=EVENTS_MAX)
        allow, deny = (tuple(ipaddress.ip_network(n, strict=False) for n in networks) for networks in (config.allow, config.deny))

        @lru_cache(maxsize=SOURCES_MAX)
        def listed(host: str) -> bool | None:
            address = ipaddress.ip_address(host)
            return True if any(address in network for network in allow) else False if any(address in n for n in deny) else None

        @lru_cache(maxsize=1000)
        def scans(agent: str) -> bool:
            return any(name in agent.lower() for name in config.scanners)

        self._listed, self._scans = listed, scans

    @property
    def answers(self) -> bool:
        """Whether the banned are told so."""
        return self.config.answer == "403"

    # -- asked for each message -------------------------------------------------------------------------------------------------------

    def admits(self, source: Address, now: float) -> bool:
        """Whether a message from ``source`` is to be read; counts it."""
        if not self.config.enabled:
            return True
        listed = self._listed(source[0])
        if listed is not None:
            return listed
        key = self._key(source)
        ban = self._bans.get(key)
        if ban is not None:
            if now < ban.ends:
                ban.dropped += 1
                return False
            self._release(key)
        rate = self._rates.get(key)
        if rate is None or now - rate[0] >= 1.0:
            if rate is None and len(self._rates) >= SOURCES_MAX:
                self._rates = {k: r for k, r in self._rates.items() if now - r[0] < 1.0}
                if len(self._rates) >= SOURCES_MAX:
                    self._rates.clear()
            self._rates[key] = [now, 1]
            return True
        rate[1] += 1
        if rate[1] > self.config.messages_per_s:
            self._ban(key, "flood", now)
            return False
        return True

    def inspects(self, request: Request, source: Address, now: float) -> bool:
        """Whether a request that was admitted and read is to be served: false for one of a scanner."""
        if not self.config.enabled or not self._scans((request.headers.get("User-Agent") or "")[:200]) or self._listed(source[0]):
            return True
        self._ban(self._key(source), "scanner", now)
        return False

    # -- told by the PBX --------------------------------------------------------------------------------------------------------------

    def failed_login(self, source: Address, user: str, now: float) -> None:
        """A wrong password, or a user that does not exist."""
        self._tell("failed_login", self._key(source), user)
        if not self.config.enabled or self._listed(source[0]):
            return
        key = self._key(source)
        if len(self._failures) >= SOURCES_MAX and key not in self._failures:
            del self._failures[next(iter(self._failures))]
        failures = self._failures.setdefault(key, deque(maxlen=self.config.failed_logins))
        failures.append(now)
        if len(failures) == self.config.failed_logins and now - failures[0] <= self.config.interval_s:
            del self._failures[key]
            self._ban(key, "failed_logins", now)

    def logged_in(self, source: Address) -> None:
        """A right password: earlier mistakes are forgiven."""
        if self._failures:
            self._failures.pop(self._key(source), None)

    # -- for the administrator --------------------------------------------------------------------------------------------------------

    @property
    def events(self) -> Screen[GuardEvent]:
        """What happened, the oldest first (the last thousand)."""
        return Screen(self._events, EVENT_HEADINGS, "guard.events_title")

    @property
    def blacklist(self) -> Screen[Ban]:
        """The screen "IP Blacklist": who is banned now.  A ban that has run out stays until its source speaks again or this is asked."""
        wall = self._wall_clock()
        for key in [key for key, ban in self._bans.items() if ban.until <= wall]:
            self._release(key)
        return Screen(self._bans.values(), BAN_HEADINGS, "guard.blacklist_title")

    def ban(self, source: Address, now: float, seconds: float | None = None) -> None:
        """Ban a source by hand."""
        self._ban(self._key(source), "by_hand", now, seconds)

    def release(self, source: Address) -> None:
        """Lift a ban; a source that is not banned stays as it is."""
        if self._key(source) in self._bans:
            self._release(self._key(source))

    # -- helpers ----------------------------------------------------------------------------------------------------------------------

    def _key(self, source: Address) -> str | Address:
        return source if source[0] == self._own_host else source[0]

    def _ban(self, key: str | Address, reason: Reason, now: float, seconds: float | None = None) -> None:
        seconds = self.config.ban_s if seconds is None else seconds
        since = self._wall_clock()
        if len(self._bans) >= SOURCES_MAX:
            del self._bans[next(iter(self._bans))]
        self._bans[key] = Ban(_shown(key), reason, since, since + timedelta(seconds=seconds), now + seconds)
        self._rates.pop(key, None)
        self._tell("banned", key, reason)

    def _release(self, key: str | Address) -> None:
        del self._bans[key]
        self._tell("released", key)

    def _tell(self, kind: Kind, key: str | Address, detail: str = "") -> None:
        event = GuardEvent(self._wall_clock(), kind, _shown(key), detail)
        self._events.append(event)
        self._observe(event)


def _shown(key: str | Address) -> str:
    return key if isinstance(key, str) else f"{key[0]}:{key[1]}"
