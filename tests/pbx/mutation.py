"""Messages with mistakes, made from good ones by chance, but always the same chance."""

from __future__ import annotations

import random

NASTY = [
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b'"',
        b"<",
        b">",
        b";",
        b",",
        b"=",
        b":",
        b"@",
        b"\0",
        b"%",
        b"%00",
        b" ",
        b"\t",
        b"\\",
        b"*",
        b"?",
        b"\xff",
    ),
    *(b"-1", b"0", b"99999999999", b"4294967296", b"2147483648", b"65536", b"1e9", "١".encode(), b"sip:", b"sips:", b"tel:1", b"[::1]"),
    *(b";tag=", b";branch=z9hG4bK", b";lr", b";transport=tcp", b";maddr=127.0.0.5", b";received=x", b";rport", b";expires=0", b"0.0.0.0"),
    *(b"Content-Length: 5\r\n", b"Require: x\r\n", b"Route: <sip:127.0.0.1:9;lr>\r\n", b"Contact: *\r\n", b"Expires: 0\r\n", b"Via: \r\n"),
]


def mutate(data: bytes, chance: random.Random) -> bytes:
    """``data`` with one to four mistakes: octets, lines and values changed, lost, doubled, moved, or put in where they do not belong."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if not changed:
            break
        at = chance.randrange(len(changed))
        kind = chance.randrange(8)
        if kind == 0:
            changed[at] = chance.randrange(256)
        elif kind == 1:
            del changed[at : at + chance.randint(1, 30)]
        elif kind == 2:
            changed[at:at] = changed[at : at + chance.randint(1, 30)] * chance.randint(1, 3)
        elif kind == 3:
            changed[at:at] = chance.choice(NASTY)
        elif kind == 4:
            nasty = chance.choice(NASTY)
            changed[at : at + len(nasty)] = nasty
        elif kind == 5:
            del changed[at:]
        else:
            changed = bytearray(b"\r\n".join(_lines(changed.split(b"\r\n"), chance, kind)))
    return bytes(changed)


def _lines(lines: list[bytearray], chance: random.Random, kind: int) -> list[bytearray]:
    """One line lost, doubled or moved; or the value of one header given to another."""
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    if kind == 6:
        what = chance.randrange(3)
        line = lines.pop(at)
        if what:
            lines[other:other] = [line] * what
    else:
        name, colon, _ = lines[at].partition(b":")
        lines[at] = bytearray(name + colon + lines[other].partition(b":")[2])
    return lines
