"""A pretraining written in YAML: what is trained, on which windows, and how.

A configuration has these parts, of which only `encoder` and `tokenizer` may be missing::

    objective: {name: MaskedAlignment, momentum: [0.996, 1.0]}     # a class of OBJECTIVES and its arguments
    encoder: {embed_dim: 64, depth: 4}                             # arguments of its encoder
    tokenizer: outputs/codebrain-tokenizer-toy/encoder             # of CodePrediction only
    data: {seconds: 4.0, held_out: 2, simulated: {n_subjects: 9}}  # see eeglab_models.pretraining.corpus.data
    training: {n_steps: 1000, batch_size: 32, lr: 1e-3}            # Settings; n_epochs may replace n_steps

Numbers of channels and samples, and the rate, come from the data.
"""

import difflib
import importlib
import inspect
import json
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pandas as pd
import torch
from accelerate import PartialState
from torch import nn

from eeglab_models.configs import read_yaml
from eeglab_models.models.base import SIGNAL_ARGUMENTS, EEGModel
from eeglab_models.pretraining.corpus.data import Data
from eeglab_models.training.settings import FREE, Settings

__all__ = ["OBJECTIVES", "Configuration", "ready_configurations", "read_configuration"]

OBJECTIVES = {
    "TFDualTokenizer": ("tokenizer", "codebrain", "CodeBrain"),
    "CodePrediction": ("code_prediction", "codebrain", "CodeBrain"),
    "MaskedAlignment": ("alignment", "eegpt", "EEGPT"),
    "SelfDistillation": ("self_distillation", "eegdino", "EEGDINO"),
}
"""The only classes that a configuration can name: where they are, and which encoder they train."""
# Encoders without a head, as far as they can be built without one.
ENCODERS = {
    "CodeBrain": {"n_outputs": 1, "pretrain_mode": True},
    "EEGPT": {"return_encoder_output": True, "chan_proj_type": "none", "patch_stride": None},
    "EEGDINO": {"return_encoder_output": True},
}
PARTS = ("objective", "encoder", "tokenizer", "data", "training")
READY = Path(__file__).with_name("configs")
RECORD = "configuration.json"
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}


@dataclass(frozen=True)
class Configuration:
    """A pretraining that is ready to be run.

    Attributes
    ----------
    name : str
        Name of the file, without its ending.
    objective : str
        One of `OBJECTIVES`.
    arguments, encoder : dict
        Arguments of the objective and of its encoder.
    tokenizer : str or None
        Folder of a trained tokenizer.
    data : Data
        Which windows.
    training : dict
        Arguments of `Settings`; ``n_epochs`` in place of ``n_steps`` counts passes through the windows.
    """

    name: str
    objective: str
    arguments: dict[str, Any]
    encoder: dict[str, Any]
    tokenizer: str | None
    data: Data
    training: dict[str, Any]

    def with_steps(self, n_steps: int) -> "Configuration":
        """Return the same configuration with another number of steps.

        Parameters
        ----------
        n_steps : int
            Steps of the optimiser; they replace a number of epochs.

        Returns
        -------
        configuration : Configuration
            A new one; this one stays as it is.
        """
        training = {name: value for name, value in self.training.items() if name != "n_epochs"}
        return replace(self, training=training | {"n_steps": n_steps})

    def build(self) -> nn.Module:
        """Build the objective, with fresh weights that depend on the seed alone.

        Returns
        -------
        objective : Objective
            Ready for `pretrain`.
        """
        objective, model = find_classes(self.objective)
        names, n_times = self.data.channels_for(model), self.data.n_times_for(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.get("seed", 0))
            if self.objective == "TFDualTokenizer":
                return objective(n_chans=len(names), n_times=n_times, **self.arguments)
            encoder = self.build_encoder(
                chs_info=[{"ch_name": name} for name in names], n_times=n_times, sfreq=model.contract.sfreq
            )
            if self.objective != "CodePrediction":
                return objective(encoder, **self.arguments)
            from eeglab_models.pretraining.codebrain.tokenizer import TFDualTokenizer

            tokenizer = TFDualTokenizer.from_pretrained(self.tokenizer)
            return objective(encoder, tokenizer, **self.arguments)

    def build_encoder(self, **signal: Any) -> EEGModel:
        """Build the encoder on its own, with random weights.

        Parameters
        ----------
        **signal
            Signal arguments of its constructor, as `Windows.signal_for` gives them.

        Returns
        -------
        encoder : EEGModel
            Of the size that the configuration states.
        """
        _, model = find_classes(self.objective)
        return model(**ENCODERS[model.__name__] | signal | name_layers(model, self.encoder))

    def settings(self, n_windows: int) -> Settings:
        """Make the settings, epochs counted in steps.

        Parameters
        ----------
        n_windows : int
            Windows to learn from.

        Returns
        -------
        settings : Settings
            For `pretrain`.

        Raises
        ------
        ValueError
            If a number is out of its range.
        """
        values = dict(self.training)
        if "n_epochs" in values:
            n_steps = values.pop("n_epochs") * (n_windows // values["batch_size"])
            values["n_steps"] = max(1, round(n_steps))
        return Settings(**values)

    def run(self, folder: str | Path, *, progress: bool = True) -> pd.DataFrame:
        """Build everything and train, or go on where an earlier call was interrupted.

        Parameters
        ----------
        folder : str or pathlib.Path
            Where results go, as `pretrain` writes them, and the configuration beside them.
        progress : bool
            Show a bar, and in a notebook the figure.

        Returns
        -------
        history : pandas.DataFrame
            As `pretrain` returns it.

        Raises
        ------
        FileNotFoundError
            If a corpus or a tokenizer is not there.
        ValueError
            If the folder holds another training, or if something does not fit.
        """
        from eeglab_models.training.loop import pretrain

        folder = Path(folder)
        objective = self.build()
        # Processes that train together would write over each other.
        with PartialState().main_process_first():
            self.record(folder)
        data, held_out = self.data.load(find_classes(self.objective)[1], folder)
        settings = self.settings(len(data))
        return pretrain(objective, data, settings, folder, validation=held_out, progress=progress)

    def record(self, folder: Path) -> None:
        """Write the configuration down, or refuse a folder with results of another one.

        Parameters
        ----------
        folder : pathlib.Path
            Folder of results; made if it is not there.

        Raises
        ------
        ValueError
            If the folder belongs to another configuration.
        """
        own = json.loads(json.dumps(asdict(self)))
        path = folder / RECORD
        if path.is_file():
            compare(json.loads(path.read_text(encoding="utf-8")), own, folder)
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(own, indent=2), encoding="utf-8")


