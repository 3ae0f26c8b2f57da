"""Weights and configurations in a folder or on the Hub: ``config.json`` and ``model.safetensors``.

Two rules hold for every file that is read. Nothing in it is imported or executed: configurations hold
plain values, names of classes are looked up in a table, weights are safetensors only. And nothing is
silently random: every tensor of the model is accounted for in a `LoadReport`.
"""

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from eeglab_models.configs import about, shorten
from eeglab_models.files import UNFINISHED, flush, hash_file
from eeglab_models.models.arguments import check_fixed_arguments, name_assumed
from eeglab_models.models.download import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    locate,
    read_promise,
    read_weights,
    write_weights,
)
from eeglab_models.models.report import LoadReport, fingerprint, keys_of

__all__ = ["fill_model"]

CARD_FILE = "README.md"
# Bytes that a fresh head may add to the weights of a file: CodeBrain's reads every patch of a window.
LARGEST_HEAD = 2_000_000_000
# Arguments that say the same: the caller's replaces the other one of a configuration.
REPLACES = {"chs_info": "n_chans", "n_times": "input_window_seconds", "input_window_seconds": "n_times"}


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
    load_report : LoadReport or None
        What `from_pretrained` found, None for a model that was not loaded.
    """

    load_report: LoadReport | None = None

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        return_report: bool = False,
        allow_partial: bool = False,
        strict: bool | None = None,
        subfolder: str = "",
        filename: str = WEIGHTS_FILE,
        map_location: str | torch.device = "cpu",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **arguments: Any,
    ) -> "HubMixin | tuple[HubMixin, LoadReport]":
        """Build a model from a configuration and fill it with its weights: all of the encoder or nothing.

        Parameters
        ----------
        pretrained_model_name_or_path : str or pathlib.Path
            Folder with `config.json` and weights, the name of a Hub repository (``"user/model"``), or a
            safetensors file. Without a `config.json` beside the file, the arguments have to be given.
        return_report : bool
            Return the report beside the model; it is also kept as ``model.load_report``.
        allow_partial : bool
            Let tensors of the encoder that the file does not provide, or provides in another shape, start
            fresh, with a warning, as long as some fit; ignore tensors that the model does not know.
        strict : bool or None
            True refuses also a head that starts fresh and tensors that nothing uses; False says the same as
            ``allow_partial=True``.
        subfolder : str
            Folder inside of a folder or repository that holds the model.
        filename : str
            Name of the weights file in a folder or repository: safetensors only. Where it is missing, the
            files that ``model.safetensors.index.json`` lists are read.
        map_location : str or torch.device
            Device that the model is put on.
        revision : str or None
            Branch, tag or commit of the Hub repository. Name a commit where results must repeat.
        cache_dir, token : str, bool, pathlib.Path or None
            Folder of downloads and token of the Hub; None means those of `huggingface_hub`.
        force_download, local_files_only : bool
            Download again what is there already, or nothing at all.
        **arguments
            Constructor arguments that replace those of the configuration, except `fixed_arguments`. With
            `n_outputs`, the model has a head, which is rebuilt if the published one does not fit.

        Returns
        -------
        model : EEGModel
            The model, in evaluation mode.
        report : LoadReport
            Only if `return_report` is true.

        Raises
        ------
        FileNotFoundError, PermissionError, ConnectionError
            If a file is missing, or if the Hub refuses, fails or cannot be reached.
        ValueError
            If the configuration is not one of this class, if an argument contradicts what the weights were
            trained with, or if weights of the encoder do not fit: the message names them.
        """
        hub = {"revision": revision, "cache_dir": cache_dir, "token": token}
        hub |= {"force_download": force_download, "local_files_only": local_files_only}
        source = str(pretrained_model_name_or_path)
        config_path, weights_paths = locate(source, filename, hub, subfolder)
        weights = read_weights(*weights_paths)
        config = {} if config_path is None else read_promise(weights_paths[0], config_path)
        check_fixed_arguments(cls, source, config, arguments)
        assumed = name_assumed(cls, config | arguments)

        n_outputs = arguments.pop("n_outputs", None)
        if config.get("n_outputs") is None:
            config["n_outputs"] = n_outputs
        if n_outputs is not None and config.get("return_encoder_output"):
            config["return_encoder_output"] = False
        for given, other in REPLACES.items():
            if given in arguments and other in config:
                config[other] = None
        build = partial(build_model, cls, config_path, weights_paths[0], config | arguments)
        check_size(build, weights, source)
        model = build()
        keep = config_path is not None and bool(arguments)
        report = fill_model(model, weights, source, n_outputs, keep, allow_partial or strict is False)
        if strict and (report.new or report.ignored):
            raise ValueError(
                f"strict=True needs every tensor of {source} in its place; new: "
                f"{shorten(report.new) or 'none'}; ignored: {shorten(report.ignored) or 'none'}. Leave out "
                "strict=True, or give the arguments that the weights were trained with."
            )
        report = model.load_report = replace(report, assumed=assumed)
        model = model.to(map_location).eval()
        return (model, report) if return_report else model

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Save configuration, weights and a model card; an older model in the folder stays until then.

        Parameters
        ----------
        save_directory : str or pathlib.Path
            Folder; made if it is not there. A README.md that lies in it is kept.
        **options
            Options of ``huggingface_hub.PyTorchModelHubMixin.save_pretrained``.

        Returns
        -------
        url : str or None
            Of the commit, with ``push_to_hub=True``.
        """
        folder = Path(save_directory).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for abandoned in folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as beside:
            written = Path(beside) / folder.name
            url = super().save_pretrained(written, **options)
            for path in written.iterdir():
                flush(path)
            os.replace(written / WEIGHTS_FILE, folder / WEIGHTS_FILE)
            os.replace(written / CONFIG_FILE, folder / CONFIG_FILE)
            if not (folder / CARD_FILE).exists():
                os.replace(written / CARD_FILE, folder / CARD_FILE)
        return url

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write configuration and weights; called by huggingface_hub's ``save_pretrained``."""
        config = json.dumps(self.get_config(), indent=2)
        (save_directory / CONFIG_FILE).write_text(config, encoding="utf-8")
        # `save_pretrained` writes beside an older model. Between its two renames the weights hold their
        # configuration, and which one it replaces.
        older = save_directory.parents[1] / CONFIG_FILE
        promise = {}
        if save_directory.parent.name.startswith(UNFINISHED) and older.is_file():
            promise = {"config": config, "replaces": hash_file(older)}
        write_weights(save_directory / WEIGHTS_FILE, self.state_dict(), **promise)


