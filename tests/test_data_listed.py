"""Food-101, Flowers-102, Cars, CUB-200 and Pets from small copies of the right layout: indexed by their authors' lists, downloaded
when asked to, refused with what to do when something is missing or of another layout."""

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gendistill.data import download as download_module
from gendistill.data.decode import centre_view
from gendistill.data.listed import fetch
from gendistill.data.on_disk import FileImages
from gendistill.data.prepare import prepare_dataset
from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import SettingError, UserError
from gendistill.networks.trained import load_network
from gendistill.plan.evaluations import add_fine_tune
from gendistill.plan.fingerprint import fingerprint
from gendistill.plan.paths import CONFIG
from gendistill.plan.plan import Plan, Study
from gendistill.plan.runs import add_dataset
from gendistill.plan.scale import scaled
from gendistill.plan.settings import load_group
from gendistill.plan.step import make_step
from gendistill.plan.validate import check_group
from gendistill.receipt import write_receipt
from gendistill.runtime import Runtime
from gendistill.training import run
from tests.small_archives import hash_of, served, write_tar
from tests.small_listed import CLASSES, MAKE, index_of, mat, module_of, pairs
from tests.tiny import FILES, FROM_LABELS, RECIPE

NAMES = ("food101", "flowers102", "cars", "cub200", "pets")
DOWNLOADED = ("food101", "flowers102", "cub200", "pets")
# As torchvision calls the folders, so that it can read them too.
FOLDERS = {"food101": "food", "flowers102": "flowers-102", "cars": "stanford_cars", "cub200": "cub", "pets": "oxford-iiit-pet"}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Write a small copy of a data set; return its folder, the expected images of each split, and the names of its classes."""

    def write(name):
        members, expected, names = MAKE[name]()
        root = tmp_path / FOLDERS[name]
        for file, content in members.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(content)
        module = module_of(name)
        counts = {split: len(images) for split, images in expected.items()}
        monkeypatch.setattr(module, "COUNTS", {"trnid": 3, "valid": 3, "tstid": 4} if name == "flowers102" else counts)
        if name == "flowers102":
            lists = ("imagelabels.mat", "setid.mat")
            originals = {list_: (module.SITE + list_, "md5", hash_of(root / list_, "md5")) for list_ in lists}
            monkeypatch.setattr(module, "ORIGINALS", module.ORIGINALS | originals)
        return root, expected, names

    return write


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Serve a small data set in archives as the authors have them; return what `fetch` takes, and the folder that is served."""
    monkeypatch.setattr(download_module, "PAUSE", 0)
    with served(tmp_path / "site") as address:

        def originals(name):
            members, _, _ = MAKE[name]()
            found = {}
            for result, (url, algorithm, _) in module_of(name).ORIGINALS.items():
                file = tmp_path / "site" / url.rpartition("/")[2]
                parts = {member: content for member, content in members.items() if member.split("/")[0] == result}
                file.write_bytes(parts[result]) if result in parts else write_tar(file, parts, "w:gz")
                found[result] = (address + file.name, algorithm, hash_of(file, algorithm))
            monkeypatch.setattr(module_of(name), "ORIGINALS", found)
            return found, tmp_path / "site"

        yield originals


# What the index has


def test_images_and_labels_are_those_of_the_lists(small, name):
    root, expected, names = small(name)
    index = index_of(name, root)
    assert pairs(index) == expected
    assert index.classes == names
    assert index.image_size == 16
    assert index.labels["train"].dtype == np.int64
    images = FileImages(root, index.paths["test"], index.labels["test"], 16, torch.device("cpu"), 1)
    first = centre_view(root / expected["test"][0][0], 16)
    np.testing.assert_array_equal(next(images.plain(2))[0].permute(1, 2, 0).numpy(), first)


