"""How a network is trained, as numbers with their sources; and how a run is carried out, which changes no result."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from acvis_kit.config import ACVISConfig
from acvis_kit.errors import ConfigError

CHOICES = {
    "schedule": ("paper", "cosine"),
    "precision": ("float32", "bf16", "fp16", "float64"),
    "frame_sampling": ("scattered", "consecutive"),
    "augmentation": ("none", "paper", "synth"),
}
# Parts of the network that a lesson teaches before all else.
EARS = ("audio_encoder", "audio_class_head")
EYES = ("backbone", "pixel_decoder", "pixel_class_head", "pixel_sign_head")


@dataclass(frozen=True)
class Recipe:
    """What the weights at the end depend on, beside network and data. Defaults are ACVIS' (reference code).

    Raises:
        ConfigError: a value outside its range.
    """

    # --- what is shown
    steps: int = 48_000
    batch: int = 2  # clips per step, over all processes
    clip_frames: int = 5  # T
    frame_sampling: str = "scattered"  # see `TrainingClips`
    augmentation: str = "paper"  # see `data.transforms`
    audio_folder: str | None = None  # of precomputed features, for networks without an audio encoder

    audio_steps: int = 0  # before all else the audio encoder learns alone to name what it hears, see `ears` (ours)
    picture_steps: int = 0  # and backbone and pixel decoder to name every pixel, see `eyes` (ours)

    # --- AdamW
    lr: float = 1e-4
    backbone_lr: float = 0.1  # times lr
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    frozen: tuple[str, ...] = ()  # parts that stay as they are, such as "backbone", "tracker.class_head"
    weight_decay: float = 0.05  # none for norms, embeddings and Swin's bias tables; biases do decay
    clip_norm: float = 0.01  # of the gradient of all parameters together

    # --- the rate over time
    schedule: str = "paper"  # "paper": lr, then lr * drop; "cosine": down to 0
    drop_at: float = 2 / 3  # share of the steps: 32,000 of 48,000
    drop: float = 0.1
    warmup: int = 0  # steps from 0 to lr; the reference's has a factor of 1, which is none
    rest: float = 0.0  # share of the steps before `taught` parts move, then with a warm-up of their own (ours)

    ema: float = 0.0  # decay of the running average of the weights that is evaluated and exported; 0: none
    precision: str = "float32"  # bf16 and fp16 under autocast
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON knows no tuples
        object.__setattr__(self, "frozen", tuple(self.frozen))
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name}={getattr(self, name)!r} is not known: choose one of {', '.join(allowed)}")
        for name in ("steps", "batch", "clip_frames"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)!r} must be a whole number, at least 1")
        for name in ("lr", "eps", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)!r} must be above 0")
        for name in ("audio_steps", "picture_steps", "backbone_lr", "weight_decay", "warmup", "seed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}={getattr(self, name)!r} must not be negative")
        for name, most in (("drop_at", 1.0), ("drop", 1.0), ("rest", 1.0), ("ema", 1.0)):
            if not 0 <= getattr(self, name) <= most or self.ema == 1:
                raise ConfigError(f"{name}={getattr(self, name)!r} must lie in [0, 1], ema below 1")

    @property
    def taught(self) -> tuple[str, ...]:
        """Parts of the network that have had a lesson before the first step."""
        return EARS * (self.audio_steps > 0) + EYES * (self.picture_steps > 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """The recipe of a JSON object.

        Raises:
            ConfigError: a field that does not exist.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"unknown fields of a recipe: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        return cls(**values)


PAPER = Recipe()
# From nothing on two CPU cores, meant for three hours at most: a rate for a small network, a clip that seldom acts. In
# the first 300 steps the gradients of a decoder that knows nothing would spoil what the lessons taught.
SYNTH = Recipe(
    steps=5400, batch=8, clip_frames=4, augmentation="synth", audio_steps=12_000, picture_steps=1500, lr=1e-3,
    backbone_lr=1.0, weight_decay=0.02, clip_norm=2.0, schedule="cosine", warmup=100, rest=1 / 18, ema=0.999,
)  # fmt: skip


def recipe_of(config: ACVISConfig) -> Recipe:
    """The recipe that suits a network: SYNTH for those with the compact backbone, which learn from nothing."""
    if config.backbone != "compact":
        return PAPER
    return dataclasses.replace(
        SYNTH,
        audio_steps=SYNTH.audio_steps if config.audio_classes else 0,
        picture_steps=SYNTH.picture_steps if config.pixel_classes else 0,
    )


@dataclass(frozen=True)
class Habits:
    """How a run is carried out. The last weights do not depend on any of this (which ones are best may).

    Attributes:
        workers: processes that prepare samples, per process that trains; 0: it does so itself.
        max_minutes: stop then, with a checkpoint, to go on another time; None: never.
        checkpoint_every: minutes between checkpoints.
        eval_every: steps between evaluations on the validation split; 0: at the end alone.
        eval_clips: videos of that split looked at, the first ones; 0: no evaluation.
        log_every: steps that a line of log.jsonl sums up.
        shard_mb: largest file of a checkpoint, in 10^6 bytes; None: one file per kind.
        device: None: what accelerate finds; "cpu" keeps away from GPUs.
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
