"""Regularisation without parameters: stochastic depth and weights of bounded length."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: while training, drop a residual branch for whole items of the batch.

    It has no parameters, so it adds no key to any ``state_dict``.

    Parameters
    ----------
    drop_prob : float
        Probability of dropping the branch of one item.

    References
    ----------
    Huang et al. (2016), Deep networks with stochastic depth, section 3.
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
    """Shorten the weights of every output that are longer than allowed; shorter ones stay.

    Parameters
    ----------
    weights : torch.Tensor, shape (n_outputs, ...)
        Weights of a layer, those of one output along the remaining axes. They are not modified.
    max_norm : float
        Largest Euclidean norm of one output's weights.

    Returns
    -------
    limited : torch.Tensor, shape (n_outputs, ...)
        The limited weights; gradients flow through the limit.

    References
    ----------
    Srivastava et al. (2014), Dropout, Journal of Machine Learning Research, section 5.1.
    """
    return weights.renorm(p=2, dim=0, maxnorm=max_norm)
