"""The papers' ablations as data: tables, their rows, and the small network that all rows are changes of.

A row is a handful of fields of `ACVISConfig`. Rows that mean the same network, on the same data, are one run, in
however many tables they stand. What is run, kept and reported is the business of `ablation_runs`, `ablation_scores`
and `ablation_report`.
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

# The network of the tables: ACVIS as published (one audio vector a second, ACQG, SAOC with K_max 2, window 6), made so
# small that a run takes minutes: frames of 96 pixels, otherwise of acvis-synth-tiny's sizes (so that its weights can
# lend what they have seen, as ImageNet's and COCO's do in the papers) but for one track decoder layer. It departs from
# them in targets="visible": from masks of sounding objects alone a network of this size learns too little in minutes
# for rows to differ (frame AP 4 against 21 after 7 minutes in a sketch). It lets no sound in. And the loss of who
# sounds weighs ten times as much as usual: one voice among eight, it was barely heard in 700 steps and is in 200 so.
# The recipe is meant for visual weights (`--visual-weights`, of a network without audio): without, give more steps.
# What else the demo model has beyond the papers (patches, named classes, counterfactual sound, counts from queries) is
# off, because each of them is another way for the sound to reach the masks and would hide what a row changes.
ABLATION_BASE = replace(
    PRESETS["acvis-synth-tiny"],
    video_layers=1,
    num_points=256,
    audio_tokens="clip",
    audio_classes=False,
    count_from="token",
    counterfactual_audio=0.0,
    sounding_weight=20.0,
    pixel_classes=False,
    pixel_signs=False,
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
)
# The papers' VGGish was pretrained on millions of videos. Here the encoder is pretrained on AVIS-Synth, once per seed;
# all rows of that seed start from its weights.
AUDIO_PRETRAINING_STEPS = 1200
EVAL_CLIPS = 60
DATA_KINDS = ("usual", "dense")


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: as shown. changes: fields of the base that differ.
        data: "usual" counts, or "dense" ones (3 to 6 sound; `acvis synth --counts dense`).
        gated: read from the evaluation with the count gate; needs no training of its own.
        required: one of those that must be run. note: what to know about it.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    data: str = "usual"
    gated: bool = False
    required: bool = False
    note: str = ""

    def config(self, base: ACVISConfig = ABLATION_BASE) -> ACVISConfig:
        """The network of this row."""
        return replace(base, **self.changes)

    def id(self, base: ACVISConfig = ABLATION_BASE) -> str:
        """What makes it a run of its own, as text: its real changes and its data."""
        real = {name: value for name, value in self.changes.items() if getattr(base, name) != value}
        return json.dumps([self.data, real], sort_keys=True)


@dataclass(frozen=True)
class Table:
    """A question, and the rows that answer it; the first row is the baseline, which others are compared with."""

    name: str
    question: str
    rows: tuple[Row, ...]

    @property
    def baseline(self) -> Row:
        return self.rows[0]


DEAF = {"query_generator": "none", "frame_fusion": False, "video_fusion": False}
SOUNDING = {"targets": "sounding", "pixel_classes": False, "pixel_signs": False}
GENERATORS = {
    "ACQG, clip token": {},
    "ACQG, patch tokens": {"audio_tokens": "patch"},
    "additive (AVISM)": {"query_generator": "additive"},
    "none (VITA)": DEAF,
}
COUNT_LOSSES = {
    "SAOC corn": {},
    "no count loss": {"count_head": "none"},
    "cross-entropy": {"count_head": "ce"},
    "SAOC paper": {"saoc_reduction": "paper"},
}
ALWAYS = ("SAOC corn", "no count loss")


def _generator_rows() -> tuple[Row, ...]:
    return tuple(
        Row(f"{generator}; {loss}", {**changes, **own}, required=loss in ALWAYS)
        for generator, changes in GENERATORS.items()
        for loss, own in COUNT_LOSSES.items()
    )


def _k_max_rows(data: str) -> tuple[Row, ...]:
    note = "" if data == "usual" else "dense counts"
    return tuple(Row(f"K_max {k}", {"k_max": k}, data, required=data == "usual", note=note) for k in (2, 3, 4))


def _values(name: str, values: Iterable[Any], first: Any, label: str, required: Iterable[Any] = ()) -> tuple[Row, ...]:
    """A row per value of one field, that of the base first."""
    order = sorted(values, key=lambda value: value != first)
    return tuple(Row(f"{label} {value:g}", {name: value}, required=value in required) for value in order)


TABLES: Mapping[str, Table] = MappingProxyType({
    table.name: table
    for table in (
        Table(
            "generator",
            "How should queries hear, and does a count loss help? (Query generator x count loss.)",
            _generator_rows(),
        ),
        Table(
            "count",
            "Does SAOC beat cross-entropy, and the reference's form of it the paper's? (ACQG with one token.)",
            tuple(Row(name, own, required=name != "SAOC paper") for name, own in COUNT_LOSSES.items()),
        ),
        Table("k_max", "How far should be counted, on the usual counts?", _k_max_rows("usual")),
        Table("k_max_dense", "How far should be counted where 3 to 6 sound at once: does SAOC scale?",
              _k_max_rows("dense")),
        Table("count_weight", "How much should the count loss weigh?",
              _values("count_weight", (0.0, 0.1, 0.5, 1.0, 2.0), 1.0, "weight")),
        Table("window", "How long should the tracker's windows be?",
              tuple(Row(f"W = {w} s", {"window_size": w}) for w in (6, 3, 12))),
        Table("similarity", "How much should the similarity loss weigh?",
              _values("similarity_weight", (0.0, 0.1, 0.5, 1.0), 0.5, "weight")),
        Table(
            "fusion",
            "Where should the sound come in?",
            (
                Row("frames and tracks"),
                Row("frames only", {"video_fusion": False}),
                Row("tracks only", {"frame_fusion": False}),
                Row("nowhere", DEAF),
            ),
        ),
        Table(
            "audio_encoder",
            "Which audio encoder? (All but the precomputed one are pretrained, equally long.)",
            (
                Row("compact"),
                Row("VGGish-shaped, from nothing", {"audio_encoder": "vggish", "audio_features": "vggish_raw"}),
                Row("precomputed", {"audio_encoder": "precomputed", **SOUNDING},
                    note="needs FEATAudios in the data, of VGGish's public weights; targets=sounding, since features "
                    "come without scenes: compare it with that row of `targets`"),
            ),
        ),
        Table("counterfactual", "How far does counterfactual sound repair the silent frames?",
              _values("counterfactual_audio", (0.0, 0.1, 0.3), 0.0, "share", required=(0.0, 0.3))),
        Table(
            "targets",
            "Masks of what sounds (the papers), or of all that is visible, with who sounds beside them?",
            (
                Row("visible", required=True),
                Row("sounding", SOUNDING, required=True),
                Row("sounding, class weight 20", {**SOUNDING, "class_weight": 20.0}, required=True,
                    note="here classes alone say who sounds: they weigh what `sounding_weight` does in `visible`, in "
                    "the matching too"),
            ),
        ),
        Table(
            "count_gate",
            "How far does the count gate repair the silent frames? (The same runs, evaluated twice.)",
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
            "Which backbone? (All from random weights: without --visual-weights.)",
            (
                Row("compact"),
                Row("ResNet-50", {"backbone": "resnet50"},
                    note="its frozen batch norm is meant for ImageNet weights, which it does not have here"),
                Row("Swin-T", {"backbone": "swin_t"}),
            ),
        ),
    )
})  # fmt: skip


def chosen(names: Iterable[str], rows: Iterable[str] = (), required: bool = False) -> list[Row]:
    """Rows of tables, each run once: those that mean the same as an earlier one, or need no run, are left out.

    Args:
        names: of tables, or "all". rows: only those of these names; none: all. required: only those that must be run.

    Raises:
        ConfigError: a table or row that does not exist.
    """
    names, wanted = list(names), set(rows)
    if unknown := [name for name in names if name not in TABLES and name != "all"]:
        raise ConfigError(f"{unknown[0]!r} is no table: there are {', '.join(TABLES)}, or all")
    tables = TABLES.values() if "all" in names else [TABLES[name] for name in dict.fromkeys(names)]
    known = [row for table in tables for row in table.rows]
    if missing := wanted - {row.name for row in known}:
        raise ConfigError(
            f"no row {sorted(missing)[0]!r} in {', '.join(names)}: there are "
            + ", ".join(repr(name) for name in dict.fromkeys(row.name for row in known))
        )
    found: dict[str, Row] = {}
    for row in known:
        if (not wanted or row.name in wanted) and (row.required or not required):
            found.setdefault(row.id(), replace(row, gated=False))
    return list(found.values())


def setting(
    base: ACVISConfig,
    recipe: Recipe,
    audio_pretraining_steps: int,
    eval_clips: int,
    visual_weights: str | None = None,
) -> dict[str, Any]:
    """What all rows of a report have in common, as plain values: only runs of one setting are compared.

    Fields at the kit's default are left out, so that a field that comes into the kit later changes nothing. The keys
    are those of the ledger's format: runs of earlier versions stay comparable.

    Args:
        visual_weights: fingerprint of the weights that all rows start from, see `Plan`.
    """
    return {
        "base": _unusual(replace(base, class_names=ACVISConfig.class_names), ACVISConfig()),
        "recipe": _unusual(replace(recipe, seed=0), Recipe()),
        "ears_steps": audio_pretraining_steps,
        "eval_clips": eval_clips,
        "eyes": visual_weights,
    }


def short_hash(value: Any) -> str:
    """12 hexadecimal digits of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _unusual(given: Any, usual: Any) -> dict[str, Any]:
    own = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}
    return json.loads(json.dumps({name: value for name, value in own.items() if value != getattr(usual, name)}))
