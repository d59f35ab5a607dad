"""The soft-label store: a teacher's logits on every view of every training image, memory-mapped.

A .npy file of float16, shape (images, views, classes). Float16 keeps logits of size 10 to about 0.004.
"""

from pathlib import Path

import numpy as np

from gendistill.errors import UserError
from gendistill.files import verified

FILE = "softlabels.npy"


def open_store(folder: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Open a store without reading it into memory.

    Args:
        folder: of the soft-labels step.
        shape: images, views and classes that the store must have.

    Raises:
        UserError: the file is missing, corrupt, or of another shape.
    """
    path = verified(folder / FILE)
    # Copy-on-write: PyTorch wants a writable array, and nothing is ever written.
    store = np.load(path, mmap_mode="c", allow_pickle=False)
    if store.shape != shape or store.dtype != np.float16:
        raise UserError(f"{path}: must be float16 of shape (images, views, classes) = {shape}, is {store.dtype} of {store.shape}")
    return store
