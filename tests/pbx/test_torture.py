"""RFC 4475 against a whole PBX: what it answers to each torture message, taken in as if it came from the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.sip.message import Response, parse
from tests.pbx.office import Office, play

# Status by message; None: nothing may be answered.  Calls are believed by their From, so nobody here is an extension (403), and
# a To tag that we never gave belongs to no dialog (481).
EXPECTED: dict[str, int | None] = {
    "wsinv": 481,
    "intmeth": 501,
    "esc01": 403,
    "escnull": 407,
    "esc02": 501,
    "lwsdisp": 200,
    "longreq": 403,
    "dblreq": 407,
    "semiuri": 200,
    "transports": 200,
    "mpart01": 403,
    "unreason": None,
    "noreason": None,
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": None,
    "quotbal": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 400,
    "trws": 400,
    "escruri": 400,
    "baddate": 403,
    "regbadct": 400,
    "badaspec": 400,
    "baddn": 400,
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "bigcode": None,
    "badbranch": 200,
    "insuf": 400,
    "unkscm": 416,
    "novelsc": 416,
    "unksm2": 400,
    "bext01": 420,
    "invut": 403,
    "regaut01": 407,
    "multi01": 400,
    "mcl01": 400,
    "bcast": None,
    "zeromf": 200,
    "cparam01": 407,
    "cparam02": 407,
    "regescrt": 407,
    "sdp01": 403,
    "inv2543": 403,
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_torture(corpus: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    data = (corpus / "rfc4475" / "dat" / f"{name}.dat").read_bytes()

    async def scene(o: Office) -> None:
        sent: list[Response] = []

        def keep(data: bytes, remote: tuple[str, int]) -> None:
            message = parse(data)
            assert isinstance(message, Response)
            sent.append(message)

        monkeypatch.setattr(o.pbx._stack, "send_bytes", keep)
        o.pbx._stack._received(data, ("127.0.0.9", 5060))
        expected = EXPECTED[name]
        assert [response.status for response in sent] == ([expected] if expected else [])
        if name == "bext01":
            assert sent[0].headers.get_list("Unsupported") == ["nothingSupportsThis", "nothingSupportsThisEither"]

    play(scene, challenge_calls=False)
