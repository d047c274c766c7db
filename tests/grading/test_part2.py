"""``labkit.check`` on Part 2: transfer and redirection, right, wrong, half, and with evidence that lacks something."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.capture.capture import Capture
from labkit.capture.write import Address, PcapngWriter
from labkit.grading.check import check
from labkit.lab import Lab
from labkit.pbx.plain import plain
from labkit.pbx.rules import ExtensionRules, ForwardTo, StatusRules
from labkit.sip.message import Request, Response
from tests.grading.scene import Scene, answered, sdp

PAUL: Address = ("127.5.1.102", 40102)
TO_PAUL = StatusRules(no_answer=ForwardTo("extension", "102"))


class Part2(Scene):
    """Also holds, transfers and gives up; a message whose ``name`` is in ``without`` is not sent."""

    def __init__(self, *without: str) -> None:
        super().__init__()
        self.without = without
        self.times: list[float] = []

    def tell(self, name: str, source: Address, target: Address, message: Request | Response, *, inside: bool = False) -> None:
        if name not in self.without:
            data = bytes(message)
            self.send(source, target, data.replace(b">\r\nCall-ID", b">;tag=b\r\nCall-ID") if inside else data)

    def transfer(self, accepted: int = 202, outcome: str = "200 OK") -> None:
        """ALICE holds, REFERs BOB to PAUL, is told, and leaves."""
        alice, pbx = self.alice, self.pbx
        held = sdp(alice[0], 40010).replace("a=rtpmap", "a=sendonly\r\na=rtpmap")
        hold = self.request("INVITE", alice, pbx, "100", "101", "out1", 2, body=held)
        self.tell("hold", alice, pbx, hold, inside=True)
        refer = self.request("REFER", alice, pbx, "100", "101", "out1", 3, Refer_To="<sip:102@127.5.1.10>")
        self.tell("refer", alice, pbx, refer, inside=True)
        self.tell("accepted", pbx, alice, refer.response(accepted, to_tag="b"))
        for number, line in enumerate(("100 Trying", outcome)):
            body = f"SIP/2.0 {line}\r\n"
            notify = self.request("NOTIFY", pbx, alice, "101", "100", "out1", 5 + number, Event="refer", body=body)
            frag = bytes(notify).replace(b"application/sdp", b"message/sipfrag")
            if f"notify{number}" not in self.without:
                self.send(pbx, alice, frag)
        self.tell("invite", pbx, PAUL, self.request("INVITE", pbx, PAUL, "102", "100", "out2", 1))
        self.tell("bye", alice, pbx, self.request("BYE", alice, pbx, "100", "101", "out1", 7))

    def ring_out(self) -> None:
        """ALICE's phone rings until the server gives up; then PAUL is called."""
        invite = self.request("INVITE", self.pbx, self.alice, "101", "100", "out9", 1, body=sdp("127.5.1.100", 40000))
        self.ask(invite, self.pbx, self.alice, invite.response(180, to_tag="b"))
        cancel = self.request("CANCEL", self.pbx, self.alice, "101", "100", "out9", 1)
        self.tell("cancel", self.pbx, self.alice, cancel)
        for answer in (cancel.response(200), invite.response(487, to_tag="b")):
            self.send(self.alice, self.pbx, bytes(answer))
        following = self.request("INVITE", self.pbx, PAUL, "102", "100", "out10", 1)
        self.tell("next", self.pbx, PAUL, following)
        self.send(PAUL, self.pbx, bytes(answered(following, sdp(PAUL[0], 40020))))

    def save(self, path: Path, wait_s: float = 0.01) -> Path:
        """Packets 10 ms apart, except that ``wait_s`` passes before a CANCEL."""
        with path.open("wb") as file:
            writer, time_s = PcapngWriter(file), 0.0
            for packet in self.packets:
                time_s += wait_s if b"CANCEL sip:" in packet else 0.01
                writer.packet(1_700_000_000_000_000_000 + int(time_s * 1e9), packet)
        return path


