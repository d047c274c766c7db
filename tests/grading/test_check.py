"""``labkit.check``: every question of Part 1, right, wrong and strange, with and without a capture."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit.capture.capture import Capture
from labkit.errors import AnswerError
from labkit.grading.bank import questions
from labkit.grading.check import check
from tests.grading.scene import Scene, whole_part


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return Capture.open(whole_part().save(tmp_path_factory.mktemp("part1") / "part1.pcapng"))


RIGHT = {
    "1.1": ["REGISTER", 407, "register", "200 OK"],
    "1.2": ["yes", "no"],
    "1.3": "udp/5060",
    "1.4": "register",
    "1.5": "none: a request has a method",
    "1.6": "200 OK",
    "1.7": "INVITE, 407, ACK, INVITE, 100, 180, 200, ACK, BYE, 200",
    "1.8": "Non",
    "1.9": "directement, pas par le serveur",
    "1.10": "It registers the phones, authenticates them and routes the INVITE; the voice goes directly.",
}


@pytest.mark.parametrize("number", RIGHT)
def test_right_answers(number: str, capture: Capture) -> None:
    verdict = labkit.check(number, RIGHT[number], capture)
    assert verdict.outcome == "right", verdict
    assert verdict.points in (None, verdict.out_of)
    assert "RFC" in verdict.text("fr")


@pytest.mark.parametrize(
    ("number", "answer", "outcome", "says"),
    [
        ("1.1", ["REGISTER", "200"], "partly", "up to message 2, where you wrote 200; the capture has 4 messages"),
        ("1.1", ["REGISTER", 407, "REGISTER", 200, "SUBSCRIBE", 407, "SUBSCRIBE", 489], "partly", "Bad Event"),
        ("1.2", "No, it is encrypted", "partly", "A digest is not encryption"),
        ("1.2", ["no", "no, base64"], "partly", "SMTP AUTH LOGIN"),
        ("1.2", ["no", "yes"], "wrong", "field by field"),
        ("1.3", 5061, "wrong", "SIP over TLS"),
        ("1.3", 40100, "wrong", "40100 is the phone's own source port"),
        ("1.3", "5060 or 80", "partly", "destination port"),
        ("1.4", "INVITE", "wrong", "INVITE begins a call"),
        ("1.4", "REGISTER or INVITE", "partly", "INVITE begins a call"),
        ("1.5", 200, "wrong", "200 confirms a registration"),
        ("1.5", "CSeq 2", "wrong", "only counts requests"),
        ("1.6", 202, "wrong", "answers a REFER"),
        ("1.6", "200 and 202", "partly", "answers a REFER"),
        ("1.7", ["INVITE", "200"], "partly", "up to message 2"),
        ("1.8", "yes", "wrong", "Compare the destination of the INVITE"),
        ("1.8", "Yes, both TCP", "wrong", "Voice is RTP over UDP"),
        ("1.9", "through the server", "wrong", "c= and m= lines"),
        ("1.10", "it is a computer", "partly", "0 of 5 ideas"),
    ],
)
def test_wrong_answers_say_where_to_look(number: str, answer: object, outcome: str, says: str, capture: Capture) -> None:
    verdict = check(number, answer, capture)
    assert verdict.outcome.name.lower() == outcome, verdict
    assert says in verdict.text("en")


def test_right_answers_name_what_the_capture_shows(capture: Capture) -> None:
    assert "from 127.5.1.100:40100 to 127.5.1.10:5060" in check("1.3", 5060, capture).text()
    assert "username=100 in clear" in check("1.2", ["yes", "no"], capture).text()
    assert "407" in check("1.5", 401, capture).text()
    assert "<sip:100@127.5.1.100:40100>;expires=120" in check("1.6", 200, capture).text()
    ports = check("1.8", "no", capture).text()
    assert "to 127.5.1.10:5060" in ports and "from 127.5.1.100:40100 to 127.5.1.101:40101" in ports
    assert "RTP runs from 127.5.1.100:40000 to 127.5.1.101:40010" in check("1.9", "direct", capture).text()
    flow = check("1.7", ..., capture).text()
    assert "3 hosts" in flow and "Call-ID in1" in flow and "out1" in flow


def test_the_capture_wins_over_the_bank(tmp_path: Path) -> None:
    """A lab whose server listens elsewhere, and whose voice is relayed."""
    scene = Scene(pbx=("127.5.1.10", 5070))
    scene.register(scene.bob, "100", code=401)
    scene.call(voice="server", challenged=False)
    capture = Capture.open(scene.save(tmp_path / "other.pcapng"))
    assert check("1.3", 5070, capture).outcome == "right"
    assert check("1.3", 5060, capture).outcome == "wrong"
    assert check("1.1", ["REGISTER", 401, "REGISTER", 200], capture).outcome == "right"
    assert check("1.9", "server", capture).outcome == "right"
    assert check("1.9", "direct", capture).outcome == "wrong"
    assert check("1.7", ["INVITE", 100, 180, 200, "ACK", "BYE", 200], capture).outcome == "right"


@pytest.mark.parametrize(
    ("steps", "says"), [(0, "holds no REGISTER"), (1, "no 401 or 407"), (2, "no second REGISTER"), (3, "No 200 OK confirms")]
)
def test_evidence_says_what_is_missing_of_a_registration(steps: int, says: str, tmp_path: Path) -> None:
    scene = Scene()
    scene.register(scene.bob, "100", steps=steps)
    scene.talk(("127.5.1.100", 40000), ("127.5.1.101", 40010), 3)
    verdict = check("1.1", str(scene.save(tmp_path / "cut.pcapng")))
    assert verdict.outcome == "wrong" and says in verdict.text()


def test_evidence_says_what_is_missing_of_a_call(tmp_path: Path) -> None:
    def judge(scene: Scene) -> str:
        return check("1.7", scene.save(tmp_path / "cut.pcapng")).text()

    scene = Scene()
    scene.register(scene.bob, "100")
    assert "no INVITE through the server" in judge(scene)
    scene.call(voice="", hang_up=False)
    assert "No call through the server is complete" in judge(scene)
    quiet = Scene()
    quiet.register(quiet.bob, "100")
    quiet.call(voice="")
    assert "holds no RTP" in judge(quiet)
    narrow = Scene(bob=("127.5.1.10", 5060))
    narrow.register(narrow.alice, "101")
    narrow.call()
    assert check("1.7", narrow.save(tmp_path / "cut.pcapng")).outcome == "wrong"


def test_an_ack_with_another_number_is_no_call(tmp_path: Path) -> None:
    scene = Scene()
    scene.register(scene.bob, "100")
    scene.call()
    scene.packets = [packet.replace(b"CSeq: 2 ACK", b"CSeq: 9 ACK") for packet in scene.packets]
    assert check("1.7", scene.save(tmp_path / "ack.pcapng")).outcome == "wrong"


def test_a_retransmission_does_not_change_the_sequence(tmp_path: Path) -> None:
    scene = Scene()
    scene.register(scene.bob, "100")
    scene.packets.insert(1, scene.packets[0])
    assert check("1.1", ["REGISTER", 407, "REGISTER", 200], scene.save(tmp_path / "again.pcapng")).outcome == "right"


@pytest.mark.parametrize("number", list(questions()))
def test_not_answered_yet_repeats_the_question(number: str) -> None:
    verdict = check(number, ...)
    assert verdict.outcome == "not answered yet" and verdict.points in (0.0, None)
    assert verdict.feedback[0].message_id.endswith(".task")


def test_a_file_that_is_no_capture_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.pcapng").write_text("hello")
    for answer in (str(tmp_path / "x.pcapng"), str(tmp_path / "nowhere.pcapng")):
        verdict = check("1.7", answer)
        assert verdict.outcome == "wrong" and answer in verdict.text()


def test_an_unknown_question() -> None:
    with pytest.raises(AnswerError, match=r"no question 7\.42"):
        check("7.42", 1)


@pytest.mark.parametrize("answer", [object(), b"x", 3j, float("nan"), float("inf"), 10**400, "x" * 10**6, [[[[[]]]]], {"a": object()}])
@pytest.mark.parametrize("number", list(questions()))
def test_strange_answers_get_a_verdict(number: str, answer: object, capture: Capture) -> None:
    assert check(number, answer, capture).outcome in ("wrong", "partly", "not answered yet")


@given(st.sampled_from(list(questions())), st.text(max_size=60) | st.lists(st.text(max_size=10) | st.integers() | st.floats(), max_size=5))
def test_any_answer_gets_a_verdict_in_both_languages(number: str, answer: object) -> None:
    verdict = check(number, answer, None)
    assert verdict.text("en") and verdict.text("fr") and verdict._repr_html_()
