"""Small copies of the data sets that come with lists of their images, in their authors' layout."""

import importlib
import io
import json

import numpy as np

from gendistill.plan.settings import load_group
from tests.small_archives import encoded, picture

CLASSES = 3


def mat(**variables):
    from scipy.io import savemat

    stream = io.BytesIO()
    savemat(stream, variables)
    return stream.getvalue()


def annotations(rows):
    """A structure as that of Stanford Cars: a box, the class from 1, the name of the file."""
    fields = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    return mat(annotations=np.array([[(1, 2, 30, 20, np.uint8(label), name) for name, label in rows]], dtype=fields))


def jpegs(names):
    return {name: encoded(picture(i, 24, 20)) for i, name in enumerate(names)}


def food101():
    train = [f"{dish}/{i}" for dish in ("apple_pie", "waffles", "baklava") for i in (11, 7)]
    test = [f"{dish}/{i}" for dish in ("baklava", "apple_pie", "waffles") for i in (9,)]
    by_class = {
        split: {dish: [name for name in part if name.startswith(dish)] for dish in ("apple_pie", "baklava", "waffles")}
        for split, part in (("train", train), ("test", test))
    }
    lists = {f"food-101/meta/{split}.json": json.dumps(part).encode() for split, part in by_class.items()}
    lists |= {f"food-101/meta/{split}.txt": "\n".join(part).encode() for split, part in (("train", train), ("test", test))}
    files = {split: [f"food-101/images/{name}.jpg" for name in part] for split, part in (("train", train), ("test", test))}
    expected = {
        "train": [*zip(files["train"], [0, 0, 2, 2, 1, 1], strict=True)],
        "test": [*zip(files["test"], [1, 0, 2], strict=True)],
    }
    return lists | jpegs(files["train"] + files["test"]), expected, ["apple_pie", "baklava", "waffles"]


def flowers102():
    labels = [3, 1, 2, 2, 3, 1, 1, 2, 3, 3]
    parts = {"trnid": [6, 3, 1], "valid": [2, 4, 5], "tstid": [7, 10, 8, 9]}
    lists = {
        "imagelabels.mat": mat(labels=np.array([labels], np.uint8)),
        "setid.mat": mat(**{name: np.array([part], np.uint16) for name, part in parts.items()}),
    }
    names = {i: f"jpg/image_{i:05}.jpg" for i in range(1, 11)}
    expected = {
        "train": [(names[i], labels[i - 1] - 1) for i in (6, 3, 1, 2, 4, 5)],
        "test": [(names[i], labels[i - 1] - 1) for i in (7, 10, 8, 9)],
    }
    return lists | jpegs(names.values()), expected, ["1", "2", "3"]


def cars():
    train = [("00001.jpg", 3), ("00002.jpg", 1), ("00003.jpg", 2), ("00004.jpg", 1)]
    test = [("00001.jpg", 2), ("00002.jpg", 1), ("00003.jpg", 3)]
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Volvo 240 Sedan 1993"]
    lists = {
        "devkit/cars_meta.mat": mat(class_names=np.array([names], object)),
        "devkit/cars_train_annos.mat": annotations(train),
        "cars_test_annos_withlabels.mat": annotations(test),
    }
    expected = {
        "train": [(f"cars_train/{name}", label - 1) for name, label in train],
        "test": [(f"cars_test/{name}", label - 1) for name, label in test],
    }
    return lists | jpegs(file for part in expected.values() for file, _ in part), expected, names


def cub200():
    birds = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"]
    files = {i: f"{birds[i % 3]}/{birds[i % 3][4:]}_{i:04}_796{i}.jpg" for i in range(1, 10)}
    in_train = {i: int(i not in (2, 4, 9)) for i in files}
    tables = {
        "images": files,
        "image_class_labels": {i: i % 3 + 1 for i in files},
        "train_test_split": in_train,
        "classes": {i + 1: bird for i, bird in enumerate(birds)},
    }
    lists = {
        f"CUB_200_2011/{name}.txt": "".join(f"{i} {value}\n" for i, value in table.items()).encode()
        for name, table in tables.items()
    }
    images = {i: f"CUB_200_2011/images/{name}" for i, name in files.items()}
    expected = {"train": [(images[i], i % 3) for i in (1, 3, 5, 6, 7, 8)], "test": [(images[i], i % 3) for i in (2, 4, 9)]}
    return lists | jpegs(images.values()), expected, birds


def pets():
    train = [("Abyssinian_100", 1), ("american_bulldog_1", 2), ("Bengal_5", 3), ("american_bulldog_12", 2)]
    test = [("Bengal_1", 3), ("Abyssinian_2", 1), ("american_bulldog_3", 2)]
    lists = {
        f"annotations/{name}.txt": "".join(f"{image} {label} {1 + (label == 2)} 1\n" for image, label in rows).encode()
        for name, rows in (("trainval", train), ("test", test))
    }
    expected = {
        "train": [(f"images/{image}.jpg", label - 1) for image, label in train],
        "test": [(f"images/{image}.jpg", label - 1) for image, label in test],
    }
    lists |= {"annotations/trimaps/Bengal_1.png": b""}
    images = jpegs(file for part in expected.values() for file, _ in part)
    return lists | images, expected, ["Abyssinian", "american_bulldog", "Bengal"]


MAKE = {"food101": food101, "flowers102": flowers102, "cars": cars, "cub200": cub200, "pets": pets}


def module_of(name):
    return importlib.import_module(f"gendistill.data.{name}")


def index_of(name, root, **changes):
    """The index, by the settings of config/dataset; a small data set has 3 classes."""
    settings = {**load_group("dataset", name), "path": str(root), "classes": CLASSES, "image_size": 16, **changes}
    own = ("path", "image_size", "train_parts", "classes")
    return getattr(module_of(name), f"index_{name}")(**{key: settings[key] for key in own if key in settings})


def pairs(index):
    return {split: list(zip(index.paths[split], index.labels[split].tolist(), strict=True)) for split in index.paths}
