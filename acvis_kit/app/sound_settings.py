"""What the model is to hear, as the controls of the page say it: plain values that become an `AudioEdit`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acvis_kit.errors import ConfigError, MediaError
from acvis_kit.media.edit import AudioEdit

# what people read -> what the endpoint takes
SOUNDS: tuple[tuple[str, str], ...] = (
    ("Its own sound", "original"),
    ("Silence", "mute"),
    ("Another sound", "swap"),
    ("Its own, with noise", "noise"),
    ("Its own, with another sound", "mix"),
    ("Its own, shifted in time", "shift"),
    ("A part of its own", "keep"),
)
NEEDS = {  # which controls belong to which sound
    "swap": ("other",),
    "noise": ("level",),
    "mix": ("other", "level"),
    "shift": ("shift",),
    "keep": ("range",),
}


@dataclass(frozen=True)
class SoundSettings:
    """One take's sound.

    Attributes:
        sound: a value of `SOUNDS`.
        other: a sound or video file, for "swap" and "mix".
        level: dB; how far the noise lies below the sound ("noise"), or how much louder the other sound is made ("mix").
        seconds: later, negative is earlier, for "shift".
        start, end: seconds that "keep" keeps; an end of None or 0 is the clip's.
    """

    sound: str = "original"
    other: str | None = None
    level: float = 0.0
    seconds: float = 0.0
    start: float = 0.0
    end: float | None = None

    def edit(self) -> AudioEdit:
        """The edit.

        Raises:
            ConfigError: an unknown sound, or numbers out of range. MediaError: no other sound where one is needed.
        """
        if self.sound not in [value for _, value in SOUNDS]:
            known = ", ".join(value for _, value in SOUNDS)
            raise ConfigError(f'sound="{self.sound}" is not known: choose one of {known}.')
        if "other" in NEEDS.get(self.sound, ()) and not self.other:
            raise MediaError("There is no other sound yet: choose a file or an example's sound, then run.")
        if self.sound == "swap":
            return AudioEdit.swap(self.other)
        if self.sound == "mix":
            return AudioEdit.mix(self.other, gain_db=self.level)
        if self.sound == "noise":
            return AudioEdit.noise(self.level)
        if self.sound == "shift":
            return AudioEdit.shift(self.seconds)
        if self.sound == "keep":
            return AudioEdit.keep(self.start, self.end or None)
        return AudioEdit.mute() if self.sound == "mute" else AudioEdit.original()

    def label(self) -> str:
        """For people, after "with": "its own sound", "the sound of dog.wav"."""
        other = Path(self.other).name if self.other else ""
        return {
            "original": "its own sound",
            "mute": "silence",
            "swap": f"the sound of {other}",
            "noise": f"its own sound and noise {self.level:g} dB below it",
            "mix": f"its own sound and that of {other} ({self.level:+g} dB)",
            "shift": f"its own sound, {abs(self.seconds):g} s {'later' if self.seconds >= 0 else 'earlier'}",
            "keep": f"its own sound from {self.start:g} s to {f'{self.end:g} s' if self.end else 'the end'}",
        }[self.sound]
