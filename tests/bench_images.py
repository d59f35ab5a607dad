"""How fast images on disk become views for training, on 2 cores: python -m tests.bench_images (make bench-images).

Without --folder the images are cuts of scikit-learn's two photographs, 500x375, with noise: JPEGs of quality 90 and 80 kB. Every
way runs once before it is timed, so all is read from memory; then the ways take turns. Views are 224x224, uint8, in batches of 64.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gendistill.data.imagenet import index_imagenet
from gendistill.data.images import FILE
from gendistill.data.on_disk import open_files, prepare_index
from gendistill.data.pack import prepare_store
from gendistill.data.sources import Source
from gendistill.data.torchvision_import import import_torchvision
from gendistill.data.views import draw_order
from gendistill.receipt import write_receipt
from gendistill.runtime import Runtime

CPU, SIZE, BATCH, CLASSES = torch.device("cpu"), 224, 64, 4
FILES, FOLDER = "files", "torchvision ImageFolder"


def main() -> None:
    """Print and, if asked, write as JSON what `measure` finds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="images in the layout of ImageNet, for your own instead of made ones")
    parser.add_argument("--classes", type=int, default=CLASSES, help="class folders in --folder")
    parser.add_argument("--images", type=int, default=800, help="images to make")
    parser.add_argument("--noise", type=float, default=8, help="standard deviation of what is added to the made images, of 255")
    parser.add_argument("--sides", type=int, nargs="*", default=[256, 320, 375], help="shorter sides of stores")
    parser.add_argument("--workers", type=int, default=2, help="processes of torchvision, threads of ours")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = given.folder or make_photographs(Path(folder, "photographs"), given.images, given.noise)
        found = measure(root, Path(folder), given.classes, [None, "packed", *given.sides], given.workers, given.rounds)
    for name, row in found.items():
        print(name.ljust(26), ", ".join(f"{what} {value:,.4g}" for what, value in row.items()))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


def make_photographs(root: Path, count: int, noise: float) -> Path:
    """Cuts of two photographs in the layout of ImageNet, a fourth of them upright, of different brightness."""
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    random = np.random.default_rng(0)
    for i in range(count):
        width = int(random.integers(300, 560))
        height = width * 3 // 4
        left, top = (int(random.integers(0, most + 1)) for most in (640 - width, 427 - height))
        cut = photographs[i % 2].resize((500, 375), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        pixels = np.asarray(cut.rotate(90, expand=True) if i % 4 == 0 else cut) * random.uniform(0.7, 1.2)
        noisy = pixels + random.normal(0, noise, (*pixels.shape[:2], 1))
        for split in ("train", "val") if i < CLASSES else ("train",):
            file = root / split / f"n{i % CLASSES:08}" / f"{i}.JPEG"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, quality=90)
    return root


def measure(
    root: Path, folder: Path, classes: int, stores: list[str | int | None], workers: int, rounds: int
) -> dict[str, dict[str, float]]:
    """For each way: images per second (median over the rounds), times torchvision's, size, distance from the views of the files."""
    index = index_imagenet(str(root), SIZE, classes)
    ways: dict[str, Callable[[int], Iterator[torch.Tensor]]] = {FOLDER: image_folder(root / "train", workers)}
    sources: dict[str, Source] = {}
    found: dict[str, dict[str, float]] = {FOLDER: {}}
    for store in stores:
        name, own = FILES if store is None else f"store: {store}", folder / f"{store}"
        started = time.monotonic()
        metrics = (
            prepare_index(index, 0, own) if store is None else prepare_store(index, 0, store, root, own, Runtime(threads=workers))
        )
        found[name] = {"written at images/s": (len(index.paths["train"]) + len(index.paths["test"])) / (time.monotonic() - started)}
        write_receipt(own, {}, (FILE,), metrics, {})
        images = open_files(own, root, CPU, workers).splits["train"]
        sources[name], ways[name] = images, ours(images)
        size = (own / FILE).stat().st_size if store else sum((root / path).stat().st_size for path in index.paths["train"])
        found[name]["kB an image"] = size / 1000 / len(images)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            started, count = time.monotonic(), sum(len(batch) for batch in way(turn))
            if turn:
                rates[name].append(count / (time.monotonic() - started))
    for name, row in found.items():
        row["images/s"] = statistics.median(rates[name])
        row["of torchvision's"] = statistics.median(own / theirs for own, theirs in zip(rates[name], rates[FOLDER], strict=True))
        if name in sources:
            row["mean difference"], row["PSNR dB"] = distance(sources[FILES], sources[name])
    return found


def image_folder(root: Path, workers: int) -> Callable[[int], Iterator[torch.Tensor]]:
    """The usual way: one process a worker, each of which opens files with Pillow."""
    import_torchvision()
    from torchvision import datasets, transforms

    augment = transforms.Compose([transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(), transforms.PILToTensor()])
    data = datasets.ImageFolder(str(root), augment)
    loader = torch.utils.data.DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=True)
    return lambda turn: (pixels for pixels, _ in loader)


def ours(images: Source) -> Callable[[int], Iterator[torch.Tensor]]:
    """An epoch as a training runs it."""
    return lambda turn: images.batches(
        torch.from_numpy(draw_order(1, turn, len(images))), torch.from_numpy(images.draw_views(2, turn)), BATCH
    )


def distance(files: Source, store: Source, count: int = 200) -> tuple[float, float]:
    """Between the same views of both: mean absolute difference of pixel values (0 to 255), peak signal to noise ratio in dB."""
    order = torch.arange(min(count, len(files)))
    views = torch.from_numpy(files.draw_views(3, 0))
    mine, other = (torch.cat(list(source.batches(order, views, BATCH))).double() for source in (store, files))
    squares = (mine - other).square().mean().item()
    return (mine - other).abs().mean().item(), 10 * np.log10(255**2 / squares) if squares else float("inf")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
