"""Who is in a lab: the extensions of its PBX, each with a phone on a host that bears its name."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Any

from labkit.errors import LabError
from labkit.pbx.config import Extension

EXTENSIONS = ({"number": "100", "first_name": "BOB"}, {"number": "101", "first_name": "ALICE"}, {"number": "102", "first_name": "PAUL"})
"""The extensions of the lab sheet."""
PASSWORD_DIGITS, PIN_DIGITS = 6, 4
RESERVED = ("PBX", "LAPTOP", "PSTN")
"""Names of the lab's other hosts."""
# A name is a host's, a file's and a SIP display name: letters of any language, no sign that means something in one of these.
_NAME = re.compile(r"[^\W_][\w .-]{0,30}")


def digits(count: int) -> str:
    """A random secret of digits only, as the sheet asks for."""
    return "".join(secrets.choice("0123456789") for _ in range(count))


def extensions_of(given: Iterable[Extension | dict[str, Any]]) -> tuple[Extension, ...]:
    """The extensions, with random digits for passwords and PINs that are not given; raises :class:`LabError` for one that cannot be."""
    if isinstance(given, str | bytes | dict) or not isinstance(given, Iterable):
        raise LabError("lab.bad_extension", given=given)
    found = tuple(_extension(one) for one in given)
    names = [extension.first_name.upper() for extension in found]
    for extension, name in zip(found, names, strict=True):
        if not _NAME.fullmatch(extension.first_name) or name != name.strip():
            raise LabError("lab.bad_name", name=extension.first_name)
        if name in RESERVED or names.count(name) > 1:
            raise LabError("lab.name_taken", name=extension.first_name)
    return found


def _extension(given: Extension | dict[str, Any]) -> Extension:
    if isinstance(given, Extension):
        return given
    try:
        fields = {"auth_password": digits(PASSWORD_DIGITS), "voicemail_pin": digits(PIN_DIGITS), **given}
        return Extension(**{name: str(value) for name, value in fields.items()})
    except (TypeError, ValueError) as error:
        raise LabError("lab.bad_extension", given=given) from error
