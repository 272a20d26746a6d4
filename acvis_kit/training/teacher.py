"""A teacher of the audio encoder: another encoder, whose embeddings the kit's encoder learns to predict.

The filmed scenes have some 1,400 recordings to learn from. An encoder that was trained on AudioSet has heard millions,
and its embedding of a mixture tells more about it than a few labels do. The teacher is needed for training only.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.errors import WeightsError

WINDOW = 15_600  # samples, 0.975 s: YAMNet's input
EMBEDDING = "global_average_pooling2d/Mean"  # end of the name of the tensor before YAMNet's classifier


class Teacher(Protocol):
    """Embeds seconds of sound.

    Attributes:
        dim: E, size of an embedding.
    """

    dim: int

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        """Float32 (T, 16000), 16 kHz, in [-1, 1] -> float32 (T, E)."""
        ...


class YAMNet:
    """YAMNet's embeddings (Google, TensorFlow Model Garden; MobileNet on AudioSet's 521 classes), of 1,024 values.

    The file is opened by every process that uses it, at its first second.

    Args:
        path: YAMNet as a TFLite file; the package `ai-edge-litert` runs it.

    Raises:
        WeightsError: no such file, another network, or no package to run it.
    """

    dim = 1024

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._opened: tuple[Any, int, int] | None = None
        self._open()  # a wrong file is an error before the first step; workers open their own

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        """Float32 (T, 16000), 16 kHz, in [-1, 1] -> float32 (T, 1024), of the middle 0.975 s of each."""
        if self._opened is None:
            self._opened = self._open()
        interpreter, given, embedding = self._opened
        first = (SAMPLE_RATE - WINDOW) // 2
        found = np.empty((len(seconds), self.dim), np.float32)
        for second, row in zip(seconds, found, strict=True):
            interpreter.set_tensor(given, np.ascontiguousarray(second[None, first : first + WINDOW], np.float32))
            interpreter.invoke()
            row[:] = interpreter.get_tensor(embedding)[0]
        return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _open(self) -> tuple[Any, int, int]:
        """The interpreter, and the numbers of its input and of the embedding."""
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise WeightsError(f'{self.path} is run by ai-edge-litert: pip install "acvis-kit[train]"') from error
        if not self.path.is_file():
            raise WeightsError(f"{self.path} is no file: give YAMNet as a TFLite file")
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors.*")
                interpreter = Interpreter(
                    str(self.path), num_threads=1, experimental_preserve_all_tensors=True
                )  # the embedding is not one of its outputs
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise WeightsError(f"{self.path} cannot be opened as a TFLite file: {error!s:.200}") from error
        (given,) = interpreter.get_input_details()[:1]
        found = [d["index"] for d in interpreter.get_tensor_details() if d["name"].endswith(EMBEDDING)]
        if not found or WINDOW not in given["shape"]:
            raise WeightsError(f"{self.path} is not YAMNet: it has no input of {WINDOW} samples and no embedding")
        return interpreter, given["index"], found[0]
