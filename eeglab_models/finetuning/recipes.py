"""Published ways to train a model, by name."""

from typing import Any

from eeglab_models.finetuning.estimator import FineTuner
from eeglab_models.models.eegpt import EEGPT
from eeglab_models.models.fblightconvnet import FBLightConvNet

__all__ = ["eegpt_probe_recipe", "lightconvnet_recipe"]


def lightconvnet_recipe(
    model: FBLightConvNet,
    *,
    max_epochs: int = 500,
    patience: int | None = 50,
    n_more_epochs: int = 200,
    batch_size: int = 150,
    **settings: Any,
) -> FineTuner:
    """Train LightConvNet as its authors did: find the best epoch, then go on with all data.

    First, fresh weights learn until the accuracy on a held-out fifth of the windows has not improved for
    `patience` epochs; the learning rate falls when the training loss does not. Then the best weights and
    their optimiser go on for `n_more_epochs` with the held-out windows as well.

    Parameters
    ----------
    model : FBLightConvNet
        Architecture to train; its weights are not used. The paper has ``n_filters_spat=64`` and patches of
        one second.
    max_epochs : int
        Length of the first phase at most.
    patience : int or None
        Epochs without a better one after which it ends.
    n_more_epochs : int
        Length of the second phase.
    batch_size : int
        Windows per step; 150 for BCI Competition IV 2a, 200 for OpenBMI.
    **settings
        Other arguments of `FineTuner`: seed, device, info, checkpoint, progress, or whatever is to differ
        from the recipe.

    Returns
    -------
    estimator : FineTuner
        Not yet fitted.

    Notes
    -----
    The authors draw the held-out windows at random; here every class keeps its share. The optimiser is Adam:
    AdamW without decay.

    References
    ----------
    Ma et al. (2023), IEEE TNSRE 31:3188-3200, and the configuration of the authors' code.
    """
    recipe = {
        "regime": "scratch",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "schedule": "plateau",
        "max_grad_norm": None,
        "validation": 0.2,
        "monitor": "accuracy",
        "max_epochs": max_epochs,
        "patience": patience,
        "n_more_epochs": n_more_epochs,
        "batch_size": batch_size,
    }
    return FineTuner(model, **recipe | settings)


def eegpt_probe_recipe(
    model: EEGPT, *, max_epochs: int = 100, batch_size: int = 64, lr: float = 4e-4, **settings: Any
) -> FineTuner:
    """Train EEGPT's linear probe as its authors did: its head, on the frozen summary tokens.

    The head makes 16 values of each patch, by weights of norm 1 at most, after dropping half of its features,
    and classifies all patches by weights of norm 0.25 at most. A projection of channels learns too, where the
    model has one. Nothing is held out and nothing selected: all epochs are made.

    Parameters
    ----------
    model : EEGPT
        Pretrained encoder; its weights stay. The paper has windows of 4 s and patches without overlap,
        ``patch_stride=64``.
    max_epochs : int
        Passes over the training data.
    batch_size : int
        Windows per step.
    lr : float
        Largest learning rate, reached after a fifth of the steps.
    **settings
        Other arguments of `FineTuner`: seed, device, info, checkpoint, progress, or whatever is to differ
        from the recipe.

    Returns
    -------
    estimator : FineTuner
        Not yet fitted.

    Notes
    -----
    The authors' one-cycle schedule also moves the momentum of AdamW; here only the learning rate rises and
    falls.

    References
    ----------
    Wang et al. (2024), EEGPT, NeurIPS, section 2.3, and the authors' code for BCI Competition IV 2a.
    """
    recipe = {
        "regime": "head",
        "lr": lr,
        "weight_decay": 0.01,
        "schedule": "cosine",
        "warmup": 0.2,
        "max_grad_norm": None,
        "validation": None,
        "patience": None,
        "max_epochs": max_epochs,
        "batch_size": batch_size,
    }
    return FineTuner(model, **recipe | settings)