def build_model(
    cls: type[HubMixin], config_path: Path | None, path: Path, arguments: Mapping[str, Any]
) -> HubMixin:
    """Build a model; where its weights came without a configuration, say what has to be given."""
    if config_path is not None:
        with about(config_path):
            return cls.from_config(arguments)
    try:
        return cls.from_config(arguments)
    except ValueError as error:
        given = [name for name, value in arguments.items() if value is not None]
        missing = [name for name in ("n_chans", "n_times", "n_outputs") if name not in given]
        raise ValueError(
            f"There is no {CONFIG_FILE} beside {path}, so the arguments that its weights were trained "
            f"with have to be given: got {', '.join(given) or 'none'}"
            f"{', not ' + ', '.join(missing) if missing else ''}. {error}"
        ) from error


def check_size(build: Callable[[], nn.Module], weights: Mapping[str, Tensor], source: str) -> None:
    """Refuse arguments of no model, or of one far larger than the weights, which could fill the memory."""
    try:
        with warnings.catch_warnings(action="ignore"), torch.device("meta"):
            state = build().state_dict()
    except RuntimeError as error:
        raise ValueError(f"The configuration of {source} describes no model: {error}.") from error
    expected, given = (sum(tensor.nbytes for tensor in tensors.values()) for tensors in (state, weights))
    if expected > 10 * given + LARGEST_HEAD:
        raise ValueError(
            f"The configuration of {source} describes a model of {expected / 1e9:.0f} GB, its weights "
            f"hold {given / 1e6:.1f} MB: one of them is not what was published. Nothing was built."
        )


