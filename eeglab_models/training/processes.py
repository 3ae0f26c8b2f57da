"""What several training processes need to know of each other; with a single process, nothing changes."""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

__all__ = ["count_processes", "gather_rows", "mean_over_processes", "sum_over_processes"]


def count_processes() -> int:
    """Count the processes that train together.

    Returns
    -------
    n_processes : int
        1 outside of distributed training.
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def sum_over_processes(x: Tensor) -> Tensor:
    """Add up a tensor that every process has, without gradients.

    Parameters
    ----------
    x : torch.Tensor, any shape
        One process's part; it stays as it is.

    Returns
    -------
    total : torch.Tensor, any shape
        The sum, of the shape of `x`, the same in every process.
    """
    total = x.detach().clone()
    if count_processes() > 1:
        dist.all_reduce(total)
    return total


def mean_over_processes(x: Tensor) -> Tensor:
    """Average a tensor that every process has, without gradients.

    Parameters
    ----------
    x : torch.Tensor, any shape
        One process's part; it stays as it is.

    Returns
    -------
    mean : torch.Tensor, any shape
        The mean, of the shape of `x`, the same in every process.
    """
    return sum_over_processes(x) / count_processes()


class GatherRows(torch.autograd.Function):
    """Put the rows of all processes below each other; gradients find their way back."""

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
    """Put the rows of all processes below each other, in the order of the processes, with gradients.

    Parameters
    ----------
    rows : torch.Tensor, shape (n_rows, n_features)
        This process's rows, as many as in every other process.

    Returns
    -------
    gathered : torch.Tensor, shape (n_processes * n_rows, n_features)
        The rows of all processes.
    """
    return GatherRows.apply(rows) if count_processes() > 1 else rows
