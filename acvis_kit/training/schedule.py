"""The learning rate as a function of the step, and nothing else: a resumed run needs no memory of it."""

from __future__ import annotations

import math

from acvis_kit.training.recipe import Recipe


def lr_factor(recipe: Recipe, step: int) -> float:
    """What the rates are multiplied by in step `step`, counted from 0; in [0, 1].

    "paper": 1, from `drop_at` of the steps on `drop`. "cosine": from 1 after the warm-up to 0 after the last step. The
    warm-up is linear: its first step has 1 / warmup, the first one after it 1.
    """
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    if recipe.schedule == "paper":
        return recipe.drop if step >= round(recipe.drop_at * recipe.steps) else 1.0
    share = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def pretrained_factor(recipe: Recipe, step: int) -> float:
    """A further factor on the rates of `recipe.pretrained` parts in step `step`, counted from 0; in [0, 1].

    0 for `frozen_fraction` of the steps, then linearly to 1 within `warmup` steps; with a fraction of 0 always 1.
    """
    if not recipe.frozen_fraction:
        return 1.0
    moved = step - round(recipe.frozen_fraction * recipe.steps)
    if moved < 0:
        return 0.0
    return moved / recipe.warmup if moved < recipe.warmup else 1.0
