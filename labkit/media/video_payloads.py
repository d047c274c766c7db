"""From RTP payloads to pictures: H.263 (RFC 2190 and RFC 4629), H.264 (RFC 6184) and VP8 (RFC 7741).

Each function takes the payloads of one picture, in order and complete, and gives its coded bytes.  H.264 comes out in Annex B form.
Interleaved H.264 (packetization-mode 2) and redundant pictures are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from labkit.errors import MediaError

START_CODE = b"\0\0\0\1"
_SINGLE, _STAP_A, _FU_A = range(1, 24), 24, 28


def h263(payloads: Sequence[bytes]) -> bytes:
    """RFC 2190 §5: a header of 4, 8 or 12 bytes (mode A, B, C); a byte may be shared by two packets (SBIT, EBIT)."""
    picture = bytearray()
    for payload in payloads:
        first = _need(payload, 4)[0]
        size = 4 if not first & 0x80 else 12 if first & 0x40 else 8
        data, start_bits = _need(payload, size)[size:], first >> 3 & 7
        if start_bits and picture and data:
            # SBIT bits at the start of this packet are the end of the last byte of the packet before.
            picture[-1] = picture[-1] & (0xFF << (8 - start_bits)) & 0xFF | data[0] & (0xFF >> start_bits)
            data = data[1:]
        picture += data
    return bytes(picture)


def h263_plus(payloads: Sequence[bytes]) -> bytes:
    """RFC 4629 §5.1: with P set, two zero bytes of a start code were left out; extra picture headers (PLEN) are stepped over."""
    picture = bytearray()
    for payload in payloads:
        head = int.from_bytes(_need(payload, 2)[:2], "big")
        skipped = 2 + (head >> 9 & 1) + (head >> 3 & 63)
        picture += (b"\0\0" if head >> 10 & 1 else b"") + _need(payload, skipped)[skipped:]
    return bytes(picture)


def h264(payloads: Sequence[bytes]) -> bytes:
    """RFC 6184 §5.6 to §5.8: single NAL units, STAP-A and FU-A, in Annex B form."""
    units: list[bytearray] = []
    open_fragment = False
    for payload in payloads:
        kind = _need(payload, 1)[0] & 31
        if kind == _FU_A:
            indicator, head = _need(payload, 2)[:2]
            if head & 0x80:
                units.append(bytearray([indicator & 0xE0 | head & 31]))
                open_fragment = True
            elif not open_fragment:
                raise MediaError("media.picture_cut", size=len(payload))
            units[-1] += payload[2:]
            open_fragment = not head & 0x40
        elif kind == _STAP_A:
            at = 1
            while at + 2 < len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                units.append(bytearray(_need(payload, at + 2 + size)[at + 2 : at + 2 + size]))
                at += 2 + size
        elif kind in _SINGLE:
            units.append(bytearray(payload))
        else:
            raise MediaError("media.picture_cut", size=len(payload))
    if open_fragment:
        raise MediaError("media.picture_cut", size=len(units[-1]))
    return b"".join(START_CODE + unit for unit in units if unit)


def vp8(payloads: Sequence[bytes]) -> bytes:
    """RFC 7741 §4.2: a descriptor of 1 to 6 bytes before each piece of the frame."""
    frame = bytearray()
    for number, payload in enumerate(payloads):
        first, size = _need(payload, 1)[0], 1
        if first & 0x80:
            more = _need(payload, 2)[1]
            size = 2
            if more & 0x80:
                size += 2 if _need(payload, 3)[2] & 0x80 else 1
            size += (more >> 6 & 1) + bool(more & 0x30)
        if number == 0 and not (first & 0x10 and first & 7 == 0):
            raise MediaError("media.picture_cut", size=len(payload))  # not the start of the first partition
        frame += _need(payload, size)[size:]
    return bytes(frame)


def _need(payload: bytes, size: int) -> bytes:
    if len(payload) < size:
        raise MediaError("media.picture_cut", size=len(payload))
    return payload


def is_key_h263(picture: bytes) -> bool:
    """H.263 §5.1: bit 9 of PTYPE, or the picture type of PLUSPTYPE; 0 is INTRA."""
    bits = int.from_bytes(picture[:10].ljust(10, b"\0"), "big")

    def field(at: int, width: int) -> int:
        return bits >> (80 - at - width) & ((1 << width) - 1)

    if field(35, 3) != 7:
        return field(38, 1) == 0
    return field(41 + 18 * (field(38, 3) == 1), 3) == 0


def is_key_h264(picture: bytes) -> bool:
    """Whether an IDR slice (NAL unit type 5) is in it."""
    return any(unit and unit[0] & 31 == 5 for unit in picture.split(b"\0\0\1")[1:])


def is_key_vp8(picture: bytes) -> bool:
    """RFC 6386 §9.1: the lowest bit of the frame tag is 0."""
    return bool(picture) and picture[0] & 1 == 0


DEPACKETIZERS: dict[str, Callable[[Sequence[bytes]], bytes]] = {
    "H263": h263,
    "H263-1998": h263_plus,
    "H263-2000": h263_plus,
    "H264": h264,
    "VP8": vp8,
}
"""By encoding name in upper case."""
KEY_PICTURES: dict[str, Callable[[bytes], bool]] = {
    "H263": is_key_h263,
    "H263-1998": is_key_h263,
    "H263-2000": is_key_h263,
    "H264": is_key_h264,
    "VP8": is_key_vp8,
}
