"""SIP on a byte stream: RFC 3261 §18.3 (Content-Length frames the messages) and RFC 5626 §4.4.1 (CRLF keep-alives).

Feed what the connection gives, get whole messages; several may sit in one segment, one in many.  No socket here.
"""

from __future__ import annotations

from labkit.sip.message import MalformedMessage, Request, Response, content_length, parse_head

PING = b"\r\n\r\n"
PONG = b"\r\n"
LONGEST_HEAD = 64 * 1024
LONGEST_BODY = 4 * 1024 * 1024


class StreamParser:
    """The receiving side of one connection.  After a :class:`MalformedMessage` the frames are lost: answer, then close."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.pings = 0
        """Double CRLFs received between messages and not yet answered with :data:`PONG`; the owner counts them down."""

    def receive(self, data: bytes) -> list[Request | Response]:
        """The messages that ``data`` completes.  Raises when the stream cannot be cut into messages (no Content-Length, too long)."""
        self._buffer += data
        messages: list[Request | Response] = []
        while self._buffer:
            while self._buffer[:2] == PONG:
                if self._buffer[:4] == PING:
                    self.pings += 1
                    del self._buffer[:4]
                elif PING.startswith(self._buffer):
                    return messages  # a pong, or the beginning of a ping: the next octets tell
                else:
                    del self._buffer[:2]
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > LONGEST_HEAD:
                    raise MalformedMessage("sip.too_long", status=513, limit=LONGEST_HEAD)
                break
            message, _ = parse_head(bytes(self._buffer[: end + 4]))
            length = content_length(message)
            if length is None:
                # §20.14: on a stream Content-Length MUST be used.
                raise MalformedMessage("sip.missing_header", sip_message=message, header="Content-Length")
            if length > LONGEST_BODY:
                raise MalformedMessage("sip.too_long", status=413, sip_message=message, limit=LONGEST_BODY)
            if len(self._buffer) < end + 4 + length:
                break
            message.body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            messages.append(message)
        return messages
