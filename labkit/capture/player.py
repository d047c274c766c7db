"""A voice as a notebook plays it: the browser's own player, named for those who cannot see which voice it is."""

from __future__ import annotations

from html import escape

from labkit.media.wav import Sound


class Player:
    """Plays ``sound``; ``label`` says who speaks to whom, in which codec and for how long."""

    def __init__(self, sound: Sound, label: str) -> None:
        self.sound = sound
        self.label = label

    def __repr__(self) -> str:
        return f"<Player: {self.label}>"

    def _repr_html_(self) -> str:
        from IPython.display import Audio

        player: str = Audio(data=self.sound.wav())._repr_html_()  # type: ignore[no-untyped-call]
        label = escape(self.label, quote=True)
        named = player.replace("<audio", f'<audio aria-label="{label}" title="{label}"', 1)
        return f"<figure style='margin:0'>{named}<figcaption>{label}</figcaption></figure>"
