"""Configuration dataclasses as plain values, and plain values as configuration dataclasses.

:func:`plain` gives what JSON, TOML and SQLite can hold; :func:`build` goes back by the field names and types of the dataclass, and says
exactly which value does not fit.  Nothing here knows a particular field: a dataclass that gains one needs no line here.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from labkit.errors import LabkitError, PbxError
from labkit.net.udp import Address

T = TypeVar("T")
Path = tuple[str | int, ...]
"""Where a value stands: ``("extensions", 2, "number")``."""

KINDS: dict[type, str] = {str: "settings.a_text", int: "settings.a_whole_number", float: "settings.a_number", bool: "settings.a_switch"}


class BadValue(PbxError):
    """A value that does not fit; ``path`` says where it stands."""

    def __init__(self, message_id: str, /, *, path: Path = (), **values: Any) -> None:
        super().__init__(message_id, path=path, **values)
        self.path = path


class Named(str):
    """A message id that is put into another sentence, in the language of the moment."""

    def __format__(self, spec: str) -> str:
        from labkit.texts import text

        return text(str(self))


def plain(value: Any) -> Any:
    """``value`` as dicts, lists, texts and numbers; an address is "127.0.0.1:5060"."""
    if is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        return {f.name: _plain_as(hints[f.name], getattr(value, f.name)) for f in fields(value) if f.init}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    return value


def _plain_as(hint: Any, value: Any) -> Any:
    return f"{value[0]}:{value[1]}" if hint == Address and value is not None else plain(value)


def build(kind: type[T], values: Mapping[str, Any], path: Path = ()) -> T:
    """A dataclass from plain values.

    Raises :class:`BadValue` for a key that it does not have, a value of another type, or a missing one, and for what its own
    ``__post_init__`` refuses.
    """
    known = {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            message = "settings.unknown_key_near" if near else "settings.unknown_key"
            raise BadValue(message, path=(*path, name), key=name, near="".join(near), known=", ".join(known))
    for name, field in known.items():
        if _needed(field) and name not in values:
            raise BadValue("settings.missing_key", path=path, key=name)
    hints = get_type_hints(kind)
    arguments = {name: convert(hints[name], value, (*path, name)) for name, value in values.items()}
    try:
        return kind(**arguments)
    except BadValue:
        raise
    except LabkitError as error:
        raise BadValue("settings.refused", path=path, problem=error) from error
    except (TypeError, ValueError) as error:
        raise BadValue("settings.refused", path=path, problem=str(error) or repr(error)) from error


def _needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def convert(hint: Any, value: Any, path: Path) -> Any:
    """One plain value as the type ``hint``; raises :class:`BadValue`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint == Address:
        return _address(value, path)
    if origin is Literal:
        return _one_of(arguments, value, path)
    if origin in (Union, types.UnionType):
        return _union(arguments, value, path)
    if origin in (tuple, list, set, frozenset):
        return _sequence(origin, arguments, value, path)
    if origin is not None and issubclass(origin, Mapping):
        _expect(value, dict, "settings.a_table", path)
        return {convert(arguments[0], key, path): convert(arguments[1], item, (*path, key)) for key, item in value.items()}
    if is_dataclass(hint):
        _expect(value, dict, "settings.a_table", path)
        return build(hint, value, path)  # type: ignore[arg-type]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(_one_of([member.value for member in hint], value, path))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in KINDS and type(value) is not hint:
        raise BadValue("settings.wrong_type", path=path, key=path[-1], value=value, wanted=Named(KINDS[hint]))
    return value


def _union(arguments: tuple[Any, ...], value: Any, path: Path) -> Any:
    if value is None and type(None) in arguments:
        return None
    choices = [choice for choice in arguments if choice is not type(None)]
    for choice in choices[:-1]:
        try:
            return convert(choice, value, path)
        except BadValue:
            continue
    return convert(choices[-1], value, path)


def _sequence(origin: type, arguments: tuple[Any, ...], value: Any, path: Path) -> Any:
    _expect(value, list, "settings.a_list", path)
    if origin is tuple and Ellipsis not in arguments:
        if len(value) != len(arguments):
            raise BadValue("settings.wrong_length", path=path, key=path[-1], count=len(arguments))
        return tuple(convert(hint, item, (*path, place)) for place, (hint, item) in enumerate(zip(arguments, value, strict=True)))
    return origin(convert(arguments[0], item, (*path, place)) for place, item in enumerate(value))


def _expect(value: Any, kind: type, name: str, path: Path) -> None:
    if not isinstance(value, (kind, tuple) if kind is list else kind):
        raise BadValue("settings.wrong_type", path=path, key=path[-1], value=value, wanted=Named(name))


def _one_of(allowed: Any, value: Any, path: Path) -> Any:
    if value not in allowed:
        raise BadValue("settings.not_allowed", path=path, key=path[-1], value=value, allowed=", ".join(map(str, allowed)))
    return value


def _address(value: Any, path: Path) -> Address:
    """ "127.0.0.1:5060", or [host, port]."""
    host, port = (value if isinstance(value, (list, tuple)) and len(value) == 2 else str(value).rpartition(":")[::2]) or ("", "")
    if not host or not str(port).isdecimal() or not 0 < int(port) < 65536:
        raise BadValue("settings.bad_address", path=path, key=path[-1], value=value)
    return str(host), int(port)
