"""What a SIP method, a status code, an SDP line, a digest parameter or a TLS alert means, and what to look at: ``labkit.explain(487)``.

Names, RFC sections and senders are in ``explanations.toml``, the sentences in the catalogues ``explain.po`` and, for status codes that
have one there, ``sip.po``.  All methods and codes of the IANA register of SIP are known, and all alerts of TLS (RFC 8446 §6); of SDP, the
lines of RFC 8866 and the attributes that telephones write.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from html import escape
from pathlib import Path

from labkit.errors import LabkitError
from labkit.sip import status
from labkit.texts import catalogue, text

PARTS = ("meaning", "who", "causes", "look", "rfc")
_RFC = re.compile(r"RFC (\d+)(?: §([\d.]+))?")
_STATUS_LINE = re.compile(r"(?:SIP/2\.0 )?([1-6]\d\d)(?: .*)?")
_ALERT = re.compile(r"alert[ _]*\(?(\d+)\)?|.*description: *([\w ]+?)(?: *\(\d+\))?\)?", re.IGNORECASE)
"""``alert 48``, and what Wireshark writes: ``Alert (Level: Fatal, Description: Unknown CA)``."""


class UnknownTopic(LabkitError):
    """Nothing is known about what was asked."""


@dataclass(frozen=True)
class Explanation:
    """One entry.  The sentences are in the learner's language when they are read."""

    key: str
    name: str
    kind: str
    """``method``, ``status``, ``sdp``, ``digest`` or ``alert``."""
    rfc: str
    sender: str
    number: int | None = None

    @property
    def meaning(self) -> str:
        return self._text("meaning") or status.explain(self.number or 0)

    @property
    def who(self) -> str:
        """Who sends it."""
        return text(f"explain.who_{self.sender}")

    @property
    def causes(self) -> str:
        """Why it usually appears; empty where that is no question."""
        return self._text("causes")

    @property
    def look(self) -> str:
        """What to look at in the capture; for SDP and digest, what else is worth knowing."""
        return self._text("look")

    def _text(self, part: str) -> str:
        """The sentence of this entry, or that of all of its kind, or none."""
        known = catalogue("explain", "en")
        ids = (f"explain.{self.key}_{part}", f"explain.{self.key.partition('_')[0]}_{part}")
        return next((text(message_id) for message_id in ids if message_id in known), "")

    @property
    def title(self) -> str:
        number = f" ({self.number})" if self.kind == "alert" else ""
        return f"{text(f'explain.kind_{self.kind}')} {self.name}{number}"

    def rows(self) -> list[tuple[str, str]]:
        """(label, sentence) of each part that there is."""
        labels = {part: "note" if part == "look" and self.kind in ("sdp", "digest") else part for part in PARTS}
        return [(text(f"explain.label_{labels[part]}"), said) for part in PARTS if (said := getattr(self, part))]

    def text(self) -> str:
        """The title, then one line a part."""
        return "\n".join([self.title, *(f"  {label} {said}" for label, said in self.rows())])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(label)}</th><td style="text-align:left">{_linked(said)}</td></tr>'
            for label, said in self.rows()
        )
        return f"<table><caption>{escape(self.title)}</caption><tbody>{rows}</tbody></table>"


def _linked(said: str) -> str:
    """Escaped, with each RFC that is named linked to its section."""

    def link(match: re.Match[str]) -> str:
        section = f"#section-{match[2]}" if match[2] else ""
        return f'<a href="https://www.rfc-editor.org/rfc/rfc{match[1]}{section}">{match[0]}</a>'

    return _RFC.sub(link, escape(said))


@cache
def entries() -> dict[str, Explanation]:
    """Every entry by its key, such as ``method_refer`` or ``status_487``."""
    found = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return {key: Explanation(key, e["name"], key.partition("_")[0], e["rfc"], e["who"], e.get("number")) for key, e in found.items()}


@cache
def _names() -> dict[str, str]:
    """Keys by what a learner may write, simplified: ``refer``, ``busy_here``, ``a_sendonly``, ``sendonly``, ``unknown_ca``."""
    names: dict[str, str] = {}
    for key, entry in entries().items():
        if not key.startswith("sdp_line_"):
            written = entry.name.partition(" ")[2] if entry.kind == "status" else entry.name
            for name in (written, written.removeprefix("a=")):
                names.setdefault(_simple(name), key)
    return names


def _simple(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def explain(what: object) -> Explanation:
    """What ``what`` means: who sends it, usual causes, what to look at, and its RFC.

    A status code (487), a method ("REFER"), an SDP line ("a=sendonly", "m=audio 4000 RTP/AVP 0"), a digest parameter ("nonce"), a TLS alert
    ("unknown_ca", "alert 48", its two bytes, an ``ssl.SSLError``), a reason phrase, or a SIP message.  Raises :class:`UnknownTopic`, which
    names what is near, for anything else.
    """
    key = _key(what)
    if key in entries():
        return entries()[key]
    code = key.removeprefix("status_")
    if code.isdecimal() and 100 <= int(code) <= 699:  # a code of no register has the meaning of its class (RFC 3261 §8.1.3.2)
        return Explanation(f"class_{code[0]}", code, "status", "RFC 3261 §8.1.3.2", "uas", int(code))
    raise _unknown(what)


def _key(what: object) -> str:
    """The key of an entry, or what comes nearest to one."""
    if isinstance(what, bytes):
        what = f"alert {what[1]}" if len(what) == 2 else what.decode("utf-8", "replace")
    for attribute in ("status", "method", "description", "info", "reason"):  # a response, a request, alerts, an ssl.SSLError
        if not isinstance(what, int | str) and isinstance(value := getattr(what, attribute, None), int | str):
            what = value
    if hasattr(what, "__index__") and not isinstance(what, bool):
        number = what.__index__()
        return f"status_{number}" if number >= 100 else _alert(number)
    words = re.sub(r"^(?:Request|Status): ", "", what.strip()) if isinstance(what, str) else ""
    if match := _STATUS_LINE.fullmatch(words):
        return f"status_{match[1]}"
    if match := re.fullmatch(r"([a-z])=(.*)", words, re.DOTALL):
        attribute = _simple(match[2].partition(":")[0])
        return f"sdp_a_{attribute}" if match[1] == "a" and attribute else f"sdp_line_{match[1]}"
    if (match := _ALERT.fullmatch(words)) and match[1]:
        return _alert(int(match[1]))
    name = _simple(match[2] if match else words)
    name = re.sub(r"^(?:(?:tls|ssl)v\d+_)?alert_|^tls_|_reserved$", "", name)
    return _names().get(name) or _names().get(_simple(words.partition(" ")[0]), "")


def _alert(number: int) -> str:
    return next((key for key, entry in entries().items() if entry.kind == "alert" and entry.number == number), "")


def _unknown(what: object) -> UnknownTopic:
    shown = what[:60] if isinstance(what, str) else what if isinstance(what, int | float) else type(what).__name__
    near = get_close_matches(_simple(what[:60]), list(_names()), n=3, cutoff=0.6) if isinstance(what, str) else []
    if not near:
        return UnknownTopic("explain.unknown_kind", what=shown)
    return UnknownTopic("explain.unknown", what=shown, near=", ".join(dict.fromkeys(entries()[_names()[name]].name for name in near)))
