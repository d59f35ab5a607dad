"""Stored soft labels against the teacher itself, for every view of every image; and what a damaged store does."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gendistill.data.images import Images, save_images
from gendistill.data.views import ViewSpace
from gendistill.errors import InterruptedTraining, UserError
from gendistill.networks.trained import Description, load_network, save_network
from gendistill.runtime import Runtime
from gendistill.softlabels import dump
from gendistill.softlabels.extent import draws_few, expected_views
from gendistill.softlabels.store import drawn_views, open_store
from gendistill.training.teacher import online_teacher, stored_teacher

IMAGES, CLASSES, PAD, VIEWS = 6, 3, 2, 50
SHAPE = (IMAGES, VIEWS, CLASSES)
SETTINGS = {"pad": PAD, "flip": True, "precision": "float32"}
EPOCHS = 7
OF_SOME_EPOCHS = {"pad": PAD, "flip": True, "seed": 3, "generation": 2, "epochs": EPOCHS}
NETWORK = {"name": "resnet8", "_target_": "gendistill.networks.resnet.ResNet", "depth": 8, "shortcut": "A", "width": 4}
CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[1]


def write_receipt(folder, *names):
    outputs = {name: {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()} for name in names}
    (folder / "receipt.json").write_text(json.dumps({"outputs": outputs}))


def write_teacher(folder, seed):
    """A network with BatchNorm statistics of its own, so that train and eval mode differ."""
    folder.mkdir()
    torch.manual_seed(seed)
    description = Description(NETWORK, [1, 8, 8], CLASSES, [120.0], [70.0], "float32")
    network = description.build()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    torch.nn.init.normal_(network.classifier.weight, std=2)
    save_network(network, description, folder)
    write_receipt(folder, "model.safetensors")


def write_dataset(folder):
    pixels = np.random.default_rng(0).integers(0, 256, size=(IMAGES, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(IMAGES) % CLASSES
    data = Images({"train": pixels, "test": pixels}, {"train": labels, "test": labels}, ["a", "b", "c"], [], [])
    save_images(data, folder)
    write_receipt(folder, "dataset.safetensors")
    return pixels


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folders of a data set, a teacher and its dumped soft labels, and the pixels of the training images."""
    root = tmp_path_factory.mktemp("soft")
    pixels = write_dataset(root / "dataset")
    write_teacher(root / "teacher", seed=0)
    inputs = {"dataset": root / "dataset", "teacher": root / "teacher"}
    metrics = dump.dump_soft_labels(SETTINGS, inputs, root / "store", Runtime("cpu"))
    write_receipt(root / "store", "softlabels.npy")
    assert metrics == {"images": IMAGES, "views": VIEWS, "dumped": IMAGES * VIEWS}
    return root, inputs, pixels


@pytest.fixture
def store(made, tmp_path):
    """A copy of the store to damage."""
    return shutil.copytree(made[0] / "store", tmp_path / "store")


def need_no_draws():
    raise AssertionError("the store has all views")


def views_seen(seed=3, generation=2, epochs=EPOCHS):
    """The views of each image that a student draws: a NumPy generator of its own, keyed by a hash, for each epoch."""
    purpose = json.dumps(["views", seed, generation, 0]).encode()
    key = int.from_bytes(hashlib.sha256(purpose).digest()[:16], "little")
    numbers = [np.random.Philox(key=key, counter=[0, epoch, 0, 0]).random_raw(IMAGES) for epoch in range(epochs)]
    return [sorted({int(numbers[epoch][image]) % VIEWS for epoch in range(epochs)}) for image in range(IMAGES)]


def view_of(image, number):
    """View `number` of an image (C, H, W): padded by 2, cropped, mirrored."""
    crop, mirrored = divmod(number, 2)
    top, left = divmod(crop, 2 * PAD + 1)
    view = np.pad(image, ((0, 0), (PAD, PAD), (PAD, PAD)))[:, top : top + 8, left : left + 8]
    return view[:, :, ::-1] if mirrored else view


def same_to_float16(found, expected):
    allowed = np.spacing(np.abs(expected).astype(np.float16)).astype(np.float64) + 1e-3
    return bool((np.abs(found.astype(np.float64) - expected) <= allowed).all())


