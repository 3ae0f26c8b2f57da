"""A pretraining written in YAML: what is trained, on which windows, and how.

A configuration has these parts, of which only `encoder` and `tokenizer` may be missing::

    objective: {name: MaskedAlignment, momentum: [0.996, 1.0]}     # a class of OBJECTIVES and its arguments
    encoder: {embed_dim: 64, depth: 4}                             # arguments of its encoder
    tokenizer: outputs/codebrain-tokenizer-toy/encoder             # of CodePrediction only
    data:                                                          # one source or more, prepared alike
      seconds: 4.0                           # length of a window; else that of the corpus
      channels: [C3, Cz, C4]                 # else those of simulation, corpus or contract
      left_out: [Subject23]                  # who takes no part at all, because others test on them
      held_out: 2                            # the last subjects of every source, or a list of names
      simulated: {n_subjects: 9}             # arguments of SimulatedMotorImagery
      recordings: {source: recordings/}      # a folder, or a list; arguments of build_corpus
      corpus: outputs/corpus                 # folder that build_corpus filled
    training: {n_steps: 1000, batch_size: 32, lr: 1e-3}            # Settings; n_epochs may replace n_steps

Numbers of channels and samples, and the rate, come from the data.
"""

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_type_hints

import pandas as pd
import torch
from annotated_types import Gt
from torch import nn

from eeglab_models.configs import (
    about,
    check_arguments,
    check_name,
    check_value,
    nearest,
    read_json,
    read_yaml,
)
from eeglab_models.files import write_json
from eeglab_models.models.base import SIGNAL_ARGUMENTS, EEGModel
from eeglab_models.pretraining.corpus.data import Data
from eeglab_models.pretraining.objective import Objective
from eeglab_models.training.settings import Settings, check_same

__all__ = ["Configuration", "ready_configurations", "read_configuration"]

# The only classes that a configuration can name: where they are, and which encoder they train.
OBJECTIVES = {
    "TFDualTokenizer": ("codebrain.tokenizer", "codebrain", "CodeBrain"),
    "CodePrediction": ("codebrain.code_prediction", "codebrain", "CodeBrain"),
    "MaskedAlignment": ("eegpt.alignment", "eegpt", "EEGPT"),
    "SelfDistillation": ("eegdino.self_distillation", "eegdino", "EEGDINO"),
    "MaskedSpectra of CodeBrain": ("spectra", "codebrain", "CodeBrain"),
    "MaskedSpectra of EEGPT": ("spectra", "eegpt", "EEGPT"),
    "MaskedSpectra of EEGDINO": ("spectra", "eegdino", "EEGDINO"),
}
READY = Path(__file__).with_name("configs")
RECORD = "configuration.json"


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

    def build(self) -> Objective:
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
        return model(**model.layout.pretraining_arguments | signal | name_layers(model, self.encoder))

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
        from eeglab_models.training.pretraining import pretrain
        from eeglab_models.training.processes import join_processes

        folder = Path(folder)
        objective = self.build()
        processes = join_processes(self.training.get("cpu", False))
        # Processes that train together would write over each other.
        if processes.is_main_process:
            record(self, folder)
        processes.wait_for_everyone()
        data, held_out = self.data.load(find_classes(self.objective)[1], folder)
        settings = self.settings(len(data))
        return pretrain(objective, data, settings, folder, validation=held_out, progress=progress)


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
    with about(path):
        return configure(path.stem, **check_arguments(configure, content, "the configuration", ["name"]))


