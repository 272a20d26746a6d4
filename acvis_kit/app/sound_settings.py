"""The sound that the model receives, as the values of the page's controls; they become an `AudioEdit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acvis_kit.app.numbers import number_within, shortened
from acvis_kit.app.storage import shown_name
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
PARAMETERS = {  # group of controls -> the endpoint's parameters
    "other": ("other_sound",),
    "level": ("level",),
    "shift": ("seconds",),
    "range": ("start", "end"),
}
LABELS = {"start": "From second", "end": "To second"}  # on the page, of boxes in which any number can be written
LOUDEST = 100  # dB, of `level` up and down
LONGEST = 3600  # seconds, of `seconds` up and down, and of `start` and `end`
ROUNDING = 1.0  # seconds by which the end of a part may lie beyond the clip's: players round durations up


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

    @classmethod
    def given(
        cls,
        sound: str,
        other: str | None,
        level: Any,
        seconds: Any,
        start: Any,
        end: Any,
        labels: Mapping[str, str] | None = None,
    ) -> SoundSettings:
        """Settings from values of any kind; a number that is None is 0.

        Args:
            sound: a value of `SOUNDS`.
            other: a sound or video file, or None.
            level: see `SoundSettings`, like the next three.
            seconds: a number.
            start: a number.
            end: a number.
            labels: what messages call a value; without it, its name here.

        Raises:
            ConfigError: a value that is no number, or outside its range.
        """
        named = labels or {}
        return cls(
            sound,
            other,
            number_within("level", level, -LOUDEST, LOUDEST),
            number_within("seconds", seconds, -LONGEST, LONGEST),
            number_within(named.get("start", "start"), start, 0, LONGEST),
            number_within(named.get("end", "end"), end, 0, LONGEST) or None,
        )

    def check_used(self) -> None:
        """Refuse values that this sound does not use, as a program may send them.

        Raises:
            ConfigError: names them, and the sounds that use them.
        """
        values = self._values()
        known = {value for _, value in SOUNDS}  # another one is refused by `edit`
        for group, names in PARAMETERS.items():
            sent = [name for name in names if values[name]]
            if sent and self.sound in known and group not in NEEDS.get(self.sound, ()):
                users = " or ".join(f"sound={sound!r}" for sound, needs in NEEDS.items() if group in needs)
                raise ConfigError(f"{', '.join(sent)}: only with {users}, not with {self.sound!r}. Leave it out.")

    def parameters(self) -> dict[str, Any]:
        """The endpoint's parameters that give this sound, without those that it does not use; files by their names."""
        values = self._values()
        used = [name for group in NEEDS.get(self.sound, ()) for name in PARAMETERS[group]]
        return {"sound": self.sound} | {name: values[name] for name in used}

    def _values(self) -> dict[str, Any]:
        other = shown_name(self.other) if self.other else None
        numbers = {"level": self.level, "seconds": self.seconds, "start": self.start, "end": self.end or 0.0}
        return {"other_sound": other, **numbers}

    def check_within(self, seconds: float) -> None:
        """Refuse a part that lies outside a clip of this duration, and a shift that leaves nothing of it.

        Raises:
            ConfigError: names the seconds asked for and the clip's.
        """
        lasts = f"the clip lasts {seconds:.4g} s"
        if self.sound == "keep" and self.start >= seconds:
            raise ConfigError(f"The part begins at {self.start:g} s, but {lasts}: choose an earlier beginning.")
        if self.sound == "keep" and self.end and self.end >= seconds + ROUNDING:
            raise ConfigError(f"The part ends at {self.end:g} s, but {lasts}: choose an earlier end, or 0 for its end.")
        if self.sound == "shift" and abs(self.seconds) >= seconds:
            raise ConfigError(f"Nothing is left of a sound shifted by {self.seconds:g} s: {lasts}. Choose less.")

    def edit(self) -> AudioEdit:
        """These settings as an `AudioEdit`.

        Raises:
            ConfigError: an unknown sound, or numbers out of range.
            MediaError: no other sound where one is needed.
        """
        if self.sound not in [value for _, value in SOUNDS]:
            known = ", ".join(value for _, value in SOUNDS)
            raise ConfigError(f"sound={shortened(self.sound)} is not known: choose one of {known}.")
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
        other, place = shown_name(self.other) if self.other else "", "below" if self.level >= 0 else "above"
        return {
            "original": "its original sound",
            "mute": "silence",
            "swap": f"the sound of {other}",
            "noise": f"its original sound and noise {abs(self.level):g} dB {place} it",
            "mix": f"its original sound and that of {other} ({self.level:+g} dB)",
            "shift": f"its original sound, {abs(self.seconds):g} s {'later' if self.seconds >= 0 else 'earlier'}",
            "keep": f"its original sound from {self.start:g} s to {f'{self.end:g} s' if self.end else 'the end'}",
        }[self.sound]
