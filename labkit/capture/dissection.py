"""The part of a :class:`~labkit.capture.capture.Capture` that looks into single packets: their trees, filters, what else they carry."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import pandas as pd

    from labkit.capture.applications import Applications
    from labkit.capture.capture import Capture
    from labkit.capture.tree import Packet, Trees


class Dissection:
    """What :class:`Capture` inherits."""

    @cached_property
    def applications(self) -> Applications:
        """STUN, TURN, DTLS, TLS and mail, frame by frame."""
        from labkit.capture.applications import find_applications

        cap = cast("Capture", self)
        return find_applications(cap.layers, {record.number - 1 for record in cap.messages})

    @cached_property
    def _trees(self) -> Trees:
        from labkit.capture.tree import Trees

        return Trees(cast("Capture", self))

    def packet(self, number: int, *, decode: bool = False) -> Packet:
        """Packet ``number`` (from 1) as a tree; ``decode`` shows base64 in mail logins in clear.

        :class:`CaptureError` when there is no such packet.
        """
        return self._trees.packet(number, decode=decode)

    def find(self, expression: str) -> pd.DataFrame:
        """The rows of :attr:`packets` that a display filter keeps, as ``sip.Method == "INVITE" and ip.addr == 127.1.0.100``.

        :class:`CaptureError` points at what is wrong in the filter.  The fields are those of :mod:`labkit.capture.filter_fields`.
        """
        from labkit.capture.filter import matching

        cap = cast("Capture", self)
        return cap.packets[matching(cap, expression)]

    @property
    def secrets(self) -> bytes:
        """The TLS key log that the file carries in decryption secrets blocks; empty when it carries none."""
        return b"".join(secret if secret.endswith(b"\n") else secret + b"\n" for secret in cast("Capture", self).records.secrets)
