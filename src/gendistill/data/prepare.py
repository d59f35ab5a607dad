"""The dataset step: load a data set once, check it, and write it as one array file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.data.images import check_images, hold_out_validation, save_images
from gendistill.targets import instantiate

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

GENERIC = ("validation_per_class", "content")


def prepare_dataset(settings: dict[str, Any], inputs: dict[str, Any], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Load the data set that `settings` name and write `dataset.safetensors`.

    Returns:
        The number of images of each split, the classes and the image shape.

    Raises:
        UserError: the data set cannot be had, or cannot be trained on.
    """
    own = {key: value for key, value in settings.items() if key not in GENERIC}
    data = instantiate({**own, **runtime.source})()
    per_class = settings["validation_per_class"]
    data = hold_out_validation(data, per_class, settings.get("split_seed", 0))
    check_images(data, settings["image_size"])
    save_images(data, folder)
    counts = {f"{split}_images": len(labels) for split, labels in data.labels.items()}
    runtime.log(f"{settings['name']}: {counts}, {len(data.classes)} classes, shape {data.shape}")
    return {**counts, "classes": len(data.classes), "shape": list(data.shape)}
