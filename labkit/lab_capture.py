"""The capture of a running lab, as a notebook holds it: save it, open it, draw it, begin it anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import CaptureError, WireError

if TYPE_CHECKING:
    from labkit.capture.capture import Capture


class LiveCapture:
    """What the wire has recorded so far.  It can be saved and opened while calls go on, and after the lab has closed."""

    def __init__(self, path: Path, flush: Callable[[], int], restart: Callable[[], None]) -> None:
        self.path = path
        """The file that grows while the lab runs; it opens at any time, even when the wire has been cut."""
        self.dropped = path.with_suffix(".dropped.pcapng")
        """Packets that an impairment has swallowed."""
        self._flush = flush
        self._restart = restart

    def save(self, path: str | Path) -> Path:
        """Copy the capture to ``path`` (pcapng, for Wireshark or :meth:`Capture.open`); lost packets go to ``NAME.dropped.pcapng``.

        Raises :class:`CaptureError` when it cannot be written there, and :class:`WireError` when the disk of the running capture is
        full; nothing is lost in either case.
        """
        if not isinstance(path, str | os.PathLike) or not str(path) or "\0" in str(path):
            raise CaptureError("lab.bad_path", path=path)
        self._bring_to_disk()
        target = Path(path).expanduser()
        self._copy(self.path, target)
        if self.dropped.exists():
            self._copy(self.dropped, target.with_suffix(".dropped.pcapng"))
        return target

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        part = target.with_name(target.name + ".part")
        try:
            if target.is_char_device():
                shutil.copyfile(source, target)
                return
            # A half-written copy must not replace an older good one.
            shutil.copyfile(source, part)
            part.replace(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise CaptureError("lab.save_failed", path=target, reason=error.strerror or error, capture=source) from error

    def open(self) -> Capture:
        """The packets so far, for analysis.  When the wire has been cut, what it had recorded until then."""
        from labkit.capture.capture import Capture

        self._bring_to_disk()
        try:
            return Capture.from_bytes(self.path.read_bytes())
        except OSError as error:
            raise CaptureError("lab.capture_gone", path=self.path, reason=error.strerror or error) from error

    def _bring_to_disk(self) -> None:
        """Have the wire write what it holds.  When it has been cut, what it had written until then is the capture."""
        try:
            self._flush()
        except WireError as error:
            if error.message_id != "net.wire_ended":
                raise

    def restart(self) -> None:
        """Begin the capture anew: what was recorded so far is forgotten.  Save it before if it is needed."""
        self._restart()

    def ladder(self, **options: Any) -> Any:
        """The ladder of the packets so far (see :meth:`Capture.ladder`)."""
        return self.open().ladder(**options)

    def __repr__(self) -> str:
        return f"<LiveCapture {self.path.name}, {self.path.stat().st_size if self.path.exists() else 0} bytes on disk>"