def ready_configurations() -> list[str]:
    """Name the configurations that come with the package.

    Returns
    -------
    names : list of str
        For `read_configuration`.
    """
    return sorted(path.stem for path in READY.glob("*.yaml"))


def read_configuration(source: str | Path) -> Configuration:
    """Read a configuration and check its names and types; nothing in it is ever executed.

    Parameters
    ----------
    source : str or pathlib.Path
        YAML file, as described at the top of this module, or the name of one that comes with the package.

    Returns
    -------
    configuration : Configuration
        What it says.

    Raises
    ------
    FileNotFoundError
        If there is no such file and no such name.
    ValueError
        If it is not YAML, or if a part, a class, an argument or a type is wrong; the message names the
        nearest right word.
    """
    path = find(source)
    content = read_yaml(path)
    check_names(content, PARTS, "A configuration has no part")
    for part in ("objective", "data", "training"):
        if not isinstance(content.get(part), dict):
            raise ValueError(f"{path} needs a part '{part}' that holds 'name: value' pairs. Add it.")
    given = dict(content["objective"])
    name = given.pop("name", None)
    check_names([name], OBJECTIVES, "There is no objective")
    objective, model = find_classes(name)
    arguments = read_arguments(objective, given, ("encoder", "tokenizer", "n_chans", "n_times"), name)
    if name == "TFDualTokenizer" and content.get("encoder"):
        raise ValueError("TFDualTokenizer has an encoder of its own. Put its sizes into 'objective'.")
    taken = (*SIGNAL_ARGUMENTS, *ENCODERS[model.__name__])
    encoder = read_arguments(model, content.get("encoder") or {}, taken, model.__name__)
    tokenizer = content.get("tokenizer")
    if isinstance(tokenizer, str) is not (name == "CodePrediction"):
        raise ValueError(
            "'tokenizer' names the folder of a trained tokenizer, for CodePrediction only, got "
            f"{tokenizer!r} for {name}. {'Remove' if tokenizer else 'Add'} it."
        )
    data = Data(**read_arguments(Data, content["data"], (), "'data'"))
    training = read_training(content["training"])
    return Configuration(path.stem, name, arguments, encoder, tokenizer, data, training)