def test_the_store_is_a_numpy_file_of_float16(made):
    array = np.load(made[0] / "store" / "softlabels.npy", mmap_mode="r")
    assert isinstance(array, np.memmap)
    assert (array.dtype, array.shape) == (np.float16, SHAPE)
    assert array.std() > 0.1


def test_every_stored_row_is_the_teachers_output_on_that_view(made):
    root, inputs, pixels = made
    network, _ = load_network(inputs["teacher"], CPU)
    views = np.stack([view_of(image, v) for image in pixels for v in range(VIEWS)]).astype(np.float64)
    with torch.no_grad():
        rows = [network(torch.from_numpy((view[None] - 120) / 70).float()).numpy() for view in views]
    expected = np.concatenate(rows).reshape(SHAPE)
    stored = np.load(root / "store" / "softlabels.npy")
    assert same_to_float16(stored, expected)
    # Neighbouring views differ by far more than is allowed above: a row of another view would be seen.
    assert np.abs(np.diff(expected, axis=1)).max(axis=2).min() > 5e-3


def test_stored_and_online_teacher_agree_on_every_view(made):
    root, inputs, pixels = made
    pairs = np.random.default_rng(1).permutation([(i, v) for i in range(IMAGES) for v in range(VIEWS)])
    images, views = torch.from_numpy(pairs).unbind(1)
    shown = torch.from_numpy(pixels)
    shown = ViewSpace(PAD, True).take(ViewSpace(PAD, True).windows(shown), images, views)
    stored, _, _ = stored_teacher(root / "store", SHAPE, CPU, need_no_draws)(images, views, shown, images)
    online, _, _ = online_teacher(*load_network(inputs["teacher"], CPU), [], False)(images, views, shown, images)
    for logits in (stored, online):
        assert (logits.dtype, logits.shape) == (torch.float32, (IMAGES * VIEWS, CLASSES))
        assert torch.equal(logits, logits.half().float())
    assert same_to_float16(stored.numpy(), online.numpy())
    assert np.array_equal(stored.numpy(), np.load(root / "store" / "softlabels.npy").astype(np.float32)[pairs[:, 0], pairs[:, 1]])


def test_a_dump_leaves_the_teacher_as_it_was(made, tmp_path, monkeypatch):
    _, inputs, _ = made
    before = load_network(inputs["teacher"], CPU)[0].state_dict()
    used = []

    def keep(folder, device):
        """The network itself, whose batch norms have statistics that could change."""
        used.append(load_network(folder, device))
        return used[-1]

    monkeypatch.setattr(dump, "load_teacher", keep)
    dump.dump_soft_labels(SETTINGS, inputs, tmp_path, Runtime("cpu"))
    (network, _), *others = used
    assert not others
    assert not network.training
    assert "norm.running_mean" in before
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


def test_two_dumps_are_the_same_bits(made, tmp_path):
    root, inputs, _ = made
    dump.dump_soft_labels(SETTINGS, inputs, tmp_path, Runtime("cpu"))
    assert (tmp_path / "softlabels.npy").read_bytes() == (root / "store" / "softlabels.npy").read_bytes()


def test_a_stopped_dump_leaves_no_store(made, tmp_path):
    answers = iter([False, True])
    with pytest.raises(InterruptedTraining, match="stopped"):
        dump.dump_soft_labels(SETTINGS, made[1], tmp_path / "new", Runtime("cpu", stop_requested=lambda: next(answers)))
    assert list((tmp_path / "new").iterdir()) == []


def test_outputs_too_large_for_float16_are_refused(made, tmp_path):
    network, description = load_network(made[1]["teacher"], CPU)
    network.classifier.bias.fill_(70_000.0)
    save_network(network, description, tmp_path / "teacher")
    write_receipt(tmp_path / "teacher", "model.safetensors")
    with pytest.raises(UserError, match="float16"):
        dump.dump_soft_labels(SETTINGS, {**made[1], "teacher": tmp_path / "teacher"}, tmp_path / "new", Runtime("cpu"))
    assert list((tmp_path / "new").iterdir()) == []


