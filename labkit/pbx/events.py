"""What a PBX tells its owner while it works: one small record each time something happened that a screen could show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["registered", "unregistered", "expired", "refused", "calling", "ringing", "connected", "updated", "failed", "ended"]


@dataclass(frozen=True, slots=True)
class PbxEvent:
    """``extension`` did something, or something was done to it, with ``peer`` (the other number, or a contact)."""

    kind: Kind
    extension: str
    peer: str = ""
    code: int | None = None
    """The SIP status code, where one belongs to it."""
