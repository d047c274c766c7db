"""What a notebook gives to a phone, checked before the phone sees it: each mistake gets one sentence, and nothing has changed yet."""

from __future__ import annotations

import os
import re
from pathlib import Path

from labkit.errors import PhoneError
from labkit.net.plan import SIP_PORT, Address

DIGITS = frozenset("0123456789*#ABCD")
DIGITS_AT_ONCE = 30
"""What the engine keeps waiting at most, less one."""
_DIALLED = re.compile(r"[A-Za-z0-9*#+._-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}")


def dialled(number: object) -> str:
    """A number as the user part of a SIP URI (RFC 3261 §25.1): ``#`` is escaped there."""
    text = str(number).strip()
    if isinstance(number, bool) or not isinstance(number, str | int) or not _DIALLED.fullmatch(text):
        raise PhoneError("phone.bad_number", number=number)
    return text.replace("#", "%23")


def server_address(server: object) -> Address:
    """``("127.0.0.1", 5060)``, ``"127.0.0.1"`` or ``"127.0.0.1:5060"``."""
    parts = server.split(":") if isinstance(server, str) else list(server) if isinstance(server, tuple | list) else []
    host, port = [*map(str, parts), str(SIP_PORT)][:2] if 1 <= len(parts) <= 2 else ("", "")
    if not _HOST.fullmatch(host) or not port.isdigit() or not 0 < int(port) < 65536:
        raise PhoneError("phone.bad_server", server=server)
    return host, int(port)


def seconds(value: object) -> float:
    """A time to wait, not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise PhoneError("phone.bad_seconds", given=value)
    return float(value)


def status_code(code: object) -> int:
    """A SIP status with which a call is refused."""
    if isinstance(code, bool) or not str(code).isdigit() or not 400 <= int(str(code)) <= 699:
        raise PhoneError("phone.reject_code", given=code)
    return int(str(code))


def keys(digits: object) -> str:
    """Keys to press."""
    pressed = str(digits).upper()
    if isinstance(digits, bool) or not isinstance(digits, str | int) or not pressed or not set(pressed) <= DIGITS:
        raise PhoneError("phone.bad_digits", digits=digits)
    if len(pressed) > DIGITS_AT_ONCE:
        raise PhoneError("phone.too_many_digits", count=len(pressed), most=DIGITS_AT_ONCE)
    return pressed


def recording_path(path: object) -> Path:
    """A WAV file that can be written."""
    if not isinstance(path, str | os.PathLike) or "\0" in str(path) or Path(path).suffix.lower() != ".wav":
        raise PhoneError("phone.bad_recording", path=path)
    target = Path(path).expanduser().resolve()
    if not target.parent.is_dir():
        raise PhoneError("phone.no_folder", path=target.parent)
    try:
        target.open("ab").close()
    except OSError as error:
        raise PhoneError("phone.unwritable", path=target, reason=error.strerror or error) from error
    return target
