"""Stochastic depth, and layers whose weights have a bounded or a learned length."""

import torch
import torch.nn.functional as F
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


class MaxNormLinear(nn.Module):
    """Linear layer that limits the weights of every output where it uses them; the stored ones stay.

    `layer`, a linear layer or a convolution over one sample, gives sizes and initial weights. The names are
    those of ``torch.nn.utils.parametrize``, whose modules refuse to be pickled.
    """

    def __init__(self, layer: nn.Linear | nn.Conv1d, max_norm: float) -> None:
        super().__init__()
        self.max_norm = max_norm
        self.bias = layer.bias
        self.parametrizations = nn.ModuleDict({"weight": nn.ParameterDict({"original": layer.weight})})

    @property
    def weight(self) -> Float[Tensor, "n_outputs ..."]:
        """Weights as they are used."""
        return limit_norm(self.parametrizations["weight"]["original"], self.max_norm)

    def forward(self, x: Float[Tensor, "*dims n_features"]) -> Float[Tensor, "*dims n_outputs"]:
        """Apply the layer."""
        return F.linear(x, self.weight.flatten(1), self.bias)


class WeightNormConv1d(nn.Module):
    """Convolution whose weight is a direction of a learned length, after Salimans and Kingma (2016), eq. 2.

    It has the names of ``torch.nn.utils.parametrizations.weight_norm``, whose modules refuse to be pickled.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1) -> None:
        super().__init__()
        conv = nn.Conv1d(in_channels, out_channels, kernel_size)
        weight = conv.weight.detach()  # (out_channels, in_channels, kernel_size)
        length = weight.norm(dim=(1, 2), keepdim=True)  # (out_channels, 1, 1)
        direction = nn.init.kaiming_normal_(torch.empty_like(weight))
        self.bias = conv.bias
        self.parametrizations = nn.Module()
        self.parametrizations.weight = nn.ParameterDict({"original0": length, "original1": direction})

    def forward(
        self, tokens: Float[Tensor, "batch in_channels n_tokens"]
    ) -> Float[Tensor, "batch out_channels n_tokens"]:
        """Convolve along the tokens, whose number stays."""
        length = self.parametrizations.weight["original0"]  # (out_channels, 1, 1)
        direction = self.parametrizations.weight["original1"]  # (out_channels, in_channels, kernel_size)
        weight = direction * (length / direction.norm(dim=(1, 2), keepdim=True))
        return F.conv1d(tokens, weight, self.bias, padding="same")
