"""The training step of language models: one patriarch, or one generation, from its spec."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gendistill.data.views import derive_key
from gendistill.errors import SettingError
from gendistill.files import write_csv
from gendistill.language.corpus import load_corpus
from gendistill.language.loop import Row, fit, measure
from gendistill.language.teacher import Teacher, online_teacher, stored_teacher
from gendistill.language.trained import Description, save_language_model
from gendistill.precision import choose_device, make_deterministic, number_format
from gendistill.targets import instantiate
from gendistill.training.resume import load_resume, save_resume

if TYPE_CHECKING:
    from gendistill.runtime import Runtime


def train_language_model(settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Train one language model and write `model.safetensors` and `history.csv`.

    Args:
        settings: network, objective, recipe, seed, and generation or member.
        inputs: folders of `dataset`, and for a student of `softlabels` (stored) or `teacher` (online).
        folder: where the results go, and the resume checkpoint.
        runtime: device, threads, progress.

    Returns:
        Last-epoch perplexities (the main ones), those of the best epoch marked as such, and what the computation used.

    Raises:
        UserError: an input is missing or corrupt, or the settings don't fit the text.
        DivergedError: the loss or a perplexity was not finite.
        InterruptedTraining: a stop was requested; the next call resumes.
    """
    make_deterministic()
    device = choose_device(runtime.device)
    recipe, seed = settings["recipe"], settings["seed"]
    generation, member = settings.get("generation", 0), settings.get("member", 0)
    keys = {purpose: derive_key(purpose, seed, generation, member) for purpose in ("initialisation", "dropout")}
    corpus = load_corpus(inputs["dataset"])
    description = Description(settings["network"], corpus.vocabulary, recipe["precision"])
    torch.manual_seed(keys["initialisation"] % 2**63)
    network = description.build().to(device)
    text = {split: torch.from_numpy(tokens).long().to(device) for split, tokens in corpus.tokens.items()}
    teacher = _teacher(inputs, recipe, len(text["train"]), corpus.vocabulary, device)
    parameters = sum(p.numel() for p in network.parameters())
    dtype = str(number_format(recipe["precision"], device)).removeprefix("torch.")
    runtime.log(f"{parameters:,} parameters, {dtype} on {device}")
    history = fit(
        network,
        text,
        _objective(settings["objective"]),
        teacher,
        recipe,
        keys["dropout"],
        load_resume(folder, folder.name),
        lambda state: save_resume(folder, {"identity": folder.name, **state}),
        runtime,
    )
    train_perplexity = measure(network, text["train"], recipe)
    save_language_model(network, description, folder)
    write_csv(folder / "history.csv", history)
    return {
        "train_perplexity": train_perplexity,
        "validation_perplexity": history[-1]["validation_perplexity"],
        "test_perplexity": history[-1]["test_perplexity"],
        **best_epoch(history),
        "parameters": parameters,
        "tokens_per_second": float(np.median([row["tokens_per_second"] for row in history])),
        "number_format": dtype,
    }


def best_epoch(history: list[Row]) -> dict[str, Any]:
    """The perplexities of the epoch that is best on the validation text."""
    best = min(history, key=lambda row: row["validation_perplexity"])
    return {
        "best_epoch": int(best["epoch"]),
        "best_epoch_validation_perplexity": best["validation_perplexity"],
        "best_epoch_test_perplexity": best["test_perplexity"],
    }


def _objective(settings: dict[str, Any]) -> Callable[..., torch.Tensor]:
    if settings.get("needs") or settings.get("distil_until", 1) < 1:
        raise SettingError(
            f"objective.name = {settings['name']}: cannot be used for text, where an objective has logits and labels only, to the "
            "last epoch. Set another one, such as ban_label."
        )
    return instantiate(settings)


def _teacher(
    inputs: dict[str, Path], recipe: dict[str, Any], words: int, vocabulary: list[str], device: torch.device
) -> Teacher | None:
    if "softlabels" in inputs:
        shape = ((words - 1) // recipe["batch_size"], recipe["batch_size"], len(vocabulary))
        return stored_teacher(inputs["softlabels"], shape, device)
    if "teacher" in inputs:
        return online_teacher(inputs["teacher"], vocabulary, device)
    return None
