"""SMTP, POP3 and IMAP: lines as Wireshark shows them, logins decoded on request, messages in pieces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.capture.capture import Capture
from labkit.capture.mail import MailSession, decoded_base64
from labkit.capture.write import TcpConversation
from tests.capture.made import BOB, PBX, pcapng, tshark_list
from tests.capture.made_secure import IMAP, POP, SMTP, Script, conversation

Tool = Callable[[str], str]


@pytest.mark.parametrize(("port", "said"), [(25, SMTP), (587, SMTP), (110, POP), (143, IMAP)])
def test_same_list_as_wireshark(port: int, said: Script, tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "mail.pcapng"
    path.write_bytes(pcapng([(0.001 * n, packet) for n, packet in enumerate(conversation(port, said))]))
    mine = Capture.open(path).packets[["Protocol", "Info"]].values.tolist()
    theirs = [[row[4], row[6]] for row in tshark_list(tool("tshark"), path)]
    for ours, wireshark in zip(mine, theirs, strict=True):
        # Wireshark goes on with the text of the message, which labkit leaves alone.
        assert ours == (wireshark if ours[0] != "SMTP/IMF" else [ours[0], wireshark[1][: len(ours[1])]])
    assert sum(protocol.startswith(("SMTP", "POP", "IMAP")) for protocol, _ in mine) >= len(said)


def test_a_lab_s_own_ports_are_known_by_their_greetings() -> None:
    packets = [*conversation(2525, SMTP), *conversation(1110, POP, client_port=40001), *conversation(1143, IMAP, client_port=40002)]
    cap = Capture.from_bytes(pcapng([(0.001 * n, packet) for n, packet in enumerate(packets)]))
    assert [len(cap.find(name)) > 10 for name in ("smtp", "pop", "imap")] == [True] * 3
    assert cap.find('smtp.req.command == "EHLO"')["Info"].tolist() == ["C: EHLO bob"]
    assert cap.find("smtp.response.code == 535")["Info"].tolist() == ["S: 535 5.7.8 no", "S: 535 bad"]
    assert cap.find('imf.subject == "Voicemail"')["Info"].tolist() == ["from: a@x, subject: Voicemail, "]


def test_base64_is_decoded_on_request_only() -> None:
    cap = Capture.from_bytes(pcapng([(0.001 * n, packet) for n, packet in enumerate(conversation(25, SMTP))]))
    numbers = cap.find("smtp.auth.username or smtp.auth.password")["No."].tolist()
    clear = [cap.packet(number, decode=True).text() for number in numbers]
    assert [text.partition("Base64 decoded: ")[2] for text in clear] == ["Admin", "Admin1", "Admin", "pw"]
    assert not any("Base64 decoded" in cap.packet(number).text() for number in numbers)
    [plain] = cap.find('smtp.command_line contains "AUTH PLAIN"')["No."].tolist()
    assert "Base64 decoded: Admin Admin1" in cap.packet(plain, decode=True).text()
    question = cap.find('smtp.response contains "334"')["No."].tolist()[0]
    assert "Base64 decoded: Username:" in cap.packet(question, decode=True).text()


@pytest.mark.parametrize(("word", "said"), [("QWRtaW4=", "Admin"), ("AGJvYgAxMjM0", "bob 1234"), ("QWRtaW4", ""), ("****", ""), ("", "")])
def test_decoded_base64(word: str, said: str) -> None:
    assert decoded_base64(word) == said


def test_lines_cut_anywhere_and_out_of_order() -> None:
    talk = TcpConversation((BOB, 40000), (PBX, 25), client_isn=1, server_isn=1)
    packets = [*talk.open(), *talk.data((PBX, 25), b"220 x ESMTP\r\n")]
    one, two, three = (talk.data((BOB, 40000), part) for part in (b"EH", b"LO b", b"ob\r\n"))
    cap = Capture.from_bytes(pcapng([(0, packet) for packet in [*packets, three[0], one[0], two[0], two[0]]]))
    assert cap.find("smtp")["Info"].tolist() == ["S: 220 x ESMTP", "C: EHLO bob"]
    assert cap.packets["Info"].str.contains("segment of a reassembled PDU").tolist()[-3:] == [True, False, False]


def test_what_is_inside_an_imap_literal_is_no_line() -> None:
    session = MailSession("IMAP")
    part = session.feed(False, b"* 1 FETCH (BODY[] {14}\r\na9 OK inside\r\n)\r\na4 OK done\r\n")
    assert part is not None and [line.text for line in part.lines] == ["* 1 FETCH (BODY[] {14}", ")", "a4 OK done"]


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=12), st.sampled_from(["SMTP", "POP", "IMAP"]))
def test_any_octets(said: list[tuple[bool, bytes]], protocol: str) -> None:
    session = MailSession(protocol)
    for from_client, octets in [(True, b"AUTH LOGIN\r\n"), (False, b"334 x\r\n354 go\r\n"), *said]:
        part = session.feed(from_client, octets)
        assert part is None or part.tree(decode=True).label
