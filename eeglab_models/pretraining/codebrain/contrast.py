"""A contrastive loss: two views of a window have to find each other."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from eeglab_models.models.fourier import at_least_single
from eeglab_models.training.processes import gather_rows

__all__ = ["contrastive_loss"]


def contrastive_loss(
    first: Float[Tensor, "batch n_features"], second: Float[Tensor, "batch n_features"], temperature: float
) -> Float[Tensor, ""]:
    """Compare two views of every window: each has to find the other among the views of all processes.

    Parameters
    ----------
    first, second : torch.Tensor, shape (batch, n_features)
        The two views, of any length.
    temperature : float
        What cosine similarities are divided by.

    Returns
    -------
    loss : torch.Tensor, scalar
        Mean cross-entropy of finding the other view; ``log(2 * n_windows - 1)`` by chance.

    References
    ----------
    Chen et al. (2020), A simple framework for contrastive learning of visual representations, equation 1.
    """
    with torch.autocast(first.device.type, enabled=False):
        views = torch.cat(
            [gather_rows(F.normalize(at_least_single(view), dim=-1)) for view in (first, second)]
        )
        similarities = views @ views.T / temperature  # (2 * n_windows, 2 * n_windows)
        similarities.fill_diagonal_(-torch.inf)
        other = torch.arange(len(views), device=views.device).roll(len(views) // 2)
        return F.cross_entropy(similarities, other)
