"""The lab sheet's absurd figures come out of its stream, are explained, and go away with the foreign payload type."""

from __future__ import annotations

import pytest

from labkit.capture.capture import Capture
from labkit.capture.rtp_explanation import explain_jitter
from labkit.capture.rtp_stream import RtpStream
from labkit.texts import language
from tests.capture.sheet_rtp import SERVER, sheet_capture
from tests.capture.test_rtp import regular, stream_of


@pytest.fixture
def sheet() -> RtpStream:
    (stream,) = Capture.from_bytes(sheet_capture()).streams
    return stream


def test_the_frames_are_those_of_the_sheet(sheet: RtpStream) -> None:
    assert (len(sheet), sheet.destination, sheet.ssrc) == (363, SERVER, 0xEAAFD04A)
    assert sheet.frame[0] + 1 == 14 and sheet.start == pytest.approx(5.818215, abs=1e-6)
    assert [int(length) for length in sheet.layers.records.length[sheet.frame[[0, 11, 12]]]] == [54, 54, 214]
    assert sheet.end - sheet.start == pytest.approx(7.43, abs=0.01)
    older = sheet.analyse(older=True)
    assert older.deltas.maximum == pytest.approx(179.02, abs=0.001) and sheet.frame[older.max_delta_at] + 1 == 463
    assert (older.expected, older.lost, older.sequence_errors) == (363, 0, 0)
    assert sheet.statuses()[12] == "Payload changed to PT=8"


def test_the_absurd_figures(sheet: RtpStream) -> None:
    older = sheet.analyse(older=True)
    assert older.jitter[12:15] == pytest.approx([33554396.08, 65011677.08, 60948448.50], abs=0.01)
    assert older.jitters.maximum == pytest.approx(65011677.08, abs=0.01)
    assert older.max_skew == pytest.approx(536870336.97, abs=0.01)


def test_foreign_types_left_out(sheet: RtpStream) -> None:
    assert sheet.foreign_types == (126,)
    own = sheet.without_foreign()
    assert (len(own), own.figures.lost, own.figures.expected, own.figures.sequence_errors) == (351, 0, 351, 0)
    printed = own.analyse(older=True).jitter[own.frame < 65]
    assert printed.max() == pytest.approx(7.26, abs=0.01)
    assert own.frame[printed.argmax()] + 1 == 43, "seven packets at once"
    assert 9 < own.figures.jitter.max() < 15, "the gap of 179 ms adds about 10 ms later"
    assert own.sound.seconds == pytest.approx(7.02, abs=0.005)
    assert Capture.from_bytes(sheet_capture()).rtp_stream(0, foreign=False).foreign_types == ()


def test_the_explanation_does_the_sum(sheet: RtpStream) -> None:
    told = sheet.explain_jitter()
    assert told.absurd
    for number in (
        "12 empty",
        "No. 14 to 25",
        "4294967295",
        "536870911.875",
        "574.904",
        "536870336.97",
        "574.575",
        "33554396.08",
        "65011677.08",
    ):
        assert number in str(told), number
    assert told._repr_html_().count("<li>") == len(told.sentences) == 7
    language("fr")
    assert "12 paquets RTP vides (n° 14 à 25)" in str(told) and "65011677.08" in repr(told)


def test_packets_left_out_in_the_middle_are_not_lost() -> None:
    packets = [(t, s, ts, 120 if n in (5, 9) else k, m) for n, (t, s, ts, k, m) in enumerate(regular())]
    whole = stream_of([packet for n, packet in enumerate(packets) if n != 7])
    own = whole.without_foreign()
    assert (len(own), own.figures.lost, own.figures.lost_rfc, own.figures.expected) == (17, 1, 1, 18)
    assert own.figures.sequence_errors == 1


def test_nothing_absurd_is_said_to_be_so() -> None:
    told = explain_jitter(stream_of(regular()))
    assert not told.absurd and "Nothing absurd" in str(told)
