"""RTP payload types by the names that Wireshark 4.0 shows, and their clock rates (RFC 3551; dynamic types from the SDP)."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.sip.sdp import STATIC_TYPES, Codec

TELEPHONE_EVENT = "telephone-event"

SHORT_NAMES = {
    0: "g711U",
    1: "fs-1016",
    2: "g721",
    3: "GSM",
    4: "g723",
    5: "DVI4 8k",
    6: "DVI4 16k",
    7: "Exp. from Xerox PARC",
    8: "g711A",
    9: "g722",
    10: "16-bit audio, stereo",
    11: "16-bit audio, monaural",
    12: "Qualcomm",
    13: "CN",
    14: "MPEG-I/II Audio",
    15: "g728",
    16: "DVI4 11k",
    17: "DVI4 22k",
    18: "g729",
    19: "CN(old)",
    25: "CellB",
    26: "JPEG",
    28: "NV",
    31: "h261",
    32: "MPEG-I/II Video",
    33: "MPEG-II streams",
    34: "h263",
}
"""The Payload column of RTP streams."""

LONG_NAMES = {
    0: "ITU-T G.711 PCMU",
    1: "USA Federal Standard FS-1016",
    2: "ITU-T G.721",
    3: "GSM 06.10",
    4: "ITU-T G.723",
    5: "DVI4 8000 samples/s",
    6: "DVI4 16000 samples/s",
    7: "Experimental linear predictive encoding from Xerox PARC",
    8: "ITU-T G.711 PCMA",
    9: "ITU-T G.722",
    10: "16-bit uncompressed audio, stereo",
    11: "16-bit uncompressed audio, monaural",
    12: "Qualcomm Code Excited Linear Predictive coding",
    13: "Comfort noise",
    14: "MPEG-I/II Audio",
    15: "ITU-T G.728",
    16: "DVI4 11025 samples/s",
    17: "DVI4 22050 samples/s",
    18: "ITU-T G.729",
    19: "Comfort noise (old)",
    25: "Sun CellB video encoding",
    26: "JPEG-compressed video",
    28: "'nv' program",
    31: "ITU-T H.261",
    32: "MPEG-I/II Video",
    33: "MPEG-II transport streams",
    34: "ITU-T H.263",
}
"""The Info column of RTP packets."""

_RTCP_CONFLICT = range(72, 77)  # RFC 3551 table 4
_CLOCKS = {1: 8000, 2: 8000, 19: 8000, **{number: clock for number, (_, clock, _) in STATIC_TYPES.items()}}


@dataclass(frozen=True)
class PayloadTypes:
    """What the payload types of one stream mean: the static ones, and what the SDP of its receiver or sender maps."""

    mapped: dict[int, Codec]

    def clock(self, number: int) -> int:
        """Clock rate in Hz; 0 when unknown, and for telephone-event, of which Wireshark measures no jitter."""
        if self.is_event(number):
            return 0
        codec = self.mapped.get(number)
        return codec.clock_rate if codec else _CLOCKS.get(number, 0)

    def is_event(self, number: int) -> bool:
        """Whether the type is RFC 4733 telephone-event; 101 is, as everyone uses it, unless the SDP says otherwise."""
        codec = self.mapped.get(number)
        return codec.name.lower() == TELEPHONE_EVENT if codec else number == 101

    def encoding(self, number: int) -> tuple[str, int, int]:
        """(encoding name, clock rate, channels) as in an rtpmap line; an empty name when unknown."""
        codec = self.mapped.get(number)
        if codec:
            return codec.name, codec.clock_rate, codec.channels
        if self.is_event(number):
            return TELEPHONE_EVENT, 8000, 1
        return STATIC_TYPES.get(number, ("", 0, 1))

    def short(self, number: int) -> str:
        """Its name in the list of RTP streams."""
        if number in SHORT_NAMES:
            return SHORT_NAMES[number]
        if number in self.mapped:
            return self.mapped[number].name
        if number == 101:
            return TELEPHONE_EVENT
        if number in _RTCP_CONFLICT:
            return "Reserved for RTCP conflict avoidance"
        return f"RTPType-{number}" if number >= 96 else "Unassigned"

    def long(self, number: int) -> str:
        """Its name in the Info column of a packet."""
        if number in LONG_NAMES:
            return LONG_NAMES[number]
        name = self.short(number)
        return f"DynamicRTP-Type-{number}" if name.startswith("RTPType-") else name

    def shown(self, number: int) -> str:
        """Its encoding name, for people: PCMU, GSM, opus."""
        return self.encoding(number)[0] or self.short(number)