def transferred(path: Path, *without: str, accepted: int = 202, outcome: str = "200 OK") -> Capture:
    scene = Part2(*without)
    scene.register(scene.alice, "101")
    scene.call(hang_up=False)
    scene.transfer(accepted, outcome)
    return Capture.open(scene.save(path / "transfer.pcapng"))


def rung_out(path: Path, *without: str, wait_s: float = 10.01) -> Path:
    scene = Part2(*without)
    scene.register(scene.alice, "101")
    scene.ring_out()
    return scene.save(path / "capture.pcapng", wait_s)


@pytest.mark.parametrize("answer", ["REFER", "refer", "C'est REFER, avec Refer-To"])
def test_refer_with_its_evidence(answer: str, tmp_path: Path) -> None:
    verdict = check("2.1", answer, transferred(tmp_path))
    assert verdict.outcome == "right" and verdict.points == 2, verdict
    assert "Refer-To: <sip:102@127.5.1.10>" in verdict.text() and "NOTIFYs said 100 Trying, 200 OK" in verdict.text()


@pytest.mark.parametrize(
    ("without", "says"),
    [
        ("hold", "no hold before REFER"),
        ("refer", "no REFER that was accepted"),
        ("accepted", "no REFER that was accepted"),
        ("notify1", "do not end with 200"),
        ("invite", "the server called nobody"),
        ("bye", "did not send BYE"),
    ],
)
def test_half_an_answer_without_its_evidence(without: str, says: str, tmp_path: Path) -> None:
    verdict = check("2.1", "REFER", transferred(tmp_path, without))
    assert (verdict.outcome, verdict.points) == ("partly", 1) and says in verdict.text("en"), verdict
    assert check("2.1", "BYE", transferred(tmp_path, without)).outcome == "wrong"


def test_a_transfer_that_failed_is_no_evidence(tmp_path: Path) -> None:
    verdict = check("2.1", "REFER", transferred(tmp_path, outcome="486 Busy Here"))
    assert verdict.outcome == "partly" and "(100 Trying, 486 Busy Here)" in verdict.text()


@pytest.mark.parametrize(
    ("answer", "says"),
    [("INVITE", "puts BOB on hold"), ("BYE", "ALICE sends it"), ("NOTIFY", "acknowledge"), ("302", "before it is answered")],
)
def test_mistaken_methods(answer: str, says: str, tmp_path: Path) -> None:
    verdict = check("2.1", answer, transferred(tmp_path))
    assert verdict.outcome == "wrong" and says in verdict.text("en")


@pytest.mark.parametrize(
    ("answer", "outcome", "says"),
    [
        (202, "right", "In your capture it is 202"),
        ("202 Accepted", "right", "not yet done"),
        ("202, or 200 in a newer server", "right", "RFC 7647"),
        (200, "partly", "RFC 7647"),
        (180, "wrong", "belong to the new INVITE"),
        (407, "wrong", "credentials"),
        ("REFER", "wrong", "three digits"),
    ],
)
def test_the_code(answer: object, outcome: str, says: str, tmp_path: Path) -> None:
    verdict = check("2.2", answer, transferred(tmp_path))
    assert verdict.outcome == outcome and says in verdict.text("en"), verdict
    assert check("2.2", answer).outcome == outcome, "the bank alone says the same"


def test_the_capture_wins_over_the_bank(tmp_path: Path) -> None:
    modern = transferred(tmp_path, accepted=200)
    assert check("2.2", 200, modern).outcome == "right" and check("2.2", 202, modern).outcome == "wrong"


def saved(folder: Path, *rules: ExtensionRules) -> str:
    (folder / "config.json").write_text(json.dumps({"rules": plain(rules)}), "utf-8")
    return str(folder / "config.json")


