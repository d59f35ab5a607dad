"""The soft-labels step: dump a teacher's logits on all views that its students may see, once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gendistill.data.images import load_images
from gendistill.data.views import ViewSpace
from gendistill.errors import InterruptedTraining, UserError
from gendistill.files import open_atomic
from gendistill.networks.trained import load_teacher, logits_of
from gendistill.precision import choose_device, make_deterministic
from gendistill.softlabels.store import FILE, drawn_views, open_store

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

BATCH = 200


def dump_soft_labels(settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Write `softlabels.npy`: the teacher's logits in eval mode, in the format of `softlabels.store`.

    Args:
        settings: `pad` and `flip` of the students' recipe; `seed`, `generation` and `epochs` too if only the views are dumped
            that such students draw. The forward pass has the teacher's own precision.
        inputs: folders of `teacher` and `dataset`.
        folder: where the store goes.
        runtime: device, progress.

    Returns:
        The number of images, of views of each, and of views that were dumped in all.

    Raises:
        UserError: an input is missing or corrupt, the disk is full, or the outputs don't fit float16.
    """
    make_deterministic()
    device = choose_device(runtime.device)
    images = torch.from_numpy(load_images(inputs["dataset"]).images["train"]).to(device)
    network, description = load_teacher(inputs["teacher"], device)
    space = ViewSpace(settings["pad"], settings["flip"])
    windows, views = space.windows(images), len(space)
    wanted = _wanted(settings, len(images), space)
    total = len(wanted)
    rows = (len(images), views) if total == len(images) * views else (total,)
    header = {"descr": "<f2", "fortran_order": False, "shape": (*rows, description.classes)}
    with open_atomic(folder / FILE) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, total, BATCH):
            if runtime.stop_requested():
                raise InterruptedTraining("stopped before all soft labels were written; the next call starts again")
            flat = torch.as_tensor(wanted[start : start + BATCH], device=device)
            logits = logits_of(network, description, space.take(windows, flat // views, flat % views)).half()
            if not logits.isfinite().all():
                raise UserError(f"the logits of {inputs['teacher']} are too large for float16 (above 65504): it has diverged")
            file.write(logits.cpu().numpy().tobytes())
            runtime.progress(start + len(flat), total)
    return {"images": len(images), "views": views, "dumped": total}


def _wanted(settings: dict[str, Any], images: int, space: ViewSpace) -> range | np.ndarray:
    """What is dumped, in order: image * views + view, int64."""
    if "epochs" not in settings:
        return range(images * len(space))
    return np.flatnonzero(_drawn(settings, images, space))


def _drawn(settings: dict[str, Any], images: int, space: ViewSpace) -> np.ndarray:
    return drawn_views(settings["seed"], settings["generation"], settings["epochs"], images, space)


def check_soft_labels(
    settings: dict[str, Any], inputs: dict[str, Path], folder: Path, device: str = "auto", samples: int = 1000, seed: int = 0
) -> dict[str, float]:
    """Compute a random sample of the stored logits anew, one batch of other composition, and compare.

    Returns:
        The number of samples, the share that is bitwise equal, and the largest difference in units of float16 spacing.
    """
    make_deterministic()
    where = choose_device(device)
    images = torch.from_numpy(load_images(inputs["dataset"]).images["train"]).to(where)
    network, description = load_teacher(inputs["teacher"], where)
    space = ViewSpace(settings["pad"], settings["flip"])
    shape = (len(images), len(space), description.classes)
    store, _ = open_store(folder, shape, lambda: _drawn(settings, len(images), space))
    wanted = _wanted(settings, len(images), space)
    rows = np.random.default_rng(seed).integers(len(wanted), size=samples)
    flat = torch.tensor([wanted[row] for row in rows], device=where)
    pixels = space.take(space.windows(images), flat // len(space), flat % len(space))
    online = logits_of(network, description, pixels).cpu().numpy().astype(np.float16)
    stored = np.asarray(store[rows])
    difference = np.abs(online.astype(np.float32) - stored.astype(np.float32))
    return {
        "samples": samples,
        "share_equal": float((online == stored).mean()),
        "largest_difference_in_float16_spacings": float((difference / np.spacing(np.abs(stored)).astype(np.float32)).max()),
    }
