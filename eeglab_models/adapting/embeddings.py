"""Frozen features: what a model knows about a window, as one row of numbers."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eeglab_models.models.base import EEGModel
from eeglab_models.models.codebrain import CodeBrain
from eeglab_models.models.eegdino import EEGDINO
from eeglab_models.signals.recordings import Windows

__all__ = ["extract_features"]


@torch.inference_mode()
def extract_features(
    model: EEGModel, windows: Windows, *, batch_size: int = 32, device: str = "cpu"
) -> Float[np.ndarray, "n_windows n_features"]:
    """Describe every window by the model's features, averaged over time.

    Where a model has tokens per channel, channels are kept apart: an average over channels throws away
    where on the head something happens, and with it the class.

    Parameters
    ----------
    model : EEGModel
        Any model; put in evaluation mode while its features are taken.
    windows : Windows
        Prepared for this model by `prepare`.
    batch_size : int
        Windows per forward pass.
    device : str
        Device to compute on.

    Returns
    -------
    features : numpy.ndarray, shape (n_windows, n_features)
        One row per window.

    Raises
    ------
    ValueError
        If the windows are not in the unit that the model expects.
    """
    if windows.unit != model.contract.unit:
        raise ValueError(
            f"{type(model).__name__} expects {model.contract.unit}, got windows in {windows.unit}. "
            "Pass them through prepare() first."
        )
    training = model.training
    model.eval().to(device)
    try:
        batches = torch.from_numpy(windows.data).split(batch_size)
        rows = [average_over_time(model, batch.to(device)).cpu() for batch in batches]
    finally:
        model.train(training)
    return torch.cat(rows).numpy()


def average_over_time(
    model: EEGModel, x: Float[Tensor, "batch n_chans n_times"]
) -> Float[Tensor, "batch n_features"]:
    """Average the features of one batch over time."""
    features = model(x, return_features=True)["features"]
    if isinstance(model, EEGDINO):
        features = features.unflatten(1, (x.shape[1], -1))  # (batch, n_chans, n_patches, embed_dim)
    if isinstance(model, EEGDINO | CodeBrain):
        return features.mean(dim=2).flatten(1)  # (batch, n_chans * embed_dim)
    if features.ndim == 3:
        return features.mean(dim=1)  # (batch, n_features)
    return features
