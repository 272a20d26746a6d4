"""The learning rate as a function of the step alone, so that a resumed run needs no stored scheduler."""

from __future__ import annotations

import math

from acvis_kit.training.recipe import Recipe


def lr_factor(recipe: Recipe, step: int) -> float:
    """The factor on all learning rates in step `step`, counted from 0; in [0, 1].

    "paper": 1, then `drop` after a fraction `drop_at` of the steps. "cosine": from 1 after the warm-up to 0 after the
    last step. The warm-up is linear: 1 / warmup in the first step, 1 in the first step after it.
    """
    if recipe.schedule == "paper" and step >= recipe.warmup:
        return recipe.drop if step >= round(recipe.drop_at * recipe.steps) else 1.0
    return cosine_factor(step, recipe.warmup, recipe.steps)


def cosine_factor(step: int, warmup: int, steps: int) -> float:
    """A linear warm-up, then a cosine to 0 after the last of `steps` steps."""
    if step < warmup:
        return (step + 1) / warmup
    fraction = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))


def pretrained_factor(recipe: Recipe, step: int) -> float:
    """A further factor on the rates of `recipe.pretrained` parts in step `step`, counted from 0; in [0, 1].

    0 in the first `frozen_fraction` of the steps, then linearly to 1 within `warmup` steps; always 1 if
    `frozen_fraction` is 0.
    """
    if not recipe.frozen_fraction:
        return 1.0
    after = step - round(recipe.frozen_fraction * recipe.steps)
    if after < 0:
        return 0.0
    return after / recipe.warmup if after < recipe.warmup else 1.0
