"""Make the speech of the lab: espeak-ng speaks, PyAV resamples to what a telephone carries (8 kHz, 16 bits, mono).

Run it in an environment with labkit installed and espeak-ng on the path: ``python data/audio/make.py``.
The files are kept in the repository, so nobody needs espeak-ng to use the lab.
"""

from __future__ import annotations

import subprocess
import tempfile
import wave
from pathlib import Path

import av
import numpy as np

HERE = Path(__file__).parent
PEAK = 16_000  # about -6 dBFS: G.711 codes it without clipping

SPEECH = {  # file: (espeak-ng voice, words per minute, sentence)
    "hello.wav": ("en-gb", 150, "Hello Alice, this is Bob speaking. Can you hear me clearly?"),
    "hello-alice.wav": ("en-us+f3", 150, "Hello Bob, Alice here. I hear you very well, thank you."),
    "bonjour.wav": ("fr-fr", 145, "Bonjour Alice, ici Bob. Est-ce que vous m'entendez bien ?"),
}


def speak(path: Path, voice: str, speed: int, sentence: str) -> None:
    """Write ``sentence`` to ``path`` as a telephone would carry it."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "speech.wav")
        subprocess.run(["espeak-ng", "-v", voice, "-s", str(speed), "-w", str(raw), sentence], check=True)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=8000)
        with av.open(str(raw)) as container:
            frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
            frames += resampler.resample(None)
    samples = np.concatenate([frame.to_ndarray().ravel() for frame in frames]).astype(float)
    samples *= PEAK / np.abs(samples).max()
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(samples.round().astype("<i2").tobytes())


if __name__ == "__main__":
    for name, speech in SPEECH.items():
        speak(HERE / name, *speech)
