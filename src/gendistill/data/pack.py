"""Pack the images of a data set on disk into a store: one file, from which `image_store` reads them by position.

The store is the prepared data set itself, a safetensors file: first the index (labels, paths, offsets, checksums), then the
images, as encoded files, one after the other in a flat tensor.
"""

import hashlib
import io
import json
import os
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from gendistill.data.decode import unreadable
from gendistill.data.images import FILE
from gendistill.data.on_disk import FileIndex, hold_out
from gendistill.errors import InterruptedTraining
from gendistill.files import open_atomic, remove

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

# Of images that are encoded anew, as in FFCV's ImageNet recipes (Leclerc et al., FFCV, CVPR 2023).
QUALITY = 90
# Images for each thread that are encoded before they are written.
AHEAD = 8
# No store has more bytes: the header keeps room for a number of this length.
MOST = 10**15
DTYPES = {"int64": "I64", "uint32": "U32", "uint8": "U8"}


def prepare_store(
    index: FileIndex, validation_per_class: int, store: str | int, root: Path, folder: Path, runtime: "Runtime"
) -> dict[str, Any]:
    """Write what the dataset step leaves of a data set on disk with a store.

    Args:
        index: of the image files, without the split `validation`.
        validation_per_class: how many training images of each class to hold out.
        store: `packed`: the bytes of the files as they are; or N: training images as JPEGs with a shorter side of at most N pixels,
            test and validation images as they are.
        root: where the image files lie.
        folder: of the dataset step.
        runtime: its threads read and encode.

    Returns:
        The number of images of each split, the classes, the shape that networks are fed, and the SHA-256 of all that lies before
        the images.

    Raises:
        UserError: a class has too few images to hold out as many, or a file cannot be read as an image.
        InterruptedTraining: the step was asked to stop; nothing is left of the file, which is begun anew the next time.
    """
    index = hold_out(index, validation_per_class, 0)
    # Of an earlier attempt that was killed; the step's lock keeps others away.
    for stale in folder.glob(f".{FILE}.*.tmp"):
        remove(stale)
    about = {"classes": index.classes, "image_size": index.image_size, "store": store}
    arrays = _empty_arrays(index)
    with open_atomic(folder / FILE) as file:
        # The length of what lies before the images is known, its content only after them.
        file.write(_front(arrays, about, 0))
        total = _write_images(file, index, arrays, store if isinstance(store, int) else None, root, runtime)
        front = _front(arrays, about, total)
        file.seek(0)
        file.write(front)
    counts = {f"{split}_images": len(paths) for split, paths in index.paths.items()}
    shape = [3, index.image_size, index.image_size]
    return {**counts, "classes": len(index.classes), "shape": shape, "index_sha256": hashlib.sha256(front).hexdigest()}


def _empty_arrays(index: FileIndex) -> dict[str, np.ndarray]:
    """The arrays of the index, the larger numbers first, so that all are aligned; offsets and checksums are still zero."""
    arrays = {f"{split}_labels": labels.astype("<i8") for split, labels in index.labels.items()}
    arrays |= {f"{split}_offsets": np.zeros(len(paths) + 1, "<i8") for split, paths in index.paths.items()}
    arrays |= {f"{split}_crc32": np.zeros(len(paths), "<u4") for split, paths in index.paths.items()}
    joined = {split: b"\0".join(os.fsencode(path) for path in paths) for split, paths in index.paths.items()}
    return arrays | {f"{split}_paths": np.frombuffer(content, np.uint8) for split, content in joined.items()}


def _front(arrays: dict[str, np.ndarray], about: dict[str, Any], total: int) -> bytes:
    """The start of the safetensors file, to the first image: of the same length for any `total`, the bytes of all images."""
    # Trailing spaces are how safetensors itself pads its header.
    length = -(-len(_header(arrays, about, MOST)) // 8) * 8
    header = _header(arrays, about, total).ljust(length)
    return b"".join([length.to_bytes(8, "little"), header, *(array.tobytes() for array in arrays.values())])


def _header(arrays: dict[str, np.ndarray], about: dict[str, Any], total: int) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"index": json.dumps(about)}}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": DTYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": [start, end]}
    header["images"] = {"dtype": "U8", "shape": [total], "data_offsets": [end, end + total]}
    return json.dumps(header).encode()


def _write_images(
    file: BinaryIO, index: FileIndex, arrays: dict[str, np.ndarray], side: int | None, root: Path, runtime: "Runtime"
) -> int:
    """Write all images, split by split, and fill in their offsets and checksums; return the number of bytes."""
    done, total, count = 0, 0, sum(len(paths) for paths in index.paths.values())
    for split, paths in index.paths.items():
        offsets, checksums = arrays[f"{split}_offsets"], arrays[f"{split}_crc32"]
        offsets[0] = total
        files = [root / path for path in paths]
        for i, content in enumerate(_contents(files, side if split == "train" else None, runtime.threads)):
            if runtime.stop_requested():
                raise InterruptedTraining(f"stopped after {done:,} of {count:,} images, of which nothing is kept")
            file.write(content)
            total += len(content)
            offsets[i + 1], checksums[i] = total, zlib.crc32(content)
            done += 1
            runtime.progress(done, count)
    return total


def _contents(files: list[Path], side: int | None, threads: int) -> Iterator[bytes]:
    """What the store keeps of each file, in order, made ahead by threads."""
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[bytes]] = deque()
    try:
        for file in files:
            waiting.append(pool.submit(content_of, file, side))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def content_of(file: Path, side: int | None) -> bytes:
    """What the store keeps of an image file, which is decoded once, so that damage shows now and not in a training.

    Args:
        file: an image in any format that Pillow knows by its content.
        side: a JPEG in colour or grey with a shorter side of at most `side` pixels is kept as it is, anything else becomes one;
            None: all is kept.

    Raises:
        UserError: the file cannot be read as an image.
    """
    from PIL import Image

    try:
        content = file.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            usual = image.format == "JPEG" and image.mode in ("RGB", "L")
            if side is None or (usual and min(image.size) <= side and _is_sound(content)):
                return content
            rgb = image if image.mode == "RGB" else image.convert("RGB")
            least = min(rgb.size)
            if least > side:
                rgb = rgb.resize((round(rgb.width * side / least), round(rgb.height * side / least)), Image.Resampling.BILINEAR)
            encoded = io.BytesIO()
            rgb.save(encoded, "JPEG", quality=QUALITY)
            return encoded.getvalue()
    except Exception as error:  # Pillow's decoders raise errors of any kind for damaged files
        raise unreadable(file, error) from error


def _is_sound(content: bytes) -> bool:
    """Whether libjpeg-turbo decodes a JPEG without a warning."""
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(content)
    except ValueError:
        return False
    return True
