"""The softphone itself: one pjsua2 endpoint in a process of its own, driven through the pipe.

The wheel of pjsua2 aborts its whole process on misuse, has room for four call legs, and one codec list for the whole endpoint:
hence one process a phone.  Three rules keep it alive, and every line below obeys them:

* a thread must be registered before it touches the library; callbacks only report and leave the acting to the event thread's ``_later``;
* Python must not destroy an account, call or player behind the library's back: calls are kept until the process ends, players are
  closed explicitly;
* the process leaves by ``os._exit`` (:meth:`labkit.net.pipe.Pipe.end`), so no destructor runs at its end.

The kernel's end is :mod:`labkit.phones.process`.  Codec ids are pjsua2's; times and addresses of packets come from the wire, not from here.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pjsua2 as pj

from labkit.net.pipe import Message, Pipe
from labkit.phones.engine_leg import NOT_NOW, EngineLeg, operation

POLL_MS = 10
LEGS = 4
"""Call legs that the wheel was compiled for."""
BUSY = 171001
"""PJSIP_EBUSY."""
GONE = 171140
"""PJSIP_ESESSIONTERMINATED."""
CROWD, SOCKET_RELEASE_S = 26, 0.6
"""The wheel holds 64 media sockets, two a leg, and frees them half a second after the leg's end; a 65th aborts the process."""


