"""Read images from a store, the one file into which `pack` put all images of a data set on disk.

Opening a store reads and checks its index only, however large it is; each image is checked when it is read.
"""

import hashlib
import io
import json
import os
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from gendistill.data.decode import centre_view, crop_of, random_view, unreadable
from gendistill.data.images import FILE
from gendistill.data.on_disk import MEAN, STD, FileImages
from gendistill.data.sources import Data, Source
from gendistill.errors import UserError
from gendistill.files import read_receipt


def open_store(folder: Path, device: torch.device, threads: int) -> Data:
    """A data set with a store as a training needs it; the original image files are not needed.

    Args:
        folder: of the dataset step.
        device: where the network is.
        threads: that decode images.

    Raises:
        UserError: the receipt is missing, or the file has another length or index than it says.
    """
    from safetensors import safe_open

    path, receipt = folder / FILE, read_receipt(folder)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        start = 8 + length + json.loads(file.read(length))["images"]["data_offsets"][0]
        file.seek(0)
        own = hashlib.sha256(file.read(start)).hexdigest()
    if (path.stat().st_size, own) != (receipt["outputs"][FILE]["bytes"], receipt["metrics"].get("index_sha256")):
        raise _corrupt(path, f"its length or its index is not what its receipt ({folder / 'receipt.json'}) says was written")
    with safe_open(path, framework="numpy") as opened:
        about = json.loads(opened.metadata()["index"])
        arrays = {name: opened.get_tensor(name) for name in opened.keys() if name != "images"}  # noqa: SIM118
    size, shrunk = about["image_size"], isinstance(about["store"], int)
    splits: dict[str, Source] = {
        split: StoreImages(path, start, split, arrays, size, shrunk and split == "train", device, threads)
        for split in ("train", "test", "validation")
        if f"{split}_labels" in arrays
    }
    return Data(splits, len(about["classes"]), [3, size, size], list(MEAN), list(STD), on_disk=True)


class StoreImages(FileImages):
    """Images in a store, as pixels on the device; views of images that are kept as they are have the same bits as their files'.

    Args:
        store: the file.
        start: where its images begin.
        split: which images.
        arrays: of the index: `{split}_labels` and `{split}_offsets` int64, `{split}_crc32` uint32, `{split}_paths` uint8.
        image_size: side S of the square that they are resized to.
        shrunk: whether all are JPEGs made for `shrunk_view`.
        device: where the pixels are wanted.
        threads: that decode at the same time.
    """

    def __init__(
        self,
        store: Path,
        start: int,
        split: str,
        arrays: dict[str, np.ndarray],
        image_size: int,
        shrunk: bool,
        device: torch.device,
        threads: int,
    ) -> None:
        paths = [os.fsdecode(path) for path in arrays[f"{split}_paths"].tobytes().split(b"\0")]
        super().__init__(Path(), paths, arrays[f"{split}_labels"], image_size, device, threads)
        self.store, self.shrunk = store, shrunk
        self.offsets, self.checksums = arrays[f"{split}_offsets"] + start, arrays[f"{split}_crc32"]
        # Open as long as this object: reading by position needs no lock between threads.
        self.file = open(store, "rb", buffering=0)  # noqa: SIM115

    def read(self, position: int) -> bytes:
        """The stored image at a position.

        Raises:
            UserError: it cannot be read, or its bytes are not those that were written.
        """
        first, end = self.offsets[position : position + 2].tolist()
        try:
            content = os.pread(self.file.fileno(), end - first, first)
        except OSError as error:
            raise unreadable(self.store, error) from error
        if zlib.crc32(content) != self.checksums[position]:
            raise _corrupt(self.store, f"the image {self.paths[position]} in it is not what was written")
        return content

    def _decode(self, position: int, number: int | None, pixels: np.ndarray) -> None:
        content = self.read(position)
        name = f"{self.paths[position]} in {self.store}"
        if number is None:
            pixels[:] = centre_view(io.BytesIO(content), self.image_size, name)
        elif self.shrunk:
            pixels[:] = shrunk_view(content, self.image_size, number, name)
        else:
            pixels[:] = random_view(io.BytesIO(content), self.image_size, number, name)


def shrunk_view(content: bytes, size: int, number: int, name: str = "") -> np.ndarray:
    """View `number` of a stored JPEG: its crop (`decode.crop_of`) cut out, then resized to a square as torchvision does it on
    tensors (bilinear with antialiasing), and maybe mirrored. Beside `decode.random_view` it is faster and differs by rounding, and
    at the border of the crop, beyond which it does not look.

    Args:
        content: a JPEG.
        size: side of the square, in pixels.
        number: see `decode.crop_of`.
        name: what messages call it.

    Returns:
        uint8, shape (size, size, 3), RGB.

    Raises:
        UserError: it cannot be decoded.
    """
    import simplejpeg

    # Without the fast approximations the pixels are those that Pillow decodes.
    try:
        whole = simplejpeg.decode_jpeg(content, fastdct=False, fastupsample=False)
    except ValueError as error:
        raise unreadable(name, error) from error
    (left, top, right, bottom), mirrored = crop_of(number, whole.shape[1], whole.shape[0])
    crop = torch.from_numpy(whole)[None, top:bottom, left:right].permute(0, 3, 1, 2)
    view = F.interpolate(crop, (size, size), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    return view[:, ::-1] if mirrored else view


def _corrupt(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is corrupt: {why}. "
        f"Remove it and run snakemake again, to have it fetched (where it is shared) or made anew: rm {path}"
    )
