"""Voices of person, cat, dog, horse and car: a seed stands for one individual.

Every function returns one second of sound, about unit RMS, float32 (16000,), which depends only on the seed and the
number of the second. Pauses are shorter than 0.35 s.
"""

from __future__ import annotations

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
    noise,
    resonance,
    stretch,
    unit,
    wavetable,
)

# First three formants of vowels in Hz, men's means: Peterson and Barney 1952, table II.
VOWELS = np.array(
    [
        (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410), (730, 1090, 2440),
        (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390), (490, 1350, 1690),
    ],
    dtype=float,
)  # fmt: skip
FORMANT_GAINS = np.array([1.0, 0.8, 0.6])
FORMANT_WIDTHS = np.array([90.0, 120.0, 180.0])[:, None]  # Hz


def person(seed: int, second: int) -> Signal:
    """Speech-like: glottal pulses through formants that move from vowel to vowel, syllables, consonants, melody."""
    own, sound = Traits(seed), Second(seed, second)
    base, tract = _speaker(own)
    pace, melody, tilt = own.ratio(0.17, 0.27), own.between(0.06, 0.2), own.between(0.9, 1.4)
    sharp = own.between(0.25, 0.6)
    syllables = events(seed, second, pace, own.between(0, 0.15), 0.25, tail=0.05)
    beat = np.stack([syllables.number, syllables.following])
    vowels = VOWELS[(draws(seed, 7, beat.reshape(-1), 1)[:, 0] * len(VOWELS)).astype(int)].reshape(2, -1, 3)
    for number, start, end, u, before, after in zip(*_rows(syllables), *vowels, strict=True):
        if number % 8 == 0 and u[6] < 0.6:
            continue  # a pause for breath
        points = max(6, end - start + 1)
        time = np.arange(points) * STEP
        consonant = 0.03 + 0.05 * u[5] if u[4] < 0.6 else 0.0  # seconds before the vowel
        slow = np.sin(2 * np.pi * (0.31 * start * STEP + u[7] * 0.1)) + np.sin(2 * np.pi * 0.17 * start * STEP)
        pitch = base * (1 + melody * (0.5 * slow + (u[1] - 0.5) - (0.6 * u[2] - 0.1) * time / time[-1]))
        glide = np.linspace(0, 1, 5)[:, None] ** 1.5
        formants = tract * (before + (after - before) * glide)  # (5, 3)
        f = harmonics(pitch.max())
        peaks = resonance(f, formants[..., None], FORMANT_WIDTHS) ** 2  # (5, 3, H)
        amplitudes = (FORMANT_GAINS @ peaks + 0.01) * f ** -(1 + 0.4 * tilt)
        level = envelope(points, 0.03, 0.05) * (time >= consonant - STEP) * (0.65 + 0.35 * u[3])
        if consonant:
            level *= np.clip((time - consonant) / 0.03 + 1, 0, 1)
            burst = envelope(round(consonant / STEP) + 4, 0.016, 0.02)
            sound.hiss(start, sharp * (0.4 + 0.6 * u[3]) * burst, "hiss" if u[4] < 0.4 else "mouth")
        sound.play(start, cycles(pitch), level, unit(amplitudes), np.linspace(0, 3.99, points), pulse=True)
        sound.hiss(start, 0.03 * level, "breath")
    return sound.finish()


def cat(seed: int, second: int) -> Signal:
    """Meows: a pitch that rises and falls, formants of a mouth that opens and closes."""
    own, sound = Traits(seed), Second(seed, second)
    base, size, rise = own.ratio(330, 640), own.between(0.85, 1.2), own.between(0.15, 0.45)
    pause, rough, rasp = own.between(0.06, 0.2), own.between(0.0, 0.25), own.between(22, 34)
    peak, breath = own.between(0.25, 0.5), own.between(0.03, 0.1)
    for _, start, end, u in zip(*_rows(events(seed, second, own.ratio(0.65, 1.25), 0.0, 0.12, tail=0.0)), strict=True):
        points = max(30, end - start + 1 - round(pause * (0.7 + 0.6 * u[2]) / STEP))
        x = np.linspace(0, 1, points)
        time = np.arange(points) * STEP
        arch = np.where(x < peak, np.sin(np.pi / 2 * x / peak), np.cos(np.pi / 2 * (x - peak) / (1 - peak) * 0.9))
        tremble = np.sin(2 * np.pi * (rasp * time + u[4]))
        pitch = base * (0.9 + 0.2 * u[1]) * (1 + rise * (1.6 * arch - 0.8)) * (1 + 0.03 * rough * tremble)
        mouth = np.sin(np.pi * np.linspace(0, 1, 8) ** 0.8)[:, None]  # closed, open, closed
        f = harmonics(pitch.max())
        amplitudes = (f / f[0]) ** -0.5 * (
            resonance(f, size * (550 + 750 * mouth), 350)
            + 0.9 * resonance(f, size * (2600 - 800 * mouth), 400)
            + 0.35 * resonance(f, size * 4200, 700)
            + 0.03
        )
        level = envelope(points, 0.08, 0.22) * (1 - rough * (0.5 + 0.5 * tremble)) * (0.75 + 0.25 * u[3])
        sound.play(start, cycles(pitch), level, unit(amplitudes), 6.99 * x)
        sound.hiss(start, breath * level, "breath")
    return sound.finish()


