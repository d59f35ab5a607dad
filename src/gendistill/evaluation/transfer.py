"""The transfer step: how well a linear SVM tells other classes apart by a network's penultimate features."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from gendistill.data.images import load_images
from gendistill.errors import UserError
from gendistill.networks.trained import Description, features_of, in_batches, load_network
from gendistill.precision import choose_device, make_deterministic

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

COSTS = [10.0**e for e in range(-4, 2)]


def evaluate_transfer(settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Train a linear SVM on penultimate features of the target's training images, and test it (TT Table 6).

    The images are resized to the size that the network was trained on. Features are standardised by the training images;
    the SVM's C is chosen by 5-fold cross-validation on training images only (TT states neither).

    Args:
        settings: none.
        inputs: folders of the `network` and of the target `dataset`.
        folder: of the step; it has no file besides the receipt.
        runtime: device, log.

    Returns:
        Test and training error in percent, and the chosen C.

    Raises:
        UserError: an input is missing or corrupt.
    """
    make_deterministic()
    device = choose_device(runtime.device)
    network, description = load_network(inputs["network"], device)
    data = load_images(inputs["dataset"])
    features = {
        split: in_batches(
            lambda batch: features_of(network, description, fit_to(batch, description)), torch.from_numpy(images), device
        ).numpy()
        for split, images in data.images.items()
    }
    result = linear_svm(features["train"], data.labels["train"], features["test"], data.labels["test"])
    runtime.log(f"error {result['test_error_pct']:.2f} % at C = {result['C']:g}")
    return result


def linear_svm(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> dict[str, float]:
    """Errors in percent of a linear SVM; features are float (N, F), labels int64 (N,)."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    folds = int(min(5, np.bincount(train_labels)[np.unique(train_labels)].min()))
    if folds < 2:
        raise UserError("a linear SVM needs at least 2 training images of each class to choose C: set dataset.train_per_class")
    svm = make_pipeline(StandardScaler(), LinearSVC(dual="auto", random_state=0, max_iter=5000))
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    search = GridSearchCV(svm, {"linearsvc__C": COSTS}, cv=split).fit(train, train_labels)
    return {
        "test_error_pct": 100 * float(1 - search.score(test, test_labels)),
        "train_error_pct": 100 * float(1 - search.score(train, train_labels)),
        "C": search.best_params_["linearsvc__C"],
    }


def fit_to(images: torch.Tensor, description: Description) -> torch.Tensor:
    """Images as the network expects them: uint8 (B, C', H', W') -> uint8 (B, C, H, W).

    Resized bilinearly (with antialiasing when they shrink); grey is repeated to RGB, RGB averaged to grey.
    """
    channels, height, width = description.shape
    if images.shape[2:] != (height, width):
        images = F.interpolate(images.float(), (height, width), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
    if images.shape[1] == channels:
        return images
    return images.float().mean(dim=1, keepdim=True).round().byte().expand(-1, channels, -1, -1)
