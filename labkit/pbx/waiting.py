"""What a phone is told that waits with nobody to talk to: silence, in a session description of the PBX's own.

The PBX has no voice, so it offers and answers ``a=inactive``, on port 9 (discard), since nothing is received there.
"""

from __future__ import annotations

from labkit.errors import SipError
from labkit.sip.message import Response
from labkit.sip.sdp import Media, Sdp


def waiting(offer: bytes, address: str) -> Response:
    """Silence as a message that a leg passes on: the answer to ``offer``, or an offer of G.711 when there is none.

    Raises :class:`SipError` for an offer that cannot be read, or has no voice in it.
    """
    return Response(200, "", [("Content-Type", "application/sdp")], _answer(offer, address) if offer else _offer(address))


def _offer(address: str) -> bytes:
    return bytes(Sdp.make(address, [Media("audio", 9, "RTP/AVP", ("0", "8")).with_direction("inactive")], session_id=1, version=1))


def _answer(offer: bytes, address: str) -> bytes:
    """Every section inactive, in the offer's codecs; other than voice is refused (RFC 3264 §6)."""
    sections = []
    for media in Sdp.parse(offer).media:
        if media.kind == "audio" and media.port and media.codecs:
            lines = tuple(line for line in media.lines if line[0] == "a" and line[1].startswith(("rtpmap:", "fmtp:")))
            sections.append(Media("audio", 9, media.protocol, media.formats, lines).with_direction("inactive"))
        else:
            sections.append(Media(media.kind, 0, media.protocol, media.formats[:1] or ("0",)))
    if not any(section.port for section in sections):
        raise SipError("sip.no_common_codec", status=488)
    return bytes(Sdp.make(address, sections, session_id=1, version=1))
