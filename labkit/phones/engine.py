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
from pathlib import Path
from typing import Any

import pjsua2 as pj

from labkit.net.pipe import Message, Pipe
from labkit.phones.sdp_ports import shift_ports

POLL_MS = 10
LEGS = 4
"""Call legs that the wheel was compiled for."""
BUSY = 171001
"""PJSIP_EBUSY."""
MEDIA_DIRECTIONS = {
    pj.PJMEDIA_DIR_NONE: "none",
    pj.PJMEDIA_DIR_ENCODING: "send",
    pj.PJMEDIA_DIR_DECODING: "receive",
    pj.PJMEDIA_DIR_ENCODING_DECODING: "both",
}
DIGIT_METHODS = {"rfc4733": pj.PJSUA_DTMF_METHOD_RFC2833, "info": pj.PJSUA_DTMF_METHOD_SIP_INFO}


def operation(status: int = 0) -> pj.CallOpParam:
    """Parameters of a call operation: one audio stream, no video."""
    parameters = pj.CallOpParam(True)
    parameters.statusCode = status
    parameters.opt.audioCount = 1
    parameters.opt.videoCount = 0
    return parameters


class Player(pj.AudioMediaPlayer):
    """A WAV file that is played once."""

    def __init__(self, finished: Callable[[], None]) -> None:
        super().__init__()
        self._finished = finished

    def onEof2(self) -> None:
        self._finished()