def test_a_good_store_opens(store):
    logits, rows = open_store(store, SHAPE, need_no_draws)
    assert rows is None
    assert np.array_equal(logits, np.load(store / "softlabels.npy").reshape(-1, CLASSES))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-2])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, remove])
def test_a_damaged_store_is_refused(store, damage):
    damage(store / "softlabels.npy")
    with pytest.raises(UserError, match=r"softlabels\.npy is (corrupt|missing)"):
        stored_teacher(store, SHAPE, CPU, need_no_draws)


@pytest.mark.parametrize("shape", [(IMAGES + 1, VIEWS, CLASSES), (IMAGES, VIEWS // 2, CLASSES), (IMAGES, VIEWS, CLASSES + 1)])
def test_a_store_of_another_shape_is_refused(store, shape):
    with pytest.raises(UserError, match="must be float16 of shape"):
        stored_teacher(store, shape, CPU, need_no_draws)


def test_a_store_of_another_number_format_is_refused(store):
    np.save(store / "softlabels.npy", np.zeros(SHAPE, np.float32))
    write_receipt(store, "softlabels.npy")
    with pytest.raises(UserError, match="is float32"):
        stored_teacher(store, SHAPE, CPU, need_no_draws)


@pytest.fixture(scope="module")
def few(made, tmp_path_factory):
    """The folder of a store that has only the views that some students draw."""
    folder = tmp_path_factory.mktemp("few")
    metrics = dump.dump_soft_labels(OF_SOME_EPOCHS, made[1], folder, Runtime("cpu"))
    write_receipt(folder, "softlabels.npy")
    assert metrics == {"images": IMAGES, "views": VIEWS, "dumped": sum(map(len, views_seen()))}
    return folder


def test_a_dump_for_some_epochs_has_the_views_that_are_drawn_in_them_and_no_other(made, few):
    stored, everything = np.load(few / "softlabels.npy"), np.load(made[0] / "store" / "softlabels.npy")
    expected = np.concatenate([everything[image, views] for image, views in enumerate(views_seen())])
    assert stored.dtype == np.float16
    assert len(expected) < IMAGES * EPOCHS
    assert same_to_float16(stored, expected.astype(np.float64))


def test_a_student_finds_each_view_that_it_draws(made, few):
    root = made[0]
    teachers = [
        stored_teacher(root / "store", SHAPE, CPU, need_no_draws),
        stored_teacher(few, SHAPE, CPU, lambda: drawn_views(3, 2, EPOCHS, IMAGES, ViewSpace(PAD, True))),
    ]
    pairs = np.random.default_rng(2).permutation([(i, v) for i, views in enumerate(views_seen()) for v in views])
    images, views = torch.from_numpy(pairs).unbind(1)
    (every, _, _), (found, seen, _) = (teacher(images, views, torch.empty(0), torch.empty(0)) for teacher in teachers)
    assert (found.dtype, found.shape, seen) == (torch.float32, (len(pairs), CLASSES), {})
    assert same_to_float16(found.numpy(), every.double().numpy())
    missing = next(view for view in range(VIEWS) if view not in views_seen()[0])
    with pytest.raises(IndexError):
        teachers[1](torch.tensor([0]), torch.tensor([missing]), torch.empty(0), torch.empty(0))


@pytest.mark.parametrize("other", [(4, 2, EPOCHS), (3, 1, EPOCHS), (3, 2, EPOCHS + 1)])
def test_a_store_for_other_students_is_refused(few, other):
    with pytest.raises(UserError, match=r"must be float16 of shape \(rows, classes\)"):
        stored_teacher(few, SHAPE, CPU, lambda: drawn_views(*other, IMAGES, ViewSpace(PAD, True)))


def test_few_views_are_those_of_which_a_mean_student_draws_at_most_half():
    counts = [len(set(np.random.default_rng(i).integers(162, size=111))) for i in range(2000)]
    assert expected_views(111, 4, True) == pytest.approx(np.mean(counts), abs=1)
    assert [draws_few(epochs, 4, True) for epochs in (0, 1, 111, 112, 200)] == [False, True, True, False, False]
    assert not draws_few(1, 0, False)


@pytest.mark.parametrize("whole", [True, False])
def test_a_check_confirms_a_good_store(made, few, whole):
    root, inputs, _ = made
    settings, folder = (SETTINGS, root / "store") if whole else (OF_SOME_EPOCHS, few)
    found = dump.check_soft_labels(settings, inputs, folder, "cpu", samples=200)
    assert found["samples"] == 200
    assert found["share_equal"] > 0.9
    assert found["largest_difference_in_float16_spacings"] < 1000


def test_a_check_sees_that_a_store_belongs_to_another_network(made, tmp_path):
    root, inputs, _ = made
    write_teacher(tmp_path / "other", seed=1)
    found = dump.check_soft_labels(SETTINGS, {**inputs, "teacher": tmp_path / "other"}, root / "store", "cpu", samples=200)
    assert found["share_equal"] < 0.05


def test_a_check_measures_the_size_of_a_difference(made, store):
    values = np.load(store / "softlabels.npy")
    values = np.where(values == 0, np.float16(1e-3), values)
    np.save(store / "softlabels.npy", (values + 8 * np.spacing(np.abs(values))).astype(np.float16))
    write_receipt(store, "softlabels.npy")
    found = dump.check_soft_labels(SETTINGS, made[1], store, "cpu", samples=200)
    assert found["share_equal"] < 0.05
    assert 4 <= found["largest_difference_in_float16_spacings"] <= 16


def test_loading_a_teacher_takes_no_random_numbers(made):
    """Else a student with dropout would differ between stored labels and a teacher online."""
    before = torch.get_rng_state()
    load_network(made[0] / "teacher", CPU)
    assert torch.equal(torch.get_rng_state(), before)


# Dumps a store of 6 MB and then one of 60 MB, and looks all of it up; prints by how many MB memory of its own grew in between.
MEMORY = """
import sys
from pathlib import Path
import numpy as np
import torch
from gendistill.data.images import Images, save_images
from gendistill.data.views import ViewSpace
from gendistill.networks.trained import Description, save_network
from gendistill.runtime import Runtime
from gendistill.softlabels.dump import dump_soft_labels
from gendistill.training.teacher import stored_teacher
from tests.test_softlabels import NETWORK, SETTINGS, VIEWS, write_receipt

root, classes = Path(sys.argv[1]), 1000

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1000

def dump(count, peak=lambda: None):
    pixels, labels = np.zeros((count, 1, 8, 8), np.uint8), np.zeros(count, np.int64)
    splits = {"train": slice(count), "test": slice(1)}
    arrays = [{split: array[part] for split, part in splits.items()} for array in (pixels, labels)]
    save_images(Images(*arrays, [str(i) for i in range(classes)], [], []), root / f"data{count}")
    write_receipt(root / f"data{count}", "dataset.safetensors")
    runtime = Runtime("cpu")
    runtime.progress = lambda done, total: peak()
    dump_soft_labels(SETTINGS, {"dataset": root / f"data{count}", "teacher": root / "teacher"}, root / f"store{count}", runtime)
    write_receipt(root / f"store{count}", "softlabels.npy")

torch.set_num_threads(1)
description = Description(NETWORK, [1, 8, 8], classes, [120.0], [70.0], "float32")
save_network(description.build(), description, root / "teacher")
write_receipt(root / "teacher", "model.safetensors")
dump(60)
before, seen = anonymous(), []
dump(600, lambda: seen.append(anonymous()))
print(max(seen) - before)
before = anonymous()
teacher = stored_teacher(root / "store600", (600, VIEWS, classes), torch.device("cpu"), None)
nothing = torch.empty(0)
# Numbers, not tensors: small arrays that are kept between large ones that are not make the heap grow.
sums = [teacher(torch.full((VIEWS,), image), torch.arange(VIEWS), nothing, nothing)[0].sum().item() for image in range(600)]
print(anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells memory as Linux does")
def test_neither_dump_nor_look_up_holds_the_whole_store_in_memory(tmp_path):
    (tmp_path / "teacher").mkdir()
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "store600/softlabels.npy").stat().st_size > 60e6
    dumped, looked_up = map(float, done.stdout.split())
    assert dumped < 15
    assert looked_up < 15
