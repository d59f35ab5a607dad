"""The dataset step: load a data set once, check it, and write it as one file."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.data.images import check_images, hold_out_validation, save_images
from gendistill.targets import instantiate

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

# Settings that are for the step, not for the function that loads the data.
GENERIC = ("validation_per_class", "content", "classes", "store")


def prepare_dataset(settings: dict[str, Any], inputs: dict[str, Any], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Load the data set that `settings` name and write `dataset.safetensors`: its images, where on disk they are, or a store.

    Returns:
        The number of images of each split, the classes and the image shape.

    Raises:
        UserError: the data set cannot be had, or cannot be trained on.
    """
    own = {key: value for key, value in settings.items() if key not in GENERIC}
    per_class = settings["validation_per_class"]
    if settings.get("on_disk"):
        index = instantiate({**own, "classes": settings["classes"], **runtime.source})()
        # The module of the data set's own code imports this one; data in memory do not depend on it.
        if store := settings.get("store"):
            prepare_store = importlib.import_module("gendistill.data.pack").prepare_store
            metrics = prepare_store(index, per_class, store, Path(runtime.source["path"]), folder, runtime)
        else:
            metrics = importlib.import_module("gendistill.data.on_disk").prepare_index(index, per_class, folder)
    else:
        data = instantiate({**own, **runtime.source})()
        data = hold_out_validation(data, per_class, settings.get("split_seed", 0))
        check_images(data, settings["image_size"])
        save_images(data, folder)
        counts = {f"{split}_images": len(labels) for split, labels in data.labels.items()}
        metrics = {**counts, "classes": len(data.classes), "shape": list(data.shape)}
    runtime.log(f"{settings['name']}: {metrics}")
    return metrics
