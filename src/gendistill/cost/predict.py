"""Time, memory and storage of a step on a calibrated device.

Expected seconds are for costs; a prediction is for a job, which must not run out of time or memory, and is larger:

- time: `TIME_MARGIN` times the expected seconds, and `TIME_RESERVE`;
- memory: the process and `MEMORY_RESERVE_MB`; soft labels, whose mapped pages count as resident; and, `MEMORY_MARGIN` times,
  the data set `DATA_COPIES` times and the larger of what the network takes (images with their padding, and `GAPS_OF_HEAP` times
  weights, each `WEIGHT_COPIES` times, and activations of a batch), and logits of a split;
- GPU memory: the context, data set, weights and activations, `MEMORY_MARGIN` times, and `WORKSPACE_MB` for cuDNN;
- disk: large files, and the state to resume from.

Another attempt gets `attempt` times the time and `MEMORY_GROWTH` times the memory of the one before.
"""

import math
from dataclasses import dataclass

from gendistill.cost.calibration import Calibration, seconds_of
from gendistill.cost.counts import Counts
from gendistill.cost.work import Pass, Work

MB = 2**20
TIME_MARGIN = 1.5
TIME_RESERVE = 300.0
MEMORY_MARGIN = 1.25
MEMORY_RESERVE_MB = 200.0
MEMORY_GROWTH = 1.5
# What is freed leaves gaps in the heap of a C library: measured, a training took 1.4 to 1.75 times its activations.
GAPS_OF_HEAP = 1.6
# As mapped file and as arrays; a data set that is made, as arrays that are put together and as the content of its file.
DATA_COPIES = 2.5
# Weights, gradients, momenta, weights in bfloat16, and a copy of weights and momenta while they are saved.
WEIGHT_COPIES = 6
WEIGHT_BYTES = 4
# Each of a split's logits twice in float32, while parts are joined, and in float64 with its log-probability.
LOGIT_BYTES = 24
# The largest array of a forward pass, with the one that it is computed from and the one that is computed next.
ARRAYS_OF_A_PASS = 3
# Forward, and backward by the images alone.
PASSES_BY_IMAGES = 2
WORKSPACE_MB = 500.0
# A shared file system in a bad hour.
DISK_BYTES_PER_SECOND = 100e6
# One core, in liblinear.
SVM_OPERATIONS_PER_SECOND = 1e9
# An hour's download is not predicted, but must fit into the job that makes a data set.
DOWNLOAD_RESERVE = 3600.0


@dataclass(frozen=True)
class Prediction:
    """What a job must be given; NaN where the work is unknown.

    Attributes:
        seconds: until it is done.
        memory_mb: of the machine, in MiB.
        gpu_memory_mb: of each GPU, in MiB; 0 on a CPU.
        disk_mb: of large files that it leaves or needs meanwhile, in MiB.
    """

    seconds: float
    memory_mb: float
    gpu_memory_mb: float
    disk_mb: float


def predict(work: Work, calibration: Calibration, attempt: int = 1) -> Prediction:
    """What to give a job that does this work on this type of device; `attempt` counts from 1."""
    if work.unknown:
        return Prediction(math.nan, math.nan, math.nan, math.nan)
    grown = MEMORY_GROWTH ** (attempt - 1)
    reserve = DOWNLOAD_RESERVE if work.kind in ("dataset", "text") else TIME_RESERVE
    on_gpu = calibration.type == "cuda" and work.computes
    gpu_memory = _gpu_memory_mb(work, calibration) if on_gpu else 0.0
    return Prediction(
        seconds=attempt * (TIME_MARGIN * expected_seconds(work, calibration) + reserve),
        memory_mb=grown * work.processes * _memory_mb(work, calibration, on_gpu),
        gpu_memory_mb=grown * gpu_memory,
        disk_mb=(sum(work.written.values()) + 2 * _state_bytes(work)) / MB,
    )


