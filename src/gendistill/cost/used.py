"""What the running process has used, for the receipt to compare with what was predicted."""

import resource
import sys
from pathlib import Path
from typing import Any

MB = 2**20


def used() -> dict[str, Any]:
    """The most memory that this process had at a time, so far.

    Returns:
        `memory_mb`: resident, with the pages of mapped files; `gpu_memory_mb`: of PyTorch's arrays, and `gpu_reserved_mb`: of what
        PyTorch keeps for them, both without the GPU's context, and None where no GPU is in use. All in MiB.
    """
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_initialized()
    return {
        "memory_mb": round(_peak_bytes() / MB, 1),
        "gpu_memory_mb": round(torch.cuda.max_memory_allocated() / MB, 1) if on_gpu else None,
        "gpu_reserved_mb": round(torch.cuda.max_memory_reserved() / MB, 1) if on_gpu else None,
    }


def _peak_bytes() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 2**10 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        # On Linux it starts with what the process had that started this one. It counts in KiB, macOS in bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 2**10)
