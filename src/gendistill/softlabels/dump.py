"""The soft-labels step: dump a teacher's logits on all views, once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gendistill.data.images import load_images
from gendistill.data.views import ViewSpace
from gendistill.errors import InterruptedTraining, UserError
from gendistill.files import open_atomic
from gendistill.networks.trained import load_network, logits_of
from gendistill.precision import choose_device, make_deterministic
from gendistill.softlabels.store import FILE, open_store

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

BATCH = 200


def dump_soft_labels(settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Write `softlabels.npy`: the teacher's logits, float16, shape (images, views, classes), in eval mode.

    Args:
        settings: `pad` and `flip` of the students' recipe. The forward pass has the teacher's own precision.
        inputs: folders of `teacher` and `dataset`.
        folder: where the store goes.
        runtime: device, progress.

    Returns:
        The number of images and views.

    Raises:
        UserError: an input is missing or corrupt, the disk is full, or the outputs don't fit float16.
    """
    make_deterministic()
    device = choose_device(runtime.device)
    images = torch.from_numpy(load_images(inputs["dataset"]).images["train"]).to(device)
    network, description = load_network(inputs["teacher"], device)
    space = ViewSpace(settings["pad"], settings["flip"])
    windows, views = space.windows(images), len(space)
    total = len(images) * views
    header = {"descr": "<f2", "fortran_order": False, "shape": (len(images), views, description.classes)}
    with open_atomic(folder / FILE) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, total, BATCH):
            if runtime.stop_requested():
                raise InterruptedTraining("stopped before all soft labels were written; the next call starts again")
            flat = torch.arange(start, min(start + BATCH, total), device=device)
            logits = logits_of(network, description, space.take(windows, flat // views, flat % views)).half()
            if not logits.isfinite().all():
                raise UserError(f"the logits of {inputs['teacher']} are too large for float16 (above 65504): it has diverged")
            file.write(logits.cpu().numpy().tobytes())
            runtime.progress(start + len(flat), total)
    return {"images": len(images), "views": views}


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
    network, description = load_network(inputs["teacher"], where)
    space = ViewSpace(settings["pad"], settings["flip"])
    store = open_store(folder, (len(images), len(space), description.classes))
    generator = np.random.default_rng(seed)
    index, views = generator.integers(len(images), size=samples), generator.integers(len(space), size=samples)
    pixels = space.take(space.windows(images), torch.from_numpy(index).to(where), torch.from_numpy(views).to(where))
    online = logits_of(network, description, pixels).cpu().numpy().astype(np.float16)
    stored = np.asarray(store[index, views])
    difference = np.abs(online.astype(np.float32) - stored.astype(np.float32))
    return {
        "samples": samples,
        "share_equal": float((online == stored).mean()),
        "largest_difference_in_float16_spacings": float((difference / np.spacing(np.abs(stored)).astype(np.float32)).max()),
    }
