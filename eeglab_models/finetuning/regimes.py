"""How much of a model learns: which parts, at which rate, and with which adapters."""

import copy
import warnings
from dataclasses import dataclass
from typing import Any

from torch import nn

from eeglab_models.models.base import EEGModel
from eeglab_models.models.codebrain import CodeBrain
from eeglab_models.models.eegdino import EEGDINO
from eeglab_models.models.eegpt import EEGPT
from eeglab_models.models.fblightconvnet import FBLightConvNet
from eeglab_models.models.report import keys_of

__all__ = ["LAYOUTS", "REGIMES", "Layout", "apply_regime", "group_parameters", "layout_of", "start_model"]

REGIMES = ("head", "lora", "last_n", "full", "scratch")
"""How much of a model learns, from its head alone to everything: `apply_regime` tells what each means."""


@dataclass(frozen=True)
class Layout:
    """Names of the parts of a model, from the input to the output.

    Attributes
    ----------
    embedding : tuple of str
        What makes tokens: the lowest layer.
    layers : str or tuple of str
        The list of layers, or the layers themselves.
    top : tuple of str
        What stands between the last layer and the head.
    head : tuple of str
        What belongs to the task, and learns in every regime.
    projections : str
        Linear maps of attention and MLP, and convolutions in their place, that adapters join, as a regular
        expression.
    tables : tuple of str
        Learned tokens and tables of channels: rows that are not used must not decay.
    fixed : tuple of str
        What never learns, or takes no part in classification; ``{last}`` is the number of the last layer.
    """

    embedding: tuple[str, ...]
    layers: str | tuple[str, ...]
    top: tuple[str, ...]
    head: tuple[str, ...]
    projections: str
    tables: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


TRANSFORMER_PROJECTIONS = r"\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])"
LAYOUTS: dict[type[EEGModel], Layout] = {
    CodeBrain: Layout(
        embedding=("patch_embedding", "init_conv"),
        layers="residual_layer.residual_blocks",
        top=("final_conv", "norm"),
        head=("final_layer",),
        projections=r"residual_layer\.residual_blocks\.\d+\.(attention\.out_proj|sgconv\.output_linear)",
        # Nothing reads what the last block hands on.
        fixed=(
            "patch_embedding.mask_encoding",
            "residual_layer.residual_blocks.{last}.res_conv",
            "residual_layer.residual_blocks.{last}.rms_norm",
            "lm_head_t",
            "lm_head_f",
        ),
    ),
    EEGDINO: Layout(
        embedding=("patch_embedding", "global_tokens"),
        layers="encoder_layers",
        top=(),
        head=("final_layer",),
        projections="encoder_layers" + TRANSFORMER_PROJECTIONS,
        tables=("patch_embedding.channel_embedding", "global_tokens"),
    ),
    EEGPT: Layout(
        embedding=("target_encoder.patch_embed", "target_encoder.chan_embed", "target_encoder.summary_token"),
        layers="target_encoder.blocks",
        top=("target_encoder.norm",),
        head=("final_layer", "chan_proj"),
        projections=r"target_encoder\.blocks" + TRANSFORMER_PROJECTIONS,
        tables=("target_encoder.chan_embed", "target_encoder.summary_token"),
    ),
    FBLightConvNet: Layout(
        embedding=(),
        layers=("spatial_conv", "attn_conv"),
        top=(),
        head=("final_layer",),
        projections=r"spatial_conv\.0",
        fixed=("spectral_filtering",),
    ),
}
"""Layout of every model class that regimes know, by class."""


def layout_of(model: EEGModel) -> Layout:
    """Look up the parts of a model.

    Parameters
    ----------
    model : EEGModel
        A model of a class in `LAYOUTS`, or of one derived from it.

    Returns
    -------
    layout : Layout
        Names of its parts.

    Raises
    ------
    ValueError
        If the class is unknown.
    """
    for known, layout in LAYOUTS.items():
        if isinstance(model, known):
            return layout
    names = ", ".join(known.__name__ for known in LAYOUTS)
    raise ValueError(
        f"The layers of {names} are known, got {type(model).__name__}. Add its Layout to LAYOUTS."
    )


def start_model(model: EEGModel, regime: str) -> EEGModel:
    """Get the model that training starts from: a copy, or the same architecture with fresh weights.

    Parameters
    ----------
    model : EEGModel
        The model to adapt; it stays as it is.
    regime : str
        One of `REGIMES`; ``"scratch"`` draws new weights from torch's random numbers.

    Returns
    -------
    start : EEGModel
        A model that shares no tensor with `model`.
    """
    if regime != "scratch":
        return copy.deepcopy(model)
    with warnings.catch_warnings():
        # Whoever built the model has read them.
        warnings.simplefilter("ignore", UserWarning)
        return type(model)(**model.arguments)