@pytest.mark.parametrize(
    ("name", "kind", "splits"),
    [
        ("food101", "Food101", {"train": "train", "test": "test"}),
        ("flowers102", "Flowers102", {"train": "train", "test": "test"}),
        ("pets", "OxfordIIITPet", {"train": "trainval", "test": "test"}),
        ("cars", "StanfordCars", {"train": "train", "test": "test"}),
    ],
)
def test_torchvision_reads_the_same_from_the_same_folder(small, monkeypatch, name, kind, splits):
    root, _, names = small(name)
    usual = getattr(import_torchvision().datasets, kind)
    if name == "flowers102":
        files = {"label": "imagelabels.mat", "setid": "setid.mat"}
        monkeypatch.setattr(usual, "_file_dict", {key: (file, hash_of(root / file, "md5")) for key, file in files.items()})
    ours = index_of(name, root, **({"train_parts": ["trnid"]} if name == "flowers102" else {}))
    for split, theirs in splits.items():
        listed = usual(str(root if name == "food101" else root.parent), split=theirs)
        if name == "cars":
            samples = listed._samples
        else:
            samples = list(zip(listed._images if name == "pets" else listed._image_files, listed._labels, strict=True))
        assert sorted((str(Path(file).relative_to(root)), label) for file, label in samples) == sorted(pairs(ours)[split])
    if name in ("food101", "cars"):
        assert ours.classes == list(listed.classes) == names


def test_flowers_for_validation_are_for_training_or_not_used(small):
    root, expected, _ = small("flowers102")
    assert pairs(index_of("flowers102", root, train_parts=["trnid"])) == {"train": expected["train"][:3], "test": expected["test"]}


def test_counts_are_those_that_the_authors_state():
    stated = {"food101": (75_750, 25_250), "cars": (8_144, 8_041), "cub200": (5_994, 5_794), "pets": (3_680, 3_669)}
    assert {name: tuple(module_of(name).COUNTS[split] for split in ("train", "test")) for name in stated} == stated
    assert module_of("flowers102").COUNTS == {"trnid": 1020, "valid": 1020, "tstid": 6149}
    for name in NAMES:
        settings = load_group("dataset", name)
        assert settings["classes"] == {"food101": 101, "flowers102": 102, "cars": 196, "cub200": 200, "pets": 37}[name]


# Downloads


@pytest.mark.parametrize("name", DOWNLOADED)
def test_it_is_downloaded_when_asked_for(small, site, monkeypatch, capsys, name):
    root, expected, _ = small(name)
    shutil.rmtree(root)
    with pytest.raises(UserError, match=rf"No such file or directory. Put .* with: python -m gendistill.data.{name} {root}$"):
        index_of(name, root)
    assert not root.exists()
    originals, folder = site(name)
    fetch(str(root), originals)
    assert pairs(index_of(name, root)) == expected
    # All is there: nothing is asked of the site. Archives are no part of the content, so they may be removed.
    content = fingerprint(str(root), "x.yaml", True)
    shutil.rmtree(folder)
    shutil.rmtree(f"{root}-archives")
    fetch(str(root), originals)
    assert fingerprint(str(root), "x.yaml", True) == content


@pytest.mark.parametrize("name", DOWNLOADED)
def test_archives_of_another_hash_are_refused(small, site, name):
    root, _, _ = small(name)
    shutil.rmtree(root)
    originals, folder = site(name)
    result, (url, _, _) = next(iter(originals.items()))
    archive = folder / url.rpartition("/")[2]
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(UserError, match=rf"{archive.name} could not be had .* at {root}-archives/{archive.name} by hand"):
        fetch(str(root), originals)
    assert not (root / result).exists()


@pytest.mark.parametrize("name", DOWNLOADED)
def test_the_command_that_the_message_names(tmp_path, monkeypatch, name):
    """It asks for the real archive, and finds another file in its place."""
    root = tmp_path / "copy"
    monkeypatch.setattr(sys, "argv", [name, str(root)])
    monkeypatch.setattr(
        download_module.urllib.request, "urlopen", lambda request, timeout: (_ for _ in ()).throw(OSError(request.full_url))
    )
    monkeypatch.setattr(download_module, "PAUSE", 0)
    url, algorithm, digest = next(iter(module_of(name).ORIGINALS.values()))
    with pytest.raises(SystemExit, match=rf"{url}: .*{algorithm.upper()} {digest}.* at {root}-archives/") as stopped:
        runpy.run_path(module_of(name).__file__, run_name="__main__")
    assert isinstance(stopped.value.code, str)
    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(SystemExit, match="one argument is needed"):
        runpy.run_path(module_of(name).__file__, run_name="__main__")


