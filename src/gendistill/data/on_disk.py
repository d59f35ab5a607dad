"""Image data sets too large for memory: an index of files, and views of them that are decoded while a network trains."""

import importlib
import json
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendistill.data.decode import centre_view, random_view
from gendistill.data.images import FILE, draw_per_class
from gendistill.data.sources import Data, Source
from gendistill.data.views import draw_numbers
from gendistill.files import verified, write_bytes

# Of ImageNet's training images, in units of pixel values: 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 of 255.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
IMAGE_STORE = "gendistill.data.image_store"
# Batches that are decoded before they are asked for.
AHEAD = 2


@dataclass(frozen=True)
class FileIndex:
    """An image data set whose images stay in their files.

    Attributes:
        paths: for each of the splits `train`, `test` and, if asked for, `validation`: files, relative to the data set's folder.
        labels: for each split: int64, shape (N,), values in 0 .. len(classes) - 1.
        classes: the names of the classes.
        image_size: side of the square that networks are fed, in pixels.
    """

    paths: dict[str, list[str]]
    labels: dict[str, np.ndarray]
    classes: list[str]
    image_size: int


def hold_out(index: FileIndex, per_class: int, seed: int) -> FileIndex:
    """`index` with `per_class` training images of each class moved to the split `validation`.

    Raises:
        UserError: a class has too few images.
    """
    if per_class == 0:
        return index
    held = draw_per_class(index.labels["train"], per_class, seed, "dataset.validation_per_class")
    parts = {"train": np.setdiff1d(np.arange(len(index.labels["train"])), held), "validation": held}
    train = index.paths["train"]
    return replace(
        index,
        paths={**index.paths, **{split: [train[i] for i in part] for split, part in parts.items()}},
        labels={**index.labels, **{split: index.labels["train"][part] for split, part in parts.items()}},
    )


def save_index(index: FileIndex, folder: Path) -> None:
    """Write an index as one safetensors file."""
    from safetensors.numpy import save

    arrays = {f"{split}_labels": labels for split, labels in index.labels.items()}
    for split, paths in index.paths.items():
        # As bytes with zeros between: a safetensors header may not have the 100 MB that the names of 1.8 million files take.
        arrays[f"{split}_paths"] = np.frombuffer(b"\0".join(os.fsencode(path) for path in paths), np.uint8)
    about = {"classes": index.classes, "image_size": index.image_size}
    # One entry: the order of several would differ from run to run.
    write_bytes(folder / FILE, save(arrays, metadata={"index": json.dumps(about)}))


def load_index(folder: Path) -> FileIndex:
    """Read the index that `save_index` wrote.

    Raises:
        UserError: the file is missing or corrupt.
    """
    from safetensors import safe_open

    with safe_open(verified(folder / FILE), framework="numpy") as file:
        about = json.loads(file.metadata()["index"])
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    parts = {kind: {k.rpartition("_")[0]: v for k, v in arrays.items() if k.endswith(kind)} for kind in ("paths", "labels")}
    paths = {split: [os.fsdecode(path) for path in joined.tobytes().split(b"\0")] for split, joined in parts["paths"].items()}
    return FileIndex(paths, parts["labels"], **about)


def prepare_index(index: FileIndex, validation_per_class: int, folder: Path) -> dict[str, Any]:
    """Write what the dataset step leaves of a data set on disk.

    Returns:
        The number of images of each split, the classes and the shape that networks are fed.

    Raises:
        UserError: a class has too few images to hold out as many.
    """
    index = hold_out(index, validation_per_class, 0)
    save_index(index, folder)
    counts = {f"{split}_images": len(paths) for split, paths in index.paths.items()}
    return {**counts, "classes": len(index.classes), "shape": [3, index.image_size, index.image_size]}


def open_files(folder: Path, root: Path, device: torch.device, threads: int) -> Data:
    """A data set on disk as a training needs it, from its image files or from its store.

    Args:
        folder: of the dataset step.
        root: where the image files lie.
        device: where the network is.
        threads: that decode image files.

    Raises:
        UserError: the index is missing or corrupt.
    """
    if _has_store(folder):
        # Only steps on data with a store depend on how it is read, so the plan names the module in their specs.
        return importlib.import_module(IMAGE_STORE).open_store(folder, device, threads)
    index = load_index(folder)
    splits: dict[str, Source] = {
        split: FileImages(root, paths, index.labels[split], index.image_size, device, threads)
        for split, paths in index.paths.items()
    }
    shape = [3, index.image_size, index.image_size]
    return Data(splits, len(index.classes), shape, list(MEAN), list(STD), on_disk=True)


