"""Device and number format of the computation."""

from contextlib import AbstractContextManager

import torch

from gendistill.errors import SettingError

# float32 without any of the tricks for speed in docs/performance.md: what results with them are compared with.
REFERENCE = "reference"


def choose_device(name: str) -> torch.device:
    """`cuda` or `cpu`; `auto` is CUDA where there is one.

    Raises:
        SettingError: `cuda` was asked for where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingError(
            "runtime.device = cuda: PyTorch sees no GPU here. Set runtime.device to auto or cpu, or mend the driver."
        )
    return torch.device(name)


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 matrices itself; elsewhere emulation would be slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def number_format(precision: str, device: torch.device) -> torch.dtype:
    """What `precision` means on `device`: float32, but for `auto` bfloat16 where the processor computes in it."""
    return torch.bfloat16 if precision == "auto" and computes_in_bfloat16(device) else torch.float32


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Matrix products and convolutions in the number format of `precision`; weights and sums stay float32."""
    dtype = number_format(precision, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def layout(precision: str) -> torch.memory_format:
    """How images and weights lie in memory: the channels of a pixel together, in which convolutions are faster."""
    return torch.contiguous_format if precision == REFERENCE else torch.channels_last


def make_deterministic() -> None:
    """Use only kernels that give the same bits each time, and no TF32."""
    # use_deterministic_algorithms(True) does the same, but first imports the compiler, which takes a second.
    torch.set_deterministic_debug_mode("error")
    # Filling every new tensor would only help code that reads memory before writing it.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
