"""Ports in the SDP of a softphone whose hosts differ by port: the engine knows its bound ports, the network its faces."""

from __future__ import annotations

import re

_PORT = re.compile(r"^(m=\w+ |a=rtcp:)(\d+)", re.MULTILINE)


def shift_ports(sdp: str, shift: int) -> str:
    """``sdp`` with ``shift`` added to every media and RTCP port; a port of 0 means "no such media" and stays."""

    def shifted(match: re.Match[str]) -> str:
        port = int(match[2])
        return f"{match[1]}{port + shift if port else 0}"

    return _PORT.sub(shifted, sdp)
