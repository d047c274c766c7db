"""Mail on the wire: commands and replies of SMTP (RFC 5321, AUTH by RFC 4954), POP3 (RFC 1939) and IMAP (RFC 9051).

The Info column is Wireshark's; what is inside a message is not read, but for From and Subject.  Base64 stays as it was sent: what it
means, names and passwords, is in :attr:`MailLine.decoded`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from labkit.capture.info import shown
from labkit.capture.node import Node, node

SMTP, POP, IMAP = "SMTP", "POP", "IMAP"
PORTS = {25: SMTP, 587: SMTP, 465: SMTP, 2525: SMTP, 2587: SMTP, 110: POP, 1110: POP, 143: IMAP, 1143: IMAP}
"""Without root, a lab's mail servers listen on four-digit ones."""
TITLES = {SMTP: "Simple Mail Transfer Protocol", POP: "Post Office Protocol", IMAP: "Internet Message Access Protocol"}
LONGEST_LINE = 1 << 16
_GREETINGS = (
    (SMTP, re.compile(rb"220[ -][^\r\n]*SMTP", re.IGNORECASE)),
    (POP, re.compile(rb"\+OK")),
    (IMAP, re.compile(rb"\* (OK|PREAUTH)")),
)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{2,}={0,2}")
_LITERAL = re.compile(rb"\{(\d{1,9})\+?\}$")


def greeting(data: bytes) -> str:
    """The protocol whose server begins like this; empty when it is none of them."""
    return next((protocol for protocol, pattern in _GREETINGS if pattern.match(data)), "")


def decoded_base64(word: str) -> str:
    """What a base64 word says, its parts (RFC 4616: NUL between them) apart; empty when it is no base64."""
    if not _BASE64.fullmatch(word) or len(word) % 4:
        return ""
    try:
        return " ".join(shown(part.decode("utf-8", "replace")) for part in base64.b64decode(word, validate=True).split(b"\0") if part)
    except binascii.Error:
        return ""


@dataclass(frozen=True)
class MailLine:
    """One command or line of a reply."""

    protocol: str
    from_client: bool
    text: str
    secret: str = ""
    """``User`` or ``Pass``: the answer to a question of AUTH LOGIN."""
    auth: bool = False
    """Part of a login, where base64 is spoken."""

    @property
    def decoded(self) -> str:
        """Base64 of a login in clear (RFC 4954 §4: it hides nothing); empty when there is none."""
        return decoded_base64(self.text.split(" ")[-1]) if self.auth else ""

    @property
    def code(self) -> int | None:
        """The code of an SMTP reply."""
        return int(self.text[:3]) if self.protocol == SMTP and not self.from_client and _is_reply(self.text) else None

    @property
    def command(self) -> str:
        """The first word of what a client says (after the tag, in IMAP), in capitals."""
        words = self.text.split()
        place = 1 if self.protocol == IMAP and len(words) > 1 else 0
        return words[place].upper() if self.from_client and words else ""


def _is_reply(text: str) -> bool:
    return len(text) >= 3 and text[:3].isascii() and text[:3].isdecimal() and text[3:4] in (" ", "-", "")


@dataclass(frozen=True)
class MailPart:
    """What one frame adds to a conversation: whole lines, and octets of a message."""

    protocol: str
    from_client: bool
    lines: tuple[MailLine, ...]
    info: str
    fragment: int = 0
    """Octets of a message that goes on."""
    message: tuple[str, str] | None = None
    """From and Subject of a message that ends here."""

    @property
    def column(self) -> str:
        """Wireshark's Protocol column."""
        return f"{self.protocol}/IMF" if self.message else self.protocol

    def tree(self, *, decode: bool = False) -> Node:
        """The lines, with base64 decoded below each when ``decode``."""
        prefix = self.protocol.lower()
        lines = []
        for line in self.lines:
            about = list(_about(line, prefix))
            if decode and line.decoded:
                about.append(node("Base64 decoded", "", line.decoded))
            kind = "request" if line.from_client else "response"
            field = "command_line" if line.from_client and self.protocol == SMTP else kind
            lines.append(Node(f"{kind.capitalize()}: {line.text}", f"{prefix}.{field}", line.text, tuple(about)))
        if self.fragment:
            lines.append(node("Message data", f"{prefix}.data.fragment", f"{self.fragment} bytes"))
        if self.message:
            lines += [node("From", "imf.from", self.message[0]), node("Subject", "imf.subject", self.message[1])]
        return Node(TITLES[self.protocol], prefix, self.info, tuple(lines))


def _about(line: MailLine, prefix: str) -> Iterator[Node]:
    if line.code:
        yield node("Response code", f"{prefix}.response.code", line.code)
    if line.secret:
        name = "username" if line.secret == "User" else "password"
        yield node(name.capitalize(), f"{prefix}.auth.{name}", line.text.split(" ")[-1])
    elif line.command:
        yield node("Command", f"{prefix}.{'req' if line.protocol == SMTP else 'request'}.command", line.command)


@dataclass
class _Side:
    buffer: bytearray = field(default_factory=bytearray)
    literal: int = 0
    """Octets of an IMAP literal that are still to come."""


