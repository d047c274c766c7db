"""The exceptions that labkit raises.

::

    LabkitError             everything below; ``str()`` is one sentence and, after it, what to do
    ├── SipError            a SIP message, URI or SDP body that breaks its RFC (raised by the sans-IO core)
    ├── MediaError          a sound file or payload that cannot be used
    ├── CaptureError        a capture file that cannot be read or written
    ├── WireError           the wire process: not there, ended, or refused an order
    ├── PbxError            the PBX: configuration or address
    ├── PhoneError          a phone: refused, unanswered, ended; carries the SIP ``code``
    ├── LabError            the lab as a whole
    ├── LanguageError       ``labkit.language``: a language that labkit does not speak
    ├── UsageError          the command line: a command or an option that does not exist
    └── AnswerError         ``labkit.check``: no such question, an answer or a capture of the wrong kind

Each error names a message of the catalogue (see :mod:`labkit.texts`), so it speaks the learner's language when it is shown,
not when it was raised.  A notebook shows the sentence alone, without a traceback: the mistake is in the lab, not in the code.
"""

from __future__ import annotations

from typing import Any

from labkit.texts import LabkitError as LabkitError
from labkit.texts import LanguageError as LanguageError
from labkit.texts import rebuild


class SipError(LabkitError):
    """A message that breaks its RFC; ``status`` is the response that a server owes for it, if any."""

    def __init__(self, message_id: str, /, *, status: int | None = 400, **values: Any) -> None:
        super().__init__(message_id, **values)
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return (rebuild, (type(self), self.message_id, {**self.values, "status": self.status}))


class MediaError(LabkitError):
    """A sound file or a payload that cannot be used."""


class CaptureError(LabkitError):
    """A capture file that cannot be read or written."""


class WireError(LabkitError):
    """The wire process is not there, has ended, or refused an order."""


class PbxError(LabkitError):
    """The PBX cannot do what its configuration asks."""


class PhoneError(LabkitError):
    """A phone was refused, not answered, or has ended.  ``code`` is the SIP status code, when there is one."""

    def __init__(self, message_id: str, /, *, code: int | None = None, **values: Any) -> None:
        super().__init__(message_id, code=code, **values)
        self.code = code


class LabError(LabkitError):
    """The lab as a whole cannot do what was asked."""


class AnswerError(LabkitError):
    """A question that does not exist, or an answer or a capture of the wrong kind."""


class UsageError(LabkitError):
    """A command or an option that the command line does not know."""