def configure(
    name: str,
    objective: dict[str, Any],
    data: dict[str, Any],
    training: dict[str, Any],
    encoder: dict[str, Any] | None = None,
    tokenizer: str | None = None,
) -> Configuration:
    """Check the parts of a configuration by what they are arguments of."""
    kind = objective.pop("name", None)
    check_name(kind, OBJECTIVES, "There is no objective")
    cls, model = find_classes(kind)
    if kind == "TFDualTokenizer" and encoder:
        raise ValueError("TFDualTokenizer has an encoder of its own. Put its sizes into 'objective'.")
    if (tokenizer is not None) is not (kind == "CodePrediction"):
        raise ValueError(
            "'tokenizer' names the folder of a trained tokenizer, for CodePrediction only, got "
            f"{tokenizer!r} for {kind}. {'Remove' if tokenizer else 'Add'} it."
        )
    taken = (*SIGNAL_ARGUMENTS, *model.layout.pretraining_arguments)
    return Configuration(
        name,
        kind,
        check_arguments(cls, objective, kind, ("encoder", "tokenizer", "n_chans", "n_times")),
        check_arguments(model, encoder or {}, model.__name__, taken, layer_names(model)),
        tokenizer,
        Data(**check_arguments(Data, data, "'data'")),
        read_training(training),
    )


def read_training(given: dict[str, Any]) -> dict[str, Any]:
    """Check the arguments of `Settings`, of which n_epochs may replace n_steps."""
    n_epochs = given.pop("n_epochs", None)
    if (n_epochs is None) is ("n_steps" not in given):
        raise ValueError(f"'training' needs n_steps or n_epochs, got {', '.join(given)}. Give one of them.")
    # What is wrong with a number is said now, not after the windows are prepared.
    training = check_arguments(Settings, {"n_steps": 1} | given, "'training'")
    Settings(**training)
    if n_epochs is None:
        return training
    del training["n_steps"]
    return training | {"n_epochs": check_value("n_epochs of 'training'", n_epochs, Annotated[float, Gt(0)])}


def find(source: str | Path) -> Path:
    """Find a file, or a configuration that comes with the package by its name."""
    path = Path(source)
    if path.is_file():
        return path
    if (READY / f"{source}.yaml").is_file():
        return READY / f"{source}.yaml"
    known = [*ready_configurations(), *(str(other) for other in path.parent.glob("*.yaml"))]
    near = nearest(str(source), known, cutoff=0.6)
    hint = f"Did you mean {near}?" if near else f"Those that come along are {', '.join(known)}."
    raise FileNotFoundError(f"There is no configuration {source}. {hint}")


def find_classes(objective: str) -> tuple[Any, type[EEGModel]]:
    """Import an objective and the model whose contract its windows keep."""
    module, model_module, model = OBJECTIVES[objective]
    own = importlib.import_module(f"eeglab_models.pretraining.{module}")
    found = getattr(own, objective.partition(" of ")[0])
    return found, getattr(importlib.import_module(f"eeglab_models.models.{model_module}"), model)


def layers_of(model: type[EEGModel]) -> dict[str, type[nn.Module]]:
    """Name the classes of layers that a configuration of a model may ask for."""
    return {layer.__name__: layer for layer in model._layer_classes().values()}


def layer_names(model: type[EEGModel]) -> dict[str, Any]:
    """Types, in a file, of the arguments that take a class of layers: names of those that there are."""
    hints = {name: (hint, *get_args(hint)) for name, hint in get_type_hints(model.__init__).items()}
    names = Literal[*sorted(layers_of(model))]
    found = {name: kinds for name, kinds in hints.items() if type[nn.Module] in kinds}
    return {name: names | None if NoneType in kinds else names for name, kinds in found.items()}


def name_layers(model: type[EEGModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the names of layers by their classes."""
    layers = layers_of(model)
    return {
        name: layers.get(value, value) if isinstance(value, str) else value
        for name, value in arguments.items()
    }


def record(configuration: Configuration, folder: Path) -> None:
    """Write a configuration down, or refuse a folder with results of another one."""
    own = json.loads(json.dumps(asdict(configuration)))
    path = folder / RECORD
    before = read_json(path) if path.is_file() else {}
    if before:
        # The name of the file changes nothing that is trained.
        check_same({**before, "name": own["name"]}, own, folder)
    if before != own:
        write_json(path, own)
