"""One call leg of the softphone: what the library reports of it, and the orders that concern it (see :mod:`labkit.phones.engine`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pjsua2 as pj

from labkit.phones.sdp_ports import shift_ports

if TYPE_CHECKING:
    from labkit.phones.engine import Engine

MEDIA_DIRECTIONS = {
    pj.PJMEDIA_DIR_NONE: "none",
    pj.PJMEDIA_DIR_ENCODING: "send",
    pj.PJMEDIA_DIR_DECODING: "receive",
    pj.PJMEDIA_DIR_ENCODING_DECODING: "both",
}
DIGIT_METHODS = {"rfc4733": pj.PJSUA_DTMF_METHOD_RFC2833, "info": pj.PJSUA_DTMF_METHOD_SIP_INFO}

NOT_NOW = (70013, 171141)
"""PJ_EINVALIDOP and PJSIP_ESESSIONSTATE: right order, wrong moment."""
OFFER_WAIT_S = 2.0


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


class EngineLeg(pj.Call):
    """One call self."""

    def __init__(self, engine: Engine, account: pj.Account, call_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(account, call_id)
        self.engine = engine
        self.number = engine.adopt(self)
        self.audio: pj.AudioMedia | None = None
        self.player: Player | None = None
        self.recorder: pj.AudioMediaRecorder | None = None
        self.ended_at: float | None = None

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    def onCallState(self, prm: pj.OnCallStateParam) -> None:
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.ended_at = time.monotonic()
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
        final = bool(prm.finalNotify)
        if final and prm.statusCode // 100 == 2:
            self.engine.later(self.leave_transferred)
        self.engine.report("transfer", call=self.number, code=int(prm.statusCode), reason=prm.reason, final=final)

    def leave_transferred(self) -> None:
        """The other two talk to each other, and whoever transferred says BYE (RFC 5589 §6)."""
        if not self.ended:
            self.hangup(operation())

    def ring(self) -> None:
        """Say 180, and only then tell the notebook: an answer that overtook the 180 would make it disappear."""
        info = self.getInfo()
        self.answer(operation(180))
        self.engine.report("incoming", call=self.number, peer=info.remoteUri, call_id=info.callIdString)

    def media_or_refuse(self) -> pj.AudioMedia:
        if self.audio is None:
            raise ValueError("no media")
        return self.audio

    def do_stop_playing(self) -> None:
        if self.player and self.audio:
            self.player.stopTransmit(self.audio)
        self.player = None

    def stop_recording(self) -> None:
        if self.recorder and self.audio:
            self.audio.stopTransmit(self.recorder)
        self.recorder = None

    # --- orders --------------------------------------------------------------------------------------------------------

    def do_answer(self, code: int = 200) -> None:
        self.answer(operation(code))

    def do_hang_up(self, code: int = 0) -> None:
        self.hangup(operation(code))

    def do_hold(self) -> None:
        self._offer(lambda: self.setHold(operation()))

    def do_resume(self) -> None:
        parameters = operation()
        parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
        self._offer(lambda: self.reinvite(parameters))

    def _offer(self, send: Callable[[], None]) -> None:
        """Send a re-INVITE; not before the one that is under way is over (RFC 3261 §14.1), which the library only refuses."""
        until = time.monotonic() + OFFER_WAIT_S
        while True:
            try:
                send()
            except pj.Error as error:
                busy = error.status in NOT_NOW and self.getInfo().state == pj.PJSIP_INV_STATE_CONFIRMED
                if not busy or time.monotonic() > until:
                    raise
                threading.Event().wait(0.01)
            else:
                return

    def do_transfer(self, uri: str) -> None:
        self.xfer(uri, operation())

    def do_transfer_attended(self, other: int) -> None:
        self.xferReplaces(self.engine.live_leg(other), operation())

    def do_digits(self, digits: str, method: str) -> None:
        parameters = pj.CallSendDtmfParam()
        parameters.method, parameters.digits = DIGIT_METHODS[method], digits
        self.sendDtmf(parameters)

    def do_play(self, path: str, loop: bool) -> None:
        audio = self.media_or_refuse()
        self.do_stop_playing()
        player = Player(lambda: self.engine.report("played", call=self.number, path=path))
        player.createPlayer(path, 0 if loop else pj.PJMEDIA_FILE_NO_LOOP)  # kept only when this has worked: a half-made one aborts
        player.startTransmit(audio)
        self.player = player

    def do_record(self, path: str) -> None:
        audio = self.media_or_refuse()
        self.stop_recording()
        recorder = pj.AudioMediaRecorder()
        recorder.createRecorder(path)
        audio.startTransmit(recorder)
        self.recorder = recorder

    def do_stop_recording(self, path: str) -> None:
        self.stop_recording()
        _await_wav(Path(path))

    def do_statistics(self) -> dict[str, object]:
        """The engine's own counters of the audio stream: packets, losses, jitter in ms; the codec."""
        self.media_or_refuse()
        stream, rtcp = self.getStreamInfo(0), self.getStreamStat(0).rtcp
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
                if size >= 44 and int.from_bytes(file.read(8)[4:], "little") == size - 8:
                    return
        except OSError:
            return
        threading.Event().wait(0.01)