def expected_seconds(work: Work, calibration: Calibration) -> float:
    """Seconds that the step is expected to take, from the start of its process; NaN where the work is unknown."""
    if work.unknown:
        return math.nan
    files = (work.read_bytes + sum(work.written.values()) + work.checkpoints * _state_bytes(work)) / DISK_BYTES_PER_SECOND
    decoding = work.decoded * calibration.decode_seconds / work.threads
    computing = _training_seconds(work, calibration) + sum(_pass_seconds(look, calibration) for look in work.passes)
    if calibration.type == "cpu":
        # More threads than were measured are not counted on.
        computing *= calibration.threads / min(calibration.threads, work.threads)
        # Decoding needs the threads that the network has.
        computing += decoding
    svm = work.svm_operations / SVM_OPERATIONS_PER_SECOND
    # On a GPU images are decoded while it computes.
    return calibration.start_seconds + files + max(computing, decoding) / work.processes + svm


def _training_seconds(work: Work, calibration: Calibration) -> float:
    if work.counts is None:
        return 0.0
    kernels = work.training_steps * work.unrolled * work.counts.training_kernels
    terms = [kernels, work.trained * work.counts.training_flops, work.trained * work.counts.activation_bytes]
    return seconds_of(calibration.coefficients[work.precision]["training"], terms)


def _pass_seconds(look: Pass, calibration: Calibration) -> float:
    kernels = math.ceil(look.images / look.batch) * look.unrolled * look.counts.forward_kernels
    terms = [kernels, look.images * look.counts.forward_flops, look.images * look.counts.activation_bytes]
    passes = PASSES_BY_IMAGES if look.by_images else 1
    return passes * seconds_of(calibration.coefficients[look.precision]["forward"], terms)


def _memory_mb(work: Work, calibration: Calibration, on_gpu: bool) -> float:
    network = GAPS_OF_HEAP * _network_bytes(work, calibration) + work.view_bytes
    if on_gpu:
        # While it is saved.
        network = 3 * WEIGHT_BYTES * work.counts.parameters if work.counts else 0
    used_in_turn = max(network + work.waiting_bytes, LOGIT_BYTES * work.logits)
    held = DATA_COPIES * work.data_bytes + used_in_turn
    return calibration.base_memory_mb + MEMORY_RESERVE_MB + (MEMORY_MARGIN * held + work.mapped_bytes) / MB


def _gpu_memory_mb(work: Work, calibration: Calibration) -> float:
    held = work.data_bytes + work.view_bytes + _network_bytes(work, calibration)
    return calibration.gpu_context_mb + WORKSPACE_MB + MEMORY_MARGIN * held / MB


def _network_bytes(work: Work, calibration: Calibration) -> float:
    """Bytes of all networks that are in memory together, and of the activations of one batch."""
    weights = sum(look.counts.state_bytes for look in work.passes)
    batches = [_pass_bytes(look, calibration) for look in work.passes]
    if work.counts is not None:
        weights += WEIGHT_COPIES * WEIGHT_BYTES * work.counts.parameters
        batches.append(work.batch * _kept_bytes(work.counts, calibration.number_formats[work.precision]))
    return weights + max(batches, default=0.0)


def _pass_bytes(look: Pass, calibration: Calibration) -> float:
    """Bytes of the activations of one batch that are in memory together."""
    if look.by_images:
        return look.batch * _kept_bytes(look.counts, calibration.number_formats[look.precision])
    return ARRAYS_OF_A_PASS * look.batch * look.counts.largest_bytes


def _kept_bytes(counts: Counts, number_format: str) -> float:
    """Bytes that an image leaves for the backward pass."""
    return counts.activation_bytes_bfloat16 if number_format == "bfloat16" else counts.activation_bytes


def _state_bytes(work: Work) -> int:
    """Bytes of the state to resume from: weights and momenta."""
    return 2 * WEIGHT_BYTES * work.counts.parameters if work.counts else 0