def dog(seed: int, second: int) -> Signal:
    """Barks: short bursts, half tone and half noise, with a pitch that jumps up and drops."""
    own, sound = Traits(seed), Second(seed, second)
    base, period, noisy = own.ratio(170, 480), own.ratio(0.25, 0.5), own.between(0.45, 0.9)
    size = (base / 290) ** 0.5 * own.between(0.9, 1.1)
    length = max(0.72 * period, period - 0.16) * own.between(0.95, 1.05)
    hoarse, steep = own.between(0.02, 0.07), own.between(1.2, 2.6)
    barks = events(seed, second, period, 0.0, 0.12, tail=0.5)
    hoarseness = 1 + hoarse * (2 * draws(seed, 8, barks.number, 80) - 1)
    for start, u, shaking in zip(barks.start.tolist(), barks.draws, hoarseness, strict=True):
        points = max(16, round(length * (0.85 + 0.3 * u[2]) / STEP))
        x = np.linspace(0, 1, points)
        pitch = base * (0.9 + 0.2 * u[1]) * (0.75 + 0.65 * np.sin(np.pi * np.minimum(1, x * 1.1) ** 0.6))
        pitch *= shaking[:points]
        throat = np.sin(np.pi * np.linspace(0, 1, 5) ** 0.7)[:, None]
        f = harmonics(pitch.max())
        amplitudes = (f / f[0]) ** -0.4 * (
            resonance(f, size * (480 + 520 * throat), 450) + 0.7 * resonance(f, size * 1750, 700) + 0.02
        )
        shape = envelope(points, 0.016, 0.4 * points * STEP) * np.exp(-steep * x) * (0.7 + 0.3 * u[3])
        sound.play(start, cycles(pitch), 2.2 * shape, unit(amplitudes), 3.99 * x)
        sound.hiss(start, 2.2 * noisy * shape, "mouth")
        sound.hiss(start, 1.2 * noisy * shape * np.exp(-8 * x), "body")
    return sound.finish()


def horse(seed: int, second: int) -> Signal:
    """Two thirds of the seeds whinny (a falling, trembling pitch) and snort; one third gallops in threes and snorts."""
    own = Traits(seed)
    return _gallop(own, Second(seed, second)) if own.chance(1 / 3) else _whinny(own, Second(seed, second))


def _whinny(own: Traits, sound: Second) -> Signal:
    top, bottom, rate = own.ratio(750, 1300), own.between(0.35, 0.5), own.between(9, 14)
    depth, period, flutter = own.between(0.06, 0.14), own.ratio(1.3, 1.9), own.between(18, 28)
    formant, breath, share = own.ratio(1300, 2100), own.between(0.08, 0.2), own.between(0.68, 0.78)
    for _, start, end, u in zip(*_rows(events(sound.seed, sound.number, period, 0.0, 0.1, tail=0.0)), strict=True):
        points = round(share * (end - start))
        x, time = np.linspace(0, 1, points), np.arange(points) * STEP
        tremble = np.sin(2 * np.pi * (rate * time * (1 - 0.15 * x) + u[2]))
        fall = np.minimum(1, 0.75 + 3 * x) * (1 - (1 - bottom) * x**1.3)
        pitch = top * (0.9 + 0.2 * u[1]) * fall * (1 + depth * tremble)
        f = harmonics(pitch.max())
        amplitudes = (f / f[0]) ** -0.6 * (0.2 + resonance(f, formant, 900) + 0.5 * resonance(f, 3300, 900))
        level = envelope(points, 0.06, 0.12) * (0.62 + 0.38 * tremble) * (1 - 0.4 * x)
        sound.play(start, cycles(pitch), level, unit(amplitudes))
        sound.hiss(start, breath * level, "mouth")
        _snort(sound, start + points + 6, max(20, end - start - points - 14), flutter * (0.9 + 0.2 * u[4]), 0.6)
    return sound.finish()


