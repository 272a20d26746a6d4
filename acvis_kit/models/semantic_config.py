"""What the configurations of the semantic systems share: sections of a config.json, and inference."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from acvis_kit.config import FORMAT, in_sections
from acvis_kit.errors import ConfigError
from acvis_kit.fields import Checked, number


@dataclass(frozen=True)
class SemanticInference(Checked):
    """Inference of a semantic system.

    Raises:
        ConfigError: a value outside its range.
    """

    # Frames are resized to this square, as all benchmarks of audio-visual segmentation do.
    input_size: int = number(224, 32, 4_096, help="pixels of each side at the network's input")
    threshold: float = number(0.5, least=0, below=1, help="a pixel sounds where its probability exceeds it")
    # Ours: connected parts of a mask that are smaller are not counted.
    instance_area: float = number(0.001, least=0, most=1, help="least part of a frame that counts as an instance")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.input_size % 32:
            raise ConfigError(f"input_size={self.input_size} must be a multiple of 32, the largest stride")


def semantic_inference_of(config: SemanticInference) -> SemanticInference:
    """The inference part of a whole configuration, alone."""
    return SemanticInference(**{f.name: getattr(config, f.name) for f in dataclasses.fields(SemanticInference)})


@dataclass(frozen=True)
class SemanticConfig(Checked):
    """Base of a whole configuration: dictionaries for JSON with one section for each of its parts."""

    model_type: ClassVar[str]
    parts: ClassVar[dict[str, type[Checked]]]  # name of a section -> its fields

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in sections; `from_dict` restores the same configuration."""
        return in_sections(self, self.model_type, self.parts)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The configuration of a JSON object as `to_dict` writes it; absent sections and fields have their defaults.

        Raises:
            ConfigError: another model type or format, an unknown section or field, or a wrong value.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"a configuration must be an object with fields, not {values!r:.60}")
        if (found := values.get("model_type", cls.model_type)) != cls.model_type:
            raise ConfigError(f"model_type={found!r} is not {cls.model_type!r}: load it with the class of that model")
        if (number_of_format := values.get("format", FORMAT)) != FORMAT:
            raise ConfigError(f"format={number_of_format!r} must be {FORMAT}: update the kit")
        content = {name: value for name, value in values.items() if name not in ("model_type", "format")}
        if unknown := sorted(set(content) - set(cls.parts)):
            raise ConfigError(f"unknown sections {', '.join(unknown)}: choose from {', '.join(cls.parts)}")
        fields: dict[str, Any] = {}
        for name, section in content.items():
            known = {field.name for field in dataclasses.fields(cls.parts[name])}
            if not isinstance(section, dict):
                raise ConfigError(f"the section {name} must be an object with fields, not {section!r:.60}")
            if unknown := sorted(set(section) - known):
                raise ConfigError(
                    f"unknown fields of {name}, {', '.join(unknown):.200}: choose from {', '.join(sorted(known))}"
                )
            fields |= section
        return cls(**fields)
