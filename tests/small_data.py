"""Small data sets of a user's own, and what later steps read of a prepared one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from gendistill.data.images import Images, load_images
from gendistill.data.prepare import prepare_dataset
from gendistill.plan.settings import load_group
from gendistill.receipt import write_receipt
from gendistill.runtime import Runtime

SOURCE = Path(__file__).resolve().parents[1] / "src"
CONFIG = SOURCE.parent / "config"
SHARED_CIFAR100 = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar100"


def prepare(name: str, folder: Path, path: Path | str | None = None, **changes: object) -> Images:
    """What later steps read of a data set of `config/dataset`, prepared as the dataset step does it."""
    settings = {**load_group("dataset", name), **changes}
    settings.pop("path", None)
    settings.pop("superclasses")
    metrics = prepare_dataset(settings, {}, folder, Runtime(source={"path": str(path)} if path else {}))
    write_receipt(folder, {}, ("dataset.safetensors",), metrics, {})
    data = load_images(folder)
    assert metrics["classes"] == len(data.classes)
    assert metrics["shape"] == list(data.shape)
    assert {split: metrics[f"{split}_images"] for split in data.labels} == {s: len(labels) for s, labels in data.labels.items()}
    return data


def rows_of(*parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Images and their labels, one row each, in an order that does not depend on theirs."""
    rows = np.concatenate([np.column_stack([images.reshape(len(images), -1), labels]) for images, labels in parts])
    return rows[np.lexsort(rows.T)]


def rows_of_data(data: Images) -> np.ndarray:
    return rows_of(*((data.images[split], data.labels[split]) for split in data.images))


def run_python(code: str, *paths: Path, **options: object) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, **options).stdout


def own_arrays(classes: int = 3, shape: tuple[int, ...] = (6, 5)) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    arrays = {}
    for split, count in (("train", 5 * classes), ("test", 2 * classes)):
        arrays[f"{split}_images"] = random.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = random.permutation(np.arange(count) % classes)
    return arrays


def prepare_npz(folder: Path, arrays: dict[str, np.ndarray], **changes: object) -> Images:
    np.savez(folder / "own.npz", **arrays)
    return prepare("npz", folder / "out", folder / "own.npz", **changes)


def make_folder(root: Path, images: dict[str, np.ndarray]) -> Path:
    """Write images under their names, such as `train/cat/0.png`."""
    for name, image in images.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


def some_images(shape: tuple[int, ...] = (8, 8, 3)) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    names = [f"{split}/{name}/{i}.png" for split in ("train", "test") for name in ("cat", "dog") for i in range(3)]
    return {name: random.integers(0, 256, shape, dtype=np.uint8) for name in names}


def all_damages(file: Path):
    """Change each byte of a file in turn, in several ways."""
    original = file.read_bytes()
    for position in range(len(original)):
        for bits in (0xFF, 0x01):
            content = bytearray(original)
            content[position] ^= bits
            file.write_bytes(content)
            yield
