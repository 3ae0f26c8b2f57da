"""What several training processes need to know of each other; with a single process, nothing changes."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

__all__: list[str] = []


def join_processes(cpu: bool = False) -> Any:
    """Join the processes that were started together, once, as accelerate's ``PartialState``.

    Without a GPU it has to be told so: else accelerate takes every process for the only one.
    """
    from accelerate import PartialState

    return PartialState(cpu=cpu or not torch.accelerator.is_available())


def own_device(cpu: bool) -> torch.device:
    """Choose where this process trains."""
    if count_processes() > 1:
        return join_processes(cpu).device
    if cpu or not torch.accelerator.is_available():
        return torch.device("cpu")
    return torch.accelerator.current_accelerator()


def count_processes() -> int:
    """Count the processes that train together: 1 outside of distributed training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def sum_over_processes(x: Tensor) -> Tensor:
    """Add up a tensor that every process has, without gradients."""
    total = x.detach().clone()
    if count_processes() > 1:
        dist.all_reduce(total)
    return total


def mean_over_processes(x: Tensor) -> Tensor:
    """Average a tensor that every process has, without gradients."""
    return sum_over_processes(x) / count_processes()


class GatherRows(torch.autograd.Function):
    """Put the rows of all processes below each other; gradients find their way back.

    torch's own functional ``all_gather`` is deprecated.
    """

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        """Gather the rows of every process."""
        parts = [torch.empty_like(rows) for _ in range(count_processes())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        """Add up what all processes say about this one's rows."""
        total = grad.contiguous()
        dist.all_reduce(total)
        n_rows = len(total) // count_processes()
        return total[dist.get_rank() * n_rows :][:n_rows]


def gather_rows(rows: Float[Tensor, "n_rows n_features"]) -> Float[Tensor, "n_rows_of_all n_features"]:
    """Put the rows of all processes below each other, in the order of the processes, with gradients."""
    return GatherRows.apply(rows) if count_processes() > 1 else rows
