"""The model that a Predictor runs: a copy of the given one, which is not changed, in memory shared where possible."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Generic
from uuid import uuid4
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from acvis_kit.errors import ConfigError, WeightsError, brief, kind_of
from acvis_kit.inference.precision import Precision
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.layers.attention import Attention
from acvis_kit.models.layers.pixel_embedding import PixelEmbedding
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.weights.fit import ModuleT

EncoderKey = tuple[str, Precision, int]  # the identity of a model, its precision, how often its weights were changed
_IDENTITIES: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()  # unlike ids, never given twice
COMPILED_PARTS = ("encode", "hear", "decode_frames")  # of a model from torch.compile
# Of an ACVIS, those that run under autocast alone.
AUTOCAST_PARTS = ("backbone", "pixel_decoder", "query_generator", "frame_decoder", "tracker")


def unwrapped(model: object) -> tuple[ACVIS, Callable[[Any], Any] | None]:
    """The model inside `torch.compile(model)`, and what compiles a function with the same settings; else None.

    Raises:
        ConfigError: something else than a model, for example one wrapped for training on several GPUs.
    """
    inner = getattr(model, "_orig_mod", None)
    if isinstance(inner, ACVIS):
        return inner, model.dynamo_ctx  # type: ignore[attr-defined]  # an OptimizedModule has it
    if isinstance(model, ACVIS):
        return model, None
    kind = kind_of(model)
    if isinstance(getattr(model, "module", None), ACVIS):
        raise ConfigError(f"the model is wrapped in {kind}: pass the model inside, Predictor(model.module)")
    if isinstance(model, AVSC | RAVS):
        raise ConfigError(f"model is {kind}, which marks pixels of classes: use SemanticPredictor, or ak.predict")
    raise ConfigError(
        f"model is {kind}: pass an ACVIS, for example from load_model, or the name or path of weights: "
        "Predictor('acvis-synth-tiny')"
    )


class ModelRunner(Generic[ModuleT]):
    """Base of the predictors, which run a copy of a given model: its weights must not change, which the copy shares.

    A subclass sets `model` and `_key`, then calls `_watch_weights`.

    Attributes:
        model: the copy.
    """

    model: ModuleT
    _key: EncoderKey
    _shared: list[Tensor]
    _version: int

    @property
    def encoder_key(self) -> EncoderKey:
        """Identity of encoded features: they are decoded only by the weights and precision that encoded them."""
        return self._key

    def __getstate__(self) -> dict[str, Any]:
        """For a copy, which has equal weights and so decodes the same features."""
        self._check_weights()  # a copy could not tell
        return {name: value for name, value in self.__dict__.items() if name not in ("_shared", "_version")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._watch_weights()

    def _watch_weights(self) -> None:
        """Remember the weights as they are, for `_check_weights`."""
        self._shared = weights_of(self.model)
        self._version = version_of(self._shared)

    def _check_weights(self) -> None:
        """Refuse to run a mixture of old and new weights.

        Raises:
            WeightsError: the weights of the given model, which the copy shares in part, have been changed.
        """
        if version_of(self._shared) != self._version:
            name = type(self).__name__
            raise WeightsError(
                f"the model's weights have been changed since this {name} was made: make a new {name} of it"
            )


def usable_device(device: torch.device | str) -> torch.device:
    """The device as torch resolves it.

    Raises:
        ConfigError: no tensor can be allocated there.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:  # depending on how torch was built
        available = ["cpu", *(name for name in ("cuda", "mps") if getattr(torch, name).is_available())]
        reason = str(error).strip().split("\n")[0][:200]
        raise ConfigError(
            f"device={brief(device)} cannot be used here, choose {' or '.join(available)}: {reason}"
        ) from error


def evaluation_copy(
    model: ModuleT, device: torch.device, dtype: torch.dtype, autocast: torch.dtype | None = None
) -> ModuleT:
    """A copy of `model` in evaluation mode, without gradients.

    A tensor that is already as wanted shares its memory with the copy. Only the others are copied: those with another
    device or dtype; on a CPU, convolution kernels whose channels are not innermost, because convolutions are up to
    twice as fast there with that layout; and those into which a frozen norm of a ResNet is put.

    Args:
        model: is not changed.
        device: of the copy.
        dtype: of the copy's floating-point weights.
        autocast: dtype of the multiplications of an ACVIS under autocast. The factors are kept in it: autocast would
            round them to it in every call, which takes a GPU's host longer than the multiplication.
    """
    memo: dict[int, Any] = {}
    for tensor in weights_of(model):
        innermost = tensor.ndim == 4 and device.type == "cpu"
        moved = tensor.detach().to(
            device,
            dtype if tensor.is_floating_point() else tensor.dtype,
            memory_format=torch.channels_last if innermost else torch.preserve_format,
        )
        memo[id(tensor)] = nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved
    copied = copy.deepcopy(model, memo).eval()
    for module in copied.modules():
        fold: Callable[[], None] | None = getattr(module, "fold_norms", None)  # of a ResNet, which imports torchvision
        if fold is not None:
            fold()
    if autocast is not None:
        for tensor in _factors(copied):
            tensor.data = tensor.data.to(autocast)
    return copied


def _factors(model: nn.Module) -> list[Tensor]:
    """The parameters that only linear layers and convolutions read, under autocast."""
    found: list[Tensor] = []
    for name in AUTOCAST_PARTS:
        for module in getattr(model, name, nn.Identity()).modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and not isinstance(module, PixelEmbedding):
                found += [module.weight] if module.bias is None else [module.weight, module.bias]
            elif isinstance(module, Attention):
                found += [module.in_proj_weight, module.in_proj_bias]
    return found


def weights_of(model: nn.Module) -> list[Tensor]:
    """All parameters and buffers."""
    return [*model.parameters(), *model.buffers()]


def version_of(weights: list[Tensor]) -> int:
    """A number that grows whenever one of the tensors is changed in place."""
    return sum(0 if tensor.is_inference() else tensor._version for tensor in weights)


def key_of(model: nn.Module, precision: Precision) -> EncoderKey:
    """Identity of the features that a given model encodes. It holds no weights; a predictor's copy has the same."""
    return _IDENTITIES.setdefault(model, uuid4().hex), precision, version_of(weights_of(model))
