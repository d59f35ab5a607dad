"""Image files to square arrays of pixels: the centre crop of evaluation, and the random resized crop of training."""

import math
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from gendistill.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

# Szegedy et al., Going Deeper with Convolutions, 2015, Section 6: 8 to 100 % of the area, sides at a ratio of 3/4 to 4/3.
AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10


def centre_view(file: Path | IO[bytes], size: int, name: str = "") -> np.ndarray:
    """The plain view: the shorter side resized to 256/224 of `size`, bilinear with antialiasing, then the central square.

    Rounding is torchvision's (Resize, CenterCrop), so that published networks see what they were evaluated on.

    Args:
        file: an image in any format that Pillow knows by its content.
        size: side of the square, in pixels.
        name: what messages call the file; its path if empty.

    Returns:
        uint8, shape (size, size, 3), RGB.

    Raises:
        UserError: the file cannot be read as an image.
    """
    from PIL import Image

    shorter = round(size * 256 / 224)
    try:
        with Image.open(file) as image:
            rgb = _rgb(image)
            least = min(rgb.size)
            resized = (shorter * rgb.width // least, shorter * rgb.height // least)
            # The crop is cut out of the resized image; resizing only its part would shift it by up to half a pixel.
            left, top = (round((side - size) / 2) for side in resized)
            view = rgb.resize(resized, Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    except Exception as error:  # Pillow's decoders raise errors of any kind for damaged files
        raise unreadable(name or file, error) from error
    return np.asarray(view)


def random_view(file: Path | IO[bytes], size: int, number: int, name: str = "") -> np.ndarray:
    """View `number` of an image: a random crop resized to a square, bilinear with antialiasing, and maybe mirrored.

    A JPEG that is larger than needed is decoded at 1/2, 1/4 or 1/8 of its size. The same file, size and number give the
    same pixels.

    Args:
        file: an image in any format that Pillow knows by its content.
        size: side of the square, in pixels.
        number: see `crop_of`.
        name: what messages call the file; its path if empty.

    Returns:
        uint8, shape (size, size, 3), RGB.

    Raises:
        UserError: the file cannot be read as an image.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            width, height = image.size
            (left, top, right, bottom), mirrored = crop_of(number, width, height)
            # Asking for this size leaves the crop at least `size` pixels a side.
            drafted = image.draft(None, (-(-width * size // (right - left)), -(-height * size // (bottom - top))))
            scale = width / drafted[1][2] if drafted else 1
            box = (left / scale, top / scale, right / scale, bottom / scale)
            view = _rgb(image).resize((size, size), Image.Resampling.BILINEAR, box)
    except Exception as error:  # Pillow's decoders raise errors of any kind for damaged files
        raise unreadable(name or file, error) from error
    pixels = np.asarray(view)
    return pixels[:, ::-1] if mirrored else pixels


def crop_of(number: int, width: int, height: int) -> tuple[tuple[int, int, int, int], bool]:
    """The crop that a view number stands for, and whether it is mirrored.

    Area and ratio are uniform and log-uniform (Szegedy et al., 2015, as torchvision's RandomResizedCrop has it: of 10 tries,
    the first that fits; else the largest central crop of an allowed ratio). They come from a counter-based generator (Philox)
    whose key is the number, so nothing else matters.

    Args:
        number: any integer from 0 to 2^63 - 1.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Returns:
        Left, top, right and bottom in pixels (right and bottom excluded), and whether it is mirrored.
    """
    raw = np.random.Philox(key=number).random_raw(2 * ATTEMPTS + 3)
    uniform = ((raw >> np.uint64(11)) * 2.0**-53).tolist()
    across, down, mirror = uniform[-3:]
    for attempt in range(ATTEMPTS):
        area = width * height * (AREA[0] + (AREA[1] - AREA[0]) * uniform[2 * attempt])
        ratio = RATIO[0] * (RATIO[1] / RATIO[0]) ** uniform[2 * attempt + 1]
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(across * (width - w + 1)), int(down * (height - h + 1))
            return (left, top, left + w, top + h), mirror < 0.5
    w = min(width, max(1, round(height * RATIO[1])))
    h = min(height, max(1, round(width / RATIO[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return (left, top, left + w, top + h), mirror < 0.5


def _rgb(image: "Image") -> "Image":
    """`image` decoded, as RGB."""
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def unreadable(name: object, error: Exception) -> UserError:
    """What to say of an image file that cannot be read: whether the file is wrong, or what it lies on."""
    if isinstance(error, OSError) and error.errno:
        return UserError(f"{name} cannot be read: {error.strerror}.")
    return UserError(f"{name} is not an image that Pillow can read: {error}. Mend or remove it.")
