"""The lab: a wire, a PBX and its phones, brought up together and taken down together.

What happens when ``Lab()`` is called:

1.  a lab that this kernel still has open is closed: a re-run cell must not find its ports taken;
2.  the wire process starts, locks free loopback addresses, and records from now on;
3.  every host gets its addresses; the ports of the faces are opened before anyone says that they exist;
4.  the PBX binds its port on the labkit thread, and each phone comes up in a process of its own.

When any of it fails or is interrupted, all of it is taken down again.
"""

from __future__ import annotations

import asyncio
import atexit
import html
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from labkit import lab_evidence, texts
from labkit.capture.table import html_table
from labkit.errors import LabError, LabkitError
from labkit.lab_capture import LiveCapture
from labkit.lab_extensions import EXTENSIONS, extensions_of
from labkit.lab_wire import LabWire
from labkit.net.background import Background, together, uninterrupted
from labkit.net.direct import Direct
from labkit.net.media_relay import MediaRelay
from labkit.net.plan import SIP_PORT, Address, Host
from labkit.net.wire import Wire
from labkit.pbx.config import Extension, PbxConfig
from labkit.pbx.groups import Gateway, OutboundRule
from labkit.pbx.server import Pbx
from labkit.pbx.store import MEMORY, Store
from labkit.phones.phone import Phone
from labkit.phones.process import PhoneConfig, PhoneProcess
from labkit.texts import text

if TYPE_CHECKING:
    from types import TracebackType

    from labkit.capture.capture import Capture

PSTN_PHONE = Extension("0123456789", "PSTN")
"""Who answers outside, when the lab has a gateway to the public telephone network."""
KEPT = ("extensions", "rules", "groups")
"""What a database hands from one lab to the next."""
SWITCH_INTERVAL_S = 0.001
"""How long a busy cell may keep the interpreter from the PBX."""
STOP_TIMEOUT_S = 5.0
PBX = "PBX"