def apply_regime(
    model: EEGModel, regime: str, n_layers: int = 1, lora_rank: int = 8
) -> tuple[tuple[nn.Module, ...], Any]:
    """Freeze what the regime freezes, and add adapters where it has them.

    Parameters
    ----------
    model : EEGModel
        Changed in place.
    regime : str
        One of `REGIMES`.
    n_layers : int
        Number of layers below the head that learn in ``"last_n"``.
    lora_rank : int
        Rank of the adapters in ``"lora"``; their output is doubled.

    Returns
    -------
    learning : tuple of torch.nn.Module
        Modules that learn. All others have to stay in evaluation mode.
    adapters : peft.LoraModel or None
        For ``"lora"``, what can merge the adapters into the model.

    Raises
    ------
    ValueError
        If the model has fewer than `n_layers` layers.

    References
    ----------
    Hu et al. (2022), LoRA: low-rank adaptation of large language models, ICLR, section 4.1.
    """
    layout, adapters = layout_of(model), None
    learning = [model.get_submodule(name) for name in layout.head]
    if regime == "lora":
        adapters, added = add_adapters(model, layout.projections, lora_rank)
        learning += added
    elif regime == "last_n":
        learning += last_layers(model, layout, n_layers)
    elif regime != "head":
        learning = [model]
    model.requires_grad_(False)
    for module in learning:
        module.requires_grad_(True)
    parameters = dict(model.named_parameters())
    last = len(layers_of(model, layout)) - 1
    for name in keys_of(parameters, [name.format(last=last) for name in layout.fixed]):
        parameters[name].requires_grad_(False)
    return tuple(learning), adapters


def add_adapters(model: EEGModel, projections: str, rank: int) -> tuple[Any, list[nn.Module]]:
    """Add a low-rank adapter to every projection; at first they change nothing."""
    from peft import LoraConfig, LoraModel
    from peft.tuners.lora import LoraLayer

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=projections)
    adapters = LoraModel(model, config, "default")
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    return adapters, [part for layer in layers for part in (layer.lora_A, layer.lora_B)]


def last_layers(model: EEGModel, layout: Layout, n_layers: int) -> list[nn.Module]:
    """Get the last layers, and what stands between them and the head."""
    layers = layers_of(model, layout)
    if not 1 <= n_layers <= len(layers):
        raise ValueError(
            f"This {type(model).__name__} has {len(layers)} layers, got n_layers={n_layers}. Pass 1 to "
            f"{len(layers)}."
        )
    return [model.get_submodule(name) for name in (*layers[-n_layers:], *layout.top)]


def layers_of(model: EEGModel, layout: Layout) -> list[str]:
    """Name the layers, from the lowest to the highest."""
    if not isinstance(layout.layers, str):
        return list(layout.layers)
    return [f"{layout.layers}.{i}" for i in range(len(model.get_submodule(layout.layers)))]


def group_parameters(
    model: EEGModel, lr: float, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Group what learns by its learning rate and by whether it decays.

    Biases, norms, learned tokens and tables do not decay.

    Parameters
    ----------
    model : EEGModel
        A model whose regime is applied.
    lr : float
        Learning rate of the head.
    weight_decay : float
        Decay of the weights that decay.
    layer_decay : float
        Factor from the learning rate of one layer to that of the layer below.

    Returns
    -------
    groups : list of dict
        Groups for an optimiser of torch; ``"peak"`` repeats the learning rate for schedules.

    Raises
    ------
    ValueError
        If the class of the model has no layout.

    References
    ----------
    Bao et al. (2022), BEiT, ICLR, appendix: layer-wise decay.
    """
    layout = layout_of(model)
    layers = layers_of(model, layout)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    depths = dict.fromkeys(names, len(layers) + 1)
    depths |= dict.fromkeys(keys_of(names, layout.embedding), 0)
    for depth, layer in enumerate(layers, start=1):
        depths |= dict.fromkeys(keys_of(names, (layer,)), depth)
    tables = keys_of(names, layout.tables)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name in depths:
            # Norms of sequences have axes of length one.
            decays = parameter.squeeze().ndim > 1 and name not in tables
            groups.setdefault((depths[name], decays), []).append(parameter)
    rates = [float(lr * layer_decay ** (len(layers) + 1 - depth)) for depth, _ in groups]
    decay = [float(weight_decay) if decays else 0.0 for _, decays in groups]
    return [
        {"params": parameters, "lr": rate, "peak": rate, "weight_decay": weight}
        for parameters, rate, weight in zip(groups.values(), rates, decay, strict=True)
    ]
