"""The papers' ablations as data: tables, their rows, and the small network that the rows change.

A row changes a few fields of `ACVISConfig`. Rows of the same network on the same data share one run, in whichever
tables they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.errors import ConfigError
from acvis_kit.training.recipe import SYNTH, Recipe

# The network of the tables: ACVIS as published (one audio vector per second, ACQG, SAOC with K_max 2, window 6), but so
# small that a run takes minutes: frames of 96 pixels, otherwise the sizes of acvis-synth-tiny (whose weights can then
# serve as visual weights, as those of ImageNet and COCO do in the papers), with one track decoder layer. Two departures
# from the papers: targets="visible", because with masks of sounding objects only, a network of this size improves too
# little in minutes for rows to differ (frame AP 4 against 21 after 7 minutes in a trial); this adds no path for the
# sound. And the sounding loss has ten times its usual weight: as one of eight losses it hardly fell in 700 steps, with
# this weight it falls in 200. The recipe assumes visual weights (`--visual-weights`, of a network without audio input);
# without them more steps are needed. The other additions of the demo model (patch tokens, classified sounds,
# counterfactual sound, counts from queries) are off: each is another path from the sound to the masks, and would hide
# what a row changes.
ABLATION_BASE = replace(
    PRESETS["acvis-synth-tiny"],
    video_layers=1,
    num_points=256,
    audio_tokens="clip",
    audio_classes=False,
    count_from="token",
    sounding_weight=20.0,
    pixel_classes=False,
    auxiliary_targets=(),
    score_threshold=0.3,  # the papers'
    count_gate=False,
    short_side=96,
)
ABLATION_RECIPE = replace(
    SYNTH,
    steps=500,
    batch=4,
    clip_frames=4,
    ema=0.99,
    warmup=50,
    frozen_fraction=0.0,
    audio_pretraining_steps=0,
    visual_pretraining_steps=0,
    counterfactual_audio=0.0,
)
# Steps of audio pretraining. The papers' VGGish was pretrained on millions of videos; here the audio encoder is
# pretrained on AVIS-Synth, once per seed, and all rows of the seed start from it.
AUDIO_PRETRAINING_STEPS = 1200
EVAL_CLIPS = 60


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: as shown.
        changes: fields of the base, or of the recipe, that differ.
        data: "usual" counts, or "dense" ones (3 to 6 objects sound; `acvis synth --counts dense`).
        gated: whether its scores are those with the count gate; it shares the run of the ungated row.
        required: whether `acvis ablate required` includes it.
        note: shown below the table.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    data: str = "usual"
    gated: bool = False
    required: bool = False
    note: str = ""

    def config(self, base: ACVISConfig = ABLATION_BASE) -> ACVISConfig:
        """The network of this row."""
        return replace(base, **{name: value for name, value in self.changes.items() if hasattr(base, name)})

    def recipe(self, recipe: Recipe = ABLATION_RECIPE) -> Recipe:
        """The recipe of this row."""
        return replace(recipe, **{name: value for name, value in self.changes.items() if hasattr(recipe, name)})

    def id(self, base: ACVISConfig = ABLATION_BASE, recipe: Recipe = ABLATION_RECIPE) -> str:
        """Identifies the run of a row, as JSON: its data, and the changes that differ from base and recipe."""
        usual = {**vars(base), **vars(recipe)}
        real = {name: value for name, value in self.changes.items() if usual[name] != value}
        return json.dumps([self.data, real], sort_keys=True)


@dataclass(frozen=True)
class Table:
    """A question, and the rows that answer it; the first row is the baseline."""

    name: str
    question: str
    rows: tuple[Row, ...]

    @property
    def baseline(self) -> Row:
        return self.rows[0]


WITHOUT_AUDIO = {"query_generator": "none", "frame_fusion": False, "video_fusion": False}
SOUNDING = {"targets": "sounding", "pixel_classes": False, "auxiliary_targets": ()}
GENERATORS: Mapping[str, Mapping[str, Any]] = {
    "ACQG, clip token": {},
    "ACQG, patch tokens": {"audio_tokens": "patch"},
    "additive (AVISM)": {"query_generator": "additive"},
    "none (VITA)": WITHOUT_AUDIO,
}
COUNT_LOSSES: Mapping[str, Mapping[str, Any]] = {
    "SAOC corn": {},
    "no count loss": {"count_head": "none"},
    "cross-entropy": {"count_head": "ce"},
    "SAOC paper": {"saoc_reduction": "paper"},
}
REQUIRED_LOSSES = ("SAOC corn", "no count loss")


def _generator_rows() -> tuple[Row, ...]:
    return tuple(
        Row(f"{generator}; {loss}", {**changes, **own}, required=loss in REQUIRED_LOSSES)
        for generator, changes in GENERATORS.items()
        for loss, own in COUNT_LOSSES.items()
    )


def _k_max_rows(data: str) -> tuple[Row, ...]:
    note = "" if data == "usual" else "dense counts"
    return tuple(Row(f"K_max {k}", {"k_max": k}, data, required=data == "usual", note=note) for k in (2, 3, 4))


def _values(name: str, values: Iterable[Any], first: Any, label: str, required: Iterable[Any] = ()) -> tuple[Row, ...]:
    """A row per value of the field `name`; that with value `first`, the base's, comes first."""
    order = sorted(values, key=lambda value: value != first)
    return tuple(Row(f"{label} {value:g}", {name: value}, required=value in required) for value in order)