class EngineAccount(pj.Account):
    """The phone's identity at the PBX, or (``direct``) without one."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def onRegState(self, prm: pj.OnRegStateParam) -> None:
        if prm.code // 100 == 2 and prm.expiration:
            self.engine.later(self.engine.ask_for_messages)
        self.engine.report("registration", code=int(prm.code), reason=prm.reason, expires=int(prm.expiration), status=int(prm.status))

    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:
        call = EngineLeg(self.engine, self, prm.callId)
        self.engine.later(call.ring)


class Engine:
    """The endpoint, its two accounts and its calls.  Each method named ``do_…`` is one order of the pipe."""

    def __init__(self, pipe: Pipe) -> None:
        config = pipe.config
        self.pipe = pipe
        self.shift: int = config["shift"]
        self._face: str = config["face"]
        self._face_port: int = config["sip_port"]
        self._legs: list[EngineLeg] = []
        self._todo: deque[Callable[[], object]] = deque()
        self._endpoint = pj.Endpoint()
        self._endpoint.libCreate()
        self._endpoint.libInit(self._endpoint_config(config))
        self._endpoint.audDevManager().setNullDev()
        self._transport = self._endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, self._transport_config(config))
        self._endpoint.libStart()
        self.do_codecs(config["codecs"])
        self._registration: Message = config["registration"]
        self._asked_for_messages = False
        self._account = EngineAccount(self)
        self._account.create(self._account_config(config, f"{config['number']}@{config['domain']}", self._registration))
        self._direct = EngineAccount(self)
        self._direct.create(self._account_config(config, f"{config['number']}@{self._face}:{self._face_port}", {}))

    # --- configuration ------------------------------------------------------------------------------------------------

    @staticmethod
    def _endpoint_config(config: Message) -> pj.EpConfig:
        endpoint = pj.EpConfig()
        endpoint.logConfig.level = endpoint.logConfig.consoleLevel = 1
        endpoint.uaConfig.threadCnt = 0
        endpoint.uaConfig.maxCalls = LEGS
        endpoint.uaConfig.userAgent = config["user_agent"]
        endpoint.uaConfig.natTypeInSdp = 0
        media = endpoint.medConfig
        media.noVad = True
        media.ecTailLen = 0
        media.clockRate = media.sndClockRate = 8000
        media.quality = 4
        media.sndAutoCloseTime = -1
        return endpoint

    def _transport_config(self, config: Message) -> pj.TransportConfig:
        transport = pj.TransportConfig()
        transport.port = self._face_port + self.shift
        transport.boundAddress = config["back"]
        transport.publicAddress = self._face
        return transport

    def _account_config(self, config: Message, address: str, registration: Message) -> pj.AccountConfig:
        account = pj.AccountConfig()
        account.idUri = f'"{config["name"]}" <sip:{address}>'
        account.sipConfig.transportId = self._transport
        account.regConfig.registerOnAdd = False
        if registration:
            self._apply(account, registration)
        account.callConfig.timerUse = pj.PJSUA_SIP_TIMER_INACTIVE
        media = account.mediaConfig.transportConfig
        media.boundAddress, media.publicAddress = config["back"], self._face
        first, count = config["rtp_ports"]
        media.port = first + self.shift
        media.portRange = count - 2  # the library counts the last port in, and each call takes two
        nat = account.natConfig
        nat.iceEnabled = False
        nat.sipOutboundUse = nat.contactRewriteUse = nat.contactUseSrcPort = 0
        nat.sdpNatRewriteUse = False
        # Where hosts differ by port only, no setting puts the face's port into Via and Contact: the PBX tells it (rport), we force it.
        nat.viaRewriteUse = bool(self.shift)
        if self.shift:
            account.sipConfig.contactForced = f"<sip:{config['number']}@{self._face}:{self._face_port}>"
        return account

    def _apply(self, account: pj.AccountConfig, registration: Message) -> None:
        account.regConfig.registrarUri = f"sip:{registration['domain']}"
        account.regConfig.timeoutSec = registration["expires_s"]
        account.regConfig.retryIntervalSec = account.regConfig.firstRetryIntervalSec = 0
        account.regConfig.dropCallsOnFail = False
        account.mwiConfig.enabled = self._asked_for_messages
        credentials = pj.AuthCredInfo("digest", "*", registration["auth_id"], 0, registration["password"])
        account.sipConfig.authCreds = pj.AuthCredInfoVector([credentials])

    # --- events and their thread --------------------------------------------------------------------------------------

    def report(self, event: str, **values: Any) -> None:
        self.pipe.send({"event": event, **values})

    def later(self, action: Callable[[], object]) -> None:
        """Have ``action`` run by the event thread, after the callback that asks for it has returned."""
        self._todo.append(action)

    def run(self) -> None:
        """Serve the library's events for ever."""
        self._endpoint.libRegisterThread("events")
        while True:
            self._wait_for_sockets()
            self._endpoint.libHandleEvents(POLL_MS)
            while self._todo:
                try:
                    self._todo.popleft()()
                except pj.Error as error:  # the call has gone in the meantime; its end is reported by itself
                    print(error.info(), file=sys.stderr)

    def handle(self, op: str, arguments: Message) -> object:
        """Carry out one order, of the leg that it names or of the phone; what the library refuses becomes one line."""
        target = self.live_leg(arguments.pop("call"), op) if "call" in arguments else self
        try:
            return getattr(target, f"do_{op}")(**arguments)
        except pj.Error as error:
            known = {GONE: "ended", **dict.fromkeys(NOT_NOW, "not now")}
            raise ValueError(known.get(error.status, f"{error.reason} ({error.status})")) from None

    def _wait_for_sockets(self) -> None:
        """Let no more legs begin than there are sockets for: quick calls wait here for those that have just ended."""
        while True:
            now = time.monotonic()
            if sum(leg.ended_at is None or leg.ended_at > now - SOCKET_RELEASE_S for leg in self._legs[-2 * CROWD :]) < CROWD:
                return
            threading.Event().wait(0.01)

    # --- orders -------------------------------------------------------------------------------------------------------

    def adopt(self, call: EngineLeg) -> int:
        self._legs.append(call)
        return len(self._legs)

    def live_leg(self, number: int, op: str = "") -> EngineLeg:
        leg = self._legs[number - 1]
        if leg.ended and op != "stop_recording":  # a recording may end with the call and still be asked for
            raise ValueError("ended")
        return leg

    def do_register(self, **registration: Any) -> None:
        if registration == self._registration:
            self._register()
            return
        self._registration = registration
        done: Future[None] = Future()

        def change() -> None:
            try:
                self._modify()
                self._register()
                done.set_result(None)
            except pj.Error as error:
                done.set_exception(error)

        # A change of configuration begins to register by itself.  On this thread no answer can come in between, so that the order to
        # register finds it busy and there is one answer to wait for, not two.
        self.later(change)
        done.result(timeout=5.0)

    def _register(self) -> None:
        try:
            self._account.setRegistration(True)
        except pj.Error as error:
            if error.status != BUSY:
                raise

    def _modify(self) -> None:
        registration = self._registration
        config = {**self.pipe.config, "number": registration["number"]}
        self._account.modify(self._account_config(config, f"{config['number']}@{registration['domain']}", registration))

    def ask_for_messages(self) -> None:
        """Subscribe to message-summary, once the PBX knows the phone: told before, the library would not wait for that."""
        if self._registration["mailbox"] and not self._asked_for_messages:
            self._asked_for_messages = True
            self._modify()

    def do_unregister(self) -> None:
        self._account.setRegistration(False)

    def do_call(self, uri: str, direct: bool) -> dict[str, object]:
        if sum(not call.ended for call in self._legs) >= LEGS:
            raise ValueError("four calls")
        self._wait_for_sockets()
        call = EngineLeg(self, self._direct if direct else self._account)
        try:
            call.makeCall(uri, operation())
        except pj.Error:
            call.ended_at = time.monotonic()
            raise
        return {"call": call.number, "call_id": call.getInfo().callIdString}

    def do_codecs(self, codecs: list[str]) -> list[str]:
        """Offer exactly these codecs, in this order; returns what the engine has."""
        available = [codec.codecId for codec in self._endpoint.codecEnum2()]
        order = {name: 255 - place for place, name in enumerate(codecs)}
        for codec in available:
            self._endpoint.codecSetPriority(codec, order.get(codec, 0))
        return available


def main() -> None:
    pipe = Pipe()
    try:
        engine = Engine(pipe)
    except pj.Error as error:
        pipe.send({"error": f"{error.reason} ({error.status})"})
        pipe.end()
        return
    threading.Thread(target=engine.run, daemon=True).start()
    pipe.send({"codecs": engine.do_codecs(pipe.config["codecs"])})
    pipe.serve(engine.handle)


if __name__ == "__main__":
    main()
