"""Images that stay in their files: views are a function of file and number, and evaluation sees the usual centre crop."""

import json
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from gendistill.data import on_disk
from gendistill.data.decode import centre_view, crop_of, random_view
from gendistill.data.images import Images, is_index, save_images
from gendistill.data.on_disk import MEAN, STD, FileImages, FileIndex, hold_out, load_index, save_index
from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import UserError
from gendistill.receipt import write_receipt
from tests.small_archives import picture

CPU = torch.device("cpu")
SIZES = [(40, 30), (30, 40), (25, 25), (90, 31), (31, 90)]


def make_files(folder, count=11):
    for i in range(count):
        picture(i, *SIZES[i % len(SIZES)]).save(folder / f"{i}.jpg", quality=95)
    return [f"{i}.jpg" for i in range(count)]


def source(folder, count=11, size=16, threads=1):
    labels = np.arange(count, dtype=np.int64) % 3
    return FileImages(folder, [f"{i}.jpg" for i in range(count)], labels, size, CPU, threads)


def views_of(images, order, views, batch_size):
    return torch.cat(list(images.batches(order, views, batch_size)))


# Crops


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (300, 300)])
def test_crops_are_distributed_as_torchvision_draws_them(width, height):
    """Means of area, ratio, position and mirroring over 4,000 crops, within five standard errors of torchvision's."""
    import_torchvision()
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    ours = np.array([[*box, mirrored] for box, mirrored in (crop_of(number, width, height) for number in range(4000))], float)
    left, top, right, bottom, mirrored = ours.T
    blank = torch.empty(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(blank, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)], float)
    their_top, their_left, their_height, their_width = theirs.T
    pairs = {
        "area": ((right - left) * (bottom - top), their_width * their_height),
        "ratio": ((right - left) / (bottom - top), their_width / their_height),
        "left": (left, their_left),
        "bottom": (height - bottom, height - their_top - their_height),
    }
    for what, (mine, other) in pairs.items():
        error = np.hypot(mine.std(), other.std()) / np.sqrt(4000)
        assert abs(mine.mean() - other.mean()) < 5 * error, what
        assert abs(mine.std() - other.std()) < 0.1 * other.std(), what
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)
    assert abs(np.corrcoef(mirrored, left)[0, 1]) < 0.1


def test_crops_have_area_and_ratio_within_bounds():
    areas = []
    for number in range(2000):
        (left, top, right, bottom), _ = crop_of(2**62 + number, 500, 375)
        assert 0 <= left < right <= 500
        assert 0 <= top < bottom <= 375
        width, height = right - left, bottom - top
        # Whole pixels leave the bounds by half a pixel a side at most.
        assert (width + 0.5) * (height + 0.5) >= 0.08 * 500 * 375
        assert (width + 0.5) / (height - 0.5) >= 3 / 4
        assert (width - 0.5) / (height + 0.5) <= 4 / 3
        areas.append(width * height / (500 * 375))
    assert min(areas) < 0.085
    assert max(areas) > 0.95


FITTING_NO_CROP = {(1000, 10): (493, 0, 506, 10), (9, 900): (0, 444, 9, 456), (1, 1): (0, 0, 1, 1)}


@pytest.mark.parametrize("sides", FITTING_NO_CROP)
def test_an_image_that_no_crop_fits_gives_its_centre(sides):
    """The largest central crop of a ratio of 4/3 or 3/4, by hand: 10 x 4/3 = 13 wide, 9 x 4/3 = 12 high."""
    assert {crop_of(number, *sides)[0] for number in range(20)} == {FITTING_NO_CROP[sides]}


def test_crops_differ_between_numbers_and_not_otherwise():
    crops = [crop_of(number, 500, 375) for number in range(300)]
    assert crops == [crop_of(number, 500, 375) for number in range(300)]
    assert len(set(crops)) > 290


# Pixels


@pytest.mark.parametrize(("width", "height"), [*SIZES, (500, 375), (17, 16)])
@pytest.mark.parametrize("size", [16, 224])
def test_the_plain_view_is_torchvisions_centre_crop(tmp_path, width, height, size):
    import_torchvision()
    from torchvision import transforms

    picture(1, width, height).save(tmp_path / "a.png")
    usual = transforms.Compose([transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size)])
    np.testing.assert_array_equal(centre_view(tmp_path / "a.png", size), np.asarray(usual(Image.open(tmp_path / "a.png"))))