def fill_model(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    n_outputs: int | None = None,
    keep_derived: bool = False,
    allow_partial: bool = False,
) -> LoadReport:
    """Put weights into a model, or say in one error what keeps them from fitting.

    Tensors of the encoder have to fit, all of them or, with `allow_partial`, some. A module of the task
    loads whole or starts fresh; it has to load unless `n_outputs` or `allow_partial` is given.

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
    keep_derived : bool
        Leave tensors that follow from the constructor's arguments, because arguments were replaced.
        Otherwise they are loaded, and have to be what the arguments give.
    allow_partial : bool
        Let what does not fit start fresh, as long as some of the encoder fits.

    Returns
    -------
    report : LoadReport
        What was loaded, what is new and what was ignored.

    Raises
    ------
    ValueError
        If weights of the encoder do not fit; with `allow_partial`, if none does. If values are no finite
        numbers of the model's kind, or contradict the arguments.
    """
    held, own = translate(model, weights, source), model.state_dict()
    derived_keys = keys_of(own, model.layout.derived_modules)
    encoder = set(own) - derived_keys - keys_of(own, model.layout.task_modules)
    shared, unknown = set(held) & set(own), set(held) - set(own)
    fitting = {key for key in shared if held[key].shape == own[key].shape}

    # A module of which only a part fits is no module: all of it starts fresh.
    usable = set(held) if n_outputs is None and not allow_partial else fitting
    fresh = [module for module in model.layout.task_modules if keys_of(set(own) - usable, (module,))]
    if n_outputs not in (None, model.arguments["n_outputs"]):
        fresh.append("final_layer")
    left = keys_of(held, fresh) | (derived_keys if keep_derived else set())
    loaded = fitting - left
    wrong = {key: find_fault(held[key], own[key]) for key in loaded}
    problems = {
        "of no use": {f"{key} ({fault})" for key, fault in wrong.items() if fault},
        "not what the arguments give": find_contradictions(held, own, loaded & derived_keys),
    }
    check_fit(source, problems)

    if not (allow_partial and encoder & loaded):
        missing = set(own) - set(held) - keys_of(own, fresh) - derived_keys
        shapes = {key: tuple(tensor.shape) for key, tensor in own.items()}
        check_fit(
            source,
            {
                "missing": {f"{key} {shapes[key]}" for key in missing},
                "of another shape": {
                    f"{key} (expected {shapes[key]}, got {tuple(held[key].shape)})"
                    for key in shared - fitting - left
                },
                "unknown to the model": unknown - left - keys_of(unknown, unused_modules(model, own)),
            },
        )

    model.load_state_dict({key: held[key] for key in loaded}, strict=False)
    if n_outputs is not None and "final_layer" in fresh:
        model._renew_head(n_outputs)
    lost = encoder - loaded
    new = keys_of(model.state_dict(), fresh) | lost
    unasked = new if n_outputs is None else new - keys_of(new, ["final_layer"])
    if unasked:
        counts = f"{len(lost)} of {len(encoder)} tensors of the encoder do not fit. " if lost else ""
        warnings.warn(
            f"{counts}{source} holds no fitting weights for {shorten(sorted(unasked))}: these are new "
            "(random), train them before use. A fresh head is asked for with n_outputs=.",
            stacklevel=3,
        )
    published = not set(weights) <= set(held) or bool(keys_of(unknown, model.layout.pretraining_modules))
    return LoadReport(
        source,
        *(tuple(sorted(keys)) for keys in (loaded, new, set(held) - loaded)),
        layout="the authors' checkpoint" if published else "this package's",
        fingerprint=fingerprint(model),
    )


def translate(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Give tensors the names that the model has for them, and refuse two of one name."""
    own, parts = model.state_dict().keys(), os.path.commonprefix([key.split(".") for key in weights])
    # DataParallel, Lightning and torch.compile put words before every name.
    prefixes = ["".join(f"{part}." for part in parts[:depth]) for depth in range(len(parts) + 1)]
    forms = [model._translate({k.removeprefix(prefix): t for k, t in weights.items()}) for prefix in prefixes]
    held = max(forms, key=lambda form: len(own & form.keys()))
    if len(held) < len(weights):
        raise ValueError(
            f"{source} holds several tensors for the same tensor of {type(model).__name__}: "
            f"{len(weights)} names stand for {len(held)}. Keep one encoder, and remove the others."
        )
    return held


def unused_modules(model: nn.Module, own: Collection[str]) -> tuple[str, ...]:
    """Modules that a file may hold and the model has no use for: of pre-training, of another task."""
    return (
        *model.layout.pretraining_modules,
        *(module for module in model.layout.task_modules if not keys_of(own, (module,))),
    )


def find_contradictions(
    held: Mapping[str, Tensor], own: Mapping[str, Tensor], derived: Collection[str]
) -> set[str]:
    """Find tensors of the file that the constructor's arguments would make otherwise."""
    contradicted = set()
    for key in derived:
        given, expected = held[key].double(), own[key].double()
        # Filters differ in their last digits from library to library, and are as small as they are steep.
        tolerance = 1e-3 * expected.abs() + 1e-6 * expected.abs().max() if own[key].is_floating_point() else 0
        if not ((given - expected).abs() <= tolerance).all():
            contradicted.add(key)
    return contradicted


def find_fault(given: Tensor, own: Tensor) -> str:
    """Say why a tensor cannot take the place of a model's own, or ""."""
    if given.shape != own.shape:
        return f"expected {tuple(own.shape)}, got {tuple(given.shape)}"
    kinds = [(t.is_floating_point(), t.is_complex(), t.dtype == torch.bool) for t in (given, own)]
    if kinds[0] != kinds[1]:
        return f"expected {own.dtype}, got {given.dtype}".replace("torch.", "")
    # What is finite as float64 need not be as float32.
    n_wrong = int((~given.to(own.dtype).isfinite()).sum())
    return f"{n_wrong} of {given.numel()} values are no finite numbers" if n_wrong else ""


def check_fit(source: str, problems: Mapping[str, Collection[str]]) -> None:
    """Raise one `ValueError` that names every tensor of the encoder that does not fit, by what is wrong."""
    told = [f"{wrong}: {shorten(sorted(names))}" for wrong, names in problems.items() if names]
    if told:
        raise ValueError(
            f"The weights of {source} do not fit; {'; '.join(told)}. Nothing was loaded. Build the model "
            "with the arguments the weights were trained with. In from_pretrained, n_outputs= asks for a "
            "fresh head, and allow_partial=True starts fresh whatever does not fit."
        )
