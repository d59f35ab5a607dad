"""The dataset step: load a data set once, check it, and write it as one file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.data.images import check_images, hold_out_validation, save_images
from gendistill.data.on_disk import FileIndex, hold_out, save_index
from gendistill.data.superclasses import apply_superclasses
from gendistill.targets import instantiate

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

# Settings that are for the step, not for the function that loads the data.
GENERIC = ("validation_per_class", "content", "classes", "superclasses")


def prepare_dataset(settings: dict[str, Any], inputs: dict[str, Any], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Load the data set that `settings` name and write `dataset.safetensors`.

    Returns:
        The number of images of each split, the classes and the image shape.

    Raises:
        UserError: the data set cannot be had, or cannot be trained on.
    """
    own = {key: value for key, value in settings.items() if key not in GENERIC}
    if settings.get("on_disk"):
        own["classes"] = settings["classes"]
    data = instantiate({**own, **runtime.source})()
    if isinstance(data, FileIndex):
        data = hold_out(data, settings["validation_per_class"], settings.get("split_seed", 0))
        save_index(data, folder)
        counts = {f"{split}_images": len(paths) for split, paths in data.paths.items()}
        runtime.log(f"{settings['name']}: {counts}, {len(data.classes)} classes, on disk")
        return {**counts, "classes": len(data.classes), "shape": [3, data.image_size, data.image_size]}
    if settings.get("superclasses"):
        data = apply_superclasses(data, settings["superclasses"])
    per_class = settings["validation_per_class"]
    data = hold_out_validation(data, per_class, settings.get("split_seed", 0))
    check_images(data, settings["image_size"])
    save_images(data, folder)
    counts = {f"{split}_images": len(labels) for split, labels in data.labels.items()}
    runtime.log(f"{settings['name']}: {counts}, {len(data.classes)} classes, shape {data.shape}")
    return {**counts, "classes": len(data.classes), "shape": list(data.shape)}
