"""Weights and configurations in a folder or on the Hub: ``config.json`` and ``model.safetensors``.

Two rules hold for every file that is read. Nothing in it is imported or executed: configurations hold
plain values, names of classes are looked up in a table, weights are safetensors only. And nothing is
silently random: every tensor of the model is accounted for in a `LoadReport`.
"""

import json
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import save_file
from torch import Tensor, nn

from eeglab_models.models.download import CONFIG_FILE, WEIGHTS_FILE, fetch, read_config, read_weights


@dataclass(frozen=True)
class LoadReport:
    """What happened to every tensor of a model and of the weights it was loaded from.

    Attributes
    ----------
    source : str
        Folder or Hub repository of the weights.
    loaded : tuple of str
        Tensors of the model that now hold the values of the file.
    new : tuple of str
        Tensors of the model that the file does not provide: freshly initialised.
    ignored : tuple of str
        Tensors of the file that the model does not use.
    """

    source: str
    loaded: tuple[str, ...] = field(default=(), repr=False)
    new: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Summarise the report in three lines."""
        return "\n".join(
            [
                f"Weights from {self.source}",
                f"  loaded   {len(self.loaded)} tensors",
                f"  new      {shorten(self.new) if self.new else 'none'}",
                f"  ignored  {shorten(self.ignored) if self.ignored else 'none'}",
            ]
        )


class HubMixin(
    PyTorchModelHubMixin,
    library_name="eeglab_models",
    license="bsd-3-clause",
    tags=["eeg", "braindecode"],
):
    """Saving, loading and sharing for every model.

    ``save_pretrained`` and ``push_to_hub`` are huggingface_hub's own; loading is checked, tensor by tensor.

    Attributes
    ----------
    task_modules : tuple of str
        Submodules that belong to a task rather than to the encoder: they may start fresh.
    derived_modules : tuple of str
        Buffers and modules whose tensors follow from the constructor's arguments.
    pretraining_modules : tuple of str
        Modules that published checkpoints hold beside the encoder and that the encoder does not use.
    load_report : LoadReport or None
        What `from_pretrained` found, None for a model that was not loaded.
    """

    task_modules: ClassVar[tuple[str, ...]] = ("final_layer",)
    derived_modules: ClassVar[tuple[str, ...]] = ()
    pretraining_modules: ClassVar[tuple[str, ...]] = ()
    load_report: LoadReport | None = None

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        return_report: bool = False,
        filename: str = WEIGHTS_FILE,
        map_location: str | torch.device = "cpu",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **arguments: Any,
    ) -> "HubMixin | tuple[HubMixin, LoadReport]":
        """Build a model from a configuration and fill it with its weights, all of them or none.

        Parameters
        ----------
        pretrained_model_name_or_path : str or pathlib.Path
            Folder with `config.json` and weights, or the name of a Hub repository (``"user/model"``).
        return_report : bool
            Return the report beside the model; it is also kept as ``model.load_report``.
        filename : str
            Name of the weights file: safetensors only.
        map_location : str or torch.device
            Device that the model is put on.
        revision : str or None
            Branch, tag or commit of the Hub repository. Name a commit where results must repeat.
        cache_dir, force_download, local_files_only, token
            Passed on to `huggingface_hub.hf_hub_download`.
        **arguments
            Constructor arguments that replace those of the configuration. With `n_outputs`, the head
            is rebuilt if the published one does not fit.

        Returns
        -------
        model : EEGModel
            The model, in evaluation mode.
        report : LoadReport
            Only if `return_report` is true.

        Raises
        ------
        FileNotFoundError
            If the configuration or the safetensors file is missing.
        ValueError
            If the configuration is not one of this class, or if weights of the encoder are missing, of
            another shape, or unknown to the model: the message names them.
        """
        hub = {
            "revision": revision,
            "cache_dir": cache_dir,
            "force_download": force_download,
            "local_files_only": local_files_only,
            "token": token,
        }
        source = str(pretrained_model_name_or_path)
        config = read_config(fetch(source, CONFIG_FILE, hub))
        weights = read_weights(fetch(source, filename, hub))

        n_outputs = arguments.pop("n_outputs", None)
        if config.get("n_outputs") is None:
            config["n_outputs"] = n_outputs
        model = cls.from_config(config | arguments)
        report = fill_model(model, weights, source, n_outputs, overridden=bool(arguments))
        model.load_report = report
        model = model.to(map_location).eval()
        return (model, report) if return_report else model

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write configuration and weights; called by huggingface_hub's ``save_pretrained``."""
        config = json.dumps(self.get_config(), indent=2)
        (save_directory / CONFIG_FILE).write_text(config, encoding="utf-8")
        state = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        save_file(state, save_directory / WEIGHTS_FILE, metadata={"format": "pt"})


