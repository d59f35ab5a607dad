"""The soft-labels step of text: a teacher reads the training text once, and its logits are written down."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gendistill.errors import InterruptedTraining, UserError
from gendistill.files import open_atomic
from gendistill.language.corpus import load_corpus
from gendistill.language.evaluate import streams
from gendistill.language.teacher import STORE, load_teacher
from gendistill.language.trained import logits_of
from gendistill.precision import choose_device, make_deterministic

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

# Words of each stream in one forward pass. BAN's students read as many, so theirs are the same bits as a teacher's online; those
# of students that read more or fewer are so but for rounding.
UNROLLED_STEPS = 35


def dump_language_soft_labels(
    settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime"
) -> dict[str, Any]:
    """Write `softlabels.npy`: the teacher's logits, float16, shape (L, B, V), in eval mode and with its state carried over.

    The streams are those of a student with this batch size, which reads the file from start to end in each epoch. Its size is
    2 bytes x words x vocabulary, never all in memory: 18.6 GB for the Penn Treebank. Where that is too much, set
    soft_labels: online.

    Args:
        settings: `batch_size` of the students' recipe. The forward pass has the teacher's own precision.
        inputs: folders of `teacher` and `dataset`.
        folder: where the store goes.
        runtime: device, progress.

    Returns:
        The words of a stream, and the number of streams.

    Raises:
        UserError: an input is missing or corrupt, the disk is full, or the outputs don't fit float16.
    """
    make_deterministic()
    device = choose_device(runtime.device)
    corpus = load_corpus(inputs["dataset"])
    network, description = load_teacher(inputs["teacher"], corpus.vocabulary, device)
    tokens, _ = streams(torch.from_numpy(corpus.tokens["train"]).long().to(device), settings["batch_size"])
    state, done = network.initial_state(tokens.shape[1]), 0
    header = {"descr": "<f2", "fortran_order": False, "shape": (*tokens.shape, len(corpus.vocabulary))}
    with open_atomic(folder / STORE) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in tokens.split(UNROLLED_STEPS):
            if runtime.stop_requested():
                raise InterruptedTraining("stopped before all soft labels were written; the next call starts again")
            logits, state = logits_of(network, description.precision, part, state)
            if not (rounded := logits.half()).isfinite().all():
                raise UserError(f"the logits of {inputs['teacher']} are too large for float16 (above 65504): it has diverged")
            file.write(rounded.cpu().numpy().tobytes())
            done += part.numel()
            runtime.progress(done, tokens.numel())
    return {"words": tokens.shape[0], "streams": tokens.shape[1]}
