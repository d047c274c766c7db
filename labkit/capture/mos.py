"""How good a voice sounds: the E-model of ITU-T G.107 (narrowband), its rating R and the mean opinion score that R stands for.

::

    R    = Ro - Is - Id - Ie,eff + A                               (G.107 §7.1)
    Ie,eff = Ie + (95 - Ie) * Ppl / (Ppl / BurstR + Bpl)           (§7.5)
    MOS  = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6                 (Annex B; 1 below R = 0, 4.5 above 100)

Ro is the signal against noise, Is what comes together with the voice (level, side tone, quantizing), Id what delay does (echo to the
talker, echo to the listener, delay itself), Ie,eff codec and loss, A the advantage of access, 0 here.  What cannot be read from packets
(loudness, room noise, echo loss) has the default values of G.107 table 2.  It is a planning model: a number to compare, not a verdict of
ears.  The wideband model (G.107.1) is not used, so wideband codecs are held to the narrowband scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from labkit.capture.jitter_buffer import simulate
from labkit.capture.rtp_analysis import extended_sequence
from labkit.errors import CaptureError
from labkit.texts import text

if TYPE_CHECKING:
    from labkit.capture.jitter_buffer import JitterBuffer
    from labkit.capture.rtp_stream import RtpStream


@dataclass(frozen=True)
class Impairment:
    """What a codec costs (Ie) and how well it stands loss (Bpl).  ``published``: the values are those of G.113 appendix I."""

    ie: float
    bpl: float
    published: bool = True


G711_CONCEALED = Impairment(0.0, 25.1)
IMPAIRMENTS = {
    "PCMU": Impairment(0.0, 4.3),
    "PCMA": Impairment(0.0, 4.3),
    "G729": Impairment(11.0, 19.0),
    "G723": Impairment(15.0, 16.1),
    # Ie of GSM full rate is in G.113, its Bpl is not: that of GSM EFR stands in.
    "GSM": Impairment(20.0, 10.0, published=False),
    # G.113 has no narrowband values for these; the nearest relatives stand in (G.711 by waveform, G.729 by CELP).
    "G722": Impairment(0.0, 4.3, published=False),
    "L16": Impairment(0.0, 4.3, published=False),
    "ILBC": Impairment(11.0, 32.0, published=False),
    "SPEEX": Impairment(11.0, 19.0, published=False),
    "OPUS": Impairment(0.0, 25.1, published=False),
}
"""By encoding name in upper case."""
FORMULA = (
    "R = Ro - Is - Id - Ie,eff + A;  Ie,eff = Ie + (95 - Ie) Ppl / (Ppl / BurstR + Bpl);  MOS = 1 + 0.035 R + R (R - 60)(100 - R) 7e-6"
)

# Defaults of G.107 table 2.
SLR, RLR, STMR, LSTR, DS, NC, NFOR, PS, PR, TELR, WEPL, QDU = 8.0, 2.0, 15.0, 18.0, 3.0, -70.0, -64.0, 35.0, 35.0, 65.0, 110.0, 1.0
OLR = SLR + RLR
BURSTIEST = 2.0
"""§7.5 holds for burst ratios up to this."""


@dataclass(frozen=True)
class EModel:
    """The terms of one rating.  Delays in milliseconds, loss in per cent."""

    codec: str
    delay_ms: float
    """One way, mouth to ear (Ta)."""
    loss: float
    """Ppl."""
    burst_ratio: float
    impairment: Impairment
    signal_to_noise: float
    """Ro."""
    simultaneous: float
    """Is."""
    echo_talker: float
    """Idte."""
    echo_listener: float
    """Idle."""
    delay: float
    """Idd."""
    equipment: float
    """Ie,eff."""
    advantage: float = 0.0

    @property
    def delay_impairment(self) -> float:
        """Id, the sum of its three parts."""
        return self.echo_talker + self.echo_listener + self.delay

    @property
    def R(self) -> float:
        return self.signal_to_noise - self.simultaneous - self.delay_impairment - self.equipment + self.advantage

    @property
    def MOS(self) -> float:
        return opinion(self.R)

    def terms(self) -> list[tuple[str, float, str]]:
        """(symbol, value, what it is) of every term, in the order of the formula."""
        values = (
            ("Ro", self.signal_to_noise, text("stream.mos_ro")),
            ("Is", self.simultaneous, text("stream.mos_is")),
            ("Id", self.delay_impairment, text("stream.mos_id", delay=f"{self.delay_ms:.1f}")),
            ("Idte", self.echo_talker, text("stream.mos_idte")),
            ("Idle", self.echo_listener, text("stream.mos_idle")),
            ("Idd", self.delay, text("stream.mos_idd")),
            ("Ie,eff", self.equipment, text("stream.mos_ieeff")),
            ("Ie", self.impairment.ie, text("stream.mos_ie", codec=self.codec)),
            ("Bpl", self.impairment.bpl, text("stream.mos_bpl")),
            ("Ppl", self.loss, text("stream.mos_ppl")),
            ("BurstR", self.burst_ratio, text("stream.mos_burst")),
            ("A", self.advantage, text("stream.mos_a")),
            ("R", self.R, text("stream.mos_r")),
            ("MOS", self.MOS, text("stream.mos_mos")),
        )
        return list(values)

    @property
    def table(self) -> object:
        """The terms as a DataFrame."""
        from labkit.capture.table import table

        return table(self.terms(), ("Term", "Value", "Meaning"), caption="stream.table_mos", codec=self.codec)

    def _remark(self) -> str:
        return "" if self.impairment.published else " " + text("stream.mos_estimate", codec=self.codec)

    def __str__(self) -> str:
        lines = [f"{symbol:>7} {value:8.2f}  {meaning}" for symbol, value, meaning in self.terms()]
        return "\n".join([FORMULA, *lines]) + ("\n" + self._remark().strip() if self._remark() else "")

    def __repr__(self) -> str:
        return f"<EModel {self.codec}: R {self.R:.1f}, MOS {self.MOS:.2f} (delay {self.delay_ms:.0f} ms, loss {self.loss:.2f} %)>"

    def _repr_html_(self) -> str:
        from labkit.capture.table import html_table

        body = html_table(("Term", "Value", "Meaning"), self.terms(), text("stream.table_mos", codec=self.codec))
        return f"<p><code>{escape(FORMULA)}</code></p>{body}<p>{escape(self._remark().strip())}</p>"


def opinion(rating: float) -> float:
    """The mean opinion score of a rating R (G.107 Annex B).  Between 0 and 6.5 the cubic dips below 1, the lowest score there is."""
    if rating >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6) if rating > 0 else 1.0


def e_model(codec: str, *, delay_ms: float = 0.0, loss: float = 0.0, burst_ratio: float = 1.0, concealed: bool = False) -> EModel:
    """The rating of ``codec`` (an encoding name) at a one-way delay in ms and a loss in per cent.

    ``concealed``: the receiver conceals losses of G.711 as G.711 Appendix I does; the other codecs' values include their own concealment.
    :class:`CaptureError` for a codec without values, and for a delay or loss that cannot be.
    """
    name = codec.upper() if isinstance(codec, str) else ""
    if name not in IMPAIRMENTS:
        raise CaptureError("stream.mos_codec", codec=codec, known=", ".join(sorted(IMPAIRMENTS)))
    if not (0 <= delay_ms < 60_000 and 0 <= loss <= 100 and burst_ratio > 0):
        raise CaptureError("stream.mos_range", delay=delay_ms, loss=loss, burst=burst_ratio)
    impairment = G711_CONCEALED if concealed and name in ("PCMU", "PCMA") else IMPAIRMENTS[name]
    noise = _noise()
    ro = 15.0 - 1.5 * (SLR + noise)  # (7-2)
    equipment = impairment.ie + (95.0 - impairment.ie) * loss / (loss / burst_ratio + impairment.bpl)  # (7-29)
    return EModel(
        codec=name,
        delay_ms=delay_ms,
        loss=loss,
        burst_ratio=burst_ratio,
        impairment=impairment,
        signal_to_noise=ro,
        simultaneous=_simultaneous(ro, noise, delay_ms),
        echo_talker=_talker_echo(noise, delay_ms),
        echo_listener=_listener_echo(ro, 2 * delay_ms),
        delay=_delay(delay_ms),
        equipment=equipment,
    )


def rate(stream: RtpStream, *, buffer_ms: float, network_ms: float, concealed: bool) -> EModel:
    """The rating of a stream as a receiver with a fixed jitter buffer hears it.

    Delay is the network's (which one capture cannot know), one packet's length and the mean time in the buffer; loss is lost and late.
    """
    buffer = simulate(stream, buffer_ms)
    if isinstance(network_ms, bool) or not isinstance(network_ms, int | float) or not 0 <= network_ms < 60_000:
        raise CaptureError("stream.mos_range", delay=network_ms, loss=buffer.loss, burst=1.0)
    delay = network_ms + packet_ms(stream) + buffer.mean_delay_ms
    return e_model(stream.codec, delay_ms=delay, loss=buffer.loss, burst_ratio=burst_ratio(stream, buffer), concealed=concealed)


def packet_ms(stream: RtpStream) -> float:
    """Milliseconds of voice in one packet: the most frequent step of the timestamps of packets that follow each other."""
    follow = np.diff(stream.sequence) == 1
    steps = (np.diff(stream.timestamp) & 0xFFFFFFFF)[follow]
    steps = steps[(steps > 0) & (steps < 1 << 20)]
    clock = stream.payload_types.clock(int(np.bincount(stream.payload_type).argmax()))
    if not len(steps) or not clock:
        return 20.0
    values, counts = np.unique(steps, return_counts=True)
    return float(values[counts.argmax()]) * 1000.0 / clock


def burst_ratio(stream: RtpStream, buffer: JitterBuffer) -> float:
    """BurstR (§7.5): the mean length of a run of lost packets over that of random loss at the same rate; 1 to 2."""
    extended = extended_sequence(stream.sequence)
    heard = np.zeros(int(extended.max() - extended.min()) + 1, np.bool_)
    heard[(extended - extended.min())[~buffer.late]] = True
    missing = np.count_nonzero(~heard)
    runs = np.count_nonzero(~heard[1:] & heard[:-1]) + int(not heard[0])
    if not missing or missing == len(heard):
        return 1.0
    return float(np.clip(missing / runs * (1 - missing / len(heard)), 1.0, BURSTIEST))


def _noise() -> float:
    """No, the sum of all noise in dBm0p (7-3 to 7-7)."""
    at_sender = PS - SLR - DS - 100 + 0.004 * (PS - OLR - DS - 14) ** 2
    effective = PR + 10 * math.log10(1 + 10 ** ((10 - LSTR) / 10))
    at_receiver = RLR - 121 + effective + 0.008 * (effective - 35) ** 2
    return 10 * math.log10(sum(10 ** (value / 10) for value in (NC, at_sender, at_receiver, NFOR + RLR)))


def _simultaneous(ro: float, noise: float, delay_ms: float) -> float:
    """Is (7-8): too loud (Iolr), side tone (Ist), quantizing (Iq)."""
    x = OLR + 0.2 * (64 + noise - RLR)
    too_loud = 20 * ((1 + (x / 8) ** 8) ** (1 / 8) - x / 8)
    side = -10 * math.log10(10 ** (-STMR / 10) + math.exp(-delay_ms / 4) * 10 ** (-TELR / 10))
    side_tone = (
        12 * (1 + ((side - 13) / 6) ** 8) ** (1 / 8)
        - 28 * (1 + ((side + 1) / 19.4) ** 35) ** (1 / 35)
        - 13 * (1 + ((side - 3) / 33) ** 13) ** (1 / 13)
        + 29
    )
    q = 37 - 15 * math.log10(QDU)
    g = 1.07 + 0.258 * q + 0.0602 * q**2
    quantizing = 15 * math.log10(1 + 10 ** ((ro - 100) / 15 + 46 / 8.4 - g / 9) + 10 ** (46 / 30 - g / 40))
    return float(too_loud + side_tone + quantizing)


def _talker_echo(noise: float, delay_ms: float) -> float:
    """Idte (7-20 to 7-23)."""
    roe = -1.5 * (noise - RLR)
    terv = TELR - 40 * math.log10((1 + delay_ms / 10) / (1 + delay_ms / 150)) + 6 * math.exp(-0.3 * delay_ms**2)
    re = 80 + 2.5 * (terv - 14)
    # Below 4 ms the formula goes down to -0.1; no echo makes a voice better.
    return max(0.0, ((roe - re) / 2 + math.sqrt((roe - re) ** 2 / 4 + 100) - 1) * (1 - math.exp(-delay_ms)))


def _listener_echo(ro: float, round_trip_ms: float) -> float:
    """Idle (7-25, 7-26)."""
    rle = 10.5 * (WEPL + 7) * (round_trip_ms + 1) ** -0.25
    return float((ro - rle) / 2 + math.sqrt((ro - rle) ** 2 / 4 + 169))


def _delay(delay_ms: float) -> float:
    """Idd (7-27, 7-28), for the default sensitivity class: nothing up to 100 ms."""
    if delay_ms <= 100:
        return 0.0
    x = math.log2(delay_ms / 100)
    return float(25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2))
