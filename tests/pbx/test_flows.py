"""Every call flow of RFC 3665 and RFC 5359: played against the PBX by scripted phones, or the reason why not.

How they are played is in :mod:`tests.pbx.flows`.  The tables below say who the phones are, and in what a B2BUA may differ from the proxies
of the RFCs.  Its own Call-IDs, tags and Contacts on each leg are a matter of course, and so is 100 Trying.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from labkit.pbx.groups import OutboundRule
from labkit.pbx.rules import ExtensionRules, ForwardTo, StatusRules
from labkit.sip.transaction import Timers
from tests.pbx.flows import GATEWAY, SECOND, Played, play

BOB = {"Bob": "101"}
TWO = {"Alice": "100", "Bob": "101"}
THREE = {"Alice": "100", "Bob": "101", "Carol": "102"}
REINVITED = (" < INVITE", " > 200", " < ACK")


def forwarding(**rules: Any) -> dict[str, Any]:
    return {"rules": (ExtensionRules("101", available=StatusRules(**rules)),)}


BY_THE_BOOK = {"profile": "rfc"}
OWN = ("REGISTER",)

PLAYED: dict[str, Played] = {
    "3665 2.1": Played(BOB, before=(), settings=BY_THE_BOOK),
    "3665 2.2": Played(BOB, "The Contact that is added is a SIP address; mailto is refused, since the PBX could not ring there."),
    "3665 2.3": Played(BOB, before=(*OWN, SECOND)),
    "3665 2.4": Played(BOB, before=(*OWN, SECOND)),
    "3665 2.5": Played(
        BOB,
        "A wrong password gets 403, as in the lab's trace.",
        instead={4: "403"},
        before=(),
        wrong_password=True,
        settings=BY_THE_BOOK,
    ),
    "3665 3.1": Played(TWO),
    "3665 3.2": Played(TWO, "The PBX is both proxies."),
    "3665 3.4": Played(TWO, "What goes to the proxy that is down is not sent; the PBX is the other one.", unseen=(1, 2, 3, 4, 5, 6, 7)),
    "3665 3.5": Played(TWO, "The PBX is the gateway and the proxy; the voices go directly."),
    "3665 3.6": Played(
        {"Alice": "100", "Redirect Server": "101", "Bob": "102"},
        "The PBX follows the redirection itself, and tells ALICE by 181.",
        pbx_for={"Alice": range(2, 5)},
        extra={3: ("Alice < 181",)},
    ),
    "3665 3.7": Played(TWO, moves=9),
    "3665 3.8": Played(TWO, "The PBX is both proxies."),
    "3665 3.9": Played(TWO, "The PBX is both proxies."),
    "3665 3.10": Played(
        TWO, "Silence counts as 408 (RFC 3261 §8.1.3.1), not 480.", instead={14: "408"}, settings={"timers": Timers(t1=0.05)}
    ),
    "3665 3.11": Played(TWO, "The PBX is both proxies."),
    "5359 2.1": Played(TWO),
    "5359 2.2": Played(THREE),
    "5359 2.4": Played(
        THREE,
        "The PBX takes the REFER in BOB's place and calls CAROL without an offer; BOB answers hers in a re-INVITE.",
        pbx_for={"Bob": range(5, 17)},
        extra={13: tuple("Bob" + line for line in REINVITED)},
    ),
    "5359 2.5": Played(
        THREE,
        "The PBX takes the REFER in ALICE's place; ALICE and CAROL get a re-INVITE each, not an INVITE with Replaces.",
        pbx_for={"Alice": range(15, 28), "Carol": range(22, 24)},
        extra={20: tuple("Alice" + line for line in REINVITED)},
    ),
    "5359 2.7": Played(
        {"Alice": "100", "Gateway": GATEWAY},
        settings=forwarding(all_calls=ForwardTo("external", "0019727293660")) | {"outbound": (OutboundRule("PSTN", "00", 2, "+"),)},
    ),
    "5359 2.8": Played(
        {"Alice": "100", "B1": "101", "B2": "102"}, "B2 has a number of its own.", settings=forwarding(busy=ForwardTo("extension", "102"))
    ),
    "5359 2.9": Played(
        {"Alice": "100", "B1": "101", "B2": "102"},
        "B2 has a number of its own.",
        settings=forwarding(no_answer=ForwardTo("extension", "102"), no_answer_after_s=0.3),
    ),
    "5359 2.10": Played(THREE),
    "5359 2.11": Played(THREE, "CAROL's Join does not pass a B2BUA; BOB's phone mixes the two calls on its own."),
    "5359 2.12": Played(
        {"Alice": "100", "B1": "101", "B2": "101", "B3": "101", "B4": "101"},
        "ALICE's dialog is with the PBX, so she hears only once that it rings.",
        unseen=(18,),
        q={"B1": "1.0", "B2": "0.8", "B3": "0.6", "B4": "0.4"},
        settings={"serial_ring_s": 0.3},
    ),
    "5359 2.14": Played(
        TWO, "A number that may not be called is one without an outbound rule: 404, not 403.", instead={5: "404"}, dials="0900123456"
    ),
    "5359 2.17": Played(
        THREE,
        "The PBX knows of BOB's calls and tells ALICE itself, also that his phone rings; he is busy with CAROL, which the RFC leaves out.",
        pbx_for={"Bob": [*range(4, 10), *range(14, 20)]},
        extra={
            0: ("Carol > INVITE", "Bob < INVITE", "Bob > 200", "Carol < 200", "Carol > ACK", "Bob < ACK"),
            1: ("Bob > 486", "Alice < 486"),
            7: ("Carol > BYE", "Carol < 200", "Bob < BYE", "Bob > 200"),
            11: ("Alice < NOTIFY", "Alice > 200"),
        },
    ),
}

NOT_PLAYED = {
    "3665 3.3": "needs two proxies of two realms, each with its own challenge",
    "5359 2.3": "third-party call control: a music server takes REFER outside a dialog and calls with Replaces",
    "5359 2.6": "CAROL replaces BOB's phone by INVITE with Replaces, and this PBX lets only the user himself do that",
    "5359 2.13": "needs a caller that follows 305 and a server for announcements",
    "5359 2.15": "third-party call control: a park server takes REFER outside a dialog; here one parks by a blind transfer",
    "5359 2.16": "BILL's INVITE with Replaces goes to ALICE's phone, which cancels its own call; here the PBX picks up (*20*)",
    "5359 2.18": "a program asks by REFER outside a dialog for a call, which the PBX refuses",
}


def flows(corpus: Path) -> dict[str, dict[str, Any]]:
    return {
        f"{number} {flow['section'].split()[0]}": flow
        for number in ("3665", "5359")
        for flow in json.loads((corpus / "rfc-flows" / f"rfc{number}.json").read_text("utf-8"))
    }


def test_each_flow_is_played_or_has_a_reason(corpus: Path) -> None:
    assert set(flows(corpus)) == set(PLAYED) | set(NOT_PLAYED)
    assert not set(PLAYED) & set(NOT_PLAYED)


@pytest.mark.parametrize("section", PLAYED)
def test_flow(corpus: Path, section: str) -> None:
    asyncio.run(asyncio.wait_for(play(flows(corpus)[section], PLAYED[section]), 30))


def test_what_the_rfc_does_not_have_is_noticed(corpus: Path) -> None:
    flow = flows(corpus)["3665 3.9"]
    printed = [item for item in flow["messages"] if item["id"] not in ("F10", "F11")]  # 486 and ACK on ALICE's leg
    with pytest.raises(AssertionError, match=r"Alice has seen \[\['> INVITE', '< 486'\]\]; in the RFC it is \[\['> INVITE'\]\]"):
        asyncio.run(play(flow | {"messages": printed}, PLAYED["3665 3.9"]))