def test_an_archive_with_a_member_outside_is_refused(tmp_path, monkeypatch):
    with served(tmp_path / "site") as address:
        path = write_tar(tmp_path / "site/a.tgz", {"../outside.txt": b"x"}, "w:gz")
        with pytest.raises(UserError, match="outside"):
            fetch(str(tmp_path / "copy"), {"jpg": (address + "a.tgz", "md5", hash_of(path, "md5"))})
    assert not (tmp_path / "outside.txt").exists()


# What is wrong with a copy


LISTS = [
    ("food101", "food-101/meta/test.txt"),
    ("flowers102", "setid.mat"),
    ("flowers102", "imagelabels.mat"),
    ("cars", "devkit/cars_meta.mat"),
    ("cars", "devkit/cars_train_annos.mat"),
    ("cars", "cars_test_annos_withlabels.mat"),
    ("cub200", "CUB_200_2011/images.txt"),
    ("cub200", "CUB_200_2011/classes.txt"),
    ("pets", "annotations/trainval.txt"),
]


def hint(name, root):
    """How each message ends."""
    if name == "cars":
        return rf"no longer has the data set.* and put cars_test_annos_withlabels.mat into {root}\.$"
    return rf"download .* GB with: python -m gendistill.data.{name} {root}$"


@pytest.mark.parametrize(("name", "file"), LISTS)
@pytest.mark.parametrize("content", [None, b"\x00\xff1 one two three\n", b""])
def test_a_missing_or_damaged_list_is_named(small, name, file, content):
    root, _, _ = small(name)
    (root / file).unlink() if content is None else (root / file).write_bytes(content)
    said = "cannot be read: No such file" if content is None else ""
    with pytest.raises(UserError, match=rf"dataset.path = {root}: .*{said}.*{hint(name, root)}") as refused:
        index_of(name, root)
    if content:
        assert Path(file).name in str(refused.value) or name == "food101"


def test_absent_images_are_counted_and_the_first_is_named(small, name):
    root, expected, _ = small(name)
    for file, _ in expected["train"][1:3]:
        (root / file).unlink()
    first, count = expected["train"][1][0], len(expected["train"])
    with pytest.raises(UserError, match=rf"2 of the {count} train images are missing, the first is {first}\. .*{hint(name, root)}"):
        index_of(name, root)
    shutil.rmtree((root / first).parent)
    with pytest.raises(UserError, match=rf" of the {count} train images are missing"):
        index_of(name, root)


def test_lists_of_another_length_or_of_other_classes_are_refused(small, monkeypatch, name):
    root, expected, _ = small(name)
    with pytest.raises(UserError, match=rf"its list of train images has 3 of 3 classes, there must be 4\. .*{hint(name, root)}"):
        index_of(name, root, classes=4)
    counts = module_of(name).COUNTS
    last = list(counts)[-1]
    monkeypatch.setattr(module_of(name), "COUNTS", {**counts, last: 1000})
    with pytest.raises(UserError, match=rf"its list of test images names {len(expected['test'])}, there must be 1,000\. "):
        index_of(name, root)


def test_a_changed_list_of_flowers_is_refused(small):
    root, _, _ = small("flowers102")
    (root / "imagelabels.mat").write_bytes(mat(labels=np.array([[1, 1, 2, 2, 3, 1, 1, 2, 3, 3]], np.uint8)))
    with pytest.raises(UserError, match=r"imagelabels.mat is not the original \(its MD5 is not [0-9a-f]{32}\)"):
        index_of("flowers102", root)


def test_the_list_of_test_cars_must_have_labels(small):
    root, _, _ = small("cars")
    without = np.array([[(1, "00001.jpg")]], dtype=[("bbox_x1", object), ("fname", object)])
    (root / "cars_test_annos_withlabels.mat").write_bytes(mat(annotations=without))
    with pytest.raises(UserError, match="have no fields fname and class; the test images need the file with labels"):
        index_of("cars", root)


def test_lists_of_birds_that_number_other_images_are_refused(small):
    root, _, _ = small("cub200")
    with open(root / "CUB_200_2011/train_test_split.txt", "a") as file:
        file.write("10 1\n")
    with pytest.raises(UserError, match=r"train_test_split.txt number other images"):
        index_of("cub200", root)


