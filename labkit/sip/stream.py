"""SIP on a byte stream: RFC 3261 §18.3 (Content-Length frames the messages) and RFC 5626 §4.4.1 (CRLF keep-alives).

Feed what the connection gives, get whole messages; several may sit in one segment, one in many.  No socket here.
"""

from __future__ import annotations

from collections.abc import Iterator

from labkit.sip.message import MalformedMessage, Request, Response, SipMessage, content_length, parse_head

PING = b"\r\n\r\n"
PONG = b"\r\n"
LONGEST = 64 * 1024


class StreamParser:
    """The receiving side of one connection; ``longest`` bounds head and body, each.

    After a :class:`MalformedMessage` the frames are lost: answer, then close.
    """

    def __init__(self, longest: int = LONGEST) -> None:
        self.longest = longest
        self.pings = 0
        """Double CRLFs received between messages and not yet answered with :data:`PONG`; the owner sets it back."""
        self._buffer = bytearray()
        self._searched = 0  # how much of the buffer is known to hold no end of headers
        self._begun: tuple[Request | Response, int] | None = None  # a message whose body is incomplete, and the body's length

    def receive(self, data: bytes) -> Iterator[Request | Response]:
        """The messages that ``data`` completes, one by one, so that those before a broken one are served.

        Raises :class:`MalformedMessage` where the stream cannot be cut into messages: no Content-Length, or too long.
        """
        self._buffer += data
        while self._begun or self._head():
            assert self._begun is not None
            message, length = self._begun
            if len(self._buffer) < length:
                return
            message.body = bytes(self._buffer[:length])
            del self._buffer[:length]
            self._begun = None
            yield message

    def _head(self) -> bool:
        """Take the next start line and headers from the buffer, if they are complete."""
        self._skip_line_ends()
        end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0 or end > self.longest:
            self._searched = len(self._buffer)
            if self._searched > self.longest:
                raise MalformedMessage("sip.too_long", status=513, sip_message=self._begun_message(), limit=self.longest)
            return False
        head = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        self._searched = 0
        message, _ = parse_head(head)
        length = content_length(message)
        if length is None:
            # §20.14: on a stream Content-Length MUST be used.
            raise MalformedMessage("sip.missing_header", sip_message=message, header="Content-Length")
        if length > self.longest:
            raise MalformedMessage("sip.too_long", status=413, sip_message=message, limit=self.longest)
        self._begun = message, length
        return True

    def _begun_message(self) -> SipMessage | None:
        """What can be answered of a head that is too long: the message that its first lines make."""
        lines = bytes(self._buffer[: self.longest]).split(b"\r\n")[:-1]
        try:
            return parse_head(b"\r\n".join(lines) + b"\r\n\r\n")[0]
        except MalformedMessage as error:
            return error.sip_message

    def _skip_line_ends(self) -> None:
        """§7.5: CRLFs before a start line are no part of it; two of them are a ping.  One may be the beginning of a ping: it waits."""
        while self._buffer[:2] == PONG:
            if self._buffer[:4] == PING:
                self.pings += 1
                del self._buffer[:4]
            elif PING.startswith(self._buffer):
                return
            else:
                del self._buffer[:2]
