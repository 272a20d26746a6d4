"""`Recipe`: how a network is trained, in numbers with their sources. `RuntimeConfig`: what changes no result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.errors import ConfigError
from acvis_kit.fields import Checked, choice, number, setting
from acvis_kit.models.avsc.config import AVSC_PRESETS, AVSCConfig
from acvis_kit.models.ravs.config import RAVS_PRESETS, RAVSConfig

# Parts of the network that are pretrained, each by its stage.
AUDIO_PARTS = ("audio_encoder", "audio_class_head", "audio_teacher_head")
VISUAL_PARTS = ("backbone", "pixel_decoder", "pixel_class_head", "auxiliary_heads", "mask_classifier")
# Fields of earlier versions, with their present names.
RENAMED = {
    "audio_steps": "audio_pretraining_steps",
    "picture_steps": "visual_pretraining_steps",
    "rest": "frozen_fraction",
}


@dataclass(frozen=True, repr=False)
class Recipe(Checked):
    """Everything that the final weights depend on, besides network and data. Defaults are ACVIS' (reference code).

    Raises:
        ConfigError: a value outside its range.
    """

    # --- samples
    steps: int = number(48_000, 1, help="optimizer steps of the whole network")
    batch: int = number(2, 1, help="clips per step, over all processes")
    batch_per_process: int | None = number(None, 1, help="of each process; replaces batch")
    # The mean of their gradients; each part is normalised by its own terms.
    accumulation: int = number(1, 1, help="parts of a step, one after another")
    clip_frames: int = number(5, 1, help="frames per clip (T)")
    frame_sampling: Literal["scattered", "consecutive"] = choice(  # see `TrainingClips`
        "scattered", "consecutive", help="frames of a clip"
    )
    augmentation: str = choice(
        "paper",
        "synth",
        "filmed",
        "filmed_fine",
        "filmed_pasted",
        "colour",
        "none",
        help="see acvis_kit.data.transforms",
    )
    audio_folder: str | None = setting(None, "features, without audio encoder")
    counterfactual_audio: float = number(0.0, 0, 1, help="fraction of clips with another sound")

    # --- pretraining stages, before the training of the whole network (ours); see `stages`
    audio_pretraining_steps: int = number(0, 0, help="of the audio encoder alone, on sound classes")
    audio_pretraining_sounds: str = choice("counterfactual", "mixed", help="of its counterfactual clips")
    audio_pretraining_batch: int = number(4, 1, help="clips per step, over all processes")
    audio_pretraining_seconds: int = number(8, 1, help="seconds of each clip, drawn with replacement")
    visual_pretraining_steps: int = number(0, 0, help="of the visual parts, on pixel classes")
    visual_pretraining_batch: int = number(32, 1, help="frames per step, over all processes")

    # --- stage 1 of AVSC, before its correlation with the sound; see `semantic_stages`
    proposal_steps: int = number(0, 0, help="of AVSC's proposals, before the correlation")
    proposal_batch: int = number(32, 1, help="frames per step of the proposals")
    proposal_lr: float = number(1e-4, above=0, help="learning rate of the proposals")

    # --- AdamW
    lr: float = number(1e-4, above=0, help="learning rate")
    backbone_lr: float = number(0.1, 0, help="of the backbone, times lr")
    betas: tuple[float, float] = setting((0.9, 0.999), "of AdamW")
    eps: float = number(1e-8, above=0, help="of AdamW")
    frozen: tuple[str, ...] = setting((), 'parts not trained, such as "backbone"')
    frozen_after_pretraining: tuple[str, ...] = setting((), "parts not trained with the whole network")
    weight_decay: float = number(0.05, 0, help="not of norms, embeddings, Swin's bias tables")  # biases decay
    clip_norm: float = number(0.01, above=0, help="maximum norm of the gradient")

    # --- learning rate over time
    schedule: str = choice("paper", "cosine", help="paper: lr, lr * drop; cosine: lr to 0")
    drop_at: float = number(2 / 3, 0, 1, help="fraction of the steps before the drop")  # 32,000 of 48,000
    drop: float = number(0.1, 0, 1, help="factor on lr")
    warmup: int = number(0, 0, help="steps from 0 to lr")  # the reference warms up from a factor of 1, so not at all
    # They have their own warm-up afterwards (ours).
    frozen_fraction: float = number(0.0, 0, 1, help="of the steps: pretrained parts stay frozen")

    ema: float = number(0.0, 0, below=1, help="decay of the average of the weights, 0: none")  # evaluated and exported
    precision: str = choice("float32", "bf16", "fp16", "float64", help="bf16 and fp16: autocast")
    seed: int = number(0, 0, 2**63 - 1, help="of initial weights, samples and points")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas={self.betas!r} must be two numbers in [0, 1)")

    @property
    def pretrained(self) -> tuple[str, ...]:
        """Parts of the network that a stage pretrains before the training of the whole network."""
        return AUDIO_PARTS * (self.audio_pretraining_steps > 0) + VISUAL_PARTS * (self.visual_pretraining_steps > 0)

    def for_processes(self, processes: int) -> Recipe:
        """The recipe with the whole batch, in place of `batch_per_process`.

        Raises:
            ConfigError: a batch that cannot be divided among the processes, or into parts.
        """
        whole = self
        if self.batch_per_process is not None:
            batch = self.batch_per_process * processes * self.accumulation
            whole = replace(self, batch=batch, batch_per_process=None)
        wanted = {"batch": processes * self.accumulation}
        wanted |= {"audio_pretraining_batch": processes} if self.audio_pretraining_steps else {}
        wanted |= {"proposal_batch": processes} if self.proposal_steps else {}
        wanted |= {"visual_pretraining_batch": processes} if self.visual_pretraining_steps else {}
        for name, divisor in wanted.items():
            if (given := getattr(whole, name)) % divisor:
                in_parts = f" x accumulation={self.accumulation}" * (name == "batch" and self.accumulation > 1)
                raise ConfigError(
                    f"{name}={given} cannot be divided among {processes} processes{in_parts}: "
                    f"set it to a multiple of {divisor}" + ", or give batch_per_process" * (name == "batch")
                )
        return whole

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


PROPOSALS = ("proposal_steps", "proposal_batch", "proposal_lr")  # fields that AVSC alone reads


def require_read(recipe: Recipe, unread: Iterable[str], system: str) -> None:
    """Refuse fields that a system does not read, where they differ from their defaults.

    Raises:
        ConfigError: names them.
    """
    usual = Recipe()
    if given := [name for name in unread if getattr(recipe, name) != getattr(usual, name)]:
        shown = ", ".join(f"{name}={getattr(recipe, name)!r}" for name in given)
        hint = "; the share of other sounds is neg_audio_prob" * ("counterfactual_audio" in given)
        raise ConfigError(f"training {system} does not use {shown}: leave it out{hint}")


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


# The same for filmed scenes, whose backbone keeps ImageNet's weights. Pictures differ more from clip to clip than
# within one: a step shows more clips, of two frames each.
FILMED = replace(
    SYNTH, steps=2750, batch=8, clip_frames=2, augmentation="filmed", frozen=("backbone",), ema=0.995,
    frozen_after_pretraining=("audio_encoder", "audio_class_head"), audio_pretraining_sounds="mixed",
    audio_pretraining_steps=2400, audio_pretraining_batch=32, audio_pretraining_seconds=2,
    visual_pretraining_steps=700, visual_pretraining_batch=16,
)  # fmt: skip

# AVSC on AVSBench-object (section 6.1): Adam, 32 frames a step for the proposals and 64 for the correlation. Where the
# papers are silent: constant rates, 30 epochs of S4's 3,452 videos for the proposals, 20 for the correlation.
AVSC_PAPER = Recipe(
    steps=1_080, batch=64, clip_frames=1, augmentation="colour", lr=1e-3, backbone_lr=1.0, weight_decay=0.0,
    clip_norm=1.0, drop=1.0, proposal_steps=3_240,
)  # fmt: skip
# RAVS: as DDESeg, by its first author (the paper is silent): 150 epochs of S4's 3,452 videos, 10 clips of 5 frames.
RAVS_PAPER = Recipe(
    steps=51_750, batch=10, clip_frames=5, augmentation="colour", lr=1e-4, backbone_lr=1.0, clip_norm=1.0,
    schedule="cosine", warmup=690,
)  # fmt: skip
# Both in a quarter of an hour on two CPU cores, with --init-from acvis-synth-tiny.
AVSC_SYNTH = replace(
    AVSC_PAPER, steps=400, batch=16, lr=3e-3, backbone_lr=0.3, schedule="cosine", warmup=30,
    proposal_steps=600, proposal_batch=16, proposal_lr=1e-3,
)  # fmt: skip
RAVS_SYNTH = replace(
    RAVS_PAPER, steps=500, batch=4, augmentation="none", lr=2e-3, backbone_lr=0.3, weight_decay=0.02, warmup=30,
    counterfactual_audio=0.7,
)  # fmt: skip

# of the presets
RECIPES: dict[str, Recipe] = (
    dict.fromkeys(PRESETS, PAPER)
    | {"acvis-synth-tiny": SYNTH, "acvis-filmed-small": FILMED}
    | dict.fromkeys(AVSC_PRESETS, AVSC_PAPER)
    | dict.fromkeys(RAVS_PRESETS, RAVS_PAPER)
    | {"avsc-synth-tiny": AVSC_SYNTH, "ravs-synth-tiny": RAVS_SYNTH}
)


def semantic_recipe_of(config: AVSCConfig | RAVSConfig, preset: str | None = None) -> Recipe:
    """The default recipe of a semantic system: of the preset, else for the compact backbone that of small networks."""
    if preset is not None:
        return RECIPES[preset]
    if isinstance(config, AVSCConfig):
        return AVSC_SYNTH if config.backbone == "compact" else AVSC_PAPER
    return RAVS_SYNTH if config.backbone == "compact" else RAVS_PAPER


def recipe_of(config: ACVISConfig, preset: str | None = None) -> Recipe:
    """The default recipe of a network.

    Args:
        config: pretraining stages whose heads it does not have are left out.
        preset: where the network is a variant of one, its recipe is taken. Otherwise SYNTH for the compact backbone,
            which starts from random weights, FILMED where the backbone's classifier names the masks, else PAPER.
    """
    if preset is not None:
        recipe = RECIPES[preset]
    elif config.backbone == "compact":
        recipe = SYNTH
    else:
        recipe = FILMED if config.class_head == "backbone" else PAPER
    return replace(
        recipe,
        audio_pretraining_steps=recipe.audio_pretraining_steps if config.audio_classes else 0,
        visual_pretraining_steps=recipe.visual_pretraining_steps if config.pixel_classes else 0,
    )


@dataclass(frozen=True, repr=False)
class RuntimeConfig(Checked):
    """How a run is carried out. The final weights do not depend on it; the choice of the best weights may.

    `matmul_precision` is the exception: it rounds what is multiplied.

    Raises:
        ConfigError: a value outside its range.
    """

    workers: int = number(1, 0, 1024, help="processes that prepare samples")
    max_minutes: float | None = number(None, above=0, help="stop then, with a checkpoint")
    checkpoint_every: float = number(10.0, 0, help="minutes between checkpoints")
    eval_every: int = number(1000, 0, help="steps between evaluations on the validation split, 0: only at the end")
    eval_clips: int = number(40, 0, help="videos that are evaluated, 0: none")
    log_every: int = number(10, 1, help="steps per line of log.jsonl")
    shard_mb: float | None = number(None, above=0, help="largest file of a checkpoint in 10^6 bytes")
    device: str | None = setting(None, '"cpu": use no GPU')
    matmul_precision: str = choice("highest", "high", "medium", help="float32 products; high: TF32")
    recompute: str = choice("nothing", "backbone", help="insides of a Swin: less memory")
