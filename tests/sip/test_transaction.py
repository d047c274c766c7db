"""Transactions: every timer of RFC 3261 §17 and RFC 6026, with passed-in time."""

from __future__ import annotations

import pytest

from labkit.sip.message import Request, Response, cancel, parse
from labkit.sip.transaction import (
    CLIENT,
    INVITE_CLIENT,
    INVITE_SERVER,
    SERVER,
    Output,
    Received,
    Send,
    State,
    Table,
    TimedOut,
    Transaction,
    diagram,
)
from labkit.sip.transactions import Transactions

FAR = ("127.0.0.2", 5062)


def request(method: str = "INVITE", branch: str = "z9hG4bK1", number: int = 1) -> Request:
    return Request(
        method,
        "sip:101@127.0.0.1",
        [
            ("Via", f"SIP/2.0/UDP 127.0.0.2:5062;branch={branch}"),
            ("Route", "<sip:p;lr>"),
            ("From", "<sip:100@h>;tag=a"),
            ("To", "<sip:101@h>"),
            ("Call-ID", "c"),
            ("CSeq", f"{number} {method}"),
        ],
    )


def sent(outputs: list[Output]) -> list[str]:
    return [parse(o.data).start_line.replace(" SIP/2.0", "").replace("SIP/2.0 ", "") for o in outputs if isinstance(o, Send)]


def given(outputs: list[Output]) -> list[str]:
    found = []
    for o in outputs:
        if isinstance(o, Received):
            found.append(o.message.method if isinstance(o.message, Request) else str(o.message.status))
        elif isinstance(o, TimedOut):
            found.append("timeout")
    return found


def run(layer: Transactions, until: float) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
    """Let time pass: what was sent and what was given to the user, each with its time."""
    out, up = [], []
    while layer.next_timer is not None and layer.next_timer <= until:
        now = layer.next_timer
        outputs = layer.timeout(now)
        out += [(now, line) for line in sent(outputs)]
        up += [(now, what) for what in given(outputs)]
    return out, up


def test_invite_without_answer() -> None:
    layer = Transactions()
    _, outputs = layer.send(request(), FAR, 0.0)
    assert sent(outputs) == ["INVITE sip:101@127.0.0.1"]
    out, up = run(layer, 100)
    assert [t for t, _ in out] == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert up == [(32.0, "timeout")]
    assert len(layer) == 0


def test_options_without_answer() -> None:
    layer = Transactions()
    layer.send(request("OPTIONS"), FAR, 0.0)
    out, up = run(layer, 100)
    assert [t for t, _ in out] == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert up == [(32.0, "timeout")]


