"""The E-model gives the figures of G.107 and falls with loss and with delay."""

from __future__ import annotations

import itertools

import pytest

from labkit.capture.capture import Capture
from labkit.capture.mos import IMPAIRMENTS, burst_ratio, e_model, opinion, packet_ms
from labkit.errors import CaptureError
from labkit.texts import language
from tests.capture.made import pcap
from tests.capture.test_jitter_buffer import delayed
from tests.capture.test_rtp import noisy, stream_of


def test_defaults_of_g107() -> None:
    """G.107 §7.7: with all parameters at their default values R is 93.2, and Annex B makes of it 4.41."""
    rating = e_model("PCMU")
    assert pytest.approx(93.2, abs=0.05) == rating.R and pytest.approx(4.41, abs=0.005) == rating.MOS
    assert rating.signal_to_noise == pytest.approx(94.77, abs=0.01) and rating.simultaneous == pytest.approx(1.41, abs=0.01)


@pytest.mark.parametrize(("rating", "score"), [(-5, 1.0), (0, 1.0), (50, 2.58), (60, 3.10), (70, 3.60), (80, 4.02), (90, 4.34), (100, 4.5)])
def test_opinions_of_annex_b(rating: float, score: float) -> None:
    assert opinion(rating) == pytest.approx(score, abs=0.005)


def test_loss_by_the_formula() -> None:
    rating = e_model("PCMA", loss=2.0)
    assert rating.equipment == pytest.approx(95 * 2 / (2 + 4.3)) and pytest.approx(93.2 - 30.16, abs=0.05) == rating.R
    assert e_model("PCMA", loss=2.0, concealed=True).equipment == pytest.approx(95 * 2 / (2 + 25.1))
    assert e_model("PCMA", loss=2.0, burst_ratio=2.0).equipment == pytest.approx(95 * 2 / (1 + 4.3))
    assert e_model("GSM").equipment == 20.0


@pytest.mark.parametrize("codec", sorted(IMPAIRMENTS))
@pytest.mark.parametrize("burst", [1.0, 2.0])
def test_monotone_in_loss_and_in_delay(codec: str, burst: float) -> None:
    losses, delays = [0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100], [0, 1, 5, 20, 50, 99, 100, 101, 150, 177, 250, 400, 800, 3000]
    for delay in delays:
        ratings = [e_model(codec, delay_ms=delay, loss=loss, burst_ratio=burst) for loss in losses]
        assert all(a.R > b.R and a.MOS >= b.MOS for a, b in itertools.pairwise(ratings))
    for loss in losses:
        ratings = [e_model(codec, delay_ms=delay, loss=loss, burst_ratio=burst) for delay in delays]
        assert all(a.R >= b.R - 1e-9 and a.MOS >= b.MOS - 1e-9 for a, b in itertools.pairwise(ratings))


def test_the_rating_of_a_stream() -> None:
    clean = stream_of(delayed({}, 200))
    rating = clean.mos(buffer_ms=40, network_ms=30)
    assert packet_ms(clean) == 20.0
    assert rating.delay_ms == pytest.approx(30 + 20 + 40, abs=0.1) and rating.loss == 0 and rating.MOS > 4.3
    late = stream_of(delayed(dict.fromkeys(range(10, 200, 20), 80.0), 200))
    assert late.mos(buffer_ms=40).loss == pytest.approx(5.0)
    assert late.mos(buffer_ms=40).MOS < late.mos(buffer_ms=100).MOS, "a larger buffer is worth its delay here"
    streams = Capture.from_bytes(pcap(noisy(4, 600))).streams
    assert all(1.0 <= stream.mos().MOS <= 4.5 for stream in streams)


def test_losses_in_a_row_are_a_burst() -> None:
    def ratio(lost: set[int]) -> float:
        stream = stream_of([packet for n, packet in enumerate(delayed({}, 100)) if n not in lost])
        return burst_ratio(stream, stream.jitter_buffer(60))

    assert ratio(set()) == 1.0 and ratio({10, 30, 50}) == 1.0
    assert ratio({10, 11, 50}) == pytest.approx(1.5 * 0.97)
    assert ratio({10, 11, 12, 13}) == 2.0, "the model holds up to 2"


def test_every_term_is_shown_in_two_languages() -> None:
    rating = e_model("GSM", delay_ms=150, loss=1)
    for term in ("Ro", "Is", "Id", "Idte", "Idle", "Idd", "Ie,eff", "Ie", "Bpl", "Ppl", "BurstR", "A", "R", "MOS"):
        assert f">{term}<" in rating._repr_html_() and f"{term} " in str(rating)
    assert "Ro - Is - Id - Ie,eff + A" in str(rating) and "an estimate" in str(rating)
    assert "estimate" not in str(e_model("PCMU"))
    assert len(rating.table) == 14  # type: ignore[arg-type]
    language("fr")
    assert "note d'opinion moyenne" in str(rating) and "une estimation" in rating._repr_html_().replace("&#x27;", "'")


def test_what_the_model_cannot_rate() -> None:
    with pytest.raises(CaptureError, match="no E-model values for the codec H264"):
        e_model("H264")
    for values in ({"loss": 101}, {"delay_ms": -1}, {"burst_ratio": 0}):
        with pytest.raises(CaptureError, match="The E-model takes a delay"):
            e_model("PCMU", **values)  # type: ignore[arg-type]
    with pytest.raises(CaptureError, match="The E-model takes a delay"):
        stream_of(delayed({})).mos(network_ms=-3)
