"""labkit.explain: everything registered is known in both languages, written in whatever way a learner meets it."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
from types import SimpleNamespace

import pytest

import labkit
from labkit import cli
from labkit.errors import LabkitError
from labkit.explanations import UnknownTopic, entries, explain
from labkit.sip import status
from labkit.sip.message import Request, Response
from labkit.texts import catalogue, language

METHODS = "ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE UPDATE".split()
"""The IANA register of SIP methods: RFC 3261, 3262, 3311, 3428, 3515, 3903, 6086, 6665."""
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")


def names(kind: str) -> list[str]:
    return [entry.name for entry in entries().values() if entry.kind == kind]


def test_all_that_is_registered_is_known() -> None:
    assert sorted(names("method")) == METHODS
    assert [entry.number for entry in entries().values() if entry.kind == "status"] == list(status.REASONS)
    assert [
        entry.name for code, entry in zip(status.REASONS, map(explain, status.REASONS), strict=True) if str(code) not in entry.name
    ] == []
    assert {line[0] for line in names("sdp") if re.fullmatch("[a-z]=", line)} == set("vosiuepcbtrzkam")
    assert {f"a={name}" for name in (*DIRECTIONS, "rtpmap", "fmtp", "ptime", "crypto", "fingerprint", "candidate")} <= set(names("sdp"))


def test_all_alerts_that_python_knows_are_known() -> None:
    """The numbers of the TLS library stand against ours."""
    ours = {entry.name.upper(): entry.number for entry in entries().values() if entry.kind == "alert"}
    theirs = {alert.name.removeprefix("ALERT_DESCRIPTION_").replace("CANCELLED", "CANCELED"): alert.value for alert in ssl.AlertDescription}
    assert theirs.items() <= ours.items()
    assert [entry.number for entry in entries().values() if entry.kind == "alert"] == sorted(ours.values())


def test_each_says_what_it_means_who_sends_it_and_where_it_is_defined() -> None:
    english = {key: entry.rows() for key, entry in entries().items()}
    language("fr")
    for key, entry in entries().items():
        assert re.fullmatch(r"RFC \d{4}( §[\d.]+(, §[\d.]+)*)?", entry.rfc), key
        assert len(entry.meaning) > 10 and entry.meaning != english[key][0][1], key
        assert entry.look and entry.who and (entry.causes or entry.kind in ("sdp", "digest")), key
    keys = {message_id.removeprefix("explain.").rpartition("_")[0] for message_id in catalogue("explain", "en")}
    assert set(entries()) <= keys, "an entry without a sentence of its own"


@pytest.mark.parametrize(
    ("what", "title"),
    [
        (487, "SIP response 487 Request Terminated"),
        ("487", "SIP response 487 Request Terminated"),
        ("SIP/2.0 486 Busy Here", "SIP response 486 Busy Here"),
        ("busy here", "SIP response 486 Busy Here"),
        ("REFER", "SIP method REFER"),
        (" refer ", "SIP method REFER"),
        ("INVITE sip:101@127.0.0.1 SIP/2.0", "SIP method INVITE"),
        ("a=sendonly", "SDP a=sendonly"),
        ("recvonly", "SDP a=recvonly"),
        ("a=rtpmap:101 telephone-event/8000", "SDP a=rtpmap"),
        ("m=audio 40000 RTP/AVP 0", "SDP m="),
        ("telephone-event", "SDP telephone-event"),
        ("nonce", "Digest parameter nonce"),
        ("unknown_ca", "TLS alert unknown_ca (48)"),
        ("Alert (Level: Fatal, Description: Unknown CA)", "TLS alert unknown_ca (48)"),
        ("TLSV1_ALERT_UNKNOWN_CA", "TLS alert unknown_ca (48)"),
        ("alert 48", "TLS alert unknown_ca (48)"),
        (48, "TLS alert unknown_ca (48)"),
        (b"\x02\x30", "TLS alert unknown_ca (48)"),
        ("Status: 487 Request Terminated | ", "SIP response 487 Request Terminated"),
        ("Request: REFER sip:100@127.0.0.1, in-dialog | ", "SIP method REFER"),
        (SimpleNamespace(info="Alert (Level: Fatal, Description: Unknown CA)"), "TLS alert unknown_ca (48)"),
        (SimpleNamespace(description=48), "TLS alert unknown_ca (48)"),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca"), "TLS alert unknown_ca (48)"),
        (Response(180), "SIP response 180 Ringing"),
        (Request("BYE", "sip:x"), "SIP method BYE"),
    ],
)
def test_it_is_found_as_it_is_written(what: object, title: str) -> None:
    if isinstance(what, ssl.SSLError):
        what.reason = "TLSV1_ALERT_UNKNOWN_CA"
    assert explain(what).title == title


def test_487_in_full_as_text_html_and_in_french() -> None:
    entry = labkit.explain(487)
    assert repr(entry) == entry.text()
    assert entry.text().splitlines() == [
        "SIP response 487 Request Terminated",
        "  Meaning: " + status.explain(487),
        "  Sent by: the called side (UAS)",
        "  Usual causes: A CANCEL: the caller hung up while it rang, or the no-answer time of a forwarding rule ended.",
        "  Look at: The CANCEL just before (its own answer is a 200) and the time since the INVITE; the ACK after it.",
        "  Defined in: RFC 3261 §21.4.25",
    ]
    html = entry._repr_html_()
    assert '<a href="https://www.rfc-editor.org/rfc/rfc3261#section-21.4.25">RFC 3261 §21.4.25</a>' in html
    assert "<caption>SIP response 487 Request Terminated</caption>" in html and html.count('<th scope="row"') == 5
    language("fr")
    assert entry.text().startswith("Réponse SIP 487 Request Terminated\n  Sens : ") and "Causes habituelles" in entry._repr_html_()


def test_a_code_of_no_register_has_the_meaning_of_its_class() -> None:
    entry = explain(499)
    assert entry.title == "SIP response 499" and entry.meaning == status.explain(499) and "no register" in entry.causes


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("REFFER", "'REFFER' is not known here. Did you mean REFER?"),
        ("a=sendony", "'a=sendony' is not known here. Did you mean a=sendonly"),
        ("Unknown AC", "Did you mean unknown_ca"),
        (999, "999 is neither a SIP method"),
        (-1, "-1 is neither"),
        ("", "'' is neither"),
        (None, "'NoneType' is neither"),
        (2.5, "2.5 is neither"),
        ("<script>" * 50, "is neither"),
    ],
)
def test_the_unknown_gets_one_sentence(what: object, sentence: str) -> None:
    with pytest.raises(UnknownTopic, match=re.escape(sentence)) as caught:
        explain(what)
    assert isinstance(caught.value, LabkitError) and len(str(caught.value)) < 260


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "Busy", "Here"]) == 0
    assert capsys.readouterr().out.startswith("SIP response 486 Busy Here\n")
    assert cli.main(["--language", "fr", "explain", "a=sendony"]) == 1
    assert "Vouliez-vous dire a=sendonly" in capsys.readouterr().err


def test_the_public_name_is_the_function_whatever_was_imported_before() -> None:
    code = (
        "import labkit.cli, labkit.explanations, labkit; from labkit import explain; print(labkit.explain('BYE').kind, explain(200).name)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "method 200 OK\n"