def test_options_after_a_provisional_response_pauses_t2() -> None:
    layer = Transactions()
    options = request("OPTIONS")
    layer.send(options, FAR, 0.0)
    assert given(layer.receive(options.response(100), FAR, 0.1)) == ["100"]
    out, up = run(layer, 100)
    assert [t for t, _ in out] == [0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
    assert up == [(32.0, "timeout")]


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_reliable_transport_sends_once(method: str) -> None:
    layer = Transactions()
    layer.send(request(method), FAR, 0.0, reliable=True)
    assert run(layer, 100) == ([], [(32.0, "timeout")])


def test_ringing_stops_the_copies_and_waits_for_ever() -> None:
    layer = Transactions()
    invite = request()
    layer.send(invite, FAR, 0.0)
    assert given(layer.receive(invite.response(180, to_tag="b"), FAR, 0.2)) == ["180"]
    assert run(layer, 1000) == ([], [])
    assert len(layer) == 1


def test_refusal_is_acked_by_the_transaction_each_time() -> None:
    layer = Transactions()
    invite = request()
    transaction, _ = layer.send(invite, FAR, 0.0)
    busy = invite.response(486, to_tag="b")
    outputs = layer.receive(busy, FAR, 0.1)
    assert given(outputs) == ["486"]
    ack = parse(next(o.data for o in outputs if isinstance(o, Send)))
    assert isinstance(ack, Request)
    assert (ack.method, ack.uri, ack.to.tag, str(ack.cseq)) == ("ACK", invite.uri, "b", "1 ACK")
    assert ack.via.branch == "z9hG4bK1"
    assert ack.headers.get("Route") == "<sip:p;lr>"
    again = layer.receive(busy, FAR, 5.0)
    assert (sent(again), given(again)) == (["ACK sip:101@127.0.0.1"], [])
    run(layer, 32.0)
    assert transaction.state is State.COMPLETED
    run(layer, 32.2)  # timer D: 32 s after the refusal
    assert len(layer) == 0


def test_several_2xx_of_a_forked_invite_are_delivered() -> None:
    layer = Transactions()
    invite = request()
    transaction, _ = layer.send(invite, FAR, 0.0)
    for tag in ("b", "c", "b"):
        assert given(layer.receive(invite.response(200, to_tag=tag), FAR, 1.0)) == ["200"]
    assert transaction.state is State.ACCEPTED
    assert layer.receive(invite.response(486, to_tag="d"), FAR, 1.0) == []
    run(layer, 33.0)  # timer M
    assert len(layer) == 0


def test_final_response_to_options_is_given_once() -> None:
    layer = Transactions()
    options = request("OPTIONS")
    layer.send(options, FAR, 0.0)
    assert given(layer.receive(options.response(200, to_tag="b"), FAR, 0.1)) == ["200"]
    assert layer.receive(options.response(200, to_tag="b"), FAR, 0.2) == []
    run(layer, 5.1)  # timer K
    assert len(layer) == 0


def test_server_repeats_a_refusal_until_ack() -> None:
    layer = Transactions()
    invite = request()
    (received,) = layer.receive(invite, FAR, 0.0)
    assert isinstance(received, Received)
    transaction = received.transaction
    assert transaction is not None
    assert sent(layer.respond(transaction, invite.response(100), 0.0)) == ["100 Trying"]
    assert sent(layer.receive(invite, FAR, 0.3)) == ["100 Trying"]
    assert sent(layer.respond(transaction, invite.response(404, to_tag="b"), 1.0)) == ["404 Not Found"]
    out, up = run(layer, 6.0)
    assert [t for t, _ in out] == [1.5, 2.5, 4.5]
    ack = request("ACK")
    assert layer.receive(ack, FAR, 6.0) == []
    assert transaction.state is State.CONFIRMED
    assert layer.receive(ack, FAR, 6.1) == []
    assert layer.receive(invite, FAR, 6.2) == []
    assert run(layer, 11.0) == ([], [])
    assert len(layer) == 0
    assert up == []


def test_an_ack_with_a_branch_of_its_own_still_ends_the_refusal() -> None:
    layer = Transactions()
    (received,) = layer.receive(request(), FAR, 0.0)
    assert isinstance(received, Received) and received.transaction is not None
    layer.respond(received.transaction, received.transaction.request.response(407, to_tag="b"), 0.0)
    assert layer.receive(request("ACK", branch="z9hG4bKnew", number=2), FAR, 0.1)  # of another INVITE: not absorbed
    assert layer.receive(request("ACK", branch="z9hG4bKnew"), FAR, 0.1) == []
    assert received.transaction.state is State.CONFIRMED
    assert run(layer, 40.0) == ([], [])


def test_a_response_with_two_vias_went_astray() -> None:
    layer = Transactions()
    client, _ = layer.send(request(), FAR, 0.0)
    stray = client.request.response(200, to_tag="b")
    stray.headers.append("Via", "SIP/2.0/UDP 127.0.0.9;branch=z9hG4bKx")
    assert layer.receive(stray, FAR, 0.1) == []
    assert client.state is State.CALLING


def test_a_client_begins_again_on_another_way() -> None:
    layer = Transactions()
    client, _ = layer.send(request(), FAR, 0.0, reliable=True)
    assert run(layer, 5.0) == ([], [])
    client.request.headers.set("Via", "SIP/2.0/UDP 127.0.0.2:5062;branch=z9hG4bKsecond")
    assert sent(layer.restart(client, ("127.0.0.3", 5060), 5.0)) == ["INVITE sip:101@127.0.0.1"]
    assert [line for _, line in run(layer, 6.6)[0]] == ["INVITE sip:101@127.0.0.1"] * 2  # timer A runs again
    ok = client.request.response(200, to_tag="b")
    assert given(layer.receive(ok, FAR, 6.7)) == ["200"]


def test_server_gives_up_on_ack() -> None:
    layer = Transactions()
    invite = request()
    (received,) = layer.receive(invite, FAR, 0.0)
    assert isinstance(received, Received) and received.transaction
    layer.respond(received.transaction, invite.response(404, to_tag="b"), 0.0)
    out, up = run(layer, 100)
    assert [t for t, _ in out] == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert up == [(32.0, "timeout")]


def test_server_accepted_absorbs_copies_and_gives_ack_up() -> None:
    layer = Transactions()
    invite = request()
    (received,) = layer.receive(invite, FAR, 0.0)
    assert isinstance(received, Received) and received.transaction
    ok = invite.response(200, to_tag="b")
    assert sent(layer.respond(received.transaction, ok, 0.0)) == ["200 OK"]
    assert layer.receive(invite, FAR, 0.4) == []
    assert sent(layer.respond(received.transaction, ok, 0.5)) == ["200 OK"]  # the user repeats a 2xx
    stray = layer.receive(request("ACK", branch="z9hG4bKack"), FAR, 0.6)
    assert given(stray) == ["ACK"]
    assert run(layer, 32.0) == ([], [])  # timer L
    assert len(layer) == 0


def test_copies_of_options_get_the_same_answer() -> None:
    layer = Transactions()
    options = request("OPTIONS")
    (received,) = layer.receive(options, FAR, 0.0)
    assert isinstance(received, Received) and received.transaction
    assert layer.receive(options, FAR, 0.1) == []
    layer.respond(received.transaction, options.response(200, to_tag="b"), 0.2)
    assert sent(layer.receive(options, FAR, 0.3)) == ["200 OK"]
    assert layer.respond(received.transaction, options.response(500, to_tag="b"), 0.4) == []
    run(layer, 32.2)  # timer J
    assert len(layer) == 0


def test_matching() -> None:
    layer = Transactions()
    invite = request()
    (first,) = layer.receive(invite, FAR, 0.0)
    assert isinstance(first, Received)
    stop = cancel(invite, cause=200)
    assert stop.headers.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    (second,) = layer.receive(stop, FAR, 0.1)
    assert isinstance(second, Received)
    assert second.transaction is not first.transaction
    assert layer.cancelled(stop) is first.transaction
    assert layer.cancelled(request("CANCEL", branch="z9hG4bKother")) is None
    (third,) = layer.receive(request(branch="z9hG4bK2"), FAR, 0.2)
    assert isinstance(third, Received) and third.transaction
    assert layer.merged(third.transaction)
    assert first.transaction is not None and not layer.merged(first.transaction)


def test_rfc_2543_client_without_branch() -> None:
    layer = Transactions()
    old = request(branch="1")
    (received,) = layer.receive(old, FAR, 0.0)
    assert isinstance(received, Received) and received.transaction
    layer.respond(received.transaction, old.response(486, to_tag="b"), 0.0)
    ack = request("ACK", branch="1")
    ack.headers.set("To", "<sip:101@h>;tag=b")
    assert layer.receive(ack, FAR, 0.1) == []
    assert received.transaction.state is State.CONFIRMED


def test_received_and_rport_are_stamped_and_used() -> None:
    layer = Transactions()
    nat = request("OPTIONS")
    nat.headers.set("Via", "SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bK1;rport, SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK0")
    (received,) = layer.receive(nat, ("127.0.0.9", 7000), 0.0)
    assert isinstance(received, Received) and received.transaction
    assert received.transaction.remote == ("127.0.0.9", 7000)
    assert nat.headers.get_list("Via") == [
        "SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bK1;rport=7000;received=127.0.0.9",
        "SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK0",
    ]


def test_a_late_response_belongs_to_nobody() -> None:
    layer = Transactions()
    outputs = layer.receive(request().response(200, to_tag="b"), FAR, 0.0)
    assert [(type(o), o.transaction) for o in outputs if isinstance(o, Received)] == [(Received, None)]


@pytest.mark.parametrize("table", [INVITE_CLIENT, CLIENT, INVITE_SERVER, SERVER])
def test_every_table_can_end_and_every_picture_shows_it(table: Table) -> None:
    reached = {state for row in table.values() for (state, *_) in row.values()}
    assert State.TERMINATED in reached
    assert reached | {State.IDLE} == set(table)
    assert "--> [*]" in diagram(table)
    assert isinstance(Transaction(table, request(), FAR).request, Request)
    assert isinstance(request().response(200), Response)
