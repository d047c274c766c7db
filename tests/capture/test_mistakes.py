"""What a learner gets wrong when asking a capture: one sentence each, no traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labkit.capture.capture import Capture
from labkit.errors import CaptureError, MediaError
from tests.grading.scene import whole_part


@pytest.fixture(scope="module")
def cap(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return Capture.open(whole_part().save(tmp_path_factory.mktemp("mistakes") / "part1.pcapng"))


def test_one_name_needs_no_list(cap: Capture) -> None:
    assert cap.ladder(methods="INVITE") == cap.ladder(methods=["INVITE"]) and cap.ladder(methods="invite").arrows
    assert cap.ladder(hosts="127.5.1.100") == cap.ladder(hosts=["127.5.1.100"])
    assert cap.ladder(call=np.int64(1)) == cap.ladder(call=1) and cap.rtp_stream(np.int64(1)) is cap.streams[1]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda cap: cap.ladder(methods=["FOO"]), "method FOO is in this capture. Its methods are: ACK, BYE, INVITE, REGISTER."),
        (lambda cap: cap.ladder(methods=["INVITE", "REFER"]), "method REFER"),
        (lambda cap: cap.ladder(methods=5), "5 is no name"),
        (lambda cap: cap.ladder(methods=[200]), "200 is no name"),
        (lambda cap: cap.ladder(hosts="BOB"), "No host BOB here. The hosts are: 127.5.1.10"),
        (lambda cap: cap.ladder(call="x"), "no call x: this capture has 2"),
        (lambda cap: cap.ladder(call=1.0), "no call 1.0"),
        (lambda cap: cap.ladder(call=2), "no call 2"),
        (lambda cap: cap.ladder(start="now"), "'now' is no time"),
        (lambda cap: cap.rtp_stream("0"), "no RTP stream 0: this capture has 2"),
        (lambda cap: cap.rtp_stream(None), "no RTP stream None"),
    ],
)  # fmt: skip
def test_a_strange_wish_is_one_sentence(ask: Callable[[Capture], object], says: str, cap: Capture) -> None:
    with pytest.raises(CaptureError) as caught:
        ask(cap)
    assert says in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("given", [None, 5, "", " ", "a\0b", b"x.pcapng", ["x.pcapng"]])
def test_what_names_no_file(given: object, cap: Capture) -> None:
    stream = cap.rtp_stream(0)
    for use in (Capture.open, cap.save, cap.ladder().save, stream.plot().save):
        with pytest.raises(CaptureError, match="is not the name of a file"):
            use(given)  # type: ignore[operator]
    with pytest.raises(MediaError, match="is not the name of a sound file"):
        stream.wav(given)  # type: ignore[arg-type]


def test_a_folder_and_a_name_that_no_file_can_have(cap: Capture, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot be opened"):
        Capture.open(tmp_path)
    for name in (tmp_path, tmp_path / "\ud800\udfff", tmp_path / "no" / "folder"):
        with pytest.raises(CaptureError, match="cannot be written"):
            cap.save(name)
    with pytest.raises(CaptureError, match="cannot be opened"):
        Capture.open("\ud800")
