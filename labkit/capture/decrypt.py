"""A capture in clear: TLS by key log, embedded secrets or the server's RSA key, then SRTP by the keys that SDP carries.

What opens takes the place of what was encrypted, at the same time between the same ports; what does not open stays as it was recorded, and
the report says why.  TLS records with nothing but the handshake are left out, so packet numbers differ; a comment tells the old one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from labkit.capture.capture import Capture
from labkit.capture.info import shown
from labkit.capture.rewrite import rewrite
from labkit.capture.srtp_decrypt import SrtpResult, SrtpStream, open_srtp
from labkit.capture.table import html_table
from labkit.capture.tls_decrypt import TlsConnection, open_connections, replacements
from labkit.capture.tls_keys import Given, KeyLog, rsa_keys
from labkit.capture.tls_master import Secrets
from labkit.texts import text

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("Protocol", "Source", "Src Port", "Destination", "Dst Port", "Cipher", "Decrypted", "Failed", "Comment")


MOST_NOTED = 250
"""Rows of the report that a decrypted file carries."""
_NOTE = '{"labkit": 1, "decryption": '


@dataclass(frozen=True)
class Outcome:
    """What became of one TLS connection (source is the client) or of one SRTP or SRTCP stream.

    ``decrypted`` and ``failed`` count records with application data, or packets; ``closed`` records without a key are ``failed`` too.
    """

    protocol: str
    source: tuple[str, int]
    destination: tuple[str, int]
    cipher: str
    decrypted: int
    failed: int
    why: str
    """A message id; empty when all is clear."""

    @property
    def reason(self) -> str:
        return text(self.why, failed=self.failed, cipher=self.cipher) if self.why else ""

    def row(self) -> tuple[object, ...]:
        return (self.protocol, *self.source, *self.destination, self.cipher, self.decrypted, self.failed, self.reason)


@dataclass(frozen=True)
class Decryption:
    """What was decrypted, what was not, and why.  ``print`` shows it as text, a notebook as a table."""

    outcomes: tuple[Outcome, ...]

    @classmethod
    def of(cls, comments: Iterable[str]) -> Decryption | None:
        """The report that a decrypted file carries as a comment; ``None`` when it carries none."""
        found = None
        for comment in comments:
            try:
                rows = json.loads(comment)["decryption"] if comment.startswith(_NOTE) else None
                found = found if rows is None else cls(tuple(_outcome(*row) for row in rows))
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
        return found

    def comment(self) -> str:
        """The report as one line of JSON."""
        rows = [(o.protocol, *o.source, *o.destination, o.cipher, o.decrypted, o.failed, o.why) for o in self.outcomes[:MOST_NOTED]]
        return json.dumps({"labkit": 1, "decryption": rows})

    @property
    def complete(self) -> bool:
        """Whether nothing stayed closed."""
        return all(outcome.why in ("", "decrypt.no_data") for outcome in self.outcomes)

    @property
    def opened(self) -> bool:
        """Whether anything was decrypted."""
        return any(outcome.decrypted for outcome in self.outcomes)

    @property
    def reason(self) -> str:
        """The first reason why something stayed closed."""
        return next((outcome.reason for outcome in self.outcomes if outcome.why), text("decrypt.nothing") if not self.outcomes else "")

    @property
    def summary(self) -> str:
        if not self.outcomes:
            return text("decrypt.nothing")
        return text(
            "decrypt.summary",
            records=sum(outcome.decrypted for outcome in self.outcomes if outcome.protocol.startswith("TLS")),
            packets=sum(outcome.decrypted for outcome in self.outcomes if outcome.protocol.startswith("SRT")),
            failed=sum(outcome.failed for outcome in self.outcomes),
        )

    def table(self) -> pd.DataFrame:
        """One row a connection or stream."""
        from labkit.capture.table import table

        return table([outcome.row() for outcome in self.outcomes], COLUMNS, caption="decrypt.caption")

    def text(self) -> str:
        """The report as plain text, a line each."""
        lines = [self.summary]
        for outcome in self.outcomes:
            (source, sport), (destination, dport) = outcome.source, outcome.destination
            line = f"{outcome.protocol}  {source}:{sport} → {destination}:{dport}  {outcome.cipher or '-'}  "
            line += text("decrypt.counts", decrypted=outcome.decrypted, failed=outcome.failed)
            lines.append(line + (f"  {outcome.reason}" if outcome.reason else ""))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        rows = html_table(COLUMNS, [outcome.row() for outcome in self.outcomes], text("decrypt.caption")) if self.outcomes else ""
        return f"<p>{escape(self.summary)}</p>{rows}"


def _outcome(
    protocol: str, source: str, source_port: int, destination: str, port: int, cipher: str, decrypted: int, failed: int, why: str
) -> Outcome:
    """A row of the report in a file, which anyone may have written."""
    words = [shown(str(word)) for word in (protocol, source, destination, cipher)]
    known = why if why and why.startswith("decrypt.") and text(why, failed=0, cipher="") else ""
    return Outcome(words[0], (words[1], int(source_port)), (words[2], int(port)), words[3], int(decrypted), int(failed), known)


def decrypt(
    capture: Capture,
    tls_keys: Given | None = None,
    *,
    sdes: bool = True,
    rsa_key: Given | Iterable[Given] | None = None,
    rsa_password: str | None = None,
) -> Capture:
    """See :meth:`labkit.capture.capture.Capture.decrypt`."""
    log = KeyLog() if tls_keys is None else KeyLog.read(tls_keys)
    for secret in capture.records.secrets:
        log.add(secret.decode("ascii", "replace"))
    connections = open_connections(capture.layers, Secrets(log, rsa_keys(rsa_key, rsa_password)))
    outcomes = [_tls_outcome(capture, connection) for connection in connections]
    directions, segments = replacements(connections)
    comments = capture.records.section_comments
    signalling = capture
    if directions:
        notes = (*comments, Decryption(tuple(outcomes)).comment())
        signalling = _written(capture, rewrite(capture.layers, {}, directions, segments, notes=notes))
    media = open_srtp(signalling.layers, signalling.messages) if sdes else SrtpResult([], {}, {})
    report = Decryption((*outcomes, *(_srtp_outcome(stream) for stream in media.streams)))
    clear = signalling
    if media.clear or media.failed:
        remarks = _new_comments(signalling, media.failed)
        clear = _written(capture, rewrite(signalling.layers, media.clear, comments=remarks, notes=(*comments, report.comment())))
    elif not directions:
        clear = Capture(capture.records, capture.name)
    clear.decryption = report
    return clear


def _written(capture: Capture, data: bytes) -> Capture:
    made = Capture.from_bytes(data)
    made.name = capture.name
    return made


def _new_comments(capture: Capture, comments: dict[int, str]) -> dict[int, str]:
    """Without those that a packet has already: a capture may be decrypted twice."""
    held = capture.records.comments
    return {index: comment for index, comment in comments.items() if comment not in held.get(index, "")}


def _tls_outcome(capture: Capture, connection: TlsConnection) -> Outcome:
    session, ((key, _), _) = connection.session, connection.client_first
    address = capture.layers.addresses.text
    return Outcome(
        protocol=session.version_name or "TLS",
        source=(address(key[0]), key[1]),
        destination=(address(key[2]), key[3]),
        cipher=session.suite_name,
        decrypted=session.opened,
        failed=session.failed + session.closed,
        why=connection.why(),
    )


def _srtp_outcome(stream: SrtpStream) -> Outcome:
    return Outcome(
        protocol="SRTCP" if stream.rtcp else "SRTP",
        source=stream.source,
        destination=stream.destination,
        cipher=", ".join(stream.suites),
        decrypted=stream.opened,
        failed=stream.failed,
        why=stream.why(),
    )