class EngineCall(pj.Call):
    """One call leg."""

    def __init__(self, engine: Engine, account: pj.Account, call_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(account, call_id)
        self.engine = engine
        self.number = engine.adopt(self)
        self.audio: pj.AudioMedia | None = None
        self.player: Player | None = None
        self.recorder: pj.AudioMediaRecorder | None = None
        self.ended = False

    def onCallState(self, prm: pj.OnCallStateParam) -> None:
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.ended = True
            self.audio = self.player = None
            self.recorder = None
        self.engine.report("state", call=self.number, state=info.stateText, code=int(info.lastStatusCode), reason=info.lastReason)

    def onCallMediaState(self, prm: pj.OnCallMediaStateParam) -> None:
        info = self.getInfo()
        for media in info.media:
            if media.type != pj.PJMEDIA_TYPE_AUDIO:
                continue
            if media.status in (pj.PJSUA_CALL_MEDIA_ACTIVE, pj.PJSUA_CALL_MEDIA_REMOTE_HOLD, pj.PJSUA_CALL_MEDIA_LOCAL_HOLD):
                self.audio = self.getAudioMedia(media.index)
                if self.player:
                    self.player.startTransmit(self.audio)
                if self.recorder:
                    self.audio.startTransmit(self.recorder)
            holding = {pj.PJSUA_CALL_MEDIA_LOCAL_HOLD: "local", pj.PJSUA_CALL_MEDIA_REMOTE_HOLD: "remote"}.get(media.status, "")
            self.engine.report("media", call=self.number, hold=holding, direction=MEDIA_DIRECTIONS.get(media.dir, "none"))

    def onCallSdpCreated(self, prm: pj.OnCallSdpCreatedParam) -> None:
        if self.engine.shift:
            prm.sdp.wholeSdp = shift_ports(prm.sdp.wholeSdp, -self.engine.shift)

    def onDtmfDigit(self, prm: pj.OnDtmfDigitParam) -> None:
        self.engine.report("digit", call=self.number, digit=prm.digit, method="info" if prm.method == DIGIT_METHODS["info"] else "rfc4733")

    def onCallTransferStatus(self, prm: pj.OnCallTransferStatusParam) -> None:
        self.engine.report("transfer", call=self.number, code=int(prm.statusCode), reason=prm.reason, final=prm.finalNotify)

    def ring(self) -> None:
        """Say 180, and only then tell the notebook: an answer that overtook the 180 would make it disappear."""
        info = self.getInfo()
        self.answer(operation(180))
        self.engine.report("incoming", call=self.number, peer=info.remoteUri, call_id=info.callIdString)

    def media_or_refuse(self) -> pj.AudioMedia:
        if self.audio is None:
            raise ValueError("no media")
        return self.audio

    def stop_playing(self) -> None:
        if self.player and self.audio:
            self.player.stopTransmit(self.audio)
        self.player = None

    def stop_recording(self) -> None:
        if self.recorder and self.audio:
            self.audio.stopTransmit(self.recorder)
        self.recorder = None


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
        call = EngineCall(self.engine, self, prm.callId)
        self.engine.later(call.ring)


class Engine:
    """The endpoint, its two accounts and its calls.  Each method named ``do_…`` is one order of the pipe."""

    def __init__(self, pipe: Pipe) -> None:
        config = pipe.config
        self.pipe = pipe
        self.shift: int = config["shift"]
        self._face: str = config["face"]
        self._face_port: int = config["sip_port"]
        self._calls: list[EngineCall] = []
        self._todo: deque[Callable[[], object]] = deque()
        self._endpoint = pj.Endpoint()
        self._endpoint.libCreate()
        self._endpoint.libInit(self._endpoint_config(config))
        self._endpoint.audDevManager().setNullDev()
        self._transport = self._endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, self._transport_config(config))
        self._endpoint.libStart()
        self.do_codecs(config["codecs"])
        self._registration: Message = {}
        self._asked_for_messages = False
        self._account = EngineAccount(self)
        self._account.create(self._account_config(config, f"{config['number']}@{config['domain']}", {}))
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
            self._endpoint.libHandleEvents(POLL_MS)
            while self._todo:
                try:
                    self._todo.popleft()()
                except pj.Error as error:  # the call has gone in the meantime; its end is reported by itself
                    print(error.info(), file=sys.stderr)

    def handle(self, op: str, arguments: Message) -> object:
        """Carry out one order; what the library refuses becomes one line."""
        try:
            return getattr(self, f"do_{op}")(**arguments)
        except pj.Error as error:
            raise ValueError(f"{error.reason} ({error.status})") from None

    # --- orders -------------------------------------------------------------------------------------------------------

    def adopt(self, call: EngineCall) -> int:
        self._calls.append(call)
        return len(self._calls)

    def _call(self, call: int) -> EngineCall:
        found = self._calls[call - 1]
        if found.ended:
            raise ValueError("ended")
        return found

    def do_register(self, **registration: Any) -> None:
        if registration != self._registration:
            self._registration = registration
            self._modify()
        try:
            self._account.setRegistration(True)
        except pj.Error as error:
            if error.status != BUSY:  # the change of configuration has begun to register by itself; its answer is the one to report
                raise

    def _modify(self) -> None:
        config, registration = self.pipe.config, self._registration
        self._account.modify(self._account_config(config, f"{config['number']}@{registration['domain']}", registration))

    def ask_for_messages(self) -> None:
        """Subscribe to message-summary, once the PBX knows the phone: told before, the library would not wait for that."""
        if self._registration["mailbox"] and not self._asked_for_messages:
            self._asked_for_messages = True
            self._modify()

    def do_unregister(self) -> None:
        self._account.setRegistration(False)

    def do_call(self, uri: str, direct: bool) -> dict[str, object]:
        if sum(not call.ended for call in self._calls) >= LEGS:
            raise ValueError("four calls")
        call = EngineCall(self, self._direct if direct else self._account)
        try:
            call.makeCall(uri, operation())
        except pj.Error:
            call.ended = True
            raise
        return {"call": call.number, "call_id": call.getInfo().callIdString}

    def do_answer(self, call: int, code: int = 200) -> None:
        self._call(call).answer(operation(code))

    def do_hang_up(self, call: int, code: int = 0) -> None:
        self._call(call).hangup(operation(code))

    def do_hold(self, call: int) -> None:
        self._call(call).setHold(operation())

    def do_resume(self, call: int) -> None:
        parameters = operation()
        parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
        self._call(call).reinvite(parameters)

    def do_transfer(self, call: int, uri: str) -> None:
        self._call(call).xfer(uri, operation())

    def do_digits(self, call: int, digits: str, method: str) -> None:
        parameters = pj.CallSendDtmfParam()
        parameters.method, parameters.digits = DIGIT_METHODS[method], digits
        self._call(call).sendDtmf(parameters)

    def do_play(self, call: int, path: str, loop: bool) -> None:
        leg = self._call(call)
        audio = leg.media_or_refuse()
        leg.stop_playing()
        leg.player = Player(lambda: self.report("played", call=call, path=path))
        leg.player.createPlayer(path, 0 if loop else pj.PJMEDIA_FILE_NO_LOOP)
        leg.player.startTransmit(audio)

    def do_stop_playing(self, call: int) -> None:
        self._call(call).stop_playing()

    def do_record(self, call: int, path: str) -> None:
        leg = self._call(call)
        audio = leg.media_or_refuse()
        leg.stop_recording()
        leg.recorder = pj.AudioMediaRecorder()
        leg.recorder.createRecorder(path)
        audio.startTransmit(leg.recorder)

    def do_stop_recording(self, call: int, path: str) -> None:
        self._calls[call - 1].stop_recording()
        _await_wav(Path(path))

    def do_codecs(self, codecs: list[str]) -> list[str]:
        """Offer exactly these codecs, in this order; returns what the engine has."""
        available = [codec.codecId for codec in self._endpoint.codecEnum2()]
        order = {name: 255 - place for place, name in enumerate(codecs)}
        for codec in available:
            self._endpoint.codecSetPriority(codec, order.get(codec, 0))
        return available

    def do_statistics(self, call: int) -> dict[str, object]:
        """The engine's own counters of the audio stream: packets, losses, jitter in ms; the codec."""
        leg = self._call(call)
        leg.media_or_refuse()
        stream, rtcp = leg.getStreamInfo(0), leg.getStreamStat(0).rtcp
        return {
            "codec": f"{stream.codecName}/{stream.codecClockRate}",
            "sent": rtcp.txStat.pkt,
            "received": rtcp.rxStat.pkt,
            "lost": rtcp.rxStat.loss,
            "discarded": rtcp.rxStat.discard,
            "jitter_ms": rtcp.rxStat.jitterUsec.mean / 1000,
            "jitter_max_ms": rtcp.rxStat.jitterUsec.max / 1000,
        }


def _await_wav(path: Path, most_s: float = 1.0) -> None:
    """Wait until the library, which closes a recording on its own thread, has written the file's length into its header."""
    until = time.monotonic() + most_s
    while time.monotonic() < until:
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                if size > 44 and int.from_bytes(file.read(8)[4:], "little") == size - 8:
                    return
        except OSError:
            return
        threading.Event().wait(0.01)


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
