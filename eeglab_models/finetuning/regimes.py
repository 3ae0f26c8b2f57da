"""How much of a model learns: which parts, at which rate, and with which adapters."""

import copy
import warnings
from typing import Any

from torch import nn

from eeglab_models.models.base import EEGModel
from eeglab_models.models.report import keys_of

REGIMES = ("head", "lora", "last_n", "full", "scratch")


def start_model(model: EEGModel, regime: str) -> EEGModel:
    """Copy the model that training starts from; for ``"scratch"``, build it again with fresh weights."""
    if regime != "scratch":
        return copy.deepcopy(model)
    with warnings.catch_warnings():
        # Whoever built the model has read them.
        warnings.simplefilter("ignore", UserWarning)
        return type(model)(**model.arguments)


def apply_regime(
    model: EEGModel, regime: str, n_layers: int = 1, lora_rank: int = 8
) -> tuple[tuple[nn.Module, ...], Any]:
    """Freeze what the regime freezes, in place, and give what learns and, for ``"lora"``, the adapters.

    All modules but those that learn have to stay in evaluation mode. LoRA's output is doubled, see Hu et al.
    (2022), LoRA: low-rank adaptation of large language models, ICLR, section 4.1.
    """
    layout, adapters = model.layout, None
    learning = [model.get_submodule(name) for name in layout.task_modules]
    if regime == "lora":
        adapters, added = add_adapters(model, layout.projections, lora_rank)
        learning += added
    elif regime == "last_n":
        learning += last_layers(model, n_layers)
    elif regime != "head":
        learning = [model]
    model.requires_grad_(False)
    for module in learning:
        module.requires_grad_(True)
    parameters = dict(model.named_parameters())
    last = len(layers_of(model)) - 1
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


def last_layers(model: EEGModel, n_layers: int) -> list[nn.Module]:
    """Get the last layers, and what stands between them and the head."""
    layers = layers_of(model)
    if not 1 <= n_layers <= len(layers):
        raise ValueError(
            f"This {type(model).__name__} has {len(layers)} layers, got n_layers={n_layers}. Pass 1 to "
            f"{len(layers)}."
        )
    return [model.get_submodule(name) for name in (*layers[-n_layers:], *model.layout.top)]


def layers_of(model: EEGModel) -> list[str]:
    """Name the layers, from the lowest to the highest."""
    blocks = model.layout.blocks
    if not isinstance(blocks, str):
        return list(blocks)
    return [f"{blocks}.{i}" for i in range(len(model.find_blocks()))]


def group_parameters(
    model: EEGModel, lr: float, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Group what learns by its learning rate and by whether it decays: biases, norms and tables do not.

    From one layer to the layer below, the rate falls by `layer_decay`, as in Bao et al. (2022), BEiT, ICLR,
    appendix; ``"peak"`` repeats it for schedules.
    """
    layout, layers = model.layout, layers_of(model)
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
