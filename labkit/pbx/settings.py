"""A PBX's configuration as a TOML file: read, with the line of each mistake, and written as an example.

The keys are the fields of :class:`labkit.pbx.config.PbxConfig` and of the dataclasses in it, so this page knows none of them by name except
``bind`` and ``advertised``: the PBX binds 127.0.0.1:5060 when nothing is said, and advertises what it binds.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import tomllib
from pathlib import Path as FilePath
from typing import Any

from labkit.errors import LabkitError, PbxError
from labkit.pbx.config import PbxConfig
from labkit.pbx.plain import BadValue, Path, build

LOCAL = "127.0.0.1:5060"
ANY = ("0.0.0.0", "::")

EXAMPLE = """\
# A labkit PBX.  Serve it with:  labkit serve office.toml
# Every key may be left out except an extension's number and first_name.

bind = "127.0.0.1:5060"         # this computer only; another address lets the network in, and labkit says so loudly
# advertised = "192.0.2.10:5060"  # what phones are told, when it is not the address that is bound
realm = "labkit"                # the domain of the passwords
profile = "rfc"                 # "rfc": 401 and qop=auth; "3cx": as in the lab's traces, 407 and no qop
challenge_calls = true          # a call needs the password too
ring_timeout_s = 60.0           # how long a call may ring
serial_ring_s = 10.0            # how long a user's phones with the highest q ring before those with the next lower one do
expires_default_s = 120         # the registration time of a phone that asks for none
media = "direct"                # "direct": voices go from phone to phone; "relayed": through this PBX
# database = "office.db"        # keep the call records in an SQLite file
transports = ["udp", "tcp"]     # both on the port of "bind"

[[extensions]]
number = "100"
first_name = "BOB"
auth_password = "384615"        # digits only, as on the lab sheet; choose your own

[[extensions]]
number = "101"
first_name = "ALICE"
auth_password = "920377"

[[extensions]]
number = "102"
first_name = "PAUL"
auth_password = "571402"

[[groups]]                      # a number that rings several extensions
number = "800"
name = "Everybody"
members = ["100", "101", "102"]

[[rules]]                       # "Forwarding rules" of one extension, by user status: available, away, out_of_office, custom_1, custom_2
extension = "101"
[rules.available]
no_answer = { target = "extension", number = "102" }
no_answer_after_s = 10.0        # from the INVITE to the phone
busy = { target = "hang_up" }

# [[gateways]]                  # the way to the public telephone network
# name = "PSTN"
# address = "127.0.0.1:5070"
#
# [[outbound]]                  # which numbers leave by it
# gateway = "PSTN"
# prefix = "0"
"""
"""What ``labkit serve --example`` prints: it serves as it is."""

_TABLE = re.compile(r"\s*\[(\[?)\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""\s*([A-Za-z0-9_\-."' ]+?)\s*=""")
_SYNTAX = re.compile(r"^(.*?)\s*\(at (?:line (\d+), column \d+|end of document)\)$")


def read(path: str | FilePath) -> PbxConfig:
    """The configuration in a TOML file.  Raises :class:`PbxError`, one sentence with the line and the remedy."""
    file = FilePath(path).expanduser()
    try:
        text = file.read_text("utf-8-sig")  # Notepad puts a byte order mark in front
    except FileNotFoundError as error:
        raise PbxError("settings.no_file", path=file) from error
    except OSError as error:
        raise PbxError("settings.unreadable", path=file, reason=error.strerror or error) from error
    except UnicodeDecodeError as error:
        raise PbxError("settings.unreadable", path=file, reason="UTF-8") from error
    return parse(text, str(file))


