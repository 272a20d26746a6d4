"""`Recipe`: how a network is trained, in numbers with their sources. `RuntimeConfig`: what changes no result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.errors import ConfigError

CHOICES = {
    "schedule": ("paper", "cosine"),
    "precision": ("float32", "bf16", "fp16", "float64"),
    "frame_sampling": ("scattered", "consecutive"),
    "augmentation": ("none", "paper", "synth"),
}
# Parts of the network that are pretrained, each by its stage.
AUDIO_PARTS = ("audio_encoder", "audio_class_head")
VISUAL_PARTS = ("backbone", "pixel_decoder", "pixel_class_head", "pixel_sign_head")
# Fields of earlier versions, with their present names.
RENAMED = {
    "audio_steps": "audio_pretraining_steps",
    "picture_steps": "visual_pretraining_steps",
    "rest": "frozen_fraction",
}


@dataclass(frozen=True)
class Recipe:
    """Everything that the final weights depend on, besides network and data. Defaults are ACVIS' (reference code).

    Raises:
        ConfigError: a value outside its range.
    """

    # --- samples
    steps: int = 48_000
    batch: int = 2  # clips per step, over all processes
    clip_frames: int = 5  # T
    frame_sampling: Literal["scattered", "consecutive"] = "scattered"  # see `TrainingClips`
    augmentation: str = "paper"  # see `data.transforms`
    audio_folder: str | None = None  # of precomputed features, for networks without an audio encoder
    counterfactual_audio: float = 0.0  # fraction of clips with another soundtrack and its ground truth (ours)

    # --- pretraining stages, before the training of the whole network (ours)
    audio_pretraining_steps: int = 0  # of the audio encoder, on sound classes; see `pretrain_audio`
    visual_pretraining_steps: int = 0  # of backbone and pixel decoder, on pixel classes; see `pretrain_visual`

    # --- AdamW
    lr: float = 1e-4
    backbone_lr: float = 0.1  # times lr
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    frozen: tuple[str, ...] = ()  # parts that are not trained, such as "backbone", "tracker.class_head"
    weight_decay: float = 0.05  # not of norms, embeddings and Swin's bias tables; biases decay
    clip_norm: float = 0.01  # maximum norm of the gradient of all parameters together

    # --- learning rate over time
    schedule: str = "paper"  # "paper": lr, then lr * drop; "cosine": from lr to 0
    drop_at: float = 2 / 3  # fraction of the steps: 32,000 of 48,000
    drop: float = 0.1
    warmup: int = 0  # steps from 0 to lr; the reference warms up from a factor of 1, so not at all
    # Fraction of the steps in which `pretrained` parts stay frozen; they have their own warm-up afterwards (ours).
    frozen_fraction: float = 0.0

    ema: float = 0.0  # decay of the running average of the weights, which is evaluated and exported; 0: none
    precision: str = "float32"  # bf16 and fp16 under autocast
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # from JSON these are lists
        object.__setattr__(self, "frozen", tuple(self.frozen))
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name}={getattr(self, name)!r} is not valid: choose one of {', '.join(allowed)}")
        for name in ("steps", "batch", "clip_frames"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)!r} must be an integer of at least 1")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas={self.betas!r} must be two numbers in [0, 1)")
        for name in ("lr", "eps", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)!r} must be above 0")
        for name in (
            "audio_pretraining_steps",
            "visual_pretraining_steps",
            "backbone_lr",
            "weight_decay",
            "warmup",
            "seed",
        ):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}={getattr(self, name)!r} must not be negative")
        for name in ("drop_at", "drop", "frozen_fraction", "counterfactual_audio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)!r} must lie in [0, 1]")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema={self.ema!r} must lie in [0, 1)")

    @property
    def pretrained(self) -> tuple[str, ...]:
        """Parts of the network that a stage pretrains before the training of the whole network."""
        return AUDIO_PARTS * (self.audio_pretraining_steps > 0) + VISUAL_PARTS * (self.visual_pretraining_steps > 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """A recipe from the values of a JSON object.

        Raises:
            ConfigError: an unknown field, or one of an earlier version.
        """
        if renamed := [name for name in values if name in RENAMED]:
            raise ConfigError(f"{renamed_text(renamed)}: this recipe was written by an earlier version of the kit")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"unknown fields of a recipe: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        return cls(**values)


def renamed_text(names: Iterable[str]) -> str:
    """Present names of fields of `RENAMED`, in words: "audio_steps is now called audio_pretraining_steps"."""
    return ", ".join(f"{name} is now called {RENAMED[name]}" for name in names)


PAPER = Recipe()
# For random weights and at most three hours on two CPU cores: a learning rate for a small network, and a norm that few
# gradients exceed. Pretrained parts stay frozen for 300 steps: gradients through the random decoder would harm them.
SYNTH = Recipe(
    steps=5400, batch=8, clip_frames=4, augmentation="synth", lr=1e-3, backbone_lr=1.0, weight_decay=0.02,
    clip_norm=2.0, schedule="cosine", warmup=100, ema=0.999, counterfactual_audio=0.4,
    audio_pretraining_steps=12_000, visual_pretraining_steps=1500, frozen_fraction=1 / 18,
)  # fmt: skip


RECIPES: dict[str, Recipe] = dict.fromkeys(PRESETS, PAPER) | {"acvis-synth-tiny": SYNTH}  # of the presets


def recipe_of(config: ACVISConfig, preset: str | None = None) -> Recipe:
    """The default recipe of a network.

    Args:
        config: pretraining stages whose heads it does not have are left out.
        preset: where the network is a variant of one, its recipe is taken. Otherwise SYNTH for the compact backbone,
            which starts from random weights, else PAPER.
    """
    recipe = RECIPES[preset] if preset is not None else SYNTH if config.backbone == "compact" else PAPER
    return dataclasses.replace(
        recipe,
        audio_pretraining_steps=recipe.audio_pretraining_steps if config.audio_classes else 0,
        visual_pretraining_steps=recipe.visual_pretraining_steps if config.pixel_classes else 0,
    )


@dataclass(frozen=True)
class RuntimeConfig:
    """How a run is carried out. The final weights do not depend on it; the choice of the best weights may.

    Attributes:
        workers: processes that prepare samples, per training process; 0: the training process does.
        max_minutes: stop after this time, with a checkpoint to resume from; None: never.
        checkpoint_every: minutes between checkpoints.
        eval_every: steps between evaluations on the validation split; 0: only at the end.
        eval_clips: the first videos of that split are evaluated; 0: no evaluation.
        log_every: steps per line of log.jsonl.
        shard_mb: largest file of a checkpoint, in 10^6 bytes; None: one file per kind.
        device: "cpu": no GPU is used; None: what accelerate finds.
    """

    workers: int = 1
    max_minutes: float | None = None
    checkpoint_every: float = 10.0
    eval_every: int = 1000
    eval_clips: int = 40
    log_every: int = 10
    shard_mb: float | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "eval_every", "eval_clips", "checkpoint_every"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)!r} must not be negative")
        if self.log_every < 1:
            raise ConfigError(f"log_every={self.log_every!r} must be at least 1")
        for name in ("max_minutes", "shard_mb"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)!r} must be above 0")
