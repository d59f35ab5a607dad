"""The agreement step: how closely a student follows its teacher, and how well both know the labels."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.data.sources import Data, Source, open_data
from gendistill.errors import UserError
from gendistill.networks.trained import Description, load_network, logits_of
from gendistill.precision import choose_device, make_deterministic

if TYPE_CHECKING:
    from collections.abc import Callable

    from gendistill.runtime import Runtime

SPLITS = ("train", "test")
BATCH_SIZE = 200
# Plain images have no other views.
NO_VIEWS = {"pad": 0, "flip": False}


def evaluate_agreement(settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Agreement of a student with its teacher on the plain training and test images (EKD Tables 2 and 3).

    Args:
        settings: `temperature` of the KD loss; 4 in EKD.
        inputs: folders of the `dataset` and of the networks `student` and `teacher`.
        folder: of the step; it has no file besides the receipt.
        runtime: device, threads, log, and where the images lie if they are files.

    Returns:
        The means of the measures of `agreement`, shares in percent, each for the training and for the test images:
        `kd_error_train_pct`, `ce_loss_train`, `kd_loss_train`, `kd_divergence_train`,
        `student_error_train_pct`, `teacher_error_train_pct`, `..._test...`.

    Raises:
        UserError: an input is missing or corrupt, or student, teacher and data set differ in classes or image shape.
    """
    make_deterministic()
    device = choose_device(runtime.device)
    data = open_data(inputs["dataset"], NO_VIEWS, runtime.source, device, runtime.threads)
    networks = {role: load_network(inputs[role], device) for role in ("student", "teacher")}
    check_fit(data, {role: description for role, (_, description) in networks.items()})
    student, teacher = (partial(logits_of, *networks[role]) for role in ("student", "teacher"))
    metrics = {}
    for split in SPLITS:
        means = mean_agreement(data.splits[split], student, teacher, settings["temperature"])
        found = {_metric(measure, split): 100 * mean if _is_share(measure) else mean for measure, mean in means.items()}
        runtime.log("  ".join(f"{name} {value:.4g}" for name, value in found.items()))
        metrics.update(found)
    return metrics


def check_fit(data: Data, descriptions: dict[str, Description]) -> None:
    """Check that the networks can be compared on a data set.

    Raises:
        UserError: one of them was trained on another number of classes or another image shape than the data set has.
    """
    expected = (data.classes, list(data.shape))
    found = {role: (description.classes, list(description.shape)) for role, description in descriptions.items()}
    if any(each != expected for each in found.values()):
        told = ", ".join(f"the {role} {_told(*each)}" for role, each in {**found, "data set": expected}.items())
        raise UserError(f"student and teacher can't be compared: {told}. Train both on the data set they are compared on.")


def mean_agreement(
    source: Source, student: "Callable[[Tensor], Tensor]", teacher: "Callable[[Tensor], Tensor]", temperature: float
) -> dict[str, float]:
    """Means of the measures of `agreement` over all images; `student` and `teacher` take images and give logits.

    Batch by batch, and only the measures are kept: the logits of ImageNet would not fit into memory.
    """
    batches = zip(source.plain(BATCH_SIZE), source.labels.split(BATCH_SIZE), strict=True)
    parts = [agreement(student(images), teacher(images), labels, temperature) for images, labels in batches]
    return {measure: torch.cat([part[measure] for part in parts]).mean().item() for measure in parts[0]}


def agreement(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> dict[str, Tensor]:
    """How a student's logits agree with its teacher's, sample by sample, computed in float64.

    Args:
        student: logits, float (B, K).
        teacher: logits, float (B, K).
        labels: int64 (B,).
        temperature: T of the KD loss.

    Returns:
        float64 (B,) each, losses in nats:
        `kd_error`: 1 where the two predict different classes, else 0;
        `ce_loss`: the student's cross-entropy with the label, without the weight alpha that it has in EKD's training loss;
        `kd_loss`: -T^2 sum_k p_k ln q_k, p = softmax(teacher / T), q = softmax(student / T): EKD's L_KD, at least T^2 times
        the entropy of p;
        `kd_divergence`: T^2 KL(p || q), the same without that entropy;
        `student_error` and `teacher_error`: 1 where the label is not predicted, else 0.
    """
    student, teacher = student.double(), teacher.double()
    by_student, by_teacher = student.argmax(1), teacher.argmax(1)
    log_p, log_q = (teacher / temperature).log_softmax(1), (student / temperature).log_softmax(1)
    p = log_p.exp()
    return {
        "kd_error": (by_student != by_teacher).double(),
        "ce_loss": F.cross_entropy(student, labels, reduction="none"),
        "kd_loss": -(temperature**2) * (p * log_q).sum(1),
        "kd_divergence": temperature**2 * (p * (log_p - log_q)).sum(1),
        "student_error": (by_student != labels).double(),
        "teacher_error": (by_teacher != labels).double(),
    }


def _is_share(measure: str) -> bool:
    return measure.endswith("_error")


def _metric(measure: str, split: str) -> str:
    return f"{measure}_{split}_pct" if _is_share(measure) else f"{measure}_{split}"


def _told(classes: int, shape: list[int]) -> str:
    return f"has {classes} classes and images of {'x'.join(map(str, shape))}"
