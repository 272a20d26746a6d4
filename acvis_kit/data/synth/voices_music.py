"""Voices of seven instruments: a seed stands for one player with one instrument.

All play in one register (their middle notes lie between 190 and 480 Hz), so that pitch alone does not reveal the class:
onset, decay, modulation and spectrum of the notes do. Every function returns one second of sound, about unit RMS,
float32 (16000,), which depends only on the seed and the number of the second.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from acvis_kit.data.synth.synthesis import (
    BLOCKS,
    STEP,
    Events,
    Second,
    Signal,
    Traits,
    cycles,
    draws,
    envelope,
    events,
    harmonics,
    partials,
    resonance,
    unit,
)

REGISTER = (190.0, 480.0)  # Hz, range of the players' middle notes
SCALES = ((0, 2, 4, 7, 9), (0, 3, 5, 7, 10), (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 4, 7))


def violin(seed: int, second: int) -> Signal:
    """A bowed string: partials like a sawtooth's through the body's resonances, delayed vibrato, legato."""
    own, sound = Traits(seed), Second(seed, second)
    middle, scale = own.ratio(*REGISTER), own.one_of(SCALES)
    rate, depth, tilt = own.between(4.8, 6.8), own.between(0.008, 0.018), own.between(0.6, 1.0)
    wood, bridge, bow = own.ratio(420, 620), own.ratio(2000, 3100), own.between(0.03, 0.08)
    attack = own.between(0.05, 0.12)
    for _, start, end, u in _notes(events(seed, second, own.ratio(0.4, 1.3), own.between(0, 0.4), tail=0.1)):
        points = end - start + 1 + 6  # legato: a note goes on while the next begins
        time = np.arange(points) * STEP
        swing = np.sin(2 * np.pi * (rate * time + u[2])) * (1 - np.exp(-time / 0.12))
        pitch = _pitch(middle, scale, u) * (1 + depth * swing - 0.015 * np.exp(-time / 0.03))
        f = harmonics(pitch[-1])
        body = 0.35 + resonance(f, wood, 220) + 0.7 * resonance(f, 1050, 400) + 1.1 * resonance(f, bridge, 1100)
        amplitudes = f**-tilt * body
        level = envelope(points, attack, 0.07) * (1 + 0.2 * swing) * (0.75 + 0.25 * u[3])
        brighter = amplitudes * (f / f[0]) ** 0.25
        sound.play(start, cycles(pitch), level, unit(np.stack([amplitudes, brighter])), 0.5 + 0.45 * swing)
        sound.hiss(start, bow * level * (1 + 2 * np.exp(-time / 0.04)), "breath")
    return sound.finish()


def flute(seed: int, second: int) -> Signal:
    """Nearly a sine, with the noise of breath; the loudness is modulated more than the pitch."""
    own, sound = Traits(seed), Second(seed, second)
    middle, scale = own.ratio(*REGISTER) * 1.15, own.one_of(SCALES)
    rate, tremor, breath = own.between(4, 6), own.between(0.08, 0.3), own.between(0.14, 0.3)
    overtones = np.array([1, own.between(0.1, 0.3), own.between(0.03, 0.12), own.between(0.01, 0.04), 0.01])
    attack = own.between(0.05, 0.1)
    for _, start, end, u in _notes(events(seed, second, own.ratio(0.35, 1.1), own.between(0, 0.5), tail=0.1)):
        points = end - start + 1 + 4
        time = np.arange(points) * STEP
        swing = np.sin(2 * np.pi * (rate * time + u[2])) * (1 - np.exp(-time / 0.15))
        pitch = _pitch(middle, scale, u) * (1 + 0.004 * swing)
        level = envelope(points, attack, 0.06) * (1 + tremor * swing) * (0.8 + 0.2 * u[3])
        sound.play(start, cycles(pitch), level, unit(overtones[: len(harmonics(pitch.max()))]))
        sound.hiss(start, breath * level + 0.35 * breath * np.exp(-(((time - 0.03) / 0.025) ** 2)), "breath")
    return sound.finish()


def saxophone(seed: int, second: int) -> Signal:
    """A reed: scooped onsets, a strong formant between 1 and 2 kHz, weak even partials, growl, wide vibrato."""
    own, sound = Traits(seed), Second(seed, second)
    middle, scale = own.ratio(*REGISTER) * 0.85, own.one_of(SCALES)
    rate, depth, growl = own.between(4, 6), own.between(0.008, 0.02), own.between(0.15, 0.55)
    rasp, formant, even = own.between(24, 36), own.ratio(1050, 1700), own.between(0.4, 0.75)
    breath, scoop = own.between(0.05, 0.13), own.between(0.04, 0.12)
    for _, start, end, u in _notes(events(seed, second, own.ratio(0.35, 0.95), own.between(0.1, 0.6), tail=0.1)):
        points = end - start + 1 + 2
        time = np.arange(points) * STEP
        swing = np.sin(2 * np.pi * (rate * time + u[2])) * (1 - np.exp(-time / 0.2))
        pitch = _pitch(middle, scale, u) * (1 + depth * swing - scoop * np.exp(-time / 0.06))
        f = harmonics(pitch.max())
        amplitudes = (f / f[0]) ** -0.9 * (0.3 + 8.0 * resonance(f, formant, 600) + 0.3 * resonance(f, 520, 300))
        amplitudes[1::2] *= even
        amplitudes *= 1 / (1 + (f / 3600) ** 4)
        rough = 1 - growl * (0.5 + 0.5 * np.sin(2 * np.pi * rasp * time))
        level = envelope(points, 0.04, 0.06) * rough * (1 + 0.15 * swing) * (0.75 + 0.25 * u[3])
        sound.play(start, cycles(pitch), level, unit(amplitudes))
        sound.hiss(start, breath * level, "mouth")
    return sound.finish()


def trumpet(seed: int, second: int) -> Signal:
    """Brass: tongued notes, steady in pitch, whose upper partials swell after the lower ones and fade before them."""
    own, sound = Traits(seed), Second(seed, second)
    middle, scale = own.ratio(*REGISTER), own.one_of(((0, 4, 7), (0, 4, 7, 12), (0, 5, 7), (0, 2, 4, 7)))
    bell, swell, gap = own.ratio(1900, 2900), own.between(0.04, 0.12), own.between(0.03, 0.07)
    bright, rate, depth = own.between(0.8, 1.0), own.between(4.5, 6), own.between(0, 0.004)
    for _, start, end, u in _notes(events(seed, second, own.ratio(0.3, 0.75), own.between(0.1, 0.6), 0.08)):
        points = max(4, end - start + 1 - round(gap / STEP))
        time = np.arange(points) * STEP
        swing = np.sin(2 * np.pi * (rate * time + u[2])) * np.clip(time - 0.3, 0, 1)
        pitch = _pitch(middle, scale, u) * (1 + depth * swing - 0.03 * np.exp(-time / 0.012))
        f = harmonics(pitch.max())
        shine = 1 / (1 + (f / 6500) ** 8)
        dark = (f / f[0]) ** -2.2
        full = (0.25 + resonance(f, bell, 2400)) * (f / f[0]) ** 0.1 * shine
        level = envelope(points, 0.025, 0.05) * (0.7 + 0.3 * u[3])
        opening = bright * envelope(points, swell, 0.09) * (1 - 0.2 * time / time[-1])
        amplitudes = np.stack([0.6 * unit(dark), unit(0.5 * unit(dark) + unit(full))])
        sound.play(start, cycles(pitch), level, amplitudes, opening)
    return sound.finish()


def accordion(seed: int, second: int) -> Signal:
    """Chords with two or three detuned reeds per note; the bellows modulate the loudness."""
    own = Traits(seed)
    middle, scale = own.ratio(*REGISTER) * 0.75, own.one_of(SCALES[2:4])
    beat, reeds, tilt = own.ratio(1.6, 5.0), own.one_of((2, 3)), own.between(0.45, 0.75)
    rate, depth, keys = own.between(3, 6.5), own.between(0.08, 0.22), own.one_of((2, 3))
    detune = np.array([0.0, beat, -0.8 * beat])[:reeds]
    number = np.arange(1, 15)
    shape = number**-tilt * np.where(number % 2, 1, 0.8)
    frequencies, phases, levels = [], [], []
    for index, start, end, u in _notes(events(seed, second, own.ratio(0.45, 1.3), own.between(0, 0.4), tail=0.1)):
        span = envelope(end - start + 1 - 2, 0.05, 0.06)
        degree = int(u[0] * len(scale))
        chord = [_step(scale, degree + 2 * key) for key in range(keys)]
        pitch = middle * 2 ** (np.array(chord) / 12)
        f = ((pitch[:, None] + detune)[..., None] * number).reshape(-1)
        amplitudes = np.tile(unit(shape / (1 + (number * middle / 4500) ** 4)), keys * reeds) * (f < 7600)
        frequencies.append(f)
        phases.append(draws(seed, 5, index, len(f))[0] + f * (second - start * STEP))
        levels.append(amplitudes[:, None] * _in_second(span, start, second) / np.sqrt(keys * reeds))
    time = second + np.arange(BLOCKS + 1) * STEP
    bellows = 1 + depth * np.sin(2 * np.pi * (rate * time + own.between(0, 1)))
    return partials(np.concatenate(frequencies), np.concatenate(phases), np.concatenate(levels) * bellows)


def guitar(seed: int, second: int) -> Signal:
    """A plucked string: broken chords, upper partials that decay first, a comb spectrum set by the plucking point."""
    own, sound = Traits(seed), Second(seed, second)
    middle, scale, place = own.ratio(*REGISTER) * 0.8, own.one_of(SCALES[2:4]), own.between(0.12, 0.3)
    tilt, damping, slap = own.between(0.5, 1.1), own.ratio(2.0, 4.5), own.between(0.25, 0.6)
    pattern = own.one_of(((0, 1, 2, 3, 2, 1), (0, 2, 1, 3), (0, 1, 2, 3), (3, 2, 1, 0), (0, 3, 1, 2, 3, 2)))
    plucks = events(seed, second, own.ratio(0.14, 0.27), own.between(0, 0.2), 0.08, tail=1.0)
    number = np.arange(1, 17)
    stretched = number * np.sqrt(1 + 4e-5 * number**2)
    shape = np.abs(np.sin(np.pi * number * place)) / number**tilt
    decay = damping * (0.7 + 0.35 * number)  # 1 / s
    bar = plucks.number // (2 * len(pattern))
    root = (draws(seed, 6, bar, 1)[:, 0] * len(scale)).astype(int)
    string = np.array(pattern)[(plucks.number // 2 + plucks.number % 2) % len(pattern)]
    semitones = np.array([_step(scale, r + 2 * s) for r, s in zip(root, string, strict=True)])
    pitch = middle * 2 ** (semitones / 12)
    _strike(sound, plucks, pitch[:, None] * stretched, unit(shape), decay)
    for start, u in zip(plucks.start, plucks.draws, strict=True):
        sound.hiss(start, slap * (0.6 + 0.4 * u[3]) * np.array([0, 1, 0.35, 0.1, 0]), "mouth")
    return sound.finish()


def piano(seed: int, second: int) -> Signal:
    """Struck strings: chords and single notes, slightly inharmonic, a soft hammer, a slow decay."""
    own, sound = Traits(seed), Second(seed, second)
    middle, scale, keys = own.ratio(*REGISTER), own.one_of(SCALES[:4]), own.one_of((1, 2, 3))
    stiff, hammer, damping = own.ratio(2e-4, 9e-4), own.between(0.38, 0.62), own.ratio(1.2, 2.6)
    blows = events(seed, second, own.ratio(0.3, 0.62), own.between(0, 0.5), 0.05, tail=1.2)
    number = np.arange(1, 13)
    stretched = number * np.sqrt(1 + stiff * number**2)
    shape = np.exp(-hammer * (number - 1)) * (1 - 0.7 * (number % 8 == 0))
    decay = damping * (0.8 + 0.2 * number)
    together = []
    for key in range(keys):  # the first note of a chord is random, the others lie below it on the scale
        degree = (blows.draws[:, 0] * 2 * len(scale)).astype(int) - len(scale) // 2
        semitones = [_step(scale, d - 2 * key - (key > 1) * len(scale)) for d in degree]
        together.append(middle * 2 ** (np.array(semitones) / 12)[:, None] * stretched)
    _strike(sound, blows, np.concatenate(together, axis=1), np.tile(unit(shape), keys), np.tile(decay, keys))
    for start, u in zip(blows.start, blows.draws, strict=True):
        sound.hiss(start, 0.35 * (0.6 + 0.4 * u[3]) * np.array([0, 1, 0.6, 0.3, 0.15, 0.05, 0]), "thump")
    return sound.finish()


def _strike(sound: Second, blows: Events, frequencies: Signal, amplitudes: Signal, decay: Signal) -> None:
    """Add struck strings: frequencies (E, P) Hz, amplitudes (P,), decay (P,) 1 / s."""
    age = (np.arange(BLOCKS + 1) + sound.number * BLOCKS - blows.start[:, None]) * STEP  # (E, 126)
    force = 0.6 + 0.4 * blows.draws[:, 3]
    ring = np.exp(-decay[:, None] * age.clip(0)[:, None]) * (age > 0)[:, None]  # (E, P, 126)
    fade = np.clip((blows.end[:, None] * STEP + 1.0 - (sound.number + np.arange(BLOCKS + 1) * STEP)) / 0.3, 0, 1)
    levels = ring * (amplitudes * (frequencies < 7600) * force[:, None])[..., None] * fade[:, None]
    phases = frequencies * (sound.number - blows.start * STEP)[:, None]
    sound.wave += partials(frequencies.reshape(-1), phases.reshape(-1), levels.reshape(-1, BLOCKS + 1))


def _notes(row: Events) -> Iterable[tuple[int, int, int, Signal]]:
    """(number, start, end, draws (8,)) of each event, as plain integers."""
    return zip(row.number.tolist(), row.start.tolist(), row.end.tolist(), row.draws, strict=True)


def _in_second(points: Signal, start: int, second: int) -> Signal:
    """Control points from block `start` on -> those at the second's 126, 0 outside."""
    out = np.zeros(BLOCKS + 1)
    at = np.arange(BLOCKS + 1) + second * BLOCKS - start
    inside = (at >= 0) & (at < len(points))
    out[inside] = points[at[inside]]
    return out


def _step(scale: tuple[int, ...], degree: int) -> int:
    """The semitones of a scale's degree, which may lie in other octaves."""
    return 12 * (degree // len(scale)) + scale[degree % len(scale)]


def _pitch(middle: float, scale: tuple[int, ...], u: Signal) -> float:
    """A note's pitch in Hz: steps of the scale around the middle, near ones more often."""
    reach = len(scale)
    return middle * 2 ** (_step(scale, round((u[0] + u[1] - 1) * reach)) / 12)