def parse(text: str, path: str = "-") -> PbxConfig:
    """The configuration in TOML ``text``; ``path`` is for the sentence of an error."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _SYNTAX.match(str(error))
        line = int(found[2]) if found and found[2] else len(text.splitlines())
        raise PbxError("settings.syntax", path=path, line=line, reason=found[1] if found else error) from error
    except RecursionError as error:
        lines = text.splitlines()
        deepest = max(range(len(lines)), key=lambda place: lines[place].count("[") + lines[place].count("{"))
        raise PbxError("settings.syntax", path=path, line=deepest + 1, reason="too many brackets inside each other") from error
    values.setdefault("bind", LOCAL)
    advertises = "advertised" in values
    values.setdefault("advertised", values["bind"])
    try:
        if str(values["advertised"]).startswith(ANY):
            raise BadValue("settings.advertise", path=("bind",), value=values["advertised"])
        config = build(PbxConfig, values)
        if advertises and not _can_be_found(config.advertised[0]):
            raise BadValue("settings.advertise", path=("advertised",), value=values["advertised"])
        return config
    except BadValue as error:
        problem = error.values["problem"] if error.message_id == "settings.refused" else error
        raise PbxError("settings.at_line", path=path, line=line_of(text, values, error, problem), problem=problem) from error


def _can_be_found(host: str) -> bool:
    """Whether ``host`` is an address, or a name that has one."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            return False
    return True


def line_of_key(path: str | FilePath, *key: str | int) -> int:
    """The line of a key in a file that was read before, such as ``"extensions", 0``; the first line when it is not there."""
    return positions(FilePath(path).expanduser().read_text("utf-8-sig")).get(key, 1)


def line_of(text: str, values: dict[str, Any], error: BadValue, problem: object) -> int:
    """The line at which the mistake stands: the key's own, or that of its table when the table as a whole is wrong."""
    lines = positions(text)
    where = error.path
    if isinstance(problem, LabkitError) and not isinstance(problem, BadValue):
        where = _suspect(values, where, problem) or where
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where, 1)


def _suspect(values: Any, where: Path, problem: LabkitError) -> Path | None:
    """The value that an error of a dataclass speaks of: the last key that has one of the error's values or one of its names."""
    blamed = {str(value) for value in problem.values.values() if isinstance(value, (str, int, float))}
    for step in where:
        values = values[step]
    named = tuple(str(problem.values.get("setting", "")).split("."))
    if isinstance(values, dict) and named[0] in values:
        return (*where, *named)
    return next((path for path, value in reversed(list(_leaves(values, where))) if str(value) in blamed), None)


def _leaves(value: Any, path: Path) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
        return
    for key, item in items:
        yield from _leaves(item, (*path, key))


def positions(text: str) -> dict[Path, int]:
    """The line of each table and key of a TOML document that is known to be well formed."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    depth, quoted = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if not depth and not quoted:
            if head := _TABLE.match(line):
                table = _table(_names(head[2]), bool(head[1]), counts)
                found.setdefault(table, number)
            elif key := _KEY.match(line):
                names = _names(key[1])
                for length in range(1, len(names) + 1):
                    found.setdefault((*table, *names[:length]), number)
                _inline(found, (*table, *names), line, number)
        depth, quoted = _open_brackets(line, depth, quoted)
    return found


def _inline(found: dict[Path, int], path: Path, line: str, number: int) -> None:
    """The keys of an inline table stand on its line."""
    for name in re.findall(r"[{,]\s*([A-Za-z0-9_-]+)\s*=", line):
        found.setdefault((*path, name), number)


def _names(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _table(names: Path, array: bool, counts: dict[Path, int]) -> Path:
    """The path of a table header: names of arrays of tables are followed by the place of the newest element."""
    path: Path = ()
    for place, name in enumerate(names):
        path = (*path, name)
        if array and place == len(names) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _open_brackets(line: str, depth: int, quoted: str) -> tuple[int, str]:
    """How many brackets, and which triple quotes, are still open after ``line``."""
    rest = line
    while rest:
        if quoted:
            _, end, rest = rest.partition(quoted)
            quoted = "" if end else quoted
            if not end:
                break
        elif rest[:3] in ('"""', "'''"):
            quoted, rest = rest[:3], rest[3:]
        elif string := re.match(r""""(?:[^"\\]|\\.)*"|'[^']*'""", rest):
            rest = rest[string.end() :]
        elif rest[0] == "#":
            break
        else:
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(rest[0], 0)
            rest = rest[1:]
    return depth, quoted