def _gallop(own: Traits, sound: Second) -> Signal:
    stride, tone, ring = own.ratio(0.42, 0.58), own.ratio(600, 1100), own.between(26, 40)
    beats, dull, flutter = own.one_of(((0, 0.3, 0.58), (0, 0.24, 0.5), (0, 0.33, 0.66))), own.between(0.3, 0.7), 22
    for number, start, end, u in zip(*_rows(events(sound.seed, sound.number, stride, 0, 0.03, tail=0.4)), strict=True):
        for hoof, beat in enumerate(beats):
            time = np.arange(20) * STEP
            shape = np.exp(-ring * time) * (time > 0) * (0.6 + 0.4 * u[hoof]) * np.clip((0.144 - time) / 0.03, 0, 1)
            at = start + round(beat * (end - start))
            pitch = tone * (1 + 0.12 * (hoof - 1) + 0.1 * (u[3 + hoof] - 0.5))
            sound.play(at, pitch * time, 2.2 * shape, unit(np.array([1, 0.5, 0.25])))
            sound.hiss(at, 2.5 * shape, "knock")
            sound.hiss(at, 1.6 * dull * shape, "thump")
        if number // 2 % 3 == 0:
            _snort(sound, start, 40, flutter, 0.45)
    return sound.finish()


def _snort(sound: Second, start: int, points: int, flutter: float, level: float) -> None:
    """Air through fluttering lips."""
    time = np.arange(points) * STEP
    flap = 0.5 + 0.5 * np.sin(2 * np.pi * flutter * time)
    shape = level * envelope(points, 0.03, 0.12) * flap
    sound.hiss(start, shape, "body")
    sound.hiss(start, 0.7 * shape, "breath")


def car(seed: int, second: int) -> Signal:
    """An engine: unequal firings in one cycle of the wave table, at a speed that drifts; exhaust, rumble, tyres.

    The sound never ends, so its phase is a closed form of time: f (t + sum of a / (2 pi r) (1 - cos(2 pi r t))).
    """
    own = Traits(seed)
    cylinders = own.one_of((3, 4, 6, 8))
    firing, pipe, box = own.ratio(38, 130), own.ratio(140, 420), own.ratio(500, 1100)
    rates, depths = np.array([own.between(0.05, 0.2), own.between(0.3, 0.7)]), np.array([0.15, 0.03])
    unequal, tyres, rumble = own.between(0.1, 0.5), own.between(0.1, 0.3), own.between(0.4, 0.8)
    rough = own.between(0.3, 0.7)
    time = second + np.arange(BLOCKS + 1) * STEP
    turn = 2 * np.pi * rates[:, None] * time
    shift = 2 * np.pi * draws(seed, 9, 0, 2)[0][:, None]
    drift = (depths / (2 * np.pi * rates)) @ (np.cos(shift) - np.cos(turn + shift))
    phase = firing / cylinders * (time + drift)  # engine cycles, each with one firing per cylinder
    speed = 1 + depths @ np.sin(turn + shift)
    f = harmonics(firing / cylinders)
    f = f[f < 3500]
    order = np.arange(1, len(f) + 1)
    firings = np.exp(-2j * np.pi * order[:, None] * np.arange(cylinders) / cylinders)
    strength = 1 + unequal * (2 * draws(seed, 9, 1, cylinders)[0] - 1)
    pulses = np.abs(firings @ strength)
    amplitudes = pulses * (resonance(f, pipe, 120) + 0.5 * resonance(f, box, 300) + 0.15) / (1 + (f / 900) ** 1.2)
    wave = wavetable(stretch(phase), unit(amplitudes), pulse=True)
    beats = 0.5 + 0.5 * np.cos(2 * np.pi * stretch(phase * cylinders)).astype(np.float32)
    wave += rumble * noise("rumble", seed, second)
    wave += np.float32(1.6 * rough) * beats**2 * noise("body", seed, second) + tyres * noise("pink", seed, second)
    return wave * stretch((0.7 + 0.3 * speed).astype(np.float32))


def _speaker(own: Traits) -> tuple[float, float]:
    """Pitch in Hz, and the factor of the formants, of a man, a woman or a child."""
    low, high, tract = own.one_of(((85, 150, 1.0), (160, 250, 1.16), (95, 170, 1.04), (180, 320, 1.28)))
    return own.ratio(low, high), tract * own.between(0.95, 1.05)


def _rows(row: Events) -> tuple[list[int], list[int], list[int], Signal]:
    """Numbers, starts and ends of the events as plain integers, and their draws (E, 8)."""
    return row.number.tolist(), row.start.tolist(), row.end.tolist(), row.draws
