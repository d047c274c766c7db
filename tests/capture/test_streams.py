"""TCP streams: order, retransmissions, gaps, the end of the number space."""

from __future__ import annotations

import random

import pytest

from labkit.capture.capture import Capture
from labkit.capture.streams import MOST_WAITING, Direction, pieces
from labkit.capture.write import TcpConversation
from tests.capture.made import BOB, PBX, pcapng

TEXT = bytes(range(256)) * 20
CLIENT, SERVER = (BOB, 40000), (PBX, 5060)


def segments(start: int, size: int = 100) -> list[tuple[int, bytes]]:
    return [((start + at) & 0xFFFFFFFF, TEXT[at : at + size]) for at in range(0, len(TEXT), size)]


@pytest.mark.parametrize("start", [1, 0xFFFFFFFF - 700])
def test_any_order_and_any_repetition_give_the_same_octets(start: int) -> None:
    for seed in range(20):
        chance = random.Random(seed)
        sent = segments(start) + segments(start, 70) * 2  # sent again in other pieces
        chance.shuffle(sent)
        direction = Direction(start)
        read = b"".join(direction.segment(*segment)[0] for segment in sent)
        assert read == TEXT and not direction.waiting and direction.held == 0


def test_a_gap_that_was_not_recorded_is_passed_over() -> None:
    direction = Direction(0)
    assert direction.segment(0, b"abc") == (b"abc", False)
    found = [direction.segment(10 + n, b"x") for n in range(MOST_WAITING + 1)]
    assert found[:-1] == [(b"", False)] * MOST_WAITING and found[-1] == (b"x" * (MOST_WAITING + 1), True)


def stream(packets: list[bytes]) -> list[tuple[int, int, bytes]]:
    layers = Capture.from_bytes(pcapng([(0.001 * n, packet) for n, packet in enumerate(packets)])).layers
    return [(piece.index, piece.connection, piece.data) for piece in pieces(layers)]


def test_segments_of_a_capture_swapped_and_sent_twice() -> None:
    talk = TcpConversation(CLIENT, SERVER, client_isn=0xFFFFFFF0, server_isn=7)
    opening, first, second, back = talk.open(), talk.data(CLIENT, b"one "), talk.data(CLIENT, b"two "), talk.data(SERVER, b"three")
    found = stream([*opening, second[0], first[0], second[0], opening[0], *back])
    assert found == [(4, 0, b"one two "), (7, 0, b"three")]


def test_the_same_ports_again_are_another_connection() -> None:
    packets = []
    for isn in (1, 1000):
        talk = TcpConversation(CLIENT, SERVER, client_isn=isn, server_isn=isn)
        packets += [*talk.open(), *talk.data(CLIENT, b"hello")]
    assert [(connection, data) for _, connection, data in stream(packets)] == [(0, b"hello"), (1, b"hello")]
