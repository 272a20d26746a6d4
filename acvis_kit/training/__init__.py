"""Training: from data and a recipe to weights, in one process or several, resumable."""

from acvis_kit.training.recipe import PAPER, SYNTH, Recipe, RuntimeConfig, recipe_of
from acvis_kit.training.run import train

__all__ = ["PAPER", "SYNTH", "Recipe", "RuntimeConfig", "recipe_of", "train"]
