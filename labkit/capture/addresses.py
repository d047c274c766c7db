"""IP addresses as integers that arrays can hold: an IPv4 address is its own value, an IPv6 address a number given out here."""

from __future__ import annotations

import ipaddress

import numpy as np

from labkit.capture.records import Ints, Octets, big_endian

NONE = -1
_FIRST_IPV6 = 1 << 32


class Addresses:
    """Gives each IPv6 address of one capture a number above all IPv4 values, and turns numbers back into text."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._texts: dict[int, str] = {NONE: ""}

    @staticmethod
    def ipv4(columns: Octets) -> Ints:
        """The numbers of addresses given as rows of four bytes."""
        return big_endian(columns, 0, 4)

    def ipv6(self, columns: Octets) -> Ints:
        """The numbers of addresses given as rows of sixteen bytes."""
        different, inverse = np.unique(columns, axis=0, return_inverse=True)
        numbers = [self._number(row.tobytes()) for row in different]
        return np.array(numbers, np.int64)[np.ravel(inverse)]

    def _number(self, address: bytes) -> int:
        number = self._numbers.get(address)
        if number is None:
            number = self._numbers[address] = _FIRST_IPV6 + len(self._numbers)
            self._texts[number] = str(ipaddress.IPv6Address(address))
        return number

    def text(self, number: int) -> str:
        """The address in its usual form; empty for :data:`NONE`."""
        text = self._texts.get(number)
        if text is None:
            text = self._texts[number] = str(ipaddress.IPv4Address(number))
        return text

    def number(self, text: str) -> int:
        """The number of an address, :data:`NONE` when ``text`` is not one."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return NONE
        return int(address) if address.version == 4 else self._numbers.get(address.packed, NONE)
