"""Visual features of a clip, kept so that another soundtrack does not encode the frames again.

The features of a 360x640 frame take 21 MB. Those that a GPU computed stay there up to a budget. Further ones, and those
of a CPU, stay in the host's memory, together with the clip up to another budget. The rest is written to a temporary
folder, which is deleted with the object.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from acvis_kit.clip import Clip
from acvis_kit.errors import AcvisError
from acvis_kit.models.encoders.pixel_decoder import PixelFeatures

MEGABYTE = 10**6
SPARE_DISK = 1000 * MEGABYTE  # stays free
BYTES_TOGETHER = 1000 * MEGABYTE  # of chunks that a GPU decodes as one


class VisualFeatures:
    """Pixel features of a clip's frames, in chunks.

    Attributes:
        clip: the encoded clip; None for bare frames.
        source_size: (H, W) of the given frames.
        input_size: (h, w) of the network's input, before padding.
        fps: frames per second.
        bytes_on_device: size of the features in the memory of a GPU.
        bytes_in_memory: size of the features in the host's memory, without the clip.
        bytes_on_disk: size of the features on disk.
        encoder_key: the weights and the precision that encoded the frames; only the same can decode them.
    """

    def __init__(
        self,
        source_size: tuple[int, int],
        input_size: tuple[int, int],
        *,
        clip: Clip | None = None,
        fps: float = 1.0,
        budget_mb: float = 2048,
        device_budget_mb: float = 4096,
    ) -> None:
        self.source_size, self.input_size, self.clip, self.fps = source_size, input_size, clip, fps
        self.encoder_key: object = None
        self._budget_mb = budget_mb
        self._budget = budget_mb * MEGABYTE - (clip.frames.nbytes + clip.waveform.nbytes if clip is not None else 0)
        self._device_budget = device_budget_mb * MEGABYTE
        self._chunks: list[PixelFeatures | Path] = []
        self._lengths: list[int] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.bytes_on_device = 0
        self.bytes_in_memory = 0
        self.bytes_on_disk = 0

    def __repr__(self) -> str:
        (height, width), device, disk = self.input_size, self.bytes_on_device, self.bytes_on_disk
        stored = f"{device / MEGABYTE:.1f} MB on the device, " if device else ""
        stored += f"{self.bytes_in_memory / MEGABYTE:.1f} MB in memory"
        stored += f", {disk / MEGABYTE:.1f} MB on disk" if disk else ""
        return f"VisualFeatures({len(self)} frames of {height}x{width}, {stored})"

    def __len__(self) -> int:
        """Number of frames T."""
        return sum(self._lengths)

    def append(self, chunk: PixelFeatures) -> None:
        """Keep the features of the next frames as ordinary tensors: on their device, in memory, or on disk.

        Features of a CUDA device are kept in pinned memory, from which they are copied while the device computes.

        Raises:
            AcvisError: the disk has too little space.
        """
        size = _bytes(chunk)
        device = chunk.fine.device.type
        if device != "cpu" and self.bytes_on_device + size <= self._device_budget:
            self.bytes_on_device += size
            self._chunks.append(_joined(map(ordinary, _tensors(chunk))))
        elif self.bytes_in_memory + size <= self._budget:
            self.bytes_in_memory += size
            in_memory = (ordinary(tensor.cpu()) for tensor in _tensors(chunk))
            self._chunks.append(_joined(t.pin_memory() if device == "cuda" else t for t in in_memory))
        else:
            self._chunks.append(self._write(chunk, size))
            self.bytes_on_disk += size
        self._lengths.append(chunk.fine.shape[0])

    def chunks(self, device: torch.device | str) -> Iterator[PixelFeatures]:
        """Yield the chunks in order, on `device`; one at a time of those that are on disk or on another device."""
        for chunk in self._chunks:
            if isinstance(chunk, Path):
                # Mapped, not read: buffers of 20 MB that are allocated and freed in turn would fragment the heap.
                chunk = _joined(torch.load(chunk, map_location="cpu", weights_only=True, mmap=True))
            yield _joined(tensor.to(device, non_blocking=tensor.device.type == "cpu") for tensor in _tensors(chunk))

    def joined_chunks(self, device: torch.device | str) -> Iterator[PixelFeatures]:
        """As `chunks`, but neighbours become one as far as they fit `BYTES_TOGETHER`; on a CPU every chunk is alone.

        A GPU computes with a few frames in less time than it takes its host to ask for that.
        """
        together: list[PixelFeatures] = []
        for chunk in self.chunks(device):
            size = _bytes(chunk) + sum(map(_bytes, together))
            if together and (chunk.fine.device.type == "cpu" or size > BYTES_TOGETHER):
                yield _together(together)
                together = []
            together.append(chunk)
        if together:
            yield _together(together)

    def _write(self, chunk: PixelFeatures, size: int) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="acvis-features-", ignore_cleanup_errors=True)
        free = shutil.disk_usage(self._folder.name).free
        if free < size + SPARE_DISK:
            raise AcvisError(
                f"the features of this clip exceed the budget of {self._budget_mb:g} MB, and the temporary "
                f"folder {tempfile.gettempdir()} has {free / MEGABYTE:.0f} MB left (1000 MB stay free): raise "
                "feature_budget_mb, set TMPDIR to a larger disk, lower short_side, or cut the clip"
            )
        path = Path(self._folder.name) / f"{len(self._chunks):05d}.pt"
        torch.save([t.cpu().contiguous() for t in _tensors(chunk)], path)
        return path


def ordinary(tensor: Tensor) -> Tensor:
    """The same memory as a tensor that can be changed and used in a loss, if it was made in inference mode."""
    if not tensor.is_inference():
        return tensor
    whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return whole.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())


def _tensors(chunk: PixelFeatures) -> tuple[Tensor, ...]:
    return (*chunk.scales, chunk.fine, *(() if chunk.semantics is None else (chunk.semantics,)))


def _bytes(chunk: PixelFeatures) -> int:
    return sum(tensor.nbytes for tensor in _tensors(chunk))


def _together(chunks: list[PixelFeatures]) -> PixelFeatures:
    """The frames of one chunk behind those of another."""
    if len(chunks) == 1:
        return chunks[0]
    return _joined(map(torch.cat, zip(*map(_tensors, chunks), strict=True)))


def _joined(tensors: Iterable[Tensor]) -> PixelFeatures:
    """The inverse of `_tensors`."""
    coarse, middle, small, fine, *semantics = tensors
    return PixelFeatures((coarse, middle, small), fine, *semantics)