def test_the_plain_view_of_a_500_by_375_image_by_hand(tmp_path):
    """The shorter side to 256, so the longer to 341; then 224 from 16 down, and from 58.5, rounded to even, across."""
    image = picture(2, 500, 375)
    image.save(tmp_path / "a.png")
    expected = image.resize((341, 256), Image.Resampling.BILINEAR).crop((58, 16, 282, 240))
    np.testing.assert_array_equal(centre_view(tmp_path / "a.png", 224), np.asarray(expected))


@pytest.mark.parametrize("number", range(8))
def test_a_view_is_its_crop_resized_and_mirrored(tmp_path, number):
    image = picture(3, 120, 90)
    image.save(tmp_path / "a.png")
    box, mirrored = crop_of(number, 120, 90)
    expected = np.asarray(image.crop(box).resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
    view = random_view(tmp_path / "a.png", 16, number)
    assert view.shape == (16, 16, 3)
    assert view.dtype == np.uint8
    # At its border a view sees the pixels beside the crop, which cutting it out first would hide.
    difference = np.abs((expected[:, ::-1] if mirrored else expected) - view)[1:-1, 1:-1]
    assert difference.max() <= 1
    assert {crop_of(n, 120, 90)[1] for n in range(8)} == {False, True}


@pytest.mark.parametrize("number", range(6))
def test_a_jpeg_decoded_at_less_than_its_size_shows_the_same(tmp_path, number, monkeypatch):
    """Beside a PNG of the same pixels, which is always decoded whole; odd sides, so that halves must be rounded."""
    from PIL import JpegImagePlugin

    drafted = []
    draft = JpegImagePlugin.JpegImageFile.draft
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", lambda *a: drafted.append(draft(*a)) or drafted[-1])
    picture(4, 403, 301).save(tmp_path / "a.jpg", quality=98)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    small, whole = (random_view(tmp_path / f"a.{kind}", 16, number).astype(int) for kind in ("jpg", "png"))
    assert drafted[0][1][2] < 403
    assert np.abs(small - whole).max() <= 6


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "1", "LA", "I;16"])
def test_images_of_all_modes_become_rgb(tmp_path, mode):
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    (Image.new(mode, (20, 20)) if mode == "I;16" else picture(5).convert(mode)).save(file)
    assert random_view(file, 8, 1).shape == centre_view(file, 8).shape == (8, 8, 3)


# The source of pixels


def test_views_do_not_depend_on_threads_order_or_batch(tmp_path):
    make_files(tmp_path)
    views = torch.from_numpy(source(tmp_path).draw_views(key=7, epoch=2))
    order = torch.arange(11)
    expected = np.stack([random_view(tmp_path / f"{i}.jpg", 16, int(views[i])) for i in range(11)])
    for threads, batch_size in ((1, 4), (4, 3), (3, 64)):
        images = source(tmp_path, threads=threads)
        found = views_of(images, order, views, batch_size)
        assert (found.dtype, found.shape) == (torch.uint8, (11, 3, 16, 16))
        np.testing.assert_array_equal(found.permute(0, 2, 3, 1).numpy(), expected)
        shuffled = torch.tensor([7, 0, 10, 3, 3, 5])
        again = views_of(images, shuffled, views, batch_size)
        np.testing.assert_array_equal(again.permute(0, 2, 3, 1).numpy(), expected[shuffled])


def test_batches_have_their_size_and_layout(tmp_path):
    make_files(tmp_path)
    images = source(tmp_path, threads=2)
    batches = list(images.plain(4))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in batches)
    for i, image in enumerate(torch.cat(batches)):
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), centre_view(tmp_path / f"{i}.jpg", 16))
    assert len(images) == 11
    assert images.labels.tolist() == [i % 3 for i in range(11)]
    assert images.labels.dtype == torch.int64


def test_view_numbers_depend_on_key_and_epoch_and_image_only(tmp_path):
    few, many = source(tmp_path, 10), source(tmp_path, 5000)
    views = many.draw_views(3, 0)
    assert views.dtype == np.int64
    assert views.min() >= 0
    assert len(np.unique(views)) == 5000
    np.testing.assert_array_equal(few.draw_views(3, 0), views[:10])
    for key, epoch in ((3, 1), (4, 0)):
        assert not np.intersect1d(many.draw_views(key, epoch), views).size
    # Spread over 63 bits: mean and deviation of a uniform number, within five standard errors.
    share = views / 2**63
    assert abs(share.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 5000)