def test_the_saved_configuration_with_the_capture_beside_it(tmp_path: Path) -> None:
    rung_out(tmp_path)
    for answer in (saved(tmp_path, ExtensionRules("101", TO_PAUL)), tmp_path, str(tmp_path)):
        verdict = check("2.3", answer)
        assert verdict.outcome == "right", verdict
        assert "10.02 s after the INVITE" in verdict.text() and "CANCEL left for 127.5.1.101" in verdict.text()


def test_the_rules_as_the_pbx_shows_them(tmp_path: Path) -> None:
    capture = rung_out(tmp_path)
    assert check("2.3", ExtensionRules("101", TO_PAUL), capture).outcome == "right"
    assert check("2.3", [ExtensionRules("100"), ExtensionRules("101", TO_PAUL)], capture).outcome == "right"


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ((), "101 has no rule"),
        ((ExtensionRules("101"),), "101 has no rule"),
        ((ExtensionRules("101", away=TO_PAUL),), "while its user is available"),
        ((ExtensionRules("102", StatusRules(no_answer=ForwardTo("extension", "101"))),), "101 has no rule"),
        ((ExtensionRules("101", StatusRules(no_answer=ForwardTo("extension", "100"))),), "somewhere else: extension 100"),
        ((ExtensionRules("101", StatusRules(no_answer=ForwardTo("hang_up"))),), "somewhere else: hang_up"),
        ((ExtensionRules("101", StatusRules(no_answer=ForwardTo("extension", "102"), no_answer_after_s=20)),), "waits for 20 s"),
        ((ExtensionRules("101", StatusRules(all_calls=ForwardTo("extension", "102"))),), "never rings"),
    ],
)
def test_other_rules(rules: tuple[ExtensionRules, ...], says: str, tmp_path: Path) -> None:
    rung_out(tmp_path)
    verdict = check("2.3", saved(tmp_path, *rules))
    assert verdict.outcome == "wrong" and says in verdict.text("en"), verdict
    assert verdict.text("fr")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: rung_out(path, wait_s=19.99), "20.00 s after the INVITE, not 10"),
        (lambda path: rung_out(path, "cancel"), "until the server gives up"),
        (lambda path: rung_out(path, "next"), "nobody else is called"),
        (lambda path: Scene().save(path / "capture.pcapng"), "no REGISTER"),
    ],
)
def test_a_rule_that_no_call_proves_is_half(make: Callable[[Path], Path], says: str, tmp_path: Path) -> None:
    capture = make(tmp_path)
    if "no REGISTER" in says:
        scene = Scene()
        scene.talk(("127.5.1.100", 40000), ("127.5.1.101", 40010), 3)
        scene.save(capture)
    verdict = check("2.3", saved(tmp_path, ExtensionRules("101", TO_PAUL)))
    assert verdict.outcome == "partly" and says in verdict.text("en"), verdict


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"rules": 3}', '{"rules": [3]}', '{"rules": [{"extension": "101", "available": 3}]}', "[" * 10**5]
)
def test_a_file_that_is_no_configuration(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content, "utf-8")
    verdict = check("2.3", str(tmp_path / "config.json"))
    assert verdict.outcome == "wrong" and verdict.text("fr")


@pytest.mark.parametrize("answer", ["nowhere/config.json", "x" * 999, "a\0b", "101 to 102 after 10 s", 3, ["config.json"], object()])
def test_what_is_no_configuration(answer: object) -> None:
    assert check("2.3", answer).outcome == "wrong"


def test_a_lab_itself(tmp_path: Path) -> None:
    with Lab() as lab:
        assert "101 has no rule" in check("2.3", lab).text()
        lab.pbx.set_rules("101", available=TO_PAUL)
        assert check("2.3", lab, rung_out(tmp_path)).outcome == "right"
        assert "no REGISTER" in check("2.3", lab).text() or "no packet" in check("2.3", lab).text()
    assert check("2.3", lab).outcome == "wrong"