def read_training(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the arguments of `Settings`, of which n_epochs may replace n_steps."""
    given = dict(given)
    n_epochs = given.pop("n_epochs", None)
    if (n_epochs is None) is ("n_steps" not in given) or "batch_size" not in given:
        raise ValueError("'training' needs batch_size, and either n_steps or n_epochs. Add what is missing.")
    training = read_arguments(Settings, given, (), "'training'")
    # What is wrong with a number is said now, not after the windows are prepared.
    Settings(**{"n_steps": 1} | training)
    if n_epochs is None:
        return training
    if not is_number(n_epochs) or n_epochs <= 0:
        raise ValueError(f"n_epochs should be a positive number, got {n_epochs!r}.")
    return training | {"n_epochs": n_epochs}


def find(source: str | Path) -> Path:
    """Find a file, or a configuration that comes with the package by its name."""
    path = Path(source)
    if path.is_file():
        return path
    if (READY / f"{source}.yaml").is_file():
        return READY / f"{source}.yaml"
    known = [*ready_configurations(), *(str(other) for other in path.parent.glob("*.yaml"))]
    near = difflib.get_close_matches(str(source), known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Those that come along are {', '.join(known)}."
    raise FileNotFoundError(f"There is no configuration {source}. {hint}")


def find_classes(objective: str) -> tuple[Any, type[EEGModel]]:
    """Import an objective and the model whose contract its windows keep."""
    module, model_module, model = OBJECTIVES[objective]
    found = getattr(importlib.import_module(f"eeglab_models.pretraining.{module}"), objective)
    return found, getattr(importlib.import_module(f"eeglab_models.models.{model_module}"), model)


def layers_of(model: type[EEGModel]) -> dict[str, type[nn.Module]]:
    """Name the classes of layers that a configuration of a model may ask for."""
    return {layer.__name__: layer for layer in model.layer_classes.values()}


def name_layers(model: type[EEGModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the names of layers by their classes."""
    layers = layers_of(model)
    return {
        name: layers.get(value, value) if isinstance(value, str) else value
        for name, value in arguments.items()
    }


def check_names(names: Collection[Any], known: Collection[str], what: str) -> None:
    """Refuse an unknown word and say the nearest known one."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
            raise ValueError(f"{what} {name!r}. Did you mean {near!r}? There are: {', '.join(known)}.")


def read_arguments(cls: Any, values: Any, taken: Collection[str], what: str) -> dict[str, Any]:
    """Check names and types of the arguments of a class, without those that are set elsewhere."""
    if not isinstance(values, dict):
        raise ValueError(f"The arguments of {what} should be 'name: value' pairs, got {values!r}.")
    kinds = get_type_hints(cls.__init__)
    known = [name for name in inspect.signature(cls).parameters if name not in taken]
    check_names(values, known, f"{what} has no argument")
    layers = layers_of(cls) if issubclass(cls, EEGModel) else {}
    return {name: coerce(f"{name} of {what}", value, kinds[name], layers) for name, value in values.items()}


def coerce(name: str, value: Any, kind: Any, layers: Collection[str]) -> Any:
    """Bring a value to an annotated type where nothing is lost by it; lists become tuples."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    value = to_tuple(value)
    if type(value) is int and float in kinds and int not in kinds:
        return float(value)
    if not any(fits(value, one, layers) for one in kinds):
        expected = " or ".join(describe(one, layers) for one in kinds)
        raise ValueError(f"{name} should be {expected}, got {value!r}.")
    return value


def fits(value: Any, kind: Any, layers: Collection[str]) -> bool:
    """Tell whether a value of a file is of an annotated type; classes go by their names."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is type:
        return isinstance(value, str) and value in layers
    if type(value) in KINDS:
        return type(value) is kind
    return isinstance(value, get_origin(kind) or kind)


def describe(kind: Any, layers: Collection[str]) -> str:
    """Name an annotated type in words."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) is type:
        return f"the name of a layer ({', '.join(sorted(layers))})"
    return KINDS.get(
        kind, "a list" if issubclass(get_origin(kind) or kind, Sequence) else "'name: value' pairs"
    )


def to_tuple(value: Any) -> Any:
    """Turn lists into tuples, inside too."""
    return tuple(map(to_tuple, value)) if isinstance(value, list) else value


def is_number(value: Any) -> bool:
    """Tell numbers from everything else, true and false included."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def compare(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path, where: str = "") -> None:
    """Refuse the first difference that changes what is trained; the name of the file does not."""
    for name in sorted({*before, *now} - {*FREE, "name"}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            compare(old, new, folder, f"{where}{name}.")
        elif old != new:
            raise ValueError(
                f"{folder} holds a pretraining with {where}{name}={old!r}, got {new!r}. Pass the same to go "
                "on, or choose another folder to begin anew."
            )