TABLES: Mapping[str, Table] = MappingProxyType({
    table.name: table
    for table in (
        Table(
            "generator",
            "How should the sound reach the queries, and does a count loss help?",
            _generator_rows(),
        ),
        Table(
            "count",
            "Is SAOC better than cross-entropy, and the reference's form than the paper's?",
            tuple(Row(name, own, required=name != "SAOC paper") for name, own in COUNT_LOSSES.items()),
        ),
        Table("k_max", "Which K_max, on data with the usual counts?", _k_max_rows("usual")),
        Table("k_max_dense", "Which K_max, where 3 to 6 objects sound at once: does SAOC scale?",
              _k_max_rows("dense")),
        Table("count_weight", "Which weight of the count loss?",
              _values("count_weight", (0.0, 0.1, 0.5, 1.0, 2.0), 1.0, "weight")),
        Table("window", "Which length of the tracker's windows?",
              tuple(Row(f"W = {w} s", {"window_size": w}) for w in (6, 3, 12))),
        Table("similarity", "Which weight of the similarity loss?",
              _values("similarity_weight", (0.0, 0.1, 0.5, 1.0), 0.5, "weight")),
        Table(
            "fusion",
            "Where should the sound be fused?",
            (
                Row("frames and tracks"),
                Row("frames only", {"video_fusion": False}),
                Row("tracks only", {"frame_fusion": False}),
                Row("nowhere", WITHOUT_AUDIO),
            ),
        ),
        Table(
            "audio_encoder",
            "Which audio encoder? (All but the precomputed one are pretrained equally long.)",
            (
                Row("compact"),
                Row("VGGish-shaped, from nothing", {"audio_encoder": "vggish", "audio_features": "vggish_raw"}),
                Row("precomputed", {"audio_encoder": "precomputed", **SOUNDING},
                    note="needs FEATAudios in the data, of VGGish's public weights; targets=sounding, because features "
                    "have no scenes: compare it with that row of `targets`"),
            ),
        ),
        Table("counterfactual", "How far does counterfactual sound improve silent frames?",
              _values("counterfactual_audio", (0.0, 0.1, 0.3), 0.0, "share", required=(0.0, 0.3))),
        Table(
            "targets",
            "Masks of sounding objects, or of all visible ones with a logit for which sound?",
            (
                Row("visible", required=True),
                Row("sounding", SOUNDING, required=True),
                Row("sounding, class weight 20", {**SOUNDING, "class_weight": 20.0}, required=True,
                    note="here only the classes distinguish sounding objects: they have the weight of `sounding_weight`"
                    " in `visible`, in the matching too"),
            ),
        ),
        Table(
            "count_gate",
            "How far does the count gate improve silent frames? (The same runs, evaluated twice.)",
            (
                Row("gate off", required=True),
                Row("gate on", gated=True, required=True),
                Row("counterfactual 0.3, gate off", {"counterfactual_audio": 0.3}, required=True),
                Row("counterfactual 0.3, gate on", {"counterfactual_audio": 0.3}, gated=True, required=True),
                Row("sounding, gate off", SOUNDING, required=True),
                Row("sounding, gate on", SOUNDING, gated=True, required=True),
            ),
        ),
        Table(
            "backbone",
            "Which backbone? (All with random weights: without --visual-weights.)",
            (
                Row("compact"),
                Row("ResNet-50", {"backbone": "resnet50"},
                    note="its frozen batch norm is meant for ImageNet weights; here it has random ones"),
                Row("Swin-T", {"backbone": "swin_t"}),
            ),
        ),
    )
})  # fmt: skip


def chosen(names: Iterable[str], rows: Iterable[str] = (), required: bool = False) -> list[Row]:
    """The rows that must be run for some tables, without those that share the run of an earlier one.

    Args:
        names: of tables, or "all".
        rows: names of rows; empty: all rows.
        required: whether only required rows are chosen.

    Raises:
        ConfigError: a table or row that does not exist.
    """
    names, row_names = list(names), set(rows)
    if unknown := [name for name in names if name not in TABLES and name != "all"]:
        raise ConfigError(f"{unknown[0]!r} is no table: the tables are {', '.join(TABLES)}, or all")
    tables = TABLES.values() if "all" in names else [TABLES[name] for name in dict.fromkeys(names)]
    known = [row for table in tables for row in table.rows]
    if missing := row_names - {row.name for row in known}:
        raise ConfigError(
            f"no row {sorted(missing)[0]!r} in {', '.join(names)}: the rows are "
            + ", ".join(repr(name) for name in dict.fromkeys(row.name for row in known))
        )
    found: dict[str, Row] = {}
    for row in known:
        if (not row_names or row.name in row_names) and (row.required or not required):
            found.setdefault(row.id(), replace(row, gated=False))
    return list(found.values())


def setting(
    base: ACVISConfig,
    recipe: Recipe,
    audio_pretraining_steps: int,
    eval_clips: int,
    visual_weights: str | None = None,
) -> dict[str, Any]:
    """What all runs of a report have in common, for JSON: only runs of one setting are compared.

    Fields with the kit's defaults are left out, so that a new field of the kit changes no setting. The keys belong to
    the ledger's format and stay, so that runs of earlier versions remain comparable (unless their recipe set a field
    that has another name now).

    Args:
        base: the network that rows change.
        recipe: of every run.
        audio_pretraining_steps: of the audio encoder.
        eval_clips: clips of val that are evaluated.
        visual_weights: fingerprint of the weights that all rows start from, see `start.Plan`.
    """
    return {
        "base": _unusual(replace(base, class_names=ACVISConfig.class_names), ACVISConfig()),
        "recipe": _unusual(replace(recipe, seed=0), Recipe()),
        "ears_steps": audio_pretraining_steps,
        "eval_clips": eval_clips,
        "eyes": visual_weights,
    }


def short_hash(value: Any) -> str:
    """12 hexadecimal digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _unusual(given: Any, usual: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from those of `usual`, as plain values."""
    own = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}
    return json.loads(json.dumps({name: value for name, value in own.items() if value != getattr(usual, name)}))
