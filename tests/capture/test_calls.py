"""Calls: both legs of a B2BUA are one call, with the times and the state that the caller saw."""

from __future__ import annotations

import pytest

from labkit.capture.calls import COLUMNS
from labkit.capture.capture import Capture
from labkit.capture.write import udp
from labkit.errors import CaptureError
from tests.capture.made import ALICE, BOB, NAMES, PBX, leg, pcapng, sip

A, B = "a" * 32, "b" * 32
MEDIA = ((BOB, 4000), (ALICE, 4002))
Packets = list[tuple[float, bytes]]


def two_legs(session: str = "", media: tuple[tuple[str, int], tuple[str, int]] = MEDIA) -> Packets:
    first = leg("one", (BOB, 5060), (PBX, 5060), MEDIA, 1.0, session=session and f"{A};remote={'0' * 32}")
    return sorted(first + leg("two", (PBX, 5060), (ALICE, 5060), media, 1.02, session=session and f"{A};remote={B}", rings=0.15))


def calls(packets: Packets) -> Capture:
    return Capture.from_bytes(pcapng(sorted(packets), hosts=NAMES))


@pytest.mark.parametrize("how", ["Session-ID", "SDP"])
def test_both_legs_are_one_call(how: str) -> None:
    cap = calls(two_legs(session=A if how == "Session-ID" else ""))
    assert list(cap.calls.columns) == list(COLUMNS)
    (row,) = cap.calls.to_dict("records")
    assert row["Initial Speaker"] == "BOB" and row["From"] == '"100" <sip:100@127.1.0.10>' and row["To"] == "<sip:101@127.1.0.10>"
    assert (row["Protocol"], row["Packets"], row["Legs"], row["State"], row["Comments"]) == ("SIP", 14, 2, "COMPLETED", "INVITE 200")
    assert row["Start Time"] == 0.0 and row["Stop Time"] == row["Duration"] == pytest.approx(6.12)
    assert row["Post-Dial Delay"] == pytest.approx(0.2)
    assert row["Ringing"] == pytest.approx(0.8)
    assert row["Talk"] == pytest.approx(5.0)


def test_session_ids_join_legs_whose_sdp_was_rewritten() -> None:
    rewritten = ((PBX, 9000), (ALICE, 4002))
    assert [len(call.legs) for call in calls(two_legs(A, rewritten)).call_list] == [2]


def test_unrelated_and_later_calls_stay_apart() -> None:
    again = leg("three", (BOB, 5060), (PBX, 5060), MEDIA, 20.0)
    other = leg("four", (ALICE, 5060), (PBX, 5060), ((ALICE, 5000), (PBX, 5002)), 2.0, session=B)
    cap = calls(two_legs() + again + other)
    assert [[each.call_id for each in call.legs] for call in cap.call_list] == [["one", "two"], ["four"], ["three"]]


def ending(*messages: tuple[float, bool, bytes]) -> Packets:
    first = leg("one", (BOB, 5060), (PBX, 5060), MEDIA, 0.0)[:3]
    ends = (BOB, 5060), (PBX, 5060)
    return first + [
        (at, udp(*(ends if from_caller else ends[::-1]), sip(start, cseq, call_id="one", to_tag="t")))
        for at, from_caller, (start, cseq) in messages
    ]


@pytest.mark.parametrize(
    ("state", "comment", "messages"),
    [
        ("RINGING", "INVITE 180", []),
        ("IN CALL", "INVITE 200", [(5, False, ("SIP/2.0 200 OK", "1 INVITE")), (5.1, True, ("ACK sip:b@x SIP/2.0", "1 ACK"))]),
        ("REJECTED", "INVITE 486", [(5, False, ("SIP/2.0 486 Busy Here", "1 INVITE")), (5.1, True, ("ACK sip:b@x SIP/2.0", "1 ACK"))]),
        (
            "CANCELLED",
            "INVITE 487",
            [
                (5, True, ("CANCEL sip:b@x SIP/2.0", "1 CANCEL")),
                (5.1, False, ("SIP/2.0 200 OK", "1 CANCEL")),
                (5.2, False, ("SIP/2.0 487 Request Terminated", "1 INVITE")),
            ],
        ),
    ],
)
def test_states(state: str, comment: str, messages) -> None:  # type: ignore[no-untyped-def]
    (call,) = calls(ending(*messages)).call_list
    assert (call.state, call.comment) == (state, comment)
    assert call.post_dial_delay == pytest.approx(0.2) and call.talk is None


def test_a_challenge_does_not_refuse_the_call() -> None:
    ends = (BOB, 5060), (PBX, 5060)
    challenge = [
        (0.0, udp(*ends, sip("INVITE sip:101@x SIP/2.0", call_id="one"))),
        (0.1, udp(*ends[::-1], sip("SIP/2.0 407 Proxy Authentication Required", "1 INVITE", call_id="one", to_tag="c"))),
        (0.2, udp(*ends, sip("ACK sip:101@x SIP/2.0", call_id="one", to_tag="c"))),
    ]
    (call,) = calls(challenge).call_list
    assert (call.state, call.comment) == ("REJECTED", "INVITE 407")
    (call,) = calls([*challenge, (0.3, udp(*ends, sip("INVITE sip:101@x SIP/2.0", "2 INVITE", call_id="one")))]).call_list
    assert (call.state, call.comment) == ("CALL SETUP", "INVITE")
    (call,) = calls(challenge + leg("one", *ends, MEDIA, 0.3)).call_list
    assert call.state == "COMPLETED" and call.post_dial_delay == pytest.approx(0.5)


def test_a_call_that_is_not_there() -> None:
    with pytest.raises(CaptureError, match="There is no call 1: this capture has 1"):
        calls(two_legs()).ladder(call=1)
    with pytest.raises(CaptureError, match="There is no RTP stream 0: this capture has 0"):
        calls(two_legs()).rtp_stream(0)