def test_no_more_is_decoded_than_a_few_batches_ahead(tmp_path, monkeypatch):
    make_files(tmp_path, 60)
    decoded, blank = [], np.zeros((16, 16, 3), np.uint8)
    monkeypatch.setattr(on_disk, "random_view", lambda file, size, number: decoded.append(file) or blank)
    images = source(tmp_path, 60, threads=2)
    batches = images.batches(torch.arange(60), torch.zeros(60, dtype=torch.int64), 5)
    next(batches)
    before = threading.active_count()
    batches.close()
    assert len(decoded) <= (1 + on_disk.AHEAD) * 5
    # A reader that stops leaves no thread behind.
    assert threading.active_count() < before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"text", "is not an image .*cannot identify.*Mend or remove it"),
        ("half", "is not an image .*(?i:truncated).*Mend or remove it"),
        # Nothing is wrong with the file where the disk is away.
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, told):
    make_files(tmp_path)
    bad = tmp_path / "6.jpg"
    whole = bad.read_bytes()
    bad.unlink()
    if content is not None:
        bad.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    images = source(tmp_path, threads=2)
    for batches in (images.plain(3), images.batches(torch.arange(11), torch.arange(11), 3)):
        assert len(next(batches)) == 3
        with pytest.raises(UserError, match=rf"{bad} {told}"):
            list(batches)


# The index


def make_index():
    paths = {"train": [f'train/c{i % 2}/Bild {i} "ä".JPEG' for i in range(8)], "test": ["val/c0/1.JPEG", "val/c1/2.JPEG"]}
    labels = {"train": np.arange(8, dtype=np.int64) % 2, "test": np.array([0, 1])}
    return FileIndex(paths, labels, ["c0", "c1"], 224)


def test_an_index_comes_back_as_it_was_written(tmp_path):
    index = make_index()
    for name in ("a", "b"):
        save_index(index, tmp_path / name)
    assert (tmp_path / "a/dataset.safetensors").read_bytes() == (tmp_path / "b/dataset.safetensors").read_bytes()
    write_receipt(tmp_path / "a", {}, ("dataset.safetensors",), {}, {})
    again = load_index(tmp_path / "a")
    assert (again.paths, again.classes, again.image_size) == (index.paths, index.classes, 224)
    for split, labels in index.labels.items():
        np.testing.assert_array_equal(again.labels[split], labels)
        assert again.labels[split].dtype == np.int64


def test_the_header_of_an_index_does_not_grow_with_the_files(tmp_path):
    """A safetensors header may have 100 MB at most, and there are sets of millions of files."""
    save_index(FileIndex({"train": ["x" * 60] * 5000}, {"train": np.zeros(5000, np.int64)}, ["a"], 8), tmp_path)
    content = (tmp_path / "dataset.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert length < 1000
    assert set(json.loads(content[8 : 8 + length])) == {"__metadata__", "train_labels", "train_paths"}


def test_an_index_is_told_from_pixels(tmp_path):
    save_index(make_index(), tmp_path / "index")
    pixels = np.zeros((2, 3, 4, 4), np.uint8)
    labels = {"train": np.arange(2), "test": np.arange(2)}
    save_images(Images({"train": pixels, "test": pixels}, labels, ["a", "b"], [], []), tmp_path / "pixels")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "dataset.safetensors").write_bytes(b"index")
    assert [is_index(tmp_path / name) for name in ("index", "pixels", "damaged", "absent")] == [True, False, False, False]


def test_held_out_images_leave_the_training_set():
    index = make_index()
    held = hold_out(index, per_class=1, seed=0)
    assert sorted(held.paths["train"] + held.paths["validation"]) == sorted(index.paths["train"])
    assert held.paths["test"] == index.paths["test"]
    assert sorted(held.labels["validation"]) == [0, 1]
    label_of = dict(zip(index.paths["train"], index.labels["train"], strict=True))
    for split in ("train", "validation"):
        assert [label_of[path] for path in held.paths[split]] == held.labels[split].tolist()
    assert hold_out(index, 0, 0) is index
    with pytest.raises(UserError, match=r"dataset.validation_per_class = 4"):
        hold_out(index, 4, 0)


def test_mean_and_std_are_imagenets():
    np.testing.assert_allclose(np.array(MEAN) / 255, [0.485, 0.456, 0.406])
    np.testing.assert_allclose(np.array(STD) / 255, [0.229, 0.224, 0.225])
