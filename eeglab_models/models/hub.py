"""Weights and configurations in a folder or on the Hub: ``config.json`` and ``model.safetensors``.

Two rules hold for every file that is read. Nothing in it is imported or executed: configurations hold
plain values, names of classes are looked up in a table, weights are safetensors only. And nothing is
silently random: every tensor of the model is accounted for in a `LoadReport`.
"""

import inspect
import json
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import save_file
from torch import Tensor, nn

from eeglab_models.models.download import (
    CONFIG_FILE,
    PICKLES,
    WEIGHTS_FILE,
    check_names,
    fetch,
    read_config,
    read_weights,
)
from eeglab_models.models.report import LoadReport, fingerprint, keys_of, shorten

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
    task_modules : tuple of str
        Submodules that belong to a task rather than to the encoder: they may start fresh.
    derived_modules : tuple of str
        Buffers and modules whose tensors follow from the constructor's arguments.
    pretraining_modules : tuple of str
        Modules that published checkpoints hold beside the encoder and that the encoder does not use.
    fixed_arguments : tuple of str
        Constructor's arguments that weights were trained with and that no shape reveals: another value
        loads without complaint and computes something else.
    load_report : LoadReport or None
        What `from_pretrained` found, None for a model that was not loaded.
    """

    task_modules: ClassVar[tuple[str, ...]] = ("final_layer",)
    derived_modules: ClassVar[tuple[str, ...]] = ()
    pretraining_modules: ClassVar[tuple[str, ...]] = ()
    fixed_arguments: ClassVar[tuple[str, ...]] = ()
    load_report: LoadReport | None = None

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        return_report: bool = False,
        allow_partial: bool = False,
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
        filename : str
            Name of the weights file in a folder or repository: safetensors only.
        map_location : str or torch.device
            Device that the model is put on.
        revision : str or None
            Branch, tag or commit of the Hub repository. Name a commit where results must repeat.
        cache_dir : str, pathlib.Path or None
            Folder of downloads; None means that of `huggingface_hub`.
        force_download : bool
            Download again what is there already.
        local_files_only : bool
            Download nothing.
        token : str, bool or None
            Token of the Hub; None means the one that is logged in, if any.
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
        FileNotFoundError
            If the configuration or the safetensors file is missing.
        PermissionError, ConnectionError
            If the Hub refuses, fails or cannot be reached.
        ValueError
            If the configuration is not one of this class, if an argument contradicts what the weights were
            trained with, or if weights of the encoder are missing, of another shape, or unknown to the
            model: the message names them. With `allow_partial`, if none fits.
        """
        hub = {
            "revision": revision,
            "cache_dir": cache_dir,
            "force_download": force_download,
            "local_files_only": local_files_only,
            "token": token,
        }
        source = str(pretrained_model_name_or_path)
        config_path, weights_path = locate(source, filename, hub)
        config = {} if config_path is None else read_config(config_path)
        weights = read_weights(weights_path)
        cls.check_fixed_arguments(source, config, arguments)
        assumed = cls.assume_fixed_arguments(config | arguments)

        n_outputs = arguments.pop("n_outputs", None)
        if config.get("n_outputs") is None:
            config["n_outputs"] = n_outputs
        if n_outputs is not None and config.get("return_encoder_output"):
            config["return_encoder_output"] = False
        for given, other in REPLACES.items():
            if given in arguments and other in config:
                config[other] = None
        cls.check_size(config | arguments, weights, source)
        if config_path is None:
            model = cls.from_arguments_alone(weights_path, config | arguments)
        else:
            model = cls.from_config(config | arguments)
        derived = "compare" if config_path is None else "keep" if arguments else "load"
        report = fill_model(model, weights, source, n_outputs, derived, allow_partial)
        report = model.load_report = replace(report, assumed=assumed)
        model = model.to(map_location).eval()
        return (model, report) if return_report else model

    @classmethod
    def check_fixed_arguments(
        cls, source: str, config: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> None:
        """Refuse arguments other than the configuration's where no shape would reveal the mistake.

        Parameters
        ----------
        source : str
            Where the weights come from, for the message.
        config : dict
            What the configuration says.
        arguments : dict
            What the caller says.

        Raises
        ------
        ValueError
            If both state one of `fixed_arguments`, and differently.
        """
        for name in cls.fixed_arguments:
            if name in config and name in arguments and plain(config[name]) != plain(arguments[name]):
                raise ValueError(
                    f"The weights of {source} were trained with {show(name, config[name])}, got "
                    f"{show(name, arguments[name])}: they would load, since no shape reveals it, and compute "
                    f"something else. Leave {name} out; if you mean it, build the model yourself and call "
                    "load_state_dict."
                )

    @classmethod
    def assume_fixed_arguments(cls, known: Collection[str]) -> tuple[str, ...]:
        """Name the fixed arguments that nobody stated, with their defaults.

        Parameters
        ----------
        known : collection of str
            Names of the arguments that the configuration or the caller states.

        Returns
        -------
        assumed : tuple of str
            The other `fixed_arguments`, each written as ``name=default``.
        """
        return tuple(show(name, default_of(cls, name)) for name in cls.fixed_arguments if name not in known)

    @classmethod
    def check_size(cls, arguments: Mapping[str, Any], weights: Mapping[str, Tensor], source: str) -> None:
        """Refuse arguments that describe a far larger model than the weights: it could fill the memory.

        Parameters
        ----------
        arguments : dict
            Constructor arguments.
        weights : dict of torch.Tensor
            Tensors by name.
        source : str
            Where both come from, for the message.

        Raises
        ------
        ValueError
            If the model would need more than ten times the bytes of the weights and 2 GB for its head, or if
            the arguments describe no model.
        """
        try:
            with warnings.catch_warnings(action="ignore"), torch.device("meta"):
                state = cls.from_config(arguments).state_dict()
        except (TypeError, ValueError):
            # What is wrong with the arguments is said when the model is built.
            return
        except RuntimeError as error:
            raise ValueError(f"The configuration of {source} describes no model: {error}.") from error
        expected, given = (sum(tensor.nbytes for tensor in tensors.values()) for tensors in (state, weights))
        if expected > 10 * given + LARGEST_HEAD:
            raise ValueError(
                f"The configuration of {source} describes a model of {expected / 1e9:.0f} GB, its weights "
                f"hold {given / 1e6:.1f} MB: one of them is not what was published. Nothing was built."
            )

    @classmethod
    def from_arguments_alone(cls, path: Path, arguments: Mapping[str, Any]) -> "HubMixin":
        """Build a model whose weights came without a configuration, or say what has to be given.

        Parameters
        ----------
        path : pathlib.Path
            File of the weights, for the message.
        arguments : dict
            Constructor arguments.

        Returns
        -------
        model : EEGModel
            With fresh weights.

        Raises
        ------
        ValueError
            If the arguments are too few or build no model.
        """
        try:
            return cls.from_config(arguments)
        except (TypeError, ValueError) as error:
            given = [name for name, value in arguments.items() if value is not None]
            missing = [name for name in ("n_chans", "n_times", "n_outputs") if name not in given]
            raise ValueError(
                f"There is no {CONFIG_FILE} beside {path}, so the arguments that its weights were trained "
                f"with have to be given: got {', '.join(given) or 'none'}"
                f"{', not ' + ', '.join(missing) if missing else ''}. {error}"
            ) from error

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write configuration and weights; called by huggingface_hub's ``save_pretrained``."""
        config = json.dumps(self.get_config(), indent=2)
        (save_directory / CONFIG_FILE).write_text(config, encoding="utf-8")
        state = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        save_file(state, save_directory / WEIGHTS_FILE, metadata={"format": "pt"})


def locate(source: str, filename: str, hub: dict[str, Any]) -> tuple[Path | None, Path]:
    """Find the configuration and the weights; a single file may come without a configuration."""
    path = Path(source)
    if not path.is_file() and path.suffix not in {".safetensors", *PICKLES}:
        check_names(filename, hub["revision"], hub["token"])
        config = fetch(source, CONFIG_FILE, hub)
        # A branch may move in between: both files have to come from one commit.
        commit = config.parent.name if config.parent.parent.name == "snapshots" else hub["revision"]
        return config, fetch(source, filename, hub | {"revision": commit})
    if path.suffix == ".safetensors" and not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Check its name, or pass a folder.")
    weights = fetch(str(path.parent), path.name, hub)
    config = path.with_name(CONFIG_FILE)
    return (config if config.is_file() else None), weights


def fill_model(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    n_outputs: int | None = None,
    derived: Literal["load", "keep", "compare"] = "load",
    allow_partial: bool = False,
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
    derived : {"load", "keep", "compare"}
        Tensors that follow from the constructor's arguments: take the file's, keep the model's, because
        arguments were replaced, or take the file's if it holds what the arguments give.
    allow_partial : bool
        Let what does not fit start fresh, as long as some of the encoder fits.

    Returns
    -------
    report : LoadReport
        What was loaded, what is new and what was ignored.

    Raises
    ------
    ValueError
        If weights of the encoder are missing, of another shape, or unknown to the model; with
        `allow_partial`, if none fits.
    """
    names, weights = set(weights), model.translate_state_dict(weights)
    if len(weights) < len(names):
        raise ValueError(
            f"{source} holds several tensors for the same tensor of {type(model).__name__}: "
            f"{len(names)} names stand for {len(weights)}. Keep one encoder, and remove the others."
        )
    own = model.state_dict()
    misshaped = {key for key in weights if key in own and weights[key].shape != own[key].shape}
    missing = set(own) - set(weights) - keys_of(own, model.derived_modules)
    unknown = set(weights) - set(own)
    absent = [module for module in model.task_modules if not keys_of(own, (module,))]
    ignored = keys_of(unknown, model.pretraining_modules) | keys_of(weights, absent)
    if derived == "keep":
        ignored |= keys_of(weights, model.derived_modules)

    # A module of which only a part fits is no module: all of it starts fresh.
    unfit = missing if n_outputs is None and not allow_partial else missing | misshaped
    fresh = [module for module in model.task_modules if keys_of(unfit, (module,))]
    if n_outputs not in (None, model.arguments["n_outputs"]):
        fresh.append("final_layer")
    ignored |= keys_of(weights, fresh)

    encoder = set(own) - keys_of(own, (*model.task_modules, *model.derived_modules))
    lost = (missing | misshaped) & encoder
    if allow_partial and lost != encoder:
        ignored |= misshaped | unknown
    else:
        lost = set()
        check_fit(
            source,
            missing={key: own[key].shape for key in missing - keys_of(own, fresh)},
            misshaped={key: (own[key].shape, weights[key].shape) for key in misshaped - ignored},
            unexpected=unknown - ignored,
            contradicted=find_contradictions(model, weights) if derived == "compare" else (),
        )

    loaded = set(weights) - ignored
    model.load_state_dict({key: weights[key] for key in loaded}, strict=False)
    if n_outputs is not None and "final_layer" in fresh:
        model.reset_head(n_outputs)
    new = keys_of(model.state_dict(), fresh) | lost
    unasked = new if n_outputs is None else new - keys_of(new, ["final_layer"])
    if unasked:
        counts = f"{len(lost)} of {len(encoder)} tensors of the encoder do not fit. " if lost else ""
        warnings.warn(
            f"{counts}{source} holds no fitting weights for {shorten(unasked)}: these are new (random), "
            "train them before use. A fresh head is asked for with n_outputs=.",
            stacklevel=3,
        )
    published = not names <= set(weights) or bool(keys_of(unknown, model.pretraining_modules))
    return LoadReport(
        source,
        *(tuple(sorted(keys)) for keys in (loaded, new, ignored)),
        layout="the authors' checkpoint" if published else "this package's",
        fingerprint=fingerprint(model),
    )


def find_contradictions(model: nn.Module, weights: Mapping[str, Tensor]) -> set[str]:
    """Find tensors of the file that the constructor's arguments would make otherwise."""
    own = model.state_dict()
    shared = [key for key in keys_of(weights, model.derived_modules) if key in own]
    return {
        key
        for key in shared
        if weights[key].shape == own[key].shape
        and not torch.allclose(weights[key].double(), own[key].double(), rtol=1e-3, atol=1e-6)
    }


def check_fit(
    source: str,
    missing: Mapping[str, torch.Size],
    misshaped: Mapping[str, tuple[torch.Size, torch.Size]],
    unexpected: Collection[str],
    contradicted: Collection[str] = (),
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
    if contradicted:
        problems.append("not what the arguments give: " + shorten(contradicted))
    if problems:
        raise ValueError(
            f"The weights of {source} do not fit; {'; '.join(problems)}. Nothing was loaded. Build the model "
            "with the arguments the weights were trained with. In from_pretrained, n_outputs= asks for a "
            "fresh head, and allow_partial=True starts fresh whatever does not fit."
        )


def plain(value: Any) -> Any:
    """Write a value as configurations do: lists, plain numbers, and published names of classes."""

    def write(item: Any) -> Any:
        if hasattr(item, "tolist"):
            return item.tolist()
        return f"{item.__module__}.{getattr(item, '__qualname__', repr(item))}"

    return json.loads(json.dumps(value, default=write))


def show(name: str, value: Any) -> str:
    """Write an argument and its value, classes without their module, long lists by their length."""
    value = plain(value)
    text = value.rpartition(".")[2] if isinstance(value, str) else str(value)
    if isinstance(value, list) and len(text) > 60:
        text = f"[{len(value)} values]"
    return f"{name}={text}"


def default_of(cls: type, argument: str) -> Any:
    """Get the default of a constructor's argument."""
    return inspect.signature(cls.__init__).parameters[argument].default
