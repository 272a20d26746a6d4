"""The presets of all systems by name. Importing this module imports no torch."""

from __future__ import annotations

from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.models.avsc.config import AVSC_PRESETS, AVSCConfig
from acvis_kit.models.ravs.config import RAVS_PRESETS, RAVSConfig

ALL_PRESETS: dict[str, ACVISConfig | AVSCConfig | RAVSConfig] = {**PRESETS, **AVSC_PRESETS, **RAVS_PRESETS}
