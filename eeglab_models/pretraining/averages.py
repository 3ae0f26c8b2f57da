"""Teachers that follow their student slowly."""

import torch
from torch import nn

__all__ = ["follow"]


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move a teacher's parameters towards its student's: an exponential moving average.

    Parameters
    ----------
    teacher, student : torch.nn.Module
        Two modules of the same form. Buffers stay as they are.
    momentum : float
        Share of the teacher that stays; 1 keeps it, 0 copies the student.

    References
    ----------
    Grill et al. (2020), Bootstrap your own latent, equation 1.
    """
    for kept, new in zip(teacher.parameters(), student.parameters(), strict=True):
        kept.lerp_(new.to(kept.dtype), 1.0 - momentum)