def fill_model(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    n_outputs: int | None = None,
    overridden: bool = False,
) -> LoadReport:
    """Put weights into a model, or say in one error what keeps them from fitting.

    Parameters
    ----------
    model : EEGModel
        Model to fill, in place.
    weights : dict of torch.Tensor
        Tensors by name.
    source : str
        Where they come from, for messages and the report.
    n_outputs : int or None
        Number of outputs the caller asks for: allows a fresh head.
    overridden : bool
        Whether constructor arguments were replaced, so that tensors derived from them stay as built.

    Returns
    -------
    report : LoadReport
        What was loaded, what is new and what was ignored.

    Raises
    ------
    ValueError
        If weights of the encoder are missing, of another shape, or unknown to the model.
    """
    weights = model.translate_state_dict(weights)
    own = model.state_dict()
    misshaped = {key for key in weights if key in own and weights[key].shape != own[key].shape}
    missing = set(own) - set(weights) - keys_of(own, model.derived_modules)
    absent = [module for module in model.task_modules if not keys_of(own, (module,))]
    ignored = keys_of(set(weights) - set(own), model.pretraining_modules) | keys_of(weights, absent)
    if overridden:
        ignored |= keys_of(weights, model.derived_modules)

    # A module of which only a part fits is no module: all of it starts fresh.
    unfit = missing if n_outputs is None else missing | misshaped
    fresh = [module for module in model.task_modules if keys_of(unfit, (module,))]
    if n_outputs not in (None, model.arguments["n_outputs"]):
        fresh.append("final_layer")
    ignored |= keys_of(weights, fresh)
    check_fit(
        source,
        missing={key: own[key].shape for key in missing - keys_of(own, fresh)},
        misshaped={key: (own[key].shape, weights[key].shape) for key in misshaped - ignored},
        unexpected=set(weights) - set(own) - ignored,
    )

    model.load_state_dict({key: weights[key] for key in set(weights) - ignored}, strict=False)
    if n_outputs is not None and "final_layer" in fresh:
        model.reset_head(n_outputs)
    new = keys_of(model.state_dict(), fresh)
    unasked = new if n_outputs is None else new - keys_of(new, ["final_layer"])
    if unasked:
        warnings.warn(
            f"{source} holds no fitting weights for {shorten(unasked)}: these are new (random), "
            "train them before use. A fresh head is asked for with n_outputs=.",
            stacklevel=3,
        )
    loaded = set(weights) - ignored
    return LoadReport(source, *(tuple(sorted(keys)) for keys in (loaded, new, ignored)))


def check_fit(
    source: str,
    missing: Mapping[str, torch.Size],
    misshaped: Mapping[str, tuple[torch.Size, torch.Size]],
    unexpected: Collection[str],
) -> None:
    """Raise one `ValueError` that names every tensor of the encoder that does not fit."""
    problems = []
    if missing:
        problems.append("missing: " + shorten(f"{key} {tuple(shape)}" for key, shape in missing.items()))
    if misshaped:
        shapes = (f"{key} (expected {tuple(a)}, got {tuple(b)})" for key, (a, b) in misshaped.items())
        problems.append("of another shape: " + shorten(shapes))
    if unexpected:
        problems.append("unknown to the model: " + shorten(unexpected))
    if problems:
        raise ValueError(
            f"The weights of {source} do not fit; {'; '.join(problems)}. Nothing was loaded. Build the model "
            "with the arguments the weights were trained with, or pass n_outputs= if only the head differs."
        )


def keys_of(keys: Iterable[str], modules: Iterable[str]) -> set[str]:
    """Choose the tensors that belong to one of the modules (``"a.b"`` holds ``"a.b.weight"``)."""
    prefixes = tuple(f"{module}." for module in modules)
    return {key for key in keys if f"{key}.".startswith(prefixes)}


def shorten(names: Iterable[str], n_shown: int = 8) -> str:
    """List names, the first few in full."""
    names = sorted(names)
    more = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return ", ".join(names[:n_shown]) + more
