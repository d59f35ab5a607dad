"""The member step: one network taken out of several that were trained in one run."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gendistill.data.sources import open_data
from gendistill.files import verified, write_csv
from gendistill.networks.cost import image_flops
from gendistill.networks.trained import Description, load_network, logits_of, save_network
from gendistill.precision import choose_device, layout, make_deterministic, number_format
from gendistill.targets import module_of
from gendistill.training.loop import Row, evaluate, predict
from gendistill.training.run import best_epoch, save_test_logits

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

# Float32 sums in another order; the numbers compared are logits.
TOLERANCE = {"rtol": 1e-3, "atol": 1e-3}
# Images on which the member must say what it said among the others.
COMPARED = 64


def take_member(settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Take one network out of a joint one, with nothing that only training needed, and evaluate it.

    Writes `model.safetensors`, `logits.safetensors` (of the test images) and `history.csv`: of the main member that of the
    training, of another its last epoch, the only one in which it was evaluated.

    Args:
        settings: those of the training; `taken`: the name of the member; `main`: whether the training's history is of it.
        inputs: folders of `joint`, the training, and of `dataset`.
        folder: where the results go.
        runtime: device and threads.

    Returns:
        Last-epoch metrics; for the main member the best epoch's, marked as such; parameters, multiply-adds of one image, and the
        number format.

    Raises:
        UserError: an input is missing or corrupt.
        AssertionError: the member alone does not say what it said among the others.
    """
    make_deterministic()
    device = choose_device(runtime.device)
    recipe, member = settings["recipe"], settings["taken"]
    joint, described = load_network(inputs["joint"], device)
    alone = module_of(described.network).alone(described.network, member)
    description = Description(**{**vars(described), "network": alone})
    network = description.build().to(device, memory_format=layout(recipe["precision"]))
    network.load_state_dict(joint.take(member).state_dict())
    data = open_data(inputs["dataset"], recipe, runtime.source, device, runtime.threads)
    # In float32, where rounding hides nothing.
    exact = Description(**{**vars(description), "precision": "float32"})
    few = next(iter(data.splits["test"].plain(COMPARED)))
    with torch.inference_mode():
        among = joint.eval().float().member_logits(exact.normalise(few))[member].float()
    torch.testing.assert_close(logits_of(network.eval(), exact, few), among, **TOLERANCE)
    final: Row = {}
    for split, source in data.splits.items():
        if split == "train" and data.on_disk:
            # Another pass over all files.
            continue
        logits = predict(network, description, source, runtime.processes)
        final |= evaluate(split, logits, source.labels)
        if split == "test":
            save_test_logits(logits, source.labels, folder)
    with open(verified(inputs["joint"] / "history.csv"), newline="", encoding="utf-8") as file:
        trained = [{k: int(v) if k == "epoch" else float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    last = {name: value for name, value in trained[-1].items() if not name.startswith(("test", "validation", "train"))}
    shown = {name: value for name, value in final.items() if not name.startswith("train")}
    history = [*trained[:-1], trained[-1] | shown] if settings["main"] else [last | shown]
    save_network(network, description, folder)
    write_csv(folder / "history.csv", history)
    parameters = sum(p.numel() for p in network.parameters())
    runtime.log(f"{member}: {parameters:,} parameters, test error {final['test_error_pct']:.2f} %")
    return {
        **final,
        **(best_epoch(history) if settings["main"] else {}),
        "parameters": parameters,
        "multiply_adds": image_flops(alone, data.shape, data.classes) // 2,
        "number_format": str(number_format(recipe["precision"], device)).removeprefix("torch."),
    }
