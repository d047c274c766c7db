"""Which addresses and ports carry media: what the SDP bodies of a capture announce (RFC 8866, RFC 3264)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from labkit.capture.addresses import NONE, Addresses
from labkit.capture.payload_types import PayloadTypes
from labkit.capture.records import Ints
from labkit.capture.sip_records import SipRecord
from labkit.sip.sdp import Codec, Media


@dataclass
class MediaMap:
    """Keys are ``address number << 16 | port``; values the first packet (index) that announced them."""

    rtp: dict[int, int] = field(default_factory=dict)
    rtcp: dict[int, int] = field(default_factory=dict)
    codecs: dict[int, dict[int, Codec]] = field(default_factory=dict)
    """Dynamic payload types by key of the end that announced them."""

    @classmethod
    def of(cls, messages: list[SipRecord], addresses: Addresses) -> MediaMap:
        found = cls()
        for record in messages:
            sdp = record.sdp
            for media in sdp.media if sdp else ():
                where = sdp.address(media) if sdp else None
                number = addresses.number(where[0]) if where else NONE
                if where is None or number == NONE or "RTP/" not in media.protocol:
                    continue
                key = number << 16 | where[1]
                found.rtp.setdefault(key, record.number - 1)
                rtcp = (media.attributes("rtcp") or [""])[0].split(" ")[0]
                port = int(rtcp) if rtcp.isascii() and rtcp.isdecimal() and len(rtcp) < 6 else where[1] + 1
                found.rtcp.setdefault(number << 16 | port, record.number - 1)
                mapped = found.codecs.setdefault(key, {})
                mapped.update(_dynamic(media))
        return found

    def payload_types(self, destination: int, source: int) -> PayloadTypes:
        """The types of a stream: the receiver chose the numbers (RFC 3264 §5.1), the sender's fill what it left out."""
        return PayloadTypes({**self.codecs.get(source, {}), **self.codecs.get(destination, {})})


def _dynamic(media: Media) -> dict[int, Codec]:
    """The dynamic types that rtpmap lines name, whether the ``m=`` line lists them or not."""
    numbers = tuple(value.partition(" ")[0] for value in media.attributes("rtpmap"))
    return {codec.payload_type: codec for codec in replace(media, formats=numbers).codecs if 96 <= codec.payload_type < 128}


def announced(keys: Ints, frames: Ints, known: dict[int, int]) -> NDArray[np.bool_]:
    """Which frames use a key that had been announced by then."""
    if not known:
        return np.zeros(len(keys), np.bool_)
    table = np.array(sorted(known), np.int64)
    since = np.array([known[key] for key in table.tolist()], np.int64)
    place = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    found: NDArray[np.bool_] = (table[place] == keys) & (since[place] <= frames)
    return found
