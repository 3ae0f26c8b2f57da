"""Regularisation without parameters: stochastic depth and weights of bounded length."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: while training, drop a residual branch for whole items, after Huang et al. (2016).

    It has no parameters, so it adds no key to any ``state_dict``.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, branch: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Drop or rescale the branch of every item; the expected value stays."""
        if not self.training or self.drop_prob == 0.0:
            return branch
        keep_prob = 1.0 - self.drop_prob
        shape = (branch.shape[0], *[1] * (branch.ndim - 1))
        keep = torch.rand(shape, device=branch.device) < keep_prob  # (batch, 1, ...)
        # Few numbers are divided, so that the branch is read and written once.
        return branch * (keep / max(keep_prob, torch.finfo(torch.float32).tiny)).to(branch.dtype)


def limit_norm(weights: Float[Tensor, "n_outputs ..."], max_norm: float) -> Float[Tensor, "n_outputs ..."]:
    """Shorten the weights of every output that are longer than allowed, after Srivastava et al. (2014)."""
    return weights.renorm(p=2, dim=0, maxnorm=max_norm)