class Lab:
    """A telephone lab on this machine's loopback.

    ``profile``          "3cx" behaves as the lab's 3CX (407 to a REGISTER), "rfc" by the book (401)
    ``challenge_calls``  False reproduces the sheet's trace, where an INVITE is not challenged
    ``extensions``       the users of the PBX, each with a phone; passwords that are not given are random digits
    ``student``          chooses the addresses, so that they stay the same from day to day
    ``addresses``        "pair" or "single" (see :mod:`labkit.net.plan`); None lets the machine decide
    ``folder``           where the running capture is kept; None takes a temporary folder
    ``media``            "direct": voices go from phone to phone; "relayed": through the PBX ("PBX delivers audio")
    ``database``         an SQLite file that keeps extensions, rules and call records from lab to lab; None keeps them in memory
    ``pstn``             True: a phone "PSTN" stands for the public telephone network behind a gateway; numbers that begin with 0 lead to it
    ``wire``             False: hosts bind what they show, for programs that cannot stand behind a mirror; only the PBX is recorded
    """

    _open: ClassVar[Lab | None] = None
    _last: ClassVar[LiveCapture | None] = None

    def __init__(
        self,
        *,
        profile: str = "3cx",
        challenge_calls: bool = True,
        extensions: Iterable[Extension | dict[str, Any]] = EXTENSIONS,
        student: str = "",
        addresses: str | None = None,
        folder: str | Path | None = None,
        language: str | None = None,
        media: str = "direct",
        database: str | Path | None = None,
        wire: bool = True,
        pstn: bool = False,
    ) -> None:
        if language is not None:
            texts.language(language)
        if Lab._open is not None:
            Lab._open.close()
        self._database = MEMORY if database is None else str(Path(database).expanduser().resolve())
        kept = Store.kept(self._database, PbxConfig)
        self._kept = {name: kept[name] for name in KEPT if name in kept}
        if extensions is EXTENSIONS:
            extensions = self._kept.pop("extensions", EXTENSIONS)
        self.extensions = extensions_of(extensions)
        self.folder = Path(folder).expanduser().resolve() if folder else Path(tempfile.mkdtemp(prefix="labkit-"))
        self._temporary = folder is None
        self._options: dict[str, Any] = {"profile": profile, "challenge_calls": challenge_calls, "media": media}
        self._student, self._addresses = student, addresses
        self._outside = (PSTN_PHONE,) if pstn else ()
        self._gateway: dict[str, Any] = {}
        self._background = Background()
        self._phones: dict[str, Phone] = {}
        self._network: type[Wire] | type[Direct] = Wire if wire else Direct
        self._wire: Wire | Direct | None = None
        self._relay: MediaRelay | None = None
        self._pbx: Pbx | None = None
        self._starting: asyncio.Task[None] | None = None
        self._switch_interval = sys.getswitchinterval()
        self.capture: LiveCapture
        Lab._open = self
        try:
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._background.run(self._start())
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and not isinstance(error, LabkitError):
                raise LabError("lab.folder", folder=self.folder, reason=error.strerror or error) from error
            raise
        Lab._last = self.capture
        atexit.register(self.close)

    # --- bringing up --------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._starting = asyncio.current_task()
        capture = self.folder / "capture.pcapng"
        self._wire = wire = await self._network.start(capture, student=self._student, mode=self._addresses)
        self.capture = LiveCapture(capture, self._flush, self._restart_capture)
        users = (*self.extensions, *self._outside)
        pbx, *hosts = await wire.add_hosts({PBX: "", **{user.first_name: user.number for user in users}})
        if self._outside:
            # The gateway is known by its address, so its port is that of SIP, and not any free one.
            hosts[-1] = replace(hosts[-1], sip_port=hosts[-1].sip_port if hosts[-1].blocks else SIP_PORT)
            self._gateway["gateways"] = (Gateway(PSTN_PHONE.first_name, hosts[-1].sip_face),)
            self._gateway["outbound"] = (OutboundRule(PSTN_PHONE.first_name, prefix="0"),)
        await wire.add_laptop()
        await wire.open_sip(pbx)
        await together(self._start_pbx(pbx), *map(self._start_phone, users, hosts, [pbx] * len(hosts)))

    async def _start_pbx(self, host: Host) -> None:
        assert self._wire is not None
        given = {**self._kept, **self._options, **self._gateway, "extensions": self.extensions, "database": self._database}
        config = PbxConfig(bind=host.sip_back, advertised=host.sip_face, realm=host.face, **given)
        if config.media == "relayed":
            host = replace(host, rtp_ports=await self._wire.open_rtp(host))
            self._relay = MediaRelay(host, self.folder / "media-relay.log")
            await self._relay.start()
        self._pbx = Pbx(config, relay=self._relay, tap=self._wire.tap)
        await self._pbx.start()
        if isinstance(self._wire, Wire) and "tcp" in config.transports:
            await self._wire.listen(host, host.sip_port)

    async def _start_phone(self, extension: Extension, host: Host, pbx: Host) -> None:
        assert self._wire is not None
        sip_port, rtp_ports = await self._wire.open_sip(host), await self._wire.open_rtp(host)
        host = replace(host, sip_port=sip_port, rtp_ports=rtp_ports)
        server = pbx.sip_face
        domain = server[0] if server[1] == 5060 else f"{server[0]}:{server[1]}"

        async def start(config: PhoneConfig) -> PhoneProcess:
            return await PhoneProcess.start(config, host, sip_port, rtp_ports, domain, self.folder / f"{config.name}.log")

        config = PhoneConfig(
            extension.first_name,
            extension.number,
            extension.auth_password,
            auth_id=extension.auth_id,
            mailbox=self._options["profile"] == "3cx",
        )

        async def reach(other: Address) -> None:
            assert self._wire is not None
            await self._wire.reach(host, sip_port, other)

        phone = Phone(
            config,
            address=host.sip_face,
            server=server,
            folder=self.folder,
            runner=self._background,
            start=start,
            check=self._check,
            reach=reach,
        )
        self._phones[extension.number] = phone
        await phone.plug_in()

    # --- using it -----------------------------------------------------------------------------------------------------

    @property
    def phones(self) -> list[Phone]:
        """The phones of all extensions, in their order."""
        return [phone for phone in self._phones.values() if phone.number != PSTN_PHONE.number]

    def phone(self, who: str | int) -> Phone:
        """The phone of an extension, by its name ("BOB") or its number ("100")."""
        wanted = str(who).strip().upper()
        for phone in self._phones.values():
            if wanted in (phone.name.upper(), phone.number):
                return phone
        raise LabError("lab.no_such_phone", who=who, phones=", ".join(f"{phone.name} {phone.number}" for phone in self.phones))

    @property
    def pbx(self) -> Pbx:
        """The PBX: its configuration, its registrations, its calls."""
        assert self._pbx is not None
        return self._pbx

    @property
    def wire(self) -> LabWire:
        """The network between the hosts: impair it, measure it, cut it.  Raises :class:`LabError` in a lab without one."""
        if isinstance(self._wire, Direct):
            raise LabError("lab.no_wire")
        assert self._wire is not None
        return LabWire(self._wire, self._background, self._check)

    def add_stale_binding(self, who: str | int) -> str:
        """Leave the binding of a phone that has gone beside the phone of an extension, and return its contact.

        The PBX rings there too; the capture shows what it sends, and nobody answers.  Raises :class:`LabError` in a lab without a wire.
        """
        phone, wire = self.phone(who), self._wire
        self._check()
        if not isinstance(wire, Wire):
            raise LabError("lab.no_wire")

        async def leave() -> str:
            host = wire.plan.host(phone.name)
            contact = f"sip:{phone.number}@{host.face}:{await wire.open_dark(host)}"
            return self.pbx.registrar.add_stale(phone.number, contact).contact.uri

        return self._background.run(leave())

    def remove_binding(self, who: str | int, contact: str | None = None) -> None:
        """Have the PBX forget one contact of an extension, or all of them."""
        number = self.phone(who).number
        self._check()

        async def forget() -> None:
            self.pbx.registrar.remove(number, contact)

        self._background.run(forget())

    def sniff(self, seconds: float, *, during: Callable[[], object] | None = None) -> Capture:
        """Sniff the loopback with scapy, as Wireshark would, until ``seconds`` after ``during`` (begun once scapy listens) has returned.

        Linux only, and only for who may (root, or CAP_NET_RAW); :class:`LabError` says so in one sentence otherwise.
        """
        from labkit.lab_sniff import sniff

        self._check()
        assert self._wire is not None
        return sniff(self._wire, seconds, during)

    @property
    def closed(self) -> bool:
        return Lab._open is not self

    @classmethod
    def last_capture(cls) -> Capture | None:
        """What the lab that this kernel opened last has recorded so far, or None."""
        return cls._last.open() if cls._last is not None else None

    def save_evidence(self, folder: str | Path) -> list[Path]:
        """Save what a teacher needs to see: ``capture.pcapng`` and ``config.json`` (no passwords, no PINs)."""
        return lab_evidence.save(self, folder)

    def configuration(self) -> dict[str, Any]:
        """The lab as it is set up, without its secrets."""
        return lab_evidence.configuration(self, {"student": self._student, "pbx": self._options})

    # --- taking down --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the phones, the PBX and the wire, and free their addresses.  The capture stays readable.  May be called twice."""
        with uninterrupted():
            if Lab._open is not self:
                return
            Lab._open = None
            atexit.unregister(self.close)
            try:
                self._background.run(self._stop())
            finally:
                self._background.close()
                sys.setswitchinterval(self._switch_interval)
                if self._temporary:
                    atexit.register(shutil.rmtree, self.folder, ignore_errors=True)

    async def _stop(self) -> None:
        if self._starting is not None:  # an interrupted start first takes down what it has begun
            await asyncio.wait([self._starting], timeout=STOP_TIMEOUT_S)
        await asyncio.gather(*(phone.close() for phone in self._phones.values()), return_exceptions=True)
        if self._pbx is not None:
            await self._pbx.close()
        if self._relay is not None:
            await self._relay.close()
        if self._wire is not None:
            await self._wire.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- the wire behind the capture ----------------------------------------------------------------------------------

    def _check(self) -> None:
        """Say in one sentence when the lab or its network has gone."""
        if Lab._open is not self:
            raise LabError("lab.closed")
        assert self._wire is not None
        self._wire.check()

    def _flush(self) -> int:
        if Lab._open is not self:
            return 0  # the wire wrote everything when it ended
        assert self._wire is not None
        return self._background.run(self._wire.flush())

    def _restart_capture(self) -> None:
        self._check()
        assert self._wire is not None
        self._background.run(self._wire.restart())

    # --- showing ------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        if self.closed:
            return "<Lab, closed>"
        phones = ", ".join(f"{phone.name} {phone.number}" for phone in self.phones)
        host, port = self.pbx.config.advertised
        return f"<Lab: PBX at {host}:{port}; phones {phones}>"

    def _repr_html_(self) -> str:
        if self.closed:
            return html.escape(repr(self))
        host, port = self.pbx.config.advertised
        rows = [
            (PBX, "", f"{host}:{port}", ""),
            *((phone.name, phone.number, "{}:{}".format(*phone.address), phone.status) for phone in self.phones),
        ]
        headings = [text(f"lab.column_{name}") for name in ("host", "extension", "address", "status")]
        return html_table(headings, rows, text("lab.caption"))