# Settings and training


def test_which_flowers_may_be_trained_on():
    settings = load_group("dataset", "flowers102")
    check_group("dataset", {**settings, "train_parts": ["trnid"]}, "x.yaml")
    for wrong in (["valid"], ["trnid", "tstid"], "trnid", []):
        with pytest.raises(SettingError, match=r"dataset.train_parts = .*It must be \[trnid, valid\]"):
            check_group("dataset", {**settings, "train_parts": wrong}, "x.yaml")


def test_at_the_scale_smoke_the_five_are_different_data_sets_and_one_network_is_fine_tuned_on_each():
    study = Study(Plan(), "study", {"runtime": {}}, "x.yaml")
    scale = yaml.safe_load((CONFIG / "scale/smoke.yaml").read_text())
    targets = [add_dataset(study, scaled("dataset", load_group("dataset", name), scale, "transfer")) for name in NAMES]
    settings = {"network": load_group("network", "resnet8")}
    network = study.add("net", make_step("patriarch", "net-seed0", settings, {}, {"dataset": targets[0]}))
    steps = [add_fine_tune(study, "net", network, target, load_group("recipe", "digits"), 0) for target in targets]
    assert len({step.id for step in steps}) == len(NAMES)
    roles = [role for role, step in study.plan.roles.items() if step.startswith("fine_tune/")]
    assert len(roles) == len(NAMES)
    assert all(role.startswith("study-net-fine_tune-digits8x8") for role in roles)


def prepared(name, root, folder, **changes):
    settings = {**load_group("dataset", name), "classes": CLASSES, "content": "", **changes}
    settings.pop("path")
    metrics = prepare_dataset(settings, {}, folder, Runtime(source={"path": str(root)}))
    write_receipt(folder, {}, ("dataset.safetensors",), metrics, {})
    return metrics


def test_a_network_of_another_resolution_is_fine_tuned_on_it(small, tmp_path, name):
    """All its layers but the classifier; from files and from a packed store alike."""
    root, expected, _ = small(name)
    other, _, _ = small("pets" if name != "pets" else "cub200")
    metrics = prepared("pets" if name != "pets" else "cub200", other, tmp_path / "source", image_size=24)
    assert metrics["shape"] == [3, 24, 24]
    network = {"_target_": "gendistill.networks.imagenet_resnet.ImageNetResNet", "depth": 10, "width": 4}
    recipe = {**RECIPE, "pad": 0, "flip": True, "batch_size": 2, "epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0}
    settings = {"network": network, "objective": FROM_LABELS, "recipe": recipe, "seed": 0}
    runtime = Runtime("cpu", source={"path": str(other)})
    run.train_network({**settings, "seed": 1, "member": 0}, {"dataset": tmp_path / "source"}, tmp_path / "start", runtime)
    write_receipt(tmp_path / "start", {}, FILES, {}, {})
    for store in (None, "packed"):
        data, tuned = tmp_path / f"data-{store}", tmp_path / f"tuned-{store}"
        metrics = prepared(name, root, data, image_size=32, store=store)
        assert {key: metrics[key] for key in ("train_images", "test_images", "classes", "shape")} == {
            "train_images": len(expected["train"]),
            "test_images": len(expected["test"]),
            "classes": 3,
            "shape": [3, 32, 32],
        }
        inputs = {"dataset": data, "start": tmp_path / "start"}
        run.train_network(settings, inputs, tuned, Runtime("cpu", source={"path": str(root)}))
        write_receipt(tuned, {}, FILES, {}, {})
    before, after, again = (
        load_network(tmp_path / step, torch.device("cpu"))[0].state_dict() for step in ("start", "tuned-None", "tuned-packed")
    )
    torch.testing.assert_close(after, again, rtol=0, atol=0)
    kept = [key for key in before if key.endswith("weight") and not key.startswith("classifier")]
    for key in kept:
        torch.testing.assert_close(after[key], before[key], rtol=0, atol=1e-6)
    assert not torch.allclose(after["classifier.weight"], before["classifier.weight"])
