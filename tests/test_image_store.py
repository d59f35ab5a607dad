"""A store of images: the files in one file, read by position, with the same bits; or made smaller, with nearly the same views."""

import io
import itertools
import json
import shutil
import threading
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from gendistill.data import image_store
from gendistill.data import pack as pack_module
from gendistill.data.decode import centre_view, crop_of, random_view
from gendistill.data.image_store import shrunk_view
from gendistill.data.images import FILE
from gendistill.data.on_disk import FileImages, FileIndex, open_files
from gendistill.data.pack import content_of, prepare_store
from gendistill.data.prepare import prepare_dataset
from gendistill.errors import InterruptedTraining, SettingError, UserError
from gendistill.plan import build_plan
from gendistill.plan.settings import load_group
from gendistill.plan.step import make_step
from gendistill.plan.validate import check_group
from gendistill.receipt import write_receipt
from gendistill.runtime import Runtime
from gendistill.training import run
from tests.small_archives import picture
from tests.test_training_on_disk import NETWORK, ON_DISK, write_tree
from tests.tiny import FROM_LABELS, assert_same_bits

CPU = torch.device("cpu")
SIDE, SIZE = 64, 32
# Formats and sizes, the first two of them JPEGs that a side of 64 leaves as they are.
KINDS = {
    "small.jpg": lambda i: picture(i, 80, 60),
    "grey.jpg": lambda i: picture(i, 50, 70).convert("L"),
    "large.JPEG": lambda i: picture(i, 200, 151),
    "upright.jpeg": lambda i: picture(i, 90, 305),
    "cmyk.jpg": lambda i: picture(i, 60, 50).convert("CMYK"),
    "alpha.png": lambda i: picture(i, 100, 75).convert("RGBA"),
}


def make_index(root):
    """Each kind of file twice in train, once in test."""
    paths = {"train": [], "test": []}
    for split, copies in (("train", 2), ("test", 1)):
        for copy in range(copies):
            for i, (name, make) in enumerate(KINDS.items()):
                path = f"{split}/ä {copy}/{name}"
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                make(100 * copy + 10 * i + (split == "test")).save(root / path, **({} if name.endswith("png") else {"quality": 95}))
                paths[split].append(path)
    labels = {split: np.arange(len(of), dtype=np.int64) % 2 for split, of in paths.items()}
    return FileIndex(paths, labels, ["c0", "c1"], SIZE)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def index(root):
    return make_index(root)


def pack(index, root, folder, store, threads=1, held=0):
    metrics = prepare_store(index, held, store, root, folder, Runtime(threads=threads))
    write_receipt(folder, {}, (FILE,), metrics, {})
    return metrics