@dataclass
class MailSession:
    """One connection.  ``feed`` takes what either side sends; after STARTTLS, :attr:`secured` says that TLS begins."""

    protocol: str
    secured: bool = False
    client: _Side = field(default_factory=_Side)
    server: _Side = field(default_factory=_Side)
    asked: list[str] = field(default_factory=list)
    """Questions of AUTH LOGIN that the client has still to answer."""
    auth: bool = False
    upgrade: str = ""
    """A client has asked for TLS: the IMAP tag, or any text."""
    data: bytearray | None = None
    """The beginning of a message that is being sent (SMTP DATA)."""

    def feed(self, from_client: bool, octets: bytes) -> MailPart | None:
        """What ``octets`` complete; ``None`` while a line goes on."""
        side = self.client if from_client else self.server
        side.buffer += octets
        if from_client and self.data is not None:
            return self._message(octets)
        lines = self._lines(side, from_client)
        if not lines:
            return None
        return MailPart(self.protocol, from_client, tuple(lines), self._info(from_client, lines, len(octets)))

    def _lines(self, side: _Side, from_client: bool) -> list[MailLine]:
        found = []
        while side.buffer:
            if side.literal:
                taken = min(side.literal, len(side.buffer))
                del side.buffer[:taken]
                side.literal -= taken
                continue
            end = side.buffer.find(b"\n")
            if end < 0 and len(side.buffer) < LONGEST_LINE:
                break
            raw = bytes(side.buffer[: end + 1 if end >= 0 else LONGEST_LINE])
            del side.buffer[: len(raw)]
            raw = raw.rstrip(b"\r\n")
            literal = _LITERAL.search(raw) if self.protocol == IMAP else None
            side.literal = int(literal[1]) if literal else 0
            line = self._line(from_client, shown(raw.decode("utf-8", "replace")))
            found.append(line)
            if self.secured or self.data is not None:
                break
        return found

    def _line(self, from_client: bool, text: str) -> MailLine:
        if from_client:
            return self._command(text)
        in_auth = self.auth or (self.protocol == SMTP and text.startswith("334"))
        line = MailLine(self.protocol, False, text, auth=in_auth and text[:3] in ("334", "+ "))
        self._reply(text)
        return line

    def _command(self, text: str) -> MailLine:
        words = text.split()
        start = 1 if self.protocol == IMAP else 0
        verb = words[start].upper() if len(words) > start else ""
        if self.asked:
            return MailLine(self.protocol, True, text, secret=self.asked.pop(0), auth=True)
        if verb in ("AUTH", "AUTHENTICATE") and len(words) > start + 1:
            given = len(words) > start + 2
            login = words[start + 1].upper() == "LOGIN"
            self.auth = True
            self.asked = (["Pass"] if given else ["User", "Pass"]) if login else []
            return MailLine(self.protocol, True, text, secret="User" if login and given else "", auth=given)
        if verb in ("STARTTLS", "STLS"):
            self.upgrade = words[0]
        return MailLine(self.protocol, True, text, auth=self.auth)

    def _reply(self, text: str) -> None:
        """Follow what a reply means for the lines to come."""
        if self.protocol == SMTP:
            code = text[:3]
            self.auth = self.auth and code == "334"
            self.asked = self.asked if code == "334" else []
            self.secured = bool(self.upgrade) and code == "220"
            self.data = bytearray() if code == "354" else None
        else:
            self.auth = self.auth and text[:2] in ("+", "+ ")
            good = text.startswith("+OK") if self.protocol == POP else text.upper().startswith(f"{self.upgrade} OK".upper())
            self.secured = bool(self.upgrade) and good
        if not text.startswith(("+ ", "* ")):
            self.upgrade = ""

    def _message(self, octets: bytes) -> MailPart:
        """The octets of a message, up to the line with a dot alone (RFC 5321 §4.5.2)."""
        assert self.data is not None
        whole = self.data + self.client.buffer
        if whole == b".\r\n" or whole.endswith(b"\r\n.\r\n"):
            self.client.buffer.clear()
            self.data = None
            origin, subject = _header(bytes(whole), "from"), _header(bytes(whole), "subject")
            told = [f"from: {origin}"] * bool(origin) + [f"subject: {subject}"] * bool(subject)
            return MailPart(self.protocol, True, (), "".join(f"{part}, " for part in told), message=(origin, subject))
        keep = 5  # enough to see the end, should the next frame complete it
        if len(self.data) < LONGEST_LINE:
            self.data += self.client.buffer
        else:
            self.data = self.data[:LONGEST_LINE] + (self.data[LONGEST_LINE:] + self.client.buffer)[-keep:]
        self.client.buffer.clear()
        return MailPart(self.protocol, True, (), f"C: DATA fragment, {len(octets)} bytes", fragment=len(octets))

    def _info(self, from_client: bool, lines: list[MailLine], size: int) -> str:
        if self.protocol == IMAP:
            return f"{'Request' if from_client else 'Response'}: {next((line.text for line in reversed(lines) if line.text), '')}"
        if self.protocol == POP:
            first = lines[0].text
            if not from_client and not first.startswith(("+OK", "-ERR")):
                return f"S: DATA fragment, {size} bytes"
            return f"{'C' if from_client else 'S'}: {first}"
        words, continued = [], False
        for line in lines:
            text = line.text
            if not from_client and _is_reply(text):
                words.append(text[4:] if continued else text)
                continued = text[3:4] == "-"
            elif line.secret and text.split()[:1] and text.upper().startswith("AUTH "):
                words.append(f"AUTH LOGIN {line.secret}: {text.split()[-1]}")
            else:
                words.append(f"{line.secret}: {text}" if line.secret else text)
        return f"{'C' if from_client else 'S'}: {' | '.join(words)}"


def _header(message: bytes, name: str) -> str:
    head = message[:LONGEST_LINE].partition(b"\r\n\r\n")[0]
    found = re.search(rb"^" + name.encode() + rb":[ \t]*([^\r\n]*)", head, re.IGNORECASE | re.MULTILINE)
    return shown(found[1].decode("utf-8", "replace")) if found else ""
