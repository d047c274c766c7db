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
        ("1.7", ["INVITE", "200"], "wrong", "up to message 2"),
        ("1.7", ["INVITE", 100, 180, 200, "ACK", "BYE", 200], "partly", "up to message 2"),
        ("1.8", "yes", "wrong", "Compare the destination of the INVITE"),
        ("1.8", "Yes, both TCP", "wrong", "Voice is RTP over UDP"),
        ("1.9", "through the server", "wrong", "c= and m= lines"),
        ("1.10", "it is a computer", "wrong", "0 of 5 ideas"),
        ("1.10", "it registers phones", "partly", "1 of 5 ideas"),
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
    flow = check("1.7", capture).text()
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


@pytest.mark.parametrize("answer", [..., "", "...", "  ", None, [], [""]])
@pytest.mark.parametrize("number", list(questions()))
def test_not_answered_yet_repeats_the_question(number: str, answer: object, capture: Capture) -> None:
    """A capture that is at hand is no answer by itself."""
    for given_capture in (None, capture):
        verdict = check(number, answer, given_capture)
        assert verdict.outcome == "not answered yet" and verdict.points in (0.0, None)
        assert verdict.feedback[0].message_id.endswith(".task")


# As learners write: (question, answers), in both languages, negated, in another order.
MORE_RIGHT = {
    "1.2": [
        "The user ID is in clear, the password is not",
        [1, 0],
        [True, False],
        "1, 0",
        ["y", "n"],
        "oui, non",
        "no, password is not; yes the user id",
        "password: no, user ID: yes",
        "user id yes password no",
        "Yes for the user ID, no for the password",
        "yes (user id), no (password)",
        "only the user ID",
        "the user ID, not the password",
        "l'identifiant, pas le mot de passe",
        "The user ID is; the password isn't.",
        "The user ID is, the password is not",
        "user ID in clear but the password is hashed with MD5",
        "the password is never sent, not even encrypted; the username is visible",
        "the user id is in clear. The password is not encrypted but hashed",
        "L'identifiant est en clair, le mot de passe ne l'est pas",
        "le mot de passe n'est pas en clair, l'identifiant oui",
        "identifiant : oui, mot de passe : non (haché)",
        ["in clear", "hashed"],
        {"user": "yes", "password": "no"},
    ],
    "1.3": ["5060, not 5061", "not 40100 but 5060", "nº 5060", "port n° 5060", "no, 5060", "5060 (et pas 80)"],
    "1.4": ["REGISTER, pas INVITE", "the REGISTER method"],
    "1.5": ["rien", "nothing", "il n'y en a pas", "Aucun", "a request doesn't have a code", "none; CSeq 1", "407", "none, 200 comes later"],
    "1.6": ["OK", "200 et pas 407", "200, not 202", "200 OK", "SIP/2.0 200 OK", "it is OK"],
    "1.8": ["the ports differ", "différents", "No", "0", "not the same", "pas les mêmes", "they are not",
            "No, only the source port is the same",
            "ils sont différents", "ils ne sont pas identiques", "the source port is the same and the destination differs", [False]],
    "1.9": ["not through the server", "pas par le serveur", "pair à pair", "peer-to-peer", "directly via RTP",
            "straight between BOB and ALICE", "not via the PBX but directly",
            "the voice does not pass through the SIP server", "directement entre les deux téléphones, le serveur n'y participe pas",
            "directly; the server is not involved", "no it goes directly", "non, direct"],
    "1.10": ["Il enregistre les téléphones, les authentifie et achemine l'appel ; la voix ne passe pas par lui.",
             "It not only registers the phones but also authenticates them and routes calls."],
}  # fmt: skip
MORE_WRONG = {
    "1.2": ["no, yes", "the password is in clear, the user id is not", "I do not know"],
    "1.3": ["not 5060", "5061", "pas 5060"],
    "1.5": ["I don't know", "je ne sais pas", "486"],
    "1.6": ["202 OK", "not 200", "486 OK", "pas OK"],
    "1.7": ["INVITE", ["INVITE"], "blah"],
    "1.8": ["no, yes", "yes and no", "the same", "identiques", "I don't know", "je ne sais pas", "there is no difference", "no difference",
            "pas différents", "1"],
    "1.9": ["direct or server", "not direct", "through the server, not directly", "par le serveur", "I don't know",
            "relayed by the PBX", "blah"],
    "1.10": ["blah", "does not register, does not authenticate and never routes", "I do not know"],
}  # fmt: skip
PARTLY = {"1.2": ["both are in clear", "neither", "neither the user id nor the password", "yes", "user id: yes, user id: no, password: no"]}


def cases(table: dict[str, list[object]]) -> list[tuple[str, object]]:
    return [(number, answer) for number, answers in table.items() for answer in answers]


@pytest.mark.parametrize(("number", "answer"), cases(MORE_RIGHT))
def test_right_in_other_words(number: str, answer: object, capture: Capture) -> None:
    for seen in (None, capture):
        assert check(number, answer, seen).outcome == "right"


@pytest.mark.parametrize(("number", "answer"), cases(MORE_WRONG))
def test_wrong_in_other_words(number: str, answer: object, capture: Capture) -> None:
    verdict = check(number, answer, capture)
    assert verdict.outcome == "wrong" and not verdict.points


@pytest.mark.parametrize(("number", "answer"), cases(PARTLY))
def test_half_in_other_words(number: str, answer: object, capture: Capture) -> None:
    assert check(number, answer, capture).outcome == "partly"


def test_a_right_answer_with_a_wrong_reason_keeps_its_points_and_hears_why(capture: Capture) -> None:
    verdict = check("1.2", ["yes", "no, it is encrypted"], capture)
    assert verdict.outcome == "right" and verdict.points == verdict.out_of
    assert "A digest is not encryption" in verdict.text()
    assert "A digest is not encryption" not in check("1.2", "yes, no: it is not encrypted", capture).text()


@pytest.mark.parametrize("given", [5, b"x.pcapng", object(), ["x.pcapng"]])
def test_a_capture_that_is_none_is_one_sentence(given: object) -> None:
    with pytest.raises(AnswerError, match=f"not something of type {type(given).__name__}"):
        check("1.3", 5060, given)  # type: ignore[arg-type]


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