def _has_store(folder: Path) -> bool:
    from safetensors import safe_open

    with safe_open(folder / FILE, framework="numpy") as file:
        return "store" in json.loads(file.metadata()["index"])


class FileImages:
    """Images in files, as pixels on the device; their views are random resized crops, mirrored or not (`decode.random_view`).

    Args:
        root: the data set's folder.
        paths: of the images, relative to `root`.
        labels: int64, shape (N,).
        image_size: side S of the square that they are resized to.
        device: where the pixels are wanted.
        threads: that decode at the same time.
    """

    def __init__(
        self, root: Path, paths: list[str], labels: np.ndarray, image_size: int, device: torch.device, threads: int
    ) -> None:
        self.root, self.paths, self.image_size = root, paths, image_size
        self.device, self.threads = device, threads
        self.labels = torch.from_numpy(labels).to(device)

    def __len__(self) -> int:
        return len(self.paths)

    def draw_views(self, key: int, epoch: int) -> np.ndarray:
        """The view number of each image in an epoch, int64 from 0 to 2^63 - 1, shape (N,).

        Image i has the i-th number of a counter-based generator (Philox) at counter `epoch`: it depends on key, epoch and
        image only, not on the order of the images or on what was drawn before.
        """
        return (draw_numbers(key, epoch, len(self)) >> np.uint64(1)).astype(np.int64)

    def batches(self, order: Tensor, views: Tensor, batch_size: int) -> Iterator[Tensor]:
        """Views of images, decoded ahead of their use.

        Args:
            order: positions of the images, int64, shape (M,).
            views: the view number of each of the N images, int64, shape (N,).
            batch_size: images in each batch but the last.

        Yields:
            uint8, shape (B, 3, S, S), in channels_last layout.

        Raises:
            UserError: a file is missing or no image.
        """
        positions = order.tolist()
        return self._decoded(positions, views[order].tolist(), batch_size)

    def plain(self, batch_size: int, part: slice = slice(None)) -> Iterator[Tensor]:
        """All images, or those at the positions of `part`, in order, as evaluation sees them (`decode.centre_view`).

        Yields:
            uint8, shape (B, 3, S, S), in channels_last layout.

        Raises:
            UserError: a file is missing or no image.
        """
        positions = list(range(len(self))[part])
        return self._decoded(positions, [None] * len(positions), batch_size)

    def _decoded(self, positions: list[int], numbers: list[int] | list[None], batch_size: int) -> Iterator[Tensor]:
        pool = ThreadPoolExecutor(self.threads)
        waiting: deque[tuple[Tensor, list[Future[None]]]] = deque()
        try:
            for start in range(0, len(positions), batch_size):
                chosen = slice(start, start + batch_size)
                waiting.append(self._start(pool, positions[chosen], numbers[chosen]))
                if len(waiting) > AHEAD:
                    yield self._finish(*waiting.popleft())
            while waiting:
                yield self._finish(*waiting.popleft())
        finally:
            # Also when the reader stops early, or a file can't be read.
            pool.shutdown(cancel_futures=True)

    def _start(
        self, pool: ThreadPoolExecutor, positions: list[int], numbers: list[int] | list[None]
    ) -> tuple[Tensor, list[Future[None]]]:
        shape = (len(positions), self.image_size, self.image_size, 3)
        # From pinned memory the copy to a GPU goes on beside the computation.
        batch = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        pixels = batch.numpy()
        pairs = zip(positions, numbers, strict=True)
        return batch, [pool.submit(self._decode, *pair, pixels[i]) for i, pair in enumerate(pairs)]

    def _decode(self, position: int, number: int | None, pixels: np.ndarray) -> None:
        file = self.root / self.paths[position]
        pixels[:] = centre_view(file, self.image_size) if number is None else random_view(file, self.image_size, number)

    def _finish(self, batch: Tensor, decoding: list[Future[None]]) -> Tensor:
        for image in decoding:
            image.result()
        return batch.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