@pytest.fixture(scope="module")
def packed(index, root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    pack(index, root, folder, "packed")
    return folder


@pytest.fixture(scope="module")
def shrunk(index, root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shrunk")
    pack(index, root, folder, SIDE, held=1)
    return folder


def stored(folder):
    """The stored files of each split and what is known of them, read by safetensors alone."""
    arrays = load_file(folder / FILE)
    splits = [name.removesuffix("_labels") for name in arrays if name.endswith("_labels")]
    found = {}
    for split in splits:
        ends = arrays[f"{split}_offsets"].tolist()
        contents = [arrays["images"][a:b].tobytes() for a, b in itertools.pairwise(ends)]
        paths = arrays[f"{split}_paths"].tobytes().decode().split("\0")
        assert [zlib.crc32(content) for content in contents] == arrays[f"{split}_crc32"].tolist()
        found[split] = dict(zip(paths, contents, strict=True)), arrays[f"{split}_labels"].tolist()
    return found


# Writing


def test_a_packed_store_is_a_safetensors_file_of_the_same_bytes(index, root, packed):
    found = stored(packed)
    assert set(found) == {"train", "test"}
    for split, (contents, labels) in found.items():
        assert list(contents) == index.paths[split]
        assert contents == {path: (root / path).read_bytes() for path in index.paths[split]}
        assert labels == index.labels[split].tolist()
    with safe_open(packed / FILE, framework="numpy") as file:
        assert json.loads(file.metadata()["index"]) == {"classes": ["c0", "c1"], "image_size": SIZE, "store": "packed"}


@pytest.mark.parametrize("store", ["packed", SIDE])
def test_the_same_store_is_written_by_any_number_of_threads(index, root, tmp_path, store):
    metrics = [pack(index, root, tmp_path / str(threads), store, threads) for threads in (1, 3)]
    assert metrics[0] == metrics[1]
    assert {**metrics[0], "index_sha256": ""} == {
        "train_images": 12,
        "test_images": 6,
        "classes": 2,
        "shape": [3, SIZE, SIZE],
        "index_sha256": "",
    }
    assert (tmp_path / "1" / FILE).read_bytes() == (tmp_path / "3" / FILE).read_bytes()


def test_only_training_images_that_are_larger_are_made_smaller(root, shrunk):
    found = stored(shrunk)
    assert {split: len(contents) for split, (contents, _) in found.items()} == {"train": 10, "validation": 2, "test": 6}
    for split in ("validation", "test"):
        assert all(content == (root / path).read_bytes() for path, content in found[split][0].items())
    # 151 -> 64, so 200 -> 84.77; 90 -> 64, so 305 -> 216.89; 75 -> 64, so 100 -> 85.33.
    expected = {"large.JPEG": (85, 64), "upright.jpeg": (64, 217), "alpha.png": (85, 64), "cmyk.jpg": (60, 50)}
    seen = set()
    for path, content in found["train"][0].items():
        name = path.rpartition("/")[2]
        seen.add(name)
        if name in ("small.jpg", "grey.jpg"):
            assert content == (root / path).read_bytes()
        else:
            with Image.open(io.BytesIO(content)) as image:
                assert (image.format, image.mode, image.size) == ("JPEG", "RGB", expected[name])
                usual = Image.open(root / path).convert("RGB").resize(image.size, Image.Resampling.BILINEAR)
                assert np.abs(np.asarray(image).astype(int) - np.asarray(usual)).mean() < 3
    assert seen == set(KINDS)


def test_a_jpeg_that_decodes_with_a_warning_is_encoded_anew(tmp_path):
    """Bytes that don't belong there, as in some of ImageNet's files: Pillow ignores them, so they are no damage."""
    stream = io.BytesIO()
    picture(3).save(stream, "JPEG", quality=95)
    whole = stream.getvalue()
    (tmp_path / "a.jpg").write_bytes(whole[:-2] + b"\x01\x02\x03\x04" + whole[-2:])
    content = content_of(tmp_path / "a.jpg", SIDE)
    assert content != (tmp_path / "a.jpg").read_bytes()
    assert shrunk_view(content, 8, 1).shape == (8, 8, 3)


@pytest.mark.parametrize("store", ["packed", SIDE])
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("half", "is not an image .*Mend or remove it"),
        ("text", "is not an image .*Mend or remove it"),
        ("absent", "cannot be read: No such file or directory"),
    ],
)
def test_a_damaged_file_is_named_and_leaves_no_store(tmp_path, store, damage, told):
    index = make_index(tmp_path / "files")
    bad = tmp_path / "files" / index.paths["train"][2]
    whole = bad.read_bytes()
    bad.unlink()
    if damage != "absent":
        bad.write_bytes(whole[: len(whole) // 2] if damage == "half" else b"text")
    with pytest.raises(UserError, match=rf"{bad} {told}"):
        pack(index, tmp_path / "files", tmp_path / "out", store, threads=2)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_stopped_step_leaves_nothing_and_the_next_removes_what_a_killed_one_left(index, root, tmp_path):
    calls = iter(range(100))
    before = threading.active_count()
    with pytest.raises(InterruptedTraining, match="stopped after 4 of 18 images"):
        prepare_store(index, 0, "packed", root, tmp_path, Runtime(stop_requested=lambda: next(calls) == 4))
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before
    (tmp_path / f".{FILE}.123.tmp").write_bytes(b"half")
    pack(index, root, tmp_path, "packed")
    assert {path.name for path in tmp_path.iterdir()} == {FILE, "receipt.json"}


def test_no_more_is_read_than_a_few_images_ahead(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(pack_module, "content_of", lambda file, side: read.append(file) or b"")
    contents = pack_module._contents([tmp_path] * 1000, None, 2)
    next(contents)
    contents.close()
    assert len(read) <= 2 * pack_module.AHEAD + 1


def test_progress_counts_all_images(index, root, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(Runtime, "progress", lambda self, done, total: told.append((done, total)))
    prepare_store(index, 0, "packed", root, tmp_path, Runtime())
    assert told == [(done, 18) for done in range(1, 19)]


# Reading


def views_of(images, order, views, batch_size):
    return torch.cat(list(images.batches(order, views, batch_size)))


@pytest.mark.parametrize("threads", [1, 3])
def test_views_of_a_packed_store_have_the_bits_of_the_files(index, root, packed, threads):
    data = open_files(packed, root / "absent", CPU, threads)
    assert (data.classes, data.shape, data.on_disk, set(data.splits)) == (2, [3, SIZE, SIZE], True, {"train", "test"})
    for split, images in data.splits.items():
        files = FileImages(root, index.paths[split], index.labels[split], SIZE, CPU, 1)
        assert torch.equal(images.labels, files.labels)
        np.testing.assert_array_equal(images.draw_views(5, 1), files.draw_views(5, 1))
        views = torch.from_numpy(files.draw_views(5, 1))
        order = torch.arange(len(files)).flip(0)
        assert torch.equal(views_of(images, order, views, 5), views_of(files, order, views, 4))
        assert torch.equal(torch.cat(list(images.plain(5))), torch.cat(list(files.plain(4))))


def test_views_of_a_smaller_store_do_not_depend_on_threads_or_batch(root, shrunk):
    found = {}
    contents, _ = stored(shrunk)["train"]
    for threads, batch_size in ((1, 4), (3, 3)):
        images = open_files(shrunk, root, CPU, threads).splits["train"]
        views = torch.from_numpy(images.draw_views(7, 2))
        found[threads] = views_of(images, torch.arange(10), views, batch_size)
    assert torch.equal(found[1], found[3])
    expected = np.stack([shrunk_view(c, SIZE, int(v)) for c, v in zip(contents.values(), views, strict=True)])
    np.testing.assert_array_equal(found[1].permute(0, 2, 3, 1).numpy(), expected)
    plain = np.stack([centre_view(io.BytesIO(content), SIZE) for content in contents.values()])
    np.testing.assert_array_equal(torch.cat(list(images.plain(4))).permute(0, 2, 3, 1).numpy(), plain)


def test_evaluation_with_a_smaller_store_sees_the_files(root, shrunk):
    data = open_files(shrunk, root, CPU, 1)
    for split in ("test", "validation"):
        images = data.splits[split]
        views = torch.from_numpy(images.draw_views(1, 1))
        found = views_of(images, torch.arange(len(images)), views, 3).permute(0, 2, 3, 1).numpy()
        for i, path in enumerate(stored(shrunk)[split][0]):
            np.testing.assert_array_equal(found[i], random_view(root / path, SIZE, int(views[i])))


@pytest.mark.parametrize("number", range(6))
def test_a_shrunk_view_is_its_crop_resized_and_mirrored(number):
    stream = io.BytesIO()
    picture(3, 120, 90).save(stream, "JPEG", quality=95)
    box, mirrored = crop_of(number, 120, 90)
    expected = np.asarray(Image.open(stream).crop(box).resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
    view = shrunk_view(stream.getvalue(), 16, number)
    assert (view.shape, view.dtype) == ((16, 16, 3), np.uint8)
    assert np.abs((expected[:, ::-1] if mirrored else expected) - view).max() <= 1
    assert {crop_of(n, 120, 90)[1] for n in range(6)} == {False, True}


def test_a_shrunk_view_of_a_grey_jpeg_is_grey():
    stream = io.BytesIO()
    picture(4).convert("L").save(stream, "JPEG")
    view = shrunk_view(stream.getvalue(), 16, 2)
    assert (view[..., 0] == view[..., 1]).all()
    assert (view[..., 0] == view[..., 2]).all()
    assert view.std() > 5


# Damage


def damaged_copy(packed, folder, content):
    (folder / FILE).write_bytes(content)
    (folder / "receipt.json").write_bytes((packed / "receipt.json").read_bytes())
    return folder


def test_any_damage_of_the_index_is_found_on_opening(packed, tmp_path):
    whole = (packed / FILE).read_bytes()
    with safe_open(packed / FILE, framework="numpy") as file:
        start = len(whole) - file.get_slice("images").get_shape()[0]
    length = int.from_bytes(whole[:8], "little")
    # Past the header, whose damage safetensors may see first.
    for position in (*range(8 + length, start, 37), start - 1):
        content = bytearray(whole)
        content[position] ^= 1
        with pytest.raises(UserError, match=rf"{FILE} is corrupt: its length or its index"):
            image_store.open_store(damaged_copy(packed, tmp_path, content), CPU, 1)
    for content in (whole + b"0", whole[:-1]):
        with pytest.raises(UserError, match=rf"{FILE} is corrupt: its length or its index"):
            image_store.open_store(damaged_copy(packed, tmp_path, content), CPU, 1)


def test_a_damaged_image_is_named_when_it_is_read_and_the_others_are_not_harmed(index, packed, tmp_path):
    content = bytearray((packed / FILE).read_bytes())
    third = stored(packed)["train"][0][index.paths["train"][2]]
    content[content.index(third) + len(third) // 2] ^= 4
    images = image_store.open_store(damaged_copy(packed, tmp_path, content), CPU, 2).splits["train"]
    views = torch.zeros(12, dtype=torch.int64)
    assert len(views_of(images, torch.tensor([0, 1, 3, 4]), views, 2)) == 4
    with pytest.raises(UserError, match=rf"is corrupt: the image {index.paths['train'][2]} in it .*rm {tmp_path / FILE}"):
        views_of(images, torch.arange(12), views, 5)


# Settings


@pytest.mark.parametrize("name", ["imagenet", "places365", "food101", "flowers102", "cars", "cub200", "pets"])
def test_what_the_setting_may_be(name):
    settings = load_group("dataset", name)
    assert settings["store"] is None
    for allowed in (None, "packed", 32, 400):
        check_group("dataset", {**settings, "store": allowed}, "x.yaml")
    for wrong in ("small", 31, True, 256.5):
        with pytest.raises(SettingError, match=r"dataset.store = .* It must be null \(.*, packed \(.* or a side of 32 pixels"):
            check_group("dataset", {**settings, "store": wrong}, "x.yaml")


# Training


def train(folder, dataset, root):
    settings = {"network": NETWORK, "objective": FROM_LABELS, "recipe": ON_DISK, "seed": 0, "member": 0}
    run.train_network(settings, {"dataset": dataset}, folder, Runtime("cpu", source={"path": str(root)}))


def test_a_network_trained_from_a_packed_store_has_the_bits_of_one_trained_from_files(tmp_path):
    tree = write_tree(tmp_path / "tree")
    settings = {**load_group("dataset", "imagenet"), "image_size": 32, "classes": 3, "content": ""}
    settings.pop("path")
    for name, store in (("files", None), ("packed", "packed"), ("smaller", 32)):
        folder = tmp_path / name
        metrics = prepare_dataset({**settings, "store": store}, {}, folder / "dataset", Runtime(source={"path": str(tree)}))
        write_receipt(folder / "dataset", {}, (FILE,), metrics, {})
    train(tmp_path / "files/run", tmp_path / "files/dataset", tree)
    # With a store nobody needs the files any more.
    shutil.rmtree(tree)
    for name in ("packed", "smaller"):
        train(tmp_path / name / "run", tmp_path / name / "dataset", tree)
    assert_same_bits(tmp_path / "files/run", tmp_path / "packed/run")
    with pytest.raises(AssertionError):
        assert_same_bits(tmp_path / "files/run", tmp_path / "smaller/run")


def test_a_store_is_part_of_the_ids_and_its_code_of_those_that_use_it():
    changes = {None: "null", "packed": "packed", 256: "256"}
    plans = {
        store: build_plan(["tolerant_teachers_table5"], (f"dataset.store={text}",), without_data=True)
        for store, text in changes.items()
    }
    for kind in ("dataset", "patriarch", "generation"):
        ids = [{step.id for step in plan.of_kind(kind)} for plan in plans.values()]
        assert len(set().union(*ids)) == sum(map(len, ids)) > 0
    for store, plan in plans.items():
        (dataset,), (patriarch, *_) = plan.of_kind("dataset"), plan.of_kind("patriarch")
        assert ("gendistill.data.pack" in dataset.code, "gendistill.data.image_store" in dataset.code) == (bool(store), False)
        assert ("gendistill.data.pack" in patriarch.code, "gendistill.data.image_store" in patriarch.code) == (False, bool(store))
    # The setting came later: without it the id is what it was.
    (dataset,) = plans[None].of_kind("dataset")
    before = {key: value for key, value in dataset.settings.items() if key != "store"}
    assert make_step("dataset", "imagenet", before, dataset.code, {}).id == dataset.id
