"""The secrets that open a TLS capture: key logs (the NSS format, as browsers, OpenSSL and Python write it) and servers' RSA keys.

A private key opens only connections whose keys were sent encrypted to it (RSA key exchange, RFC 5246 §7.4.7.1, gone from TLS 1.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from labkit.capture.records import file_path
from labkit.errors import CaptureError

Given = str | bytes | Path
"""A file, or its text."""

_LINE = re.compile(r"^([A-Z][A-Z0-9_]*) ([0-9a-fA-F]+) ([0-9a-fA-F]+)[ \t]*\r?$", re.MULTILINE)
_RESUMED = re.compile(r"^RSA Session-ID:([0-9a-fA-F]+) Master-Key:([0-9a-fA-F]+)[ \t]*\r?$", re.MULTILINE)
LONGEST_LOG = 1 << 26


@dataclass
class KeyLog:
    """Secrets by label and client random (or, under ``RSA``, by the first bytes of the encrypted premaster secret)."""

    secrets: dict[tuple[str, bytes], bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.secrets)

    def add(self, text: str) -> int:
        """Take the lines of a key log; how many were understood."""
        lines = [match.groups() for match in _LINE.finditer(text)]
        lines += [("SESSION_ID", *match.groups()) for match in _RESUMED.finditer(text)]
        taken = 0
        for label, name, secret in lines:
            if len(name) % 2 == 0 and len(secret) % 2 == 0:
                self.secrets[label, bytes.fromhex(name)] = bytes.fromhex(secret)
                taken += 1
        return taken

    def get(self, label: str, name: bytes) -> bytes | None:
        return self.secrets.get((label, name))

    @classmethod
    def read(cls, given: Given) -> KeyLog:
        """The key log in a file or a text; :class:`CaptureError` when there is none."""
        found = cls()
        text = _contents(given, lambda text: bool(_LINE.search(text) or _RESUMED.search(text))).decode("ascii", "replace")
        if not found.add(text):
            raise CaptureError("decrypt.no_key_log", path=given if isinstance(given, Path) or "\n" not in str(given) else "tls_keys")
        return found


def _contents(given: Given, is_text: object) -> bytes:
    """The bytes of a file, or of what is itself the text."""
    assert callable(is_text)
    if isinstance(given, bytes):
        return given
    if isinstance(given, str) and ("\n" in given or is_text(given)):
        return given.encode("utf-8", "replace")
    path = file_path(given)
    try:
        with path.open("rb") as file:
            return file.read(LONGEST_LOG)
    except (OSError, ValueError) as error:
        raise CaptureError("decrypt.cannot_open", path=str(path), reason=getattr(error, "strerror", None) or str(error)) from error


def rsa_keys(given: Given | Iterable[Given] | None, password: str | None = None) -> list[RSAPrivateKey]:
    """The private keys in PEM or DER files (or texts); :class:`CaptureError` when one is locked, or is no RSA key."""
    if given is None:
        return []
    return [_rsa_key(one, password) for one in ([given] if isinstance(given, str | bytes | Path) else given)]


def _rsa_key(given: Given, password: str | None) -> RSAPrivateKey:
    name = str(given) if not isinstance(given, bytes) and "\n" not in str(given) else "rsa_key"
    data = _contents(given, lambda text: "-----BEGIN" in text)
    secret = password.encode() if password else None
    load = load_pem_private_key if b"-----BEGIN" in data else load_der_private_key
    try:
        key = load(data, secret)
    except TypeError as error:  # locked and no password, or a password for an open key
        if secret is None:
            raise CaptureError("decrypt.key_locked", path=name) from error
        key = load(data, None)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CaptureError("decrypt.wrong_password" if secret else "decrypt.not_a_key", path=name) from error
    if not isinstance(key, RSAPrivateKey):
        raise CaptureError("decrypt.not_rsa", path=name)
    return key


def fits_certificate(key: RSAPrivateKey, certificate: bytes) -> bool:
    """Whether ``key`` belongs to a DER certificate; true for a certificate that cannot be read."""
    try:
        public = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return True
    return isinstance(public, RSAPublicKey) and public.public_numbers() == key.public_key().public_numbers()


def premaster(key: RSAPrivateKey, encrypted: bytes, version: int) -> bytes | None:
    """The premaster secret that a client encrypted; ``None`` when it was for another key.

    It begins with the version that the client offered (RFC 5246 §7.4.7.1): what a wrong key makes of it does not.
    """
    try:
        secret = key.decrypt(encrypted, PKCS1v15())
    except ValueError:
        return None
    return secret if len(secret) == 48 and int.from_bytes(secret[:2], "big") == version else None
