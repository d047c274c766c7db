"""A sound drawn, with the browser's own player, a cursor that follows it, and one stroke a packet.

Self-contained HTML: an SVG, an ``<audio>`` element and a few lines of script.  The keyboard works the player; the cursor's packet is also
said in words.  Without script the picture and the player remain.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from labkit.texts import text

if TYPE_CHECKING:
    from labkit.capture.records import Ints
    from labkit.capture.rtp_analysis import Floats
    from labkit.media.g711 import Samples

WIDTH, LANE, STROKES = 800, 80, 14
COLOURS = ("#0072B2", "#D55E00")
MOST_STROKES = 4000
"""More would be a bar, and a page too heavy."""
_number = itertools.count(1)

_SCRIPT = """<script>(function(){
var f=document.getElementById(ID),q=function(w){return f.querySelector(w);};
var a=q("audio"),s=q("svg"),c=q(".cursor"),o=q("output");
var d=JSON.parse(f.querySelector("script[type='application/json']").textContent);
function show(){var t=a.currentTime,x=t/d.seconds*d.width,l=0,h=d.times.length;
c.setAttribute("x1",x);c.setAttribute("x2",x);
while(l<h){var m=(l+h)>>1;if(d.times[m]<=t+1e-6)l=m+1;else h=m;}
o.textContent=l?d.says.replace("{packet}",d.packets[l-1]).replace("{time}",t.toFixed(2)):"";
if(!a.paused)requestAnimationFrame(show);}
["play","seeked","timeupdate","pause"].forEach(function(e){a.addEventListener(e,show);});
s.addEventListener("click",function(e){var r=s.getBoundingClientRect();a.currentTime=(e.clientX-r.left)/r.width*d.seconds;});
})();</script>"""


class Waveform:
    """``voices`` (one or two with their names, drawn one below the other) as ``wav`` plays them.

    ``packets`` are frame numbers, ``times`` their seconds in the sound.
    """

    def __init__(self, label: str, wav: bytes, voices: Sequence[tuple[str, Samples]], rate_hz: int, packets: Ints, times: Floats) -> None:
        self.label = label
        self.wav = wav
        self.voices = voices
        self.seconds = max(len(voices[0][1]) / rate_hz, 1e-3)
        every = -(-len(packets) // MOST_STROKES) if len(packets) else 1
        self.packets, self.times = packets[::every], times[::every]

    def svg(self) -> str:
        """The picture alone."""
        height = LANE * len(self.voices) + STROKES
        title = text("stream.waveform", label=self.label)
        lanes = [_lane(name, voice, LANE * row, COLOURS[row % 2]) for row, (name, voice) in enumerate(self.voices)]
        x = np.clip(self.times / self.seconds, 0, 1) * WIDTH
        strokes = "".join(f"M{place:.1f} {height - STROKES + 2}v{STROKES - 4}" for place in x.tolist())
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height}" style="width:100%;max-width:{WIDTH}px">'
            f"<title>{escape(title)}</title><desc>{escape(text('stream.cursor_help'))}</desc>"
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{"".join(lanes)}'
            f'<path d="{strokes}" stroke="#555" stroke-width="0.6" fill="none"/>'
            f'<line class="cursor" x1="0" x2="0" y1="0" y2="{height}" stroke="#000" stroke-width="1.5" stroke-dasharray="4 2"/></svg>'
        )

    def __repr__(self) -> str:
        return f"<Waveform: {self.label}, {len(self.packets)} packets>"

    def _repr_html_(self) -> str:
        name = f"labkit-waveform-{next(_number)}"
        data = {
            "seconds": self.seconds,
            "width": WIDTH,
            "packets": self.packets.tolist(),
            "times": [round(time, 4) for time in self.times.tolist()],
            "says": text("stream.cursor", packet="{packet}", time="{time}"),
        }
        # In a script element only "</" could end the data, and JSON allows the slash to be escaped.
        island = json.dumps(data).replace("</", "<\\/").replace("<!", "<\\u0021")
        label = escape(self.label, quote=True)
        source = base64.b64encode(self.wav).decode()
        caption = f"{label}. {escape(text('stream.cursor_help'))}"
        return (
            f'<figure id="{name}" style="margin:0">{self.svg()}'
            f'<audio controls aria-label="{label}" style="width:100%;max-width:{WIDTH}px" src="data:audio/wav;base64,{source}"></audio>'
            f'<output style="display:block;min-height:1.4em"></output><figcaption>{caption}</figcaption>'
            f'<script type="application/json">{island}</script>{_SCRIPT.replace("ID", json.dumps(name), 1)}</figure>'
        )


def _lane(name: str, samples: Samples, top: int, colour: str) -> str:
    """One voice as the lowest and highest sample of every pixel column, scaled to its own peak."""
    middle, count = top + LANE / 2, len(samples)
    if not count:
        return ""
    bounds = np.unique(np.linspace(0, count, WIDTH, endpoint=False).astype(np.int64))
    low, high = np.minimum.reduceat(samples, bounds), np.maximum.reduceat(samples, bounds)
    scale = (LANE / 2 - 3) / max(int(np.abs(samples.astype(np.int32)).max()), 1000)
    x = bounds * (WIDTH / count)
    path = "".join(f"M{a:.1f} {middle - h * scale:.1f}V{middle - lo * scale + 0.5:.1f}" for a, lo, h in zip(x, low, high, strict=True))
    label = f'<text x="4" y="{top + 13}" font-size="12" font-family="sans-serif">{escape(name)}</text>'
    return f'<path d="{path}" stroke="{colour}" fill="none"/>{label}'
