"""The soft-label store: a teacher's logits on the views of the training images, memory-mapped.

A .npy file of float16: shape (images, views, classes) if it has all views; (rows, classes) if it has only those that some
students draw, by image and then by view. Float16 keeps logits of size 10 to about 0.004.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from gendistill.data.views import ViewSpace, derive_key, draw_views
from gendistill.errors import UserError
from gendistill.files import verified

FILE = "softlabels.npy"


def drawn_views(seed: int, generation: int, epochs: int, images: int, space: ViewSpace) -> np.ndarray:
    """Which views the students of one seed and generation see in their first epochs: bool, shape (images, views)."""
    drawn = np.zeros((images, len(space)), bool)
    key = derive_key("views", seed, generation, 0)
    for epoch in range(epochs):
        drawn[np.arange(images), draw_views(key, epoch, images, space)] = True
    return drawn


def open_store(folder: Path, shape: tuple[int, int, int], drawn: Callable[[], np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Open a store without reading it into memory.

    Args:
        folder: of the soft-labels step.
        shape: images, views and classes that it is about.
        drawn: gives the views that it must have if it has not all of them, as `drawn_views` does.

    Returns:
        The logits, float16 (rows, classes), and the row of each view, int32 (images, views). A view that is not there has a
        row behind the last. None if all are: then view v of image i has row i * views + v.

    Raises:
        UserError: the file is missing, corrupt, or of another shape.
    """
    path = verified(folder / FILE)
    # Copy-on-write: PyTorch wants a writable array, and nothing is ever written.
    store = np.load(path, mmap_mode="c", allow_pickle=False)
    rows = None
    if store.ndim == 2:
        present = drawn()
        count = int(present.sum())
        shape = (count, shape[2])
        rows = np.where(present, np.cumsum(present, dtype=np.int32).reshape(present.shape) - 1, np.int32(count))
    if store.shape != shape or store.dtype != np.float16:
        raise UserError(
            f"{path}: must be float16 of shape ({'images, views' if rows is None else 'rows'}, classes) = {shape}, "
            f"is {store.dtype} of {store.shape}. Remove {folder} and run snakemake again."
        )
    return store.reshape(-1, store.shape[-1]), rows
