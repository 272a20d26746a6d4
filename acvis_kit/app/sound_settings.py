"""The sound that the model receives, as the values of the page's controls; they become an `AudioEdit`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acvis_kit.errors import ConfigError, MediaError
from acvis_kit.media.edit import AudioEdit

# (label on the page, value of the endpoint's `sound`)
SOUNDS: tuple[tuple[str, str], ...] = (
    ("Original sound", "original"),
    ("Silence", "mute"),
    ("Another sound", "swap"),
    ("Original with noise", "noise"),
    ("Original with another sound", "mix"),
    ("Original, shifted in time", "shift"),
    ("Part of the original", "keep"),
)
NEEDS: dict[str, tuple[str, ...]] = {  # value of `sound` -> the groups of controls that it uses
    "swap": ("other",),
    "noise": ("level",),
    "mix": ("other", "level"),
    "shift": ("shift",),
    "keep": ("range",),
}


@dataclass(frozen=True)
class SoundSettings:
    """The sound of one take.

    Attributes:
        sound: a value of `SOUNDS`.
        other: a sound or video file, for "swap" and "mix".
        level: dB; for "noise", how far the noise lies below the sound; for "mix", the gain of the other sound.
        seconds: delay for "shift"; negative is earlier.
        start: second at which "keep" begins.
        end: second at which "keep" ends; None or 0 is the end of the clip.
    """

    sound: str = "original"
    other: str | None = None
    level: float = 0.0
    seconds: float = 0.0
    start: float = 0.0
    end: float | None = None

    def edit(self) -> AudioEdit:
        """These settings as an `AudioEdit`.

        Raises:
            ConfigError: an unknown sound, or numbers out of range.
            MediaError: no other sound where one is needed.
        """
        if self.sound not in [value for _, value in SOUNDS]:
            known = ", ".join(value for _, value in SOUNDS)
            raise ConfigError(f'sound="{self.sound}" is not known: choose one of {known}.')
        if self.sound in ("swap", "mix"):
            if not self.other:
                raise MediaError("There is no other sound yet: choose a file or an example's sound, then run.")
            if self.sound == "swap":
                return AudioEdit.swap(self.other)
            return AudioEdit.mix(self.other, gain_db=self.level)
        if self.sound == "noise":
            return AudioEdit.noise(self.level)
        if self.sound == "shift":
            return AudioEdit.shift(self.seconds)
        if self.sound == "keep":
            return AudioEdit.keep(self.start, self.end or None)
        return AudioEdit.mute() if self.sound == "mute" else AudioEdit.original()

    def label(self) -> str:
        """The settings in words that fit after "with": "its original sound", "the sound of dog.wav"."""
        other = Path(self.other).name if self.other else ""
        return {
            "original": "its original sound",
            "mute": "silence",
            "swap": f"the sound of {other}",
            "noise": f"its original sound and noise {self.level:g} dB below it",
            "mix": f"its original sound and that of {other} ({self.level:+g} dB)",
            "shift": f"its original sound, {abs(self.seconds):g} s {'later' if self.seconds >= 0 else 'earlier'}",
            "keep": f"its original sound from {self.start:g} s to {f'{self.end:g} s' if self.end else 'the end'}",
        }[self.sound]
