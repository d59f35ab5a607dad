"""Several processes that train one network together, one for each GPU, and what they tell each other."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gendistill.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """The processes of one training, as one of them sees them; what they do together is nothing for one alone.

    Attributes:
        rank: the number of this one, from 0; process 0 writes files and logs.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in at least one process. It goes from CPU to CPU: no GPU has to wait."""
        if self.count == 1:
            return flag
        import torch

        flags = torch.tensor([int(flag)])
        torch.distributed.all_reduce(flags)
        return bool(flags.item())

    def add_up(self, tensors: "list[Tensor]") -> None:
        """Put the sum over all processes in place of each tensor; shapes and types are the same in all processes."""
        if self.count == 1:
            return
        import torch

        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            chosen = [tensor for tensor in tensors if tensor.dtype == dtype]
            # In one piece: each call takes its time, however little it carries.
            flat = torch.cat([tensor.reshape(-1) for tensor in chosen])
            torch.distributed.all_reduce(flat)
            for tensor, total in zip(chosen, flat.split([tensor.numel() for tensor in chosen]), strict=True):
                tensor.copy_(total.view(tensor.shape))

    def gather(self, rows: "Tensor") -> "Tensor":
        """The rows of all processes, those of process 0 first: (N_r, ...) on the CPU, of any N_r -> (sum of N_r, ...)."""
        if self.count == 1:
            return rows
        import torch

        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        torch.distributed.all_gather(counts, torch.tensor([len(rows)]))
        padded = rows.new_zeros(max(int(n) for n in counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        torch.distributed.all_gather(found, padded)
        return torch.cat([part[: int(n)] for part, n in zip(found, counts, strict=True)])


def join(device: str) -> Processes:
    """Join the processes that the environment names (`RANK`, `WORLD_SIZE`, ... as torchrun sets them), once all are there.

    Args:
        device: `auto`, `cpu` or `cuda`; on GPUs each process takes its own.

    Raises:
        SettingError: there are fewer GPUs than processes on this machine.
    """
    import torch

    from gendistill.precision import choose_device

    backend = "gloo"
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        # Where there is none, this says so.
        choose_device(device)
        here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if here > gpus:
            raise SettingError(
                f"runtime.processes = {here}: each takes a GPU of its own, and there are {gpus} here. Set it to {gpus} at most."
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    torch.distributed.init_process_group(backend)
    return Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())


def leave() -> None:
    """Leave them: those that still wait for this one will fail."""
    import torch

    torch.distributed.destroy_process_group()
