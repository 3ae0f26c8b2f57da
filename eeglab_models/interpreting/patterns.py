"""FBLightConvNet's spatial filters, and the patterns that say where on the head their signals come from.

Shapes use these names throughout:

    batch      windows in a batch
    n_filters  spatial filters
    n_bands    frequency bands
    n_chans    EEG channels
    n_times    samples of a window
"""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from eeglab_models.interpreting.tokens import Signals
from eeglab_models.models.base import EEGModel
from eeglab_models.signals.windows import Windows

__all__ = ["spatial_filters", "spatial_patterns"]


def spatial_filters(
    model: EEGModel, windows: Windows | Float[Tensor, "n_windows n_chans n_times"] | None = None
) -> xr.DataArray:
    """Label the weights by which bands and channels are summed.

    A filter weighs channels so that what it does not want cancels out, so large weights may stand where
    nothing of interest happens. Read `spatial_patterns` to learn where a signal comes from.

    Parameters
    ----------
    model : FBLightConvNet
        The only model that has such filters.
    windows : Windows or torch.Tensor, shape (n_windows, n_chans, n_times), or None
        Prepared windows, in the unit of the model's contract, that name the channels; None takes the names
        from the model.

    Returns
    -------
    filters : xarray.DataArray
        Weights with the axes ``filter``, ``band``, ``"8-12 Hz"``, and ``channel``. ``head`` is the kernel
        of the temporal weights that a filter uses; ``low`` and ``high`` are the edges of a band in Hz.

    Raises
    ------
    TypeError
        If the model is no FBLightConvNet.
    ValueError
        If the windows were not prepared for it.
    """
    if not hasattr(model, "spatial_filters"):
        raise TypeError(f"Only FBLightConvNet has spatial filters, got {type(model).__name__}.")
    signals = Signals(model, torch.zeros(model.input_shape) if windows is None else windows)
    weights = model.spatial_filters.detach().cpu().double().numpy()
    labels = {
        "filter": np.arange(len(weights)),
        "head": ("filter", np.arange(len(weights)) % model.temporal_attention.n_heads),
        "band": [f"{low:g}-{high:g} Hz" for low, high in model.bands],
        "low": ("band", [low for low, _ in model.bands]),
        "high": ("band", [high for _, high in model.bands]),
        "channel": signals.ch_names,
    }
    return xr.DataArray(weights, labels, ["filter", "band", "channel"], "weight")


def spatial_patterns(
    model: EEGModel,
    windows: Windows | Float[Tensor, "n_windows n_chans n_times"],
    *,
    batch_size: int = 16,
) -> xr.DataArray:
    """Show how the signal that a spatial filter extracts from a band appears at the channels.

    A pattern is the covariance of the channels in a band times the filter: it is large where the
    filter's signal is. Every filter is taken on its own, because there are usually more filters than
    channels, and then no pattern tells them apart.

    Parameters
    ----------
    model : FBLightConvNet
        The only model that has such filters.
    windows : Windows or torch.Tensor, shape (n_windows, n_chans, n_times)
        EEG in microvolts, prepared for the model: that on which it was trained, or that it has to read.
    batch_size : int
        Windows that are filtered at a time.

    Returns
    -------
    patterns : xarray.DataArray
        Microvolts at each channel when a filter's signal in a band is one standard deviation, with the
        axes and labels of `spatial_filters`. The sign of a pattern is free: the largest value is positive.

    Raises
    ------
    TypeError, ValueError
        As in `spatial_filters`.

    References
    ----------
    Haufe et al. (2014), On the interpretation of weight vectors of linear models in multivariate
    neuroimaging, NeuroImage 87:96-110, section 2.2, equations 6 and 7.
    """
    filters = spatial_filters(model, windows)
    covariance = band_covariance(Signals(model, windows), batch_size)  # (n_bands, n_chans, n_chans)
    patterns = np.einsum("bcd,fbd->fbc", covariance, filters.values)
    power = np.einsum("fbc,fbc->fb", patterns, filters.values)
    patterns /= np.sqrt(np.maximum(power, np.finfo(float).tiny))[..., None]
    largest = np.abs(patterns).argmax(axis=-1, keepdims=True)
    patterns *= np.where(np.take_along_axis(patterns, largest, axis=-1) < 0, -1, 1)
    return filters.copy(data=patterns).rename("pattern").assign_attrs(unit="µV")


@torch.inference_mode()
def band_covariance(signals: Signals, batch_size: int) -> Float[np.ndarray, "n_bands n_chans n_chans"]:
    """Covariance of the channels in every band, within windows."""
    total: np.ndarray | float = 0.0
    for _, x in signals.batches(batch_size):
        bands = signals.model.spectral_filtering(x).double()  # (batch, n_bands, n_chans, n_times)
        bands = bands - bands.mean(dim=-1, keepdim=True)
        total = total + torch.einsum("nbct,nbdt->bcd", bands, bands).cpu().numpy()
    return total / (len(signals.windows) * (signals.n_times - 1))
