"""labkit: a telephone laboratory in a notebook.

``import labkit`` is cheap on purpose: each public name is loaded from its own module when it is first used,
so neither pandas, matplotlib, scapy nor PyAV is imported before a cell needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.capture.capture import Capture as Capture
    from labkit.errors import CaptureError as CaptureError
    from labkit.errors import LabkitError as LabkitError
    from labkit.errors import PhoneError as PhoneError
    from labkit.errors import WireError as WireError
    from labkit.explanations import explain as explain
    from labkit.grading.check import check as check
    from labkit.lab import Lab as Lab
    from labkit.texts import language as language

__version__ = "0.1.0"

_HOME = {
    "Capture": "labkit.capture.capture",
    "CaptureError": "labkit.errors",
    "Lab": "labkit.lab",
    "LabkitError": "labkit.errors",
    "PhoneError": "labkit.errors",
    "WireError": "labkit.errors",
    "check": "labkit.grading.check",
    "explain": "labkit.explanations",
    "language": "labkit.texts",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
