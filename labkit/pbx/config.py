"""What a PBX is told before it starts.  Names as on the lab's screens (form "Add a user extension").

Nothing here is ever written into a capture or shown with its secrets: passwords and PINs are left out of ``repr``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from labkit.errors import PbxError, SipError
from labkit.net.udp import Address
from labkit.pbx.features import FeatureCodes
from labkit.pbx.groups import Gateway, OutboundRule, RingGroup
from labkit.pbx.guard import GuardConfig
from labkit.pbx.rules import NO_SERVICE, ExtensionRules, check_rules, check_target
from labkit.sip.digest import ALGORITHMS
from labkit.sip.transaction import Timers
from labkit.sip.uri import SipUri

TRANSPORTS = ("udp", "tcp")
ABOVE_ZERO = ("ring_timeout_s", "serial_ring_s", "park_timeout_s", "session_min_s", "session_expires_s", "nonce_lifetime_s", "bindings_max")
NOT_BELOW_ZERO = ("transfer_bye_wait_s", "forwards_max")


def check_text(setting: str, value: str, *, needed: bool = False) -> None:
    """Raise :class:`PbxError` for what cannot stand in a SIP header: a line break would begin another one."""
    if not value.isprintable() or (needed and not value.strip()):
        raise PbxError("pbx.bad_text", setting=setting, value=value)


@dataclass(frozen=True)
class Extension:
    """One user of the PBX."""

    number: str
    """What others dial, and the user part of the SIP address."""
    first_name: str
    last_name: str = ""
    email: str = ""
    auth_id: str = ""
    """The user name of the digest; the number when empty."""
    auth_password: str = field(default="", repr=False)
    voicemail_pin: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.number or not all(c.isascii() and (c.isalnum() or c in "*#+-_.") for c in self.number):
            raise PbxError("pbx.bad_number", number=self.number)
        for setting in ("first_name", "last_name", "auth_id"):
            check_text(setting, getattr(self, setting))

    @property
    def user_id(self) -> str:
        """The authentication ID in force."""
        return self.auth_id or self.number

    @property
    def name(self) -> str:
        """First and last name, as a phone displays it."""
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True)
class PbxConfig:
    """The configuration of one PBX; durations in seconds."""

    bind: Address
    """Where the socket is really bound."""
    advertised: Address
    """What Via and Contact show: the address that phones send to."""
    extensions: tuple[Extension, ...] = ()
    transports: tuple[str, ...] = ("udp", "tcp")
    """What the PBX listens on; both use the same port."""
    realm: str = "labkit"
    """The domain of the passwords, shown in each challenge."""
    profile: Literal["3cx", "rfc"] = "3cx"
    """``3cx`` is as in the traces: 407 to everything, no qop, 489 "Event Package Not Supported"; ``rfc``: 401, qop=auth, "Bad Event"."""
    challenge_calls: bool = True
    """Whether an INVITE must carry credentials; the sheet's trace shows a PBX that does not ask."""
    rules: tuple[ExtensionRules, ...] = ()
    """Forwarding rules, one entry for each extension that has some."""
    groups: tuple[RingGroup, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    outbound: tuple[OutboundRule, ...] = ()
    """Which numbers leave by which gateway; the first that fits."""
    services: Mapping[str, str] = field(default_factory=dict)
    """Where the services of this PBX answer: SIP addresses of ``voicemail`` and ``receptionist``."""
    features: FeatureCodes = field(default_factory=FeatureCodes)
    forwards_max: int = 5
    """How often one call may be sent on before the PBX gives up, whoever asks for it (rules, 302)."""
    transfer_bye_wait_s: float = 8.0
    """How long a phone that has transferred its call may take for its BYE before it gets one."""
    park_timeout_s: float = 60.0
    """How long a parked call waits before it rings at the phone that parked it."""
    session_expires_s: int = 1800
    """The session interval (RFC 4028): a call whose phones are gone ends after this time."""
    session_min_s: int = 90
    """Shorter session intervals get 422 (RFC 4028 §5 forbids less than 90 outside of tests)."""
    ring_timeout_s: float = 60.0
    """How long a call may ring before the caller gets 408; counted from the INVITE to the phone."""
    serial_ring_s: float = 10.0
    """How long the phones with the highest q ring before those with the next lower one do (RFC 3261 §16.6); less when time is short."""
    expires_default_s: int = 120
    """The registration time when a phone asks for none (the lab's phones ask for 120)."""
    expires_min_s: int = 10
    """Shorter registrations get 423."""
    expires_max_s: int = 3600
    """Longer registrations are shortened."""
    bindings_max: int = 8
    """Contacts that one extension may have at a time."""
    guard: GuardConfig = field(default_factory=GuardConfig)
    """Who is banned, and when: the tab "Anti-Hacking"."""
    nonce_lifetime_s: float = 300.0
    """After this an old challenge is refused with stale=true."""
    algorithms: tuple[str, ...] = ("MD5",)
    """Digest algorithms in the order offered (RFC 8760)."""
    timers: Timers = field(default_factory=Timers)
    """T1, T2 and T4 of RFC 3261."""
    product: str = "labkit"
    """User-Agent and Server."""
    media: Literal["direct", "relayed"] = "direct"
    """Whether voices go from phone to phone, or through the PBX ("PBX delivers audio")."""
    rtp_ports: tuple[int, int] = (40000, 40049)
    """The first and the last port of the PBX for relayed voices."""
    database: str = ":memory:"
    """An SQLite file for the configuration and the call records, or ``:memory:``."""

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for extension in self.extensions:
            for key in {extension.number, extension.user_id}:
                if seen.setdefault(key, extension.number) != extension.number:
                    raise PbxError("pbx.duplicate_extension", number=key)
        if len({e.number for e in self.extensions}) < len(self.extensions):
            twice = [e.number for e in self.extensions]
            raise PbxError("pbx.duplicate_extension", number=next(n for n in twice if twice.count(n) > 1))
        if not self.transports or not set(self.transports) <= set(TRANSPORTS):
            raise PbxError("pbx.bad_setting", setting="transports", value=self.transports, allowed=", ".join(TRANSPORTS))
        if self.profile not in ("3cx", "rfc"):
            raise PbxError("pbx.bad_setting", setting="profile", value=self.profile, allowed="3cx, rfc")
        if self.media not in ("direct", "relayed"):
            raise PbxError("pbx.bad_setting", setting="media", value=self.media, allowed="direct, relayed")
        if not 1024 <= self.rtp_ports[0] < self.rtp_ports[1] <= 65535:
            raise PbxError("pbx.bad_setting", setting="rtp_ports", value=self.rtp_ports, allowed="1024 to 65535, rising")
        if not self.algorithms or not set(self.algorithms) <= set(ALGORITHMS):
            raise PbxError("pbx.bad_setting", setting="algorithms", value=self.algorithms, allowed=", ".join(ALGORITHMS))
        if not 0 < self.expires_min_s <= self.expires_default_s <= self.expires_max_s:
            raise PbxError("pbx.bad_expires", minimum=self.expires_min_s, default=self.expires_default_s, maximum=self.expires_max_s)

        self._check_amounts()
        for setting in ("realm", "product"):
            check_text(setting, getattr(self, setting), needed=True)
        self._check_services()
        self._check_numbers()
        self._check_gateways()

    def _check_amounts(self) -> None:
        """Seconds and counts: finite, and above zero where nothing would work otherwise."""
        amounts = [(setting, getattr(self, setting), True) for setting in ABOVE_ZERO]
        amounts += [(setting, getattr(self, setting), False) for setting in NOT_BELOW_ZERO]
        amounts += [(f"timers.{setting}", getattr(self.timers, setting), True) for setting in ("t1", "t2", "t4")]
        for setting, value, above in amounts:
            if not math.isfinite(value) or value < 0 or (above and value == 0):
                raise PbxError("pbx.bad_setting", setting=setting, value=value, allowed="> 0" if above else ">= 0")
        if self.session_expires_s < self.session_min_s:
            raise PbxError("pbx.bad_setting", setting="session_expires_s", value=self.session_expires_s, allowed=f">= {self.session_min_s}")

    def _check_services(self) -> None:
        for name, address in self.services.items():
            if name not in NO_SERVICE:
                raise PbxError("pbx.bad_setting", setting=f"services.{name}", value=name, allowed=", ".join(NO_SERVICE))
            try:
                SipUri.parse(address)
            except SipError as error:
                raise PbxError("pbx.bad_setting", setting=f"services.{name}", value=address, allowed="sip:999@127.0.0.1:5062") from error

    def _check_gateways(self) -> None:
        for place, gateway in enumerate(self.gateways):
            if gateway.address in (self.bind, self.advertised):
                raise PbxError("rules.gateway_is_pbx", gateway=gateway.name)
            if any(gateway.name == other.name or gateway.address == other.address for other in self.gateways[:place]):
                raise PbxError("rules.gateway_twice", gateway=gateway.name)
        names = [gateway.name for gateway in self.gateways]
        for rule in self.outbound:
            if rule.gateway not in names:
                raise PbxError("rules.unknown_gateway", gateway=rule.gateway, known=", ".join(names) or "-")

    def _check_numbers(self) -> None:
        """Groups, gateways and rules name only what exists."""
        numbers = [e.number for e in self.extensions]
        for group in self.groups:
            if group.number in numbers:
                raise PbxError("pbx.duplicate_extension", number=group.number)
            if unknown := [member for member in group.members if member not in {e.number for e in self.extensions}]:
                raise PbxError("rules.unknown_number", extension=group.number, number=unknown[0])
            numbers.append(group.number)
        for number in numbers:
            if self.features.read(number) is not None:
                raise PbxError("pbx.number_is_code", number=number)
        for group in self.groups:
            if group.otherwise is not None:
                check_target(group.number, group.otherwise, numbers, self.services)
        groups = {group.number: group.otherwise for group in self.groups if group.otherwise is not None}
        check_rules(self.rules, numbers, self.services, groups)
        targets = [*groups.items(), *((rules.extension, target) for rules in self.rules for target in rules.targets)]
        for extension, target in targets:
            way_out = target.number in numbers or any(rule.fits(target.number) for rule in self.outbound)
            if target.target == "external" and not way_out:
                raise PbxError("rules.no_way_out", extension=extension, number=target.number)

    def extension(self, number: str) -> Extension | None:
        """The extension that is dialled by ``number``."""
        return next((e for e in self.extensions if e.number == number), None)

    def by_user_id(self, user_id: str) -> Extension | None:
        """The extension that authenticates as ``user_id``."""
        return next((e for e in self.extensions if e.user_id == user_id), None)
